"""A street of forty homes with a node in memory: who lives where, last month's readings, and what came in an hour ago.

Bob lived in H03 until in the middle of a slot Cat moved in, who has solar panels. Ann's meter was exchanged.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.memory_log import MemoryCheckpoints, MemoryLog
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.adapters.registry_people import SqlPeople
from meterlake.app import Meterlake
from meterlake.ids import MeterIds
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.keys import make
from meterlake.live.live import Live
from meterlake.moments import texts_of
from meterlake.node import SPANS_S, Node
from meterlake.node_settings import NodeSettings
from meterlake.people import Desk, Hold, Role
from meterlake.registry import SHAPES, geohash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOMES: Final = 40
NOW_S: Final = int(time.time()) // HOUR_S * HOUR_S
FIRST: Final = (
    datetime.fromtimestamp(NOW_S - DAY_S, UTC).replace(day=1, hour=0) - timedelta(days=1)
).replace(day=1)
"""First day of yesterday's last month, UTC: nothing live is in it."""
NEXT: Final = (FIRST + timedelta(days=32)).replace(day=1)
START_S, STOP_S = int(FIRST.timestamp()), int(NEXT.timestamp())
MOVED_S: Final = START_S + 15 * DAY_S + 10 * HOUR_S + 1200
"""When Cat moved in: twenty minutes after a slot began."""
EXCHANGED_S: Final = START_S + 10 * DAY_S
IMPORT: Final = "electricity.import"
EXPORT: Final = "electricity.export"
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - nobody's
HOLDS: Final = {
    "ann": (Hold("H00"),),
    "lee": (Hold("H01"), Hold("H02")),
    "bob": (Hold("H03", None, MOVED_S),),
    "cat": (Hold("H03", MOVED_S, None),),
    "nil": (),
}
STAFF: Final = {"operator": Role.OPERATOR, "analyst": Role.ANALYST, "admin": Role.ADMIN}


def day(seconds: int) -> str:
    """Date of a moment, UTC."""
    return texts_of(np.array([seconds]), "UTC")[0][:10]


def value_of(home: int, slot: int) -> int:
    """Thousandths of a unit that a home takes in a slot."""
    return 300 + 7 * home + slot % 24


def _registry() -> SqlRegistry:
    registry = SqlRegistry("sqlite://", create=True)
    spans: dict[int, list[tuple[int | None, int | None]]] = {3: [(None, MOVED_S), (MOVED_S, None)]}
    places: list[dict[str, Any]] = [
        {"service_point_id": f"H{n:02d}", "latitude": 51.5 + n * 1e-5, "longitude": -0.1, "zone": "UTC", "feeder": "F1",
         "class": "business" if n == HOMES - 1 else "residential", "transformer": "T1", "from": _at(since), "to": _at(until)}
        for n in range(HOMES)
        for since, until in spans.get(n, [(None, None)])
    ]  # fmt: skip
    points = pa.Table.from_pylist(places, schema=SHAPES["service_points"].schema)
    hashes = geohash(points["latitude"].to_numpy(), points["longitude"].to_numpy())
    points = points.set_column(points.column_names.index("geohash"), "geohash", hashes)
    stays: list[dict[str, Any]] = [
        {"meter_id": f"E{n:02d}", "service_point_id": f"H{n:02d}"} for n in range(1, HOMES)
    ]
    stays.append({"meter_id": "E00", "service_point_id": "H00", "to": _at(EXCHANGED_S)})
    stays.append({"meter_id": "X00", "service_point_id": "H00", "from": _at(EXCHANGED_S)})
    registry.import_tables(
        {"service_points": points, "meters": pa.Table.from_pylist(stays, schema=SHAPES["meters"].schema)}
    )
    return registry


