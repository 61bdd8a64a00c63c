"""What is live: how a meter stands, sums of regions and of the fleet, the greatest loads; as answers and as events."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator  # noqa: TC003 - FastAPI reads the types
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.described import answers
from meterlake.api.events import events
from meterlake.api.held import now_there
from meterlake.api.ids import Named
from meterlake.api.json_text import pieces
from meterlake.api.meters import Word  # noqa: TC001 - FastAPI reads the types
from meterlake.api.negotiate import has_it, rendered, unchanged
from meterlake.api.served import Asked, Follows, Operates, Reads, Watches, unknown
from meterlake.exact import Exact, decimals
from meterlake.moments import text_of
from meterlake.query.answers import QUALITIES, Rows, unit_of
from meterlake.readings import QUALITY_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

router = APIRouter(prefix="/v1/live", route_class=Named)

AMOUNTS: Final = ("today", "w1m", "w15m", "w1h", "average")
MOMENTS: Final = {"start": 1_000_000, "last_s": 1_000_000, "received_us": 1}
"""Microseconds of one of their units."""
NAMES: Final = {"interval_s": "seconds", "last_s": "newest", "received_us": "received_at"}
KEPT: Final = 64
FRESH_S: Final = 1.0
HOUR_S: Final = 3600

N = Annotated[int, Query(ge=1, le=1000)]
Seconds = Annotated[int, Query(ge=0, le=86_400, description="How far back `recent` reaches.")]


def shown(table: pa.Table) -> pa.Table:
    """A live table as it is shown: amounts in base units beside their unit, moments, names of qualities."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        cells = table[name]
        if name in MOMENTS:
            micros = cells.to_numpy() * MOMENTS[name]
            columns[NAMES.get(name, name)] = pa.array(micros, pa.timestamp("us", tz="UTC"), mask=micros == 0)
        elif name == "amount":
            columns |= {"value": decimals(cells.to_numpy()), "amount": cells}
        elif name in AMOUNTS:
            known = cells.is_valid().to_numpy()
            columns[name] = decimals(cells.fill_null(0).to_numpy(), known)
        elif name == "quality":
            columns[name] = QUALITIES.take(pa.array(cells.to_numpy().astype(np.int64)))
        elif name == "channel":
            units = [unit_of(channel) for channel in cells.to_pylist()]
            columns |= {name: cells, "unit": pa.array(units, pa.string())}
        else:
            columns[NAMES.get(name, name)] = cells
    return pa.table(columns)


class MeterNow:
    """How a meter stands, and its latest readings."""

    def __init__(self, id_: str, values: pa.Table, recent: pa.Table) -> None:
        """Show the rows of the live side."""
        self._id, self._values, self._recent = id_, values, recent

    def to_json(self) -> dict[str, Any]:
        """Return both lists."""
        return {"id": self._id, "values": told(self._values), "recent": told(self._recent)}

    def to_arrow(self) -> pa.Table:
        """Return the latest readings as rows."""
        return shown(self._recent)


