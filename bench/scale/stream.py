"""A stream job, measured: messages that wait in Kafka into the lake's table, and blocks made of them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from threading import Event
from typing import Any

from bench.scale.kafka import KEY, bodies
from meterlake.adapters.spark_stream import JARS
from meterlake.app import create_topics, open_server, open_stream_job
from meterlake.formats.batch import ARROW
from meterlake.node_settings import NodeSettings
from meterlake.settings import Settings
from meterlake.testing.servers.kafka import kafka
from meterlake.testing.servers.processes import needed


def part(meters: int, slots: int, partitions: int = 4) -> dict[str, object]:
    """Readings a second that wait in Kafka: received, and received and sealed, each by a job that begins and ends."""
    told: dict[str, Any] = {"meters": meters, "readings": meters * slots, "partitions": partitions}
    os.environ[JARS] = str(needed("spark-jars"))
    with tempfile.TemporaryDirectory() as folder, kafka(1) as servers:
        where = Settings(lake=str(Path(folder) / "lake"), log=servers.log_url("stream"), engine="local[2]")
        create_topics(str(where.log), partitions, 1)
        taker = open_server(where, NodeSettings(batch=False), frozenset({"ingest"}))
        taker.start()
        for body in bodies(meters, slots, 5_000):
            taker.accept(body, ARROW, KEY)
        taker.stop()
        for name, seal_s in (("received", None), ("sealed", 600.0)):
            job = open_stream_job(where, NodeSettings(batch=False), every_s=1.0, seal_s=seal_s)
            began = time.monotonic()
            receipt = job.run(Event(), now=True)
            seconds = time.monotonic() - began
            told[name] = {"seconds": round(seconds, 2), "messages": receipt.messages, "batches": receipt.batches, "readings_per_s": round(meters * slots / seconds)}  # fmt: skip
    return told
