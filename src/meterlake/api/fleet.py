"""All meters at once: their values at a moment, their totals, and the largest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.bounds import check_fleet
from meterlake.api.described import answers
from meterlake.api.meters import AsOf, From, To, Word, Zone  # noqa: TC001 - FastAPI reads the types
from meterlake.api.served import Operates  # noqa: TC001 - FastAPI reads the types

if TYPE_CHECKING:
    from meterlake.query.answers import Rows

router = APIRouter(prefix="/v1")

Digits = Annotated[int, Query(ge=1, le=9, description="Characters of the geohash that make a region.")]


@router.get("/snapshot", summary="Values of all meters", responses=answers("Values"))
def snapshot(
    asked: Operates, at: Annotated[str, Query(max_length=64)], zone: Zone = "UTC", as_of: AsOf = None
) -> Response:
    """Return the value of every meter in the interval that holds a moment."""
    asked.free()
    return asked.answer(lambda: asked.node.lake.snapshot(at, zone=zone, as_of=as_of))


@router.get("/fleet", summary="Totals of all meters", responses=answers("Values"))
def fleet(  # noqa: PLR0913 - the options of one question
    asked: Operates, from_: From, to: To, step: Word = "interval", by: Word = "channel",
    region_digits: Digits = 5, zone: Zone = "UTC", as_of: AsOf = None,
) -> Response:  # fmt: skip
    """Return totals by channel and step, split by any of channel, region and class."""
    asked.free()
    keys = [word.strip() for word in (by or "channel").split(",") if word.strip()]
    how = step or "interval"

    def make() -> Rows:
        check_fleet((from_, to), how, zone)
        return asked.node.lake.fleet(
            from_, to, step=how, by=keys, region_digits=region_digits, zone=zone, as_of=as_of
        )

    return asked.answer(make)


@router.get("/top", summary="Largest consumers", responses=answers("Values"))
def top(  # noqa: PLR0913 - the options of one question
    asked: Operates, from_: From, to: To, n: Annotated[int, Query(ge=1, le=100_000)] = 10, by: Word = "meter",
    channel: Word = None, region_digits: Digits = 5, zone: Zone = "UTC", as_of: AsOf = None,
) -> Response:  # fmt: skip
    """Return the largest totals of each channel, by meter or region."""
    asked.free()
    return asked.answer(
        lambda: asked.node.lake.top(
            from_,
            to,
            n,
            by=by or "meter",
            channel=channel,
            region_digits=region_digits,
            zone=zone,
            as_of=as_of,
        )
    )
