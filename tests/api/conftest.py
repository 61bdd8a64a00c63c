"""One small node with a registry, readings in the lake and live ones, and a key of each kind; asked in process."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime

import httpx
import pytest

from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.memory_log import MemoryCheckpoints, MemoryLog
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.api.app import make_app
from meterlake.api.limits import ApiLimits
from meterlake.app import Meterlake
from meterlake.ids import MeterIds
from meterlake.keys import make
from meterlake.live.live import Live
from meterlake.node import SPANS_S, Node
from meterlake.node_settings import AcceptLimits, NodeSettings
from meterlake.registry import geohash
from meterlake.testing.registry_contract import meters, rows

NOW = int(time.time()) // 900 * 900
"""A quarter hour that has begun."""
IMPORT = "electricity.import"
NDJSON = "application/x-ndjson"
DAY = "2025-11-03"


def told(seconds):
    """A moment as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def lines(*readings, channel=IMPORT):
    """NDJSON of (meter, start, value)."""
    return "\n".join(
        json.dumps({"meter": m, "channel": channel, "seconds": 900, "value": value, "start": told(start)})
        for m, start, value in readings
    ).encode()


def points(*told):
    """Service points of (id, latitude, longitude, class)."""
    made = rows(
        "service_points",
        *(
            {"service_point_id": p, "latitude": a, "longitude": o, "class": c, "zone": "Europe/London"}
            for p, a, o, c in told
        ),
    )
    hashes = geohash(made["latitude"].to_numpy(), made["longitude"].to_numpy())
    return made.set_column(made.column_names.index("geohash"), "geohash", hashes)


def make_node(**limits):
    """A node in memory, with a meter exchange at P2 and a meter that is registered nowhere."""
    settings = NodeSettings(accept=AcceptLimits(**limits), batch=False, grace_s=10**6, flush_s=10**6)
    registry = SqlRegistry("sqlite://", create=True)
    registry.import_tables(
        {
            "service_points": points(("P1", 51.5, -0.1, "residential"), ("P2", 51.5, -0.11, "business"), ("P3", 53.4, -2.2, "business")),
            "meters": meters(("m1", "P1", "2024-01-01", None), ("m2", "P2", "2024-01-01", "2025-11-01"), ("m3", "P2", "2025-11-01", None)),
        }
    )  # fmt: skip
    live = Live(MeterIds(), settings.live, {span: (NOW - 86_400) // span * span for span in SPANS_S})
    lake = Meterlake(MemoryLake(), registry, live=live)
    node = Node(lake, live, MemoryLog(), MemoryCheckpoints(), settings)
    node.start()
    return node


class Keyed:
    """Texts of keys by name, made when they are first asked for."""

    def __init__(self, keys):
        self.keys, self._made = keys, {}

    def __call__(self, name, scopes="ingest,read,operate", **bound):
        if name not in self._made:
            text, stored = make(name, scopes.split(","), **bound)
            self.keys.create(stored)
            self._made[name] = text
        return self._made[name]


class Asking:
    """Asks an app in process and waits for the answer."""

    def __init__(self, app, keyed):
        self.app, self.keyed = app, keyed

    def __call__(self, path, key="all", method="GET", **options):
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keyed(key)}"
        client = options.pop("client", ("192.0.2.7", 4711))

        async def ask():
            transport = httpx.ASGITransport(self.app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as asker:
                return await asker.request(method, path, headers=headers, **options)

        return asyncio.run(ask())

    def send(self, body, media=NDJSON, key="all", **headers):
        named = {"Content-Type": media} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self("/v1/readings", key, "POST", content=body, headers=named)


def make_asking(node, **limits):
    keyed = Keyed(SqlKeys(node.lake.registry))
    keyed("read", "read")
    keyed("operate", "operate")
    keyed("ingest", "ingest")
    keyed("m1", "ingest,read,operate", meters=["m1"])
    keyed("m3", "read", meters=["m3"])
    keyed("both", "read", meters=["m2", "m3"])
    return Asking(make_app(node, keyed.keys, ApiLimits(**limits)), keyed)


@pytest.fixture(scope="module")
def node():
    made = make_node(body=1 << 20)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ask(node):
    asking = make_asking(node)
    body = lines(
        ("m1", NOW - 1800, 0.25), ("m1", NOW - 900, 0.000001), ("m2", NOW - 900, 2), ("m3", NOW - 900, 1.5), ("m9", NOW - 900, 7),
    )  # fmt: skip
    assert asking.send(body).json()["accepted"] == 5
    return asking
