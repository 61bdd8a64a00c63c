"""Jobs that go on beside the servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meterlake.app.parts import cuts_of, engine_at, lake_at, logs_at, received_of, registry_at
from meterlake.app.servers import shard_of
from meterlake.errors import Conflict, Invalid

if TYPE_CHECKING:
    from meterlake.node_settings import NodeSettings
    from meterlake.receiving import Parts, StreamJob
    from meterlake.settings import Settings
    from meterlake.site import Site


def open_stream_job(
    where: Settings, settings: NodeSettings, *, every_s: float, seal_s: float | None
) -> StreamJob:
    """Open what takes the messages of a log into a lake, and with ``seal_s`` makes blocks of them so often.

    Raises:
        Invalid: the log is not Kafka's, or the engine not Spark.

    """
    from functools import partial

    from meterlake.adapters.kafka_logs import KafkaLogs
    from meterlake.adapters.received import DeltaReceived
    from meterlake.adapters.spark_engine import SparkEngine
    from meterlake.adapters.spark_stream import SparkStream
    from meterlake.adapters.spark_stream import settings as told
    from meterlake.handover import Committer
    from meterlake.receiving import StreamJob, Turn

    if not (where.log or "").startswith("kafka:"):
        raise Invalid("a stream job reads Kafka: give --log kafka://HOST:PORT/PREFIX, or METERLAKE_LOG")
    logs, lake = logs_at(str(where.log)), lake_at(where.lake, create=True)
    registry, received = registry_at(where.registry, lake, create=True), received_of(lake)
    engine = engine_at(where.engine or "local[*]", lake, registry, told())
    if not isinstance(engine, SparkEngine):
        raise Invalid("a stream job runs on Spark: --engine spark://HOST:PORT or local[N]")
    assert isinstance(logs, KafkaLogs), "by its URL"
    assert isinstance(received, DeltaReceived), "Spark refuses a lake in memory"

    def alone() -> None:
        holders = logs.holders()
        if holders:
            raise Conflict(
                f"{holders} processes with the role live hold the shards and seal them: stop these, or leave --seal away"
            )

    opens = partial(turn_parts, str(where.log), settings)
    turns = [Turn(name, opens) for name in logs.shards()]
    stream = SparkStream(engine, logs.kafka_url, logs, received, every_s)
    return StreamJob(stream, engine, turns, Committer(lake, registry, cuts_of(lake)), seal_s, alone)


def turn_parts(log: str, settings: NodeSettings, site: Site, name: str) -> Parts:
    """Open a shard where a task runs."""
    from meterlake.ids import MeterIds
    from meterlake.receiving import Parts

    logs = site.once("logs", lambda: logs_at(log))
    received = site.once("received", lambda: received_of(site.lake))
    assert received is not None, "the job that began this has one"
    cuts = cuts_of(site.lake)
    shard = shard_of(name, site.lake, site.registry, logs, settings, MeterIds(), cuts, received)
    return Parts(shard, received, logs)
