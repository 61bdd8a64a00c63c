"""How the server and its meters do: what comes in each second, how complete today is, and who has gone silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator  # noqa: TC003 - FastAPI reads the types
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.described import answers
from meterlake.api.events import events
from meterlake.api.json_text import dumps
from meterlake.api.live import Watching  # noqa: TC001 - FastAPI reads the types
from meterlake.api.meters import One, Zone
from meterlake.api.negotiate import rendered
from meterlake.api.paging import Cursor, Limit, Page, cursor_of, read_cursor
from meterlake.api.served import Operates, Watches  # noqa: TC001 - FastAPI reads the types
from meterlake.changes import Changes
from meterlake.errors import Invalid
from meterlake.moments import day_start, local_date, text_of
from meterlake.query.answers import Rows
from meterlake.silence import EVER_S, SCHEMA, Asked

if TYPE_CHECKING:
    import pyarrow as pa

    from meterlake.api.vitals import Vitals
    from meterlake.silence import Standing

router = APIRouter(prefix="/v1")

LONGEST_S: Final = 100 * 366 * 86_400
NOW: Final = {"Cache-Control": "no-store"}

Least = Annotated[int, Query(ge=0, le=LONGEST_S, description="Seconds of silence at least.")]
Most = Annotated[int | None, Query(ge=1, le=LONGEST_S, description="Seconds of silence, exclusive.")]
Region = Annotated[str, Query(pattern="^[0-9b-hjkmnp-z]{0,9}$", description="What the geohash begins with.")]
Digits = Annotated[int, Query(ge=1, le=9, description="Characters of the geohash that make a region.")]


class EverySecond(Changes):
    """A bell that rings each second: time passes though nothing comes."""

    async def watch(self, min_gap_s: float = 0.1) -> AsyncIterator[int]:
        """Yield the second now and whenever it has passed."""
        while True:
            yield int(time.time())
            await asyncio.sleep(max(min_gap_s, 1.0 - time.time() % 1.0))


class SilentPage(Page):
    """A page of silent meters."""

    def __init__(self, standing: Standing, rows: pa.Table, total: int, after: str | None) -> None:
        """Show ``rows`` of `silence.SCHEMA`, of ``total`` that there are."""
        items = [
            row
            | {
                "channels": [c for c in (row["channels"] or "").split(";") if c],
                "newest": _told(row["newest"]),
            }
            for row in rows.to_pylist()
        ]
        super().__init__(items, after, SCHEMA.names)
        self._head = {"at": text_of(standing.now_s, "UTC"), "meters": standing.meters, "total": total}

    def to_json(self) -> dict[str, Any]:
        """Return how many there are, the items, and the cursor of the next page."""
        return self._head | super().to_json()


def _told(second: int | None) -> str | None:
    return None if second is None else text_of(second, "UTC")


def after_of(cursor: str | None) -> tuple[int, str] | None:
    """Since when the last meter of the page before is silent, and its id."""
    told = read_cursor("silent", cursor, str)
    if told is None:
        return None
    since, _, id_ = told.partition(" ")
    try:
        at = int(since)
    except ValueError:
        at = 2 * EVER_S
    if abs(at) > EVER_S:
        raise Invalid("this cursor is none of this list; send `next` as it came, or no cursor to begin anew")
    return at, id_


def cursor_after(standing: Standing, rows: pa.Table) -> str:
    """Return the cursor of the page after ``rows``."""
    silent_s, id_ = rows["silent_s"][-1].as_py(), rows["meter_id"][-1].as_py()
    since = -EVER_S if silent_s is None else standing.now_s - silent_s
    return cursor_of("silent", f"{since} {id_}")


@router.get("/silent", summary="Silent meters", responses=answers("Silent"))
def silent(
    asked: Operates, min_s: Least = 86_400, max_s: Most = None, region: Region = "", limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:  # fmt: skip
    """Return installed meters of which nothing came for a time, the longest silent first."""
    asked.free()
    standing, after = _vitals(asked).silence.at(int(time.time())), after_of(cursor)

    def make() -> SilentPage:
        rows, total, more = standing.page(Asked(min_s, max_s, region), after, limit)
        return SilentPage(standing, rows, total, cursor_after(standing, rows) if more else None)

    return asked.answer(make, more=(standing.now_s,))


@router.get("/silent/regions", summary="Silent meters by region", responses=answers("Values"))
def silent_regions(
    asked: Operates, min_s: Least = 86_400, max_s: Most = None, region: Region = "", region_digits: Digits = 5
) -> Response:
    """Return how many meters are installed and silent in each region, those with most silent first."""
    asked.free()
    standing = _vitals(asked).silence.at(int(time.time()))
    head = {"at": text_of(standing.now_s, "UTC")}
    return asked.answer(
        lambda: Rows(
            table=standing.regions(Asked(min_s, max_s, region), region_digits), zone="UTC", head=head
        ),
        more=(standing.now_s,),
    )


@router.get("/pulse", summary="How the server does", responses=answers("Pulse"))
def pulse(asked: Operates, zone: Zone = "UTC") -> Response:
    """Return what comes in, how fresh and complete it is, what was refused and who is silent; days are those of `zone`."""
    asked.free()
    return rendered(One(_vitals(asked).told(zone)), asked.form, NOW)


async def _zoned(zone: Zone = "UTC") -> str:
    """Refuse a stream for a zone that is not there, while it still can be refused."""
    day_start(zone, local_date(zone, int(time.time())))
    return zone


@router.get(
    "/pulse/events", summary="Follow how the server does", response_class=EventSourceResponse,
    responses=answers("Events", stream=True),
)  # fmt: skip
async def pulse_events(
    asked: Watches, over: Watching, zone: Annotated[str, Depends(_zoned)]
) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/pulse` answers, now and each second."""
    vitals = _vitals(asked)
    async for event in events(EverySecond(), over, lambda: dumps(vitals.told(zone)), asked.still):
        yield event


def _vitals(asked: Operates) -> Vitals:
    found: Vitals = asked.request.app.state.vitals
    return found
