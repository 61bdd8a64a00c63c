"""Readings from their senders to the lake, through a log in a file and through Kafka.

The same bodies (Arrow, 5,000 readings each) go to a server alone and to one whose log is in Kafka; counted are the readings a
second that are acknowledged, visible to whoever holds their shard, shown to every process, and sealed in the lake.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterlake.app import create_topics, open_node, open_server
from meterlake.cluster import ClusterNode
from meterlake.formats.batch import ARROW
from meterlake.keys import ApiKey
from meterlake.node_settings import NodeSettings
from meterlake.settings import Settings
from meterlake.testing.servers.kafka import kafka
from meterlake.testing.servers.redis import redis
from meterlake.testing.servers.s3 import s3

if TYPE_CHECKING:
    from meterlake.node import Node

KEY = ApiKey(
    id="bench", name="bench", scopes=frozenset({"ingest"}), source="bench", meters=None, best_quality=4
)
SETTINGS = NodeSettings(batch=False, flush_s=86_400, grace_s=4 * 86_400)
SENDERS = 4


def bodies(meters: int, slots: int, readings: int, seed: int = 1) -> list[bytes]:
    """Bodies of ``readings`` each: quarter hours of all meters, one after another."""
    chance = np.random.default_rng(seed)
    first = int(time.time()) // 86_400 * 86_400 - 86_400
    names = pa.array([f"meter-{i:08d}" for i in range(meters)])
    made = []
    for slot in range(slots):
        for low in range(0, meters, readings):
            some = names[low : low + readings]
            n = len(some)
            table = pa.table({
                "meter": some,
                "start": pa.array(np.full(n, (first + 900 * slot) * 1_000_000), pa.timestamp("us", "UTC")),
                "seconds": pa.array(np.full(n, 900, np.int32)), "amount": pa.array(chance.integers(0, 500_000, n)),
            })  # fmt: skip
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            made.append(sink.getvalue().to_pybytes())
    return made


def timed(node: Node | ClusterNode, sent: list[bytes], readings: int) -> dict[str, float]:
    """Send ``sent``, wait until all is visible, seal it; return readings a second up to each."""
    began = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        accepted = sum(
            receipt.accepted for receipt in pool.map(lambda body: node.accept(body, ARROW, KEY), sent)
        )
    acknowledged = time.monotonic() - began
    assert accepted == readings, f"{accepted} of {readings} were taken"
    holding = getattr(node, "holding", None)
    held = [node] if holding is None else list(holding.shards.values())
    while sum(note.accepted for one in held for note in one.live.notes().values()) < readings:
        time.sleep(0.005)
    visible = time.monotonic() - began
    while sum(note.accepted for note in node.live.notes().values()) < readings:
        time.sleep(0.005)
    shown = time.monotonic() - began
    for one in held:
        one.seal(everything=True)
    sealed = time.monotonic() - began
    spans = {"acknowledged": acknowledged, "visible": visible, "shown": shown, "sealed": sealed}
    return {f"{name}_per_s": round(readings / span) for name, span in spans.items()}


def part(meters: int, slots: int, partitions: int = 8) -> dict[str, object]:
    """Readings a second through a log in SQLite into a folder; through Kafka into a folder and into a bucket; shown in Redis too."""
    sent, told = bodies(meters, slots, 5_000), dict[str, Any]()
    readings = meters * slots
    with tempfile.TemporaryDirectory() as folder:
        node = open_node(f"{folder}/alone", None, SETTINGS)
        node.start()
        timed(node, bodies(5_000, 1, 5_000, seed=2), 5_000)  # whatever is slow the first time
        told["embedded"] = timed(node, sent, readings)
        node.stop()
    with tempfile.TemporaryDirectory() as folder, kafka(1) as brokers, s3() as store, redis() as shown:
        os.environ.update({**store.env, **shown.env})
        bucket, registry = store.bucket("bench"), f"sqlite:///{folder}/registry.db"
        kinds: dict[str, Settings] = {
            "kafka": Settings(lake=f"{folder}/shards"),
            "kafka and s3": Settings(lake=f"{bucket}/lake", registry=registry),
            "kafka, s3 and redis": Settings(lake=f"{bucket}/shown", registry=f"{registry}2", live=shown.url),
        }
        for number, (name, where) in enumerate(kinds.items()):
            log = brokers.log_url(f"bench{number}")
            create_topics(log, partitions, 1)
            told[name] = _shared(replace(where, log=log), sent, readings, 3 * partitions)
    return {"meters": meters, "readings": readings, "partitions": partitions, **told}


def _shared(where: Settings, sent: list[bytes], readings: int, shards: int) -> dict[str, float]:
    node = open_server(where, SETTINGS)
    assert isinstance(node, ClusterNode), "its log is shared"
    node.start()
    try:
        while len(node.status()["shards"]) < shards:
            time.sleep(0.05)
        timed(node, bodies(5_000, 1, 5_000, seed=2), 5_000)
        return timed(node, sent, readings)
    finally:
        node.stop()
