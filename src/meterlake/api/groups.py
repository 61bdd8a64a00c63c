"""Sums of many homes for those who may see none of them, and a home among its likes nearby."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.bounds import check_fleet
from meterlake.api.described import answers
from meterlake.api.ids import Named
from meterlake.api.meters import From, To, Word, Zone  # noqa: TC001 - FastAPI reads the types
from meterlake.api.served import Reads, Sums, unknown
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from meterlake.query.answers import Rows
    from meterlake.query.groups import Neighbours

router = APIRouter(prefix="/v1", route_class=Named)

Digits = Annotated[int, Query(ge=1, le=5, description="Characters of the geohash that make a region.")]
Channel = Annotated[str, Query(max_length=200)]


@router.get("/aggregates", summary="Sums of groups of homes", responses=answers("Values"))
def aggregates(  # noqa: PLR0913 - the options of one question
    asked: Sums, from_: From, to: To, step: Literal["hour", "day", "month"] = "day", by: Word = "region,class",
    region_digits: Digits = 4, channel: Word = None, zone: Zone = "UTC",
) -> Response:  # fmt: skip
    """Return sums of closed months by any of region and class; a group that could tell of a home has no value."""
    if asked.key.account is None:
        asked.free()
    keys = [word.strip() for word in (by or "").split(",") if word.strip() and word.strip() != "channel"]

    def make() -> Rows:
        check_fleet((from_, to), step, zone)
        return asked.node.lake.aggregates(
            from_, to, step=step, by=keys, region_digits=region_digits, channel=channel, zone=zone
        )

    return asked.answer(make)


@router.get(
    "/service-points/{id}/neighbours",
    summary="A home among its likes nearby",
    responses=answers("Neighbours"),
)
def neighbours(  # noqa: PLR0913 - the options of one question
    asked: Reads, id: str, from_: From, to: To, channel: Channel, step: Literal["day", "month"] = "day",  # noqa: A002
    zone: Word = None,
) -> Response:  # fmt: skip
    """Return values of closed months beside the mean of the other homes of the class, where these are enough."""
    asked.visible(id, "service_point")

    def make() -> Neighbours:
        check_fleet((from_, to), step, zone or "UTC")
        return asked.node.lake.neighbours(
            id, from_, to, channel=channel, step=step, zone=zone, within=asked.within(id)
        )

    try:
        return asked.answer(make)
    except NotFound as error:
        raise unknown(id, "service_point") from error
