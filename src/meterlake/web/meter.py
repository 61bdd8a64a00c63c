"""Everything about one meter, and about a service point: who, where, what came when, and from which delivery."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.deliveries import listed
from meterlake.api.live import told
from meterlake.errors import Invalid, NotFound
from meterlake.intervals import DAY_S
from meterlake.moments import YEARS
from meterlake.web.records import shortened
from meterlake.web.shell import Operator  # noqa: TC001 - FastAPI reads the types

if TYPE_CHECKING:
    from meterlake.web.shell import Page

router = APIRouter(prefix="/fleet", include_in_schema=False)

DAYS: Final = 7
SHOWN: Final = 12
Id = Annotated[str, Query(max_length=256)]


@router.get("/meter")
def meter(page: Operator, id: Id, day: Annotated[date | None, Query()] = None) -> Response:  # noqa: A002 - as the page is asked for
    """Show a meter: its stays and channels, how it stands, its history, and where that came from."""
    now = int(time.time())
    row = page.served.roster.lists().meter(id)
    live = page.node.live.meter(id, now)
    series = _series(page, id)
    if row is None and live is None and not series:
        raise NotFound("no such meter")
    page.desk.saw(page.signed, id, "meter page")
    stays = [stay for stay in page.node.lake.registry.installations(id).to_pylist() if stay["meter_id"] == id]
    last = max([one["last_s"] for one in series], default=now)
    shown = day or datetime.fromtimestamp(min(last, now), UTC).date()
    if not YEARS[0] < shown.year < YEARS[1]:
        raise Invalid(f"a day of the years {YEARS[0] + 1} to {YEARS[1] - 1} can be shown; choose another one")
    begin, end = shown - timedelta(days=DAYS - 1), shown + timedelta(days=1)
    return page.render(
        "meter.html", id=id, row=row, stays=stays, live=[] if live is None else told(live), series=series, day=shown, at=shortened,
        begin=begin, end=end, deliveries=_sources(page, id, begin, end)[:SHOWN], zone=(row or {}).get("zone") or "UTC",
        channels=_channels(series, live),
    )  # fmt: skip


def _channels(series: list[dict[str, Any]], live: pa.Table | None) -> list[str]:
    """Return its channels, what is taken first."""
    known = {one["channel"] for one in series} | set([] if live is None else live["channel"].to_pylist())
    return sorted(known, key=lambda name: (".import" not in name, name))


def _series(page: Page, id_: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = page.node.lake.registry.series(pa.array([id_])).to_pylist()
    for row in rows:
        slots = (row["last_s"] - row["first_s"]) // max(row["interval_s"], 1) + 1
        row["missing"] = max(0, slots - row["filled"]) if row["interval_s"] < DAY_S - 7200 else None
    return rows


def _sources(page: Page, id_: str, begin: date, end: date) -> list[dict[str, Any]]:
    try:
        return listed(page.node, id_, begin.isoformat(), end.isoformat(), "UTC")
    except NotFound:
        return []


@router.get("/point")
def point(page: Operator, id: Id) -> Response:  # noqa: A002 - as the page is asked for
    """Show a service point: its place, whose it is, and the meters that were there."""
    row = page.served.roster.lists().point(id)
    if row is None:
        raise NotFound("no such service point")
    page.desk.saw(page.signed, id, "service point page")
    registry = page.node.lake.registry
    stays = [stay for stay in registry.installations(id).to_pylist() if stay["service_point_id"] == id]
    points, customers = registry.table("service_points"), registry.table("customers")
    held = points.filter(pc.equal(points["service_point_id"], id))
    known = customers.filter(
        pc.is_in(customers["customer_id"], value_set=held["customer_id"].combine_chunks())
    )
    people = {one["customer_id"]: one for one in known.to_pylist()}
    return page.render(
        "point.html", id=id, row=row, stays=stays, held=held.to_pylist(), people=people, at=shortened
    )
