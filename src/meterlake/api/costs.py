"""What a service point costs, where its tariff is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.bounds import check_fleet
from meterlake.api.described import answers
from meterlake.api.held import parts, span_of
from meterlake.api.ids import Named
from meterlake.api.meters import From, To, Word  # noqa: TC001 - FastAPI reads the types
from meterlake.api.served import Asked, Reads, unknown
from meterlake.errors import Invalid, MeterlakeError, NotFound
from meterlake.tariffs import Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.query.costs import Costs
    from meterlake.tariff_file import TariffBook
    from meterlake.tariffs import Tariff

router = APIRouter(prefix="/v1", route_class=Named)


def terms_of(asked: Asked, id_: str, known: Mapping[str, Tariff]) -> list[Term]:
    """Return the tariffs of a service point, each for the part of its time that is the asker's."""
    rows, within = asked.served.roster.lists().terms(id_), asked.within(id_)
    return [
        Term(*span, known.get(row["tariff"] or "")) for row in rows for span in parts(span_of(row), within)
    ]


def _known(book: TariffBook) -> tuple[Mapping[str, Tariff], object]:
    try:
        return book.tariffs()
    except Invalid as error:  # who asks cannot help it
        raise MeterlakeError(str(error)) from error


@router.get("/service-points/{id}/cost", summary="Cost of a service point", responses=answers("Costs"))
def cost(
    asked: Reads,
    id: str,  # noqa: A002 - as the route calls it
    from_: From,
    to: To,
    zone: Word = None,
) -> Response:
    """Return what was used and the days cost at the prices of the tariff, and how much of it rests on estimates."""
    asked.visible(id, "service_point")
    book: TariffBook = asked.request.app.state.tariffs
    known, stamp = _known(book)

    def make() -> Costs:
        check_fleet((from_, to), "interval", zone or "UTC")
        return asked.node.lake.cost(
            id, from_, to, terms=terms_of(asked, id, known), zone=zone, within=asked.within(id)
        )

    try:
        return asked.answer(make, more=(stamp,))
    except NotFound as error:
        raise unknown(id, "service_point") from error
