"""What runs beyond one machine, measured on this one: `python -m bench.scale kafka` beside the embedded path.

Each part writes one JSON object. The same bodies (Arrow, 5,000 readings each) go to a server alone and to one whose log is in
Kafka; counted are the readings a second that are acknowledged, visible to questions, and sealed in the lake.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from meterlake.app import create_topics, open_node, open_server
from meterlake.formats.batch import ARROW
from meterlake.keys import ApiKey
from meterlake.node_settings import NodeSettings
from meterlake.settings import Settings
from meterlake.testing.servers.kafka import kafka

if TYPE_CHECKING:
    from meterlake.cluster import ClusterNode
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
    while sum(note.accepted for note in node.live.notes().values()) < readings:
        time.sleep(0.005)
    visible = time.monotonic() - began
    holding = getattr(node, "holding", None)
    for part in [node] if holding is None else list(holding.shards.values()):
        part.seal(everything=True)
    sealed = time.monotonic() - began
    spans = {"acknowledged": acknowledged, "visible": visible, "sealed": sealed}
    return {f"{name}_per_s": round(readings / span) for name, span in spans.items()}


def kafka_part(meters: int, slots: int, partitions: int) -> dict[str, object]:
    """Readings a second through a log in SQLite, and through one in Kafka (one broker, on the same cores)."""
    sent, told = bodies(meters, slots, 5_000), {}
    readings = meters * slots
    with tempfile.TemporaryDirectory() as folder:
        node = open_node(f"{folder}/alone", None, SETTINGS)
        node.start()
        timed(node, bodies(5_000, 1, 5_000, seed=2), 5_000)  # whatever is slow the first time
        told["embedded"] = timed(node, sent, readings)
        node.stop()
    with tempfile.TemporaryDirectory() as folder, kafka(1) as servers:
        log = servers.log_url("bench")
        create_topics(log, partitions, 1)
        node = open_server(Settings(lake=f"{folder}/shards", log=log), SETTINGS)
        node.start()
        while len(node.status()["shards"]) < 3 * partitions:
            time.sleep(0.05)
        timed(node, bodies(5_000, 1, 5_000, seed=2), 5_000)
        told["kafka"] = timed(node, sent, readings)
        node.stop()
    return {
        "part": "kafka",
        "cores": os.cpu_count(),
        "meters": meters,
        "readings": readings,
        "partitions": partitions,
        **told,
    }


def main() -> None:
    """Measure one part; print what it gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["kafka"])
    parser.add_argument("--meters", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--output", type=Path, help="where the JSON goes; else it is printed")
    told = parser.parse_args()
    text = json.dumps(kafka_part(told.meters, told.slots, told.partitions), indent=1)
    if told.output is None:
        print(text)
    else:
        told.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