def told(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of a live table as `shown` has them, as JSON values: quicker where they are few."""
    columns: dict[str, list[Any]] = {}
    for name, cells in zip(table.column_names, table.columns, strict=True):
        values = cells.to_pylist()
        if name in MOMENTS:
            unit = 1_000_000 // MOMENTS[name]
            values = [text_of(value // unit, "UTC") if value else None for value in values]
        elif name == "amount" or name in AMOUNTS:
            values = [None if value is None else Exact(value) for value in values]
        elif name == "quality":
            values = [QUALITY_NAMES[code] for code in values]
        columns["value" if name == "amount" else NAMES.get(name, name)] = values
        if name == "channel":
            columns["unit"] = [unit_of(channel) for channel in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Latest:
    """Live answers by question, made once for all who ask within a moment. Safe to share between threads."""

    def __init__(self) -> None:
        """Hold none."""
        self._lock = Lock()
        self._made: OrderedDict[Any, tuple[int, float, Rows]] = OrderedDict()

    def get(self, question: Any, epoch: int, make: Callable[[], Rows]) -> Rows:
        """Return what ``make`` gave at this epoch, less than a second ago; who asks meanwhile waits for it."""
        with self._lock:
            now = time.monotonic()
            at, until, made = self._made.get(question, (-1, 0.0, None))
            if made is None or at != epoch or until < now:
                made = make()
                self._made[question] = epoch, now + FRESH_S, made
                self._made.move_to_end(question)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return made


def _meter(asked: Asked, id_: str, seconds: int) -> MeterNow:
    live, now = asked.node.live, int(time.time())
    values = live.meter(id_, now)
    if values is None:
        if asked.served.roster.lists().meter(id_) is None:
            raise unknown(id_, "meter")
        from meterlake.live.views import METER_SCHEMA

        values = METER_SCHEMA.empty_table()
    return MeterNow(id_, values, live.recent(id_, now, seconds))


def _point(asked: Asked, id_: str, seconds: int) -> MeterNow:
    from meterlake.api.together import together

    now = int(time.time())
    there = now_there(asked.node.lake.registry, id_, asked.within(id_), now)
    return MeterNow(id_, *together(asked.node.live, there, now, seconds))


def _regions(asked: Asked) -> Rows:
    live = asked.node.live
    return _kept(asked, "regions", lambda: live.regions(int(time.time())))


def _fleet(asked: Asked) -> Rows:
    live = asked.node.live
    return _kept(asked, "fleet", lambda: live.fleet(int(time.time())))


def _top(asked: Asked, n: int, channel: str | None) -> Rows:
    live = asked.node.live
    return _kept(asked, ("top", n, channel), lambda: live.top(n, channel, int(time.time())))


def _kept(asked: Asked, question: Any, make: Callable[[], pa.Table]) -> Rows:
    asked.free()
    latest: Latest = asked.request.app.state.latest
    return latest.get(question, asked.node.live.epoch, lambda: Rows(table=shown(make()), zone="UTC", head={}))


def _answered(asked: Asked, make: Callable[[], Any]) -> Response:
    """Answer as of now; the tag holds for a minute at most, because windows move on."""
    tag = asked.tag(int(time.time()) // 60)
    if has_it(tag, asked.request.headers.get("if-none-match")):
        return unchanged(tag)
    return rendered(make(), asked.form, {"ETag": tag})


async def _open(asked: Asked) -> AsyncIterator[asyncio.Event]:
    over = asked.served.streams.enter(asked.key.account)
    try:
        yield over
    finally:
        asked.served.streams.leave(over)


async def _following(asked: Follows) -> AsyncIterator[asyncio.Event]:
    async for over in _open(asked):
        yield over


async def _watching(asked: Watches) -> AsyncIterator[asyncio.Event]:
    asked.free()
    async for over in _open(asked):
        yield over


async def _found(asked: Follows, id: str) -> None:  # noqa: A002 - as the route calls it
    """Refuse a stream of what does not exist, while it still can be refused."""
    from anyio.to_thread import run_sync

    asked.visible(id, "meter")
    await run_sync(_meter, asked, id, 0)


async def _found_point(asked: Follows, id: str) -> None:  # noqa: A002 - as the route calls it
    from anyio.to_thread import run_sync

    await run_sync(asked.visible, id, "service_point")


Following = Annotated[asyncio.Event, Depends(_following)]
Watching = Annotated[asyncio.Event, Depends(_watching)]


def _events(asked: Asked, over: asyncio.Event, make: Callable[[], Any]) -> AsyncIterator[ServerSentEvent]:
    return events(asked.node.changes, over, lambda: "".join(pieces(make())), asked.still)


@router.get("/meters/{id}", summary="A meter now", responses=answers("LiveMeter"))
async def meter(asked: Reads, id: str, seconds: Seconds = HOUR_S) -> Response:  # noqa: A002 - as the route calls it
    """Return how a meter stands by channel, and its latest readings."""
    asked.visible(id, "meter")
    return await asked.work(lambda: _answered(asked, lambda: _meter(asked, id, seconds)))


@router.get("/service-points/{id}", summary="A service point now", responses=answers("LiveMeter"))
def point(asked: Reads, id: str, seconds: Seconds = HOUR_S) -> Response:  # noqa: A002 - as the route calls it
    """Return how the meters that are there now stand together by channel, and their latest readings."""
    asked.visible(id, "service_point")
    return _answered(asked, lambda: _point(asked, id, seconds))


@router.get("/regions", summary="Regions now", responses=answers("Values"))
def regions(asked: Operates) -> Response:
    """Return sums by region, class and channel."""
    return _answered(asked, lambda: _regions(asked))


@router.get("/fleet", summary="The fleet now", responses=answers("Values"))
def fleet(asked: Operates) -> Response:
    """Return sums by channel."""
    return _answered(asked, lambda: _fleet(asked))


@router.get("/top", summary="Greatest loads now", responses=answers("Values"))
def top(asked: Operates, n: N = 10, channel: Word = None) -> Response:
    """Return the meters with the greatest power in their latest interval."""
    return _answered(asked, lambda: _top(asked, n, channel))


@router.get(
    "/meters/{id}/events", summary="Follow a meter", response_class=EventSourceResponse, responses=answers("Events", stream=True),
    dependencies=[Depends(_found)],
)  # fmt: skip
async def meter_events(
    asked: Follows,
    over: Following,
    id: str,  # noqa: A002 - as the route calls it
    seconds: Seconds = HOUR_S,
) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/live/meters/{id}` answers, now and whenever it has changed."""
    async for event in _events(asked, over, lambda: _meter(asked, id, seconds)):
        yield event


@router.get(
    "/service-points/{id}/events", summary="Follow a service point", response_class=EventSourceResponse,
    responses=answers("Events", stream=True), dependencies=[Depends(_found_point)],
)  # fmt: skip
async def point_events(
    asked: Follows,
    over: Following,
    id: str,  # noqa: A002 - as the route calls it
    seconds: Seconds = HOUR_S,
) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/live/service-points/{id}` answers, now and whenever it has changed."""
    async for event in _events(asked, over, lambda: _point(asked, id, seconds)):
        yield event


@router.get(
    "/regions/events", summary="Follow regions", response_class=EventSourceResponse, responses=answers("Events", stream=True)
)  # fmt: skip
async def regions_events(asked: Watches, over: Watching) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/live/regions` answers, now and whenever it has changed."""
    async for event in _events(asked, over, lambda: _regions(asked)):
        yield event


@router.get(
    "/fleet/events", summary="Follow the fleet", response_class=EventSourceResponse, responses=answers("Events", stream=True)
)  # fmt: skip
async def fleet_events(asked: Watches, over: Watching) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/live/fleet` answers, now and whenever it has changed."""
    async for event in _events(asked, over, lambda: _fleet(asked)):
        yield event


@router.get(
    "/top/events", summary="Follow the greatest loads", response_class=EventSourceResponse, responses=answers("Events", stream=True)
)  # fmt: skip
async def top_events(
    asked: Watches, over: Watching, n: N = 10, channel: Word = None
) -> AsyncIterator[ServerSentEvent]:
    """Send what `/v1/live/top` answers, now and whenever it has changed."""
    async for event in _events(asked, over, lambda: _top(asked, n, channel)):
        yield event
