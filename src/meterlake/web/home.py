"""The customer's page: their home now, its history, its likes nearby, and what to take away."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.served import unknown
from meterlake.errors import NotFound
from meterlake.moments import local_date
from meterlake.query.places import ALWAYS
from meterlake.web.home_figures import figures_of, home_of
from meterlake.web.shell import Customer  # noqa: TC001 - FastAPI reads the types

if TYPE_CHECKING:
    from meterlake.api.held import Span
    from meterlake.api.served import Served
    from meterlake.tariff_file import TariffBook
    from meterlake.web.home_figures import Home

router = APIRouter(include_in_schema=False)

FILES_DAYS: Final = 31
"""Days that the downloads offer at first."""


@router.get("/home")
def home(page: Customer, id: Annotated[str | None, Query(max_length=256)] = None) -> Response:  # noqa: A002 - as the page is asked for
    """Show a service point of who is signed in; where there are several and none is named, all of them to choose from."""
    holds: dict[str, tuple[Span, ...]] = {}
    for hold in page.signed.holds:
        holds[hold.service_point] = (*holds.get(hold.service_point, ()), hold.span)
    if id is None and len(holds) != 1:
        return page.render("home_choose.html", homes=_homes(page, holds))
    asked = next(iter(holds)) if id is None else id
    if asked not in holds:
        raise unknown(asked, "service_point")
    found = home_of(page.served, asked, holds[asked])
    if found is None:
        return page.render("home_choose.html", homes=[])
    page.desk.saw(page.signed, asked, "own home")
    now = int(time.time())
    figures = figures_of(page.served, page.request.app.state.tariffs, found, now)
    last = figures.day if not found.ended or found.until is None else local_date(found.zone, found.until - 1)
    return page.render(
        "home.html", home=found, several=len(holds) > 1, figures=figures, zone=found.zone, last=last,
        first=None if found.since is None else local_date(found.zone, found.since),
        files_from=last - timedelta(days=FILES_DAYS - 1), files_to=last + timedelta(days=1),
    )  # fmt: skip


def warm(served: Served, book: TariffBook) -> None:
    """Make the figures of one home for nobody: what is read and imported once, no visitor waits for."""
    points = served.roster.lists().points
    if len(points):
        found = home_of(served, points["service_point_id"][0].as_py(), (ALWAYS,))
        if found is not None:
            figures_of(served, book, found, int(time.time()))
            with suppress(NotFound):
                served.node.lake.usage(found.id)


def _homes(page: Customer, holds: dict[str, tuple[Span, ...]]) -> list[Home]:
    """Return all service points of a customer, those that are still theirs first."""
    found = [home_of(page.served, id_, within) for id_, within in sorted(holds.items())]
    return sorted((home for home in found if home is not None), key=lambda home: home.ended)