def _at(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def readings() -> pa.Table:
    """Hours of last month of every home, and what Cat exports."""
    start = np.arange(START_S, STOP_S, HOUR_S)
    parts = []
    for n in range(HOMES):
        slot = np.arange(len(start))
        name = np.full(len(start), f"E{n:02d}", object)
        if n == 0:
            name[start >= EXCHANGED_S] = "X00"
        amounts = np.array([value_of(n, int(at)) for at in slot]) * (50 if n == HOMES - 1 else 1)
        parts.append((name, start, amounts, IMPORT))
        if n == 3:
            late = start >= MOVED_S
            parts.append((name[late], start[late], np.full(int(late.sum()), 100), EXPORT))
    return pa.table(
        {
            "meter": pa.array(np.concatenate([name for name, *_ in parts]), pa.string()),
            "channel": pa.array(np.repeat([p[3] for p in parts], [len(p[1]) for p in parts]), pa.string()),
            "start": pa.array(
                np.concatenate([p[1] for p in parts]) * 1_000_000, pa.timestamp("us", tz="UTC")
            ),
            "seconds": pa.array(np.full(sum(len(p[1]) for p in parts), HOUR_S), pa.int32()),
            "value": pa.array(np.concatenate([p[2] for p in parts]) / 1000.0),
            "unit": pa.array(["kWh"] * sum(len(p[1]) for p in parts)),
        }
    )


@dataclass
class Answered:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class Street:
    """The node, its keys, its desk, and a session of each who lives or works here."""

    def __init__(self, folder: Path, table: pa.Table | None = None) -> None:
        """Build it with the readings of ``table``, or `readings`; ``folder`` holds the file that is loaded."""
        settings = NodeSettings(batch=False, grace_s=10**6, flush_s=10**6)
        registry = _registry()
        live = Live(MeterIds(), settings.live, {span: (NOW_S - DAY_S) // span * span for span in SPANS_S})
        lake = Meterlake(MemoryLake(), registry, live=live)
        pq.write_table(readings() if table is None else table, folder / "month.parquet")
        lake.load(folder / "month.parquet")
        self.node = Node(lake, live, MemoryLog(), MemoryCheckpoints(), settings)
        self.node.start()
        self.keys, self.desk = SqlKeys(registry), Desk(SqlPeople(registry))
        self.key, stored = make("all", ["ingest", "read", "operate"])
        self.keys.create(stored)
        self.sender = stored.key
        people = {name: (Role.CUSTOMER, holds) for name, holds in HOLDS.items()}
        people |= {name: (role, ()) for name, role in STAFF.items()}
        self.session = {
            name: self.desk.use_link(
                self.desk.invite(f"{name}@example.com", role, holds, None, name=name.title()),
                PASSWORD,
                "127.0.0.1",
            )
            for name, (role, holds) in people.items()
        }
        for meter in ("X00", "E01", "E03", "E10"):
            self.send(meter, NOW_S - HOUR_S, 1.25)

    def send(self, meter: str, start: int, value: float, channel: str = IMPORT) -> None:
        """Accept one reading of an hour."""
        line = (
            f'{{"meter": "{meter}", "channel": "{channel}", "seconds": 3600, "value": {value}, '
            f'"start": "{texts_of(np.array([start]), "UTC")[0]}"}}'
        )
        self.node.accept(line.encode(), "application/x-ndjson", self.sender, None)

    def stop(self) -> None:
        """Stop the node and the desk."""
        self.desk.stop()
        self.node.stop()


def asked(
    app: Any,
    path: str,
    session: str | None = None,
    method: str = "GET",
    body: bytes = b"",
    event: Callable[[str], None] | None = None,
    **headers: str,
) -> Answered:
    """Ask an app in process; an event stream is left after its first event, or ends by itself where ``event`` is told of each."""
    route, _, query = path.partition("?")
    sent = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    if session is not None:
        sent["cookie"] = f"meterlake_session={session}"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": route, "raw_path": quote(route).encode(), "query_string": quote(query, safe="=&,%+:-.").encode(),
        "root_path": "", "headers": [(b"host", b"test"), *((n.encode(), v.encode()) for n, v in sent.items())],
        "client": ("192.0.2.7", 4711), "server": ("test", 80), "state": {},
    }  # fmt: skip
    return asyncio.run(_answer(app, scope, body, event))


async def _answer(
    app: Any, scope: dict[str, Any], body: bytes, event: Callable[[str], None] | None
) -> Answered:
    gone, told = asyncio.Event(), Answered(0, {}, b"")
    got: list[dict[str, Any]] = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if got:
            return got.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.status = message["status"]
            told.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        part = message.get("body", b"")
        told.body += part
        if told.headers.get("content-type", "").startswith("text/event-stream") and b"data:" in part:
            if event is None:
                gone.set()
            else:
                await asyncio.to_thread(event, part.decode())

    await asyncio.wait_for(app(scope, receive, send), 10)
    return told
