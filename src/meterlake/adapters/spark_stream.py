"""Messages out of Kafka into the lake's table of received ones, by Structured Streaming: tasks write files, the driver commits.

Where a stream begins is asked of the table alone: the offsets are transactions of the very commits that brought the messages.
What Spark keeps of its own (a folder of checkpoints) is scratch of one run, so it can be neither lost nor out of step.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meterlake.adapters.kafka_settings import KafkaUrl
from meterlake.adapters.kafka_topics import shard_of
from meterlake.adapters.received import DeltaReceived, write
from meterlake.adapters.spark_engine import SparkEngine, as_site, cause
from meterlake.errors import ConcurrentCommit, Invalid, MeterlakeError
from meterlake.logs import log
from meterlake.ports import ReceivedFile, Record, Stream
from meterlake.receiving import follows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meterlake.adapters.kafka_logs import KafkaLogs
    from meterlake.adapters.spark_engine import Place

JARS: Final = "METERLAKE_SPARK_JARS"
"""Folder of the jars of Spark's Kafka connector, where the cluster does not have them."""
CONNECTOR: Final = "org.apache.spark:spark-sql-kafka-0-10_2.13"
AT_ONCE: Final = 20_000
"""Messages of a batch at most."""
HELD_BYTES: Final = 64 << 20
"""Bytes of messages that a task holds before it writes them as a file."""
LONGEST_S: Final = 60.0
"""Seconds that an end waits for the batch at work; then it is broken off, and comes again with the next beginning."""
MECHANISMS: Final = {"PLAIN": "plain.PlainLoginModule"}
SCRAM: Final = "scram.ScramLoginModule"

PASSED: Final = {
    "security.protocol": "security.protocol", "sasl.mechanism": "sasl.mechanism", "sasl.mechanisms": "sasl.mechanism",
    "ssl.ca.location": "ssl.truststore.location",
}  # fmt: skip
"""Settings of librdkafka that the Java client knows, and by which name."""


class Written(NamedTuple):
    """What a task tells of a file."""

    file: ReceivedFile
    data: int
    """Bytes of its messages."""


class SparkStream:
    """`ports.Stream` of Spark, from the topics of one prefix."""

    def __init__(self, engine: SparkEngine, url: KafkaUrl, logs: KafkaLogs, received: DeltaReceived, every_s: float) -> None:  # fmt: skip
        """Take a batch every ``every_s`` seconds."""
        self._engine, self._url, self._logs, self._received = engine, url, logs, received
        self._every_s = every_s
        self._since: dict[str, int] = {}
        self._query: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._error: Exception | None = None
        self._at_work, self._ended = Lock(), False
        self.taken: dict[str, int] = {"commits": 0, "files": 0, "messages": 0, "bytes": 0}

    def start(self, *, now: bool) -> None:
        """Begin where the table ends; see `ports.Stream`."""
        offsets: dict[str, dict[str, int]] = {}
        for shard in self._logs.shards():
            topic, partition = self._logs.place(shard)
            first = self._logs.bounds(topic, partition)[0]
            self._since[shard] = first
            offsets.setdefault(topic, {})[str(partition)] = follows(
                shard, self._received.bounds(shard), first
            )
        self._scratch = tempfile.TemporaryDirectory(prefix="meterlake-")
        reader = self._engine.session.readStream.format("kafka")
        options = {
            "kafka.bootstrap.servers": self._url.servers, "includeHeaders": "true", "failOnDataLoss": "true",
            "assign": json.dumps({topic: [int(part) for part in parts] for topic, parts in offsets.items()}),
            "startingOffsets": json.dumps(offsets), "maxOffsetsPerTrigger": str(AT_ONCE),
            "kafka.isolation.level": "read_committed", "kafka.request.timeout.ms": "5000",
            "kafka.default.api.timeout.ms": "10000", **security(self._url),
        }  # fmt: skip
        try:
            frame = reader.options(**options).load()
        except Exception as error:
            raise _connector(error) from error
        frame = frame.selectExpr(
            "topic", "partition", "offset", "unix_millis(timestamp) AS at_ms", "value", "headers"
        )
        writer = frame.writeStream.foreachBatch(self._batch).option("checkpointLocation", self._scratch.name)
        trigger = {"availableNow": True} if now else {"processingTime": f"{self._every_s} seconds"}
        self._query = writer.trigger(**trigger).start()

    def _batch(self, frame: Any, _: int) -> None:
        """Let tasks write a batch, and commit it; what the table has already is left out."""
        with self._at_work:
            if self._ended:
                return
            try:
                while not self._committed(frame):
                    pass
            except Exception as error:  # noqa: BLE001 - `wait` tells it
                self._error = error
        if self._error is not None:
            raise MeterlakeError(
                "a batch failed"
            )  # short: Spark's own reading of a long text overflows its stack

    def _committed(self, frame: Any) -> bool:
        ends = {shard: (self._received.bounds(shard) or (0, 0))[1] for shard in self._since}
        task = writer_of(self._engine.place(), str(self._url), ends)
        told: list[Written] = frame.rdd.mapPartitions(task).collect()
        files = [one.file for one in told]
        if files:
            try:
                self._received.commit(files, self._since)
            except ConcurrentCommit:
                return False
            self.taken["commits"] += 1
        self.taken["files"] += len(files)
        self.taken["messages"] += sum(one.rows for one in files)
        self.taken["bytes"] += sum(one.data for one in told)
        log.info("received", files=len(files), messages=sum(one.rows for one in files))
        return True

    def wait(self, seconds: float) -> bool:
        """Wait; see `ports.Stream`."""
        try:
            return bool(self._query.awaitTermination(seconds))
        except Exception as error:
            if isinstance(self._error, MeterlakeError):
                raise self._error from error
            what = cause(str(self._error or error))
            raise MeterlakeError(f"the stream from {self._url} ended: {what}; begin it again") from error

    def stop(self) -> None:
        """End it, after the batch that is at work; see `ports.Stream`."""
        if self._at_work.acquire(timeout=LONGEST_S):
            self._ended = True
            self._at_work.release()
        if self._query is not None:
            self._query.stop()
        if self._scratch is not None:
            self._scratch.cleanup()


def settings() -> dict[str, str]:
    """Return what a session needs for a stream: the connector's jars, where a folder of them is named."""
    folder = os.environ.get(JARS)
    if not folder:
        return {}
    found = sorted(str(path.absolute()) for path in Path(folder).glob("*.jar"))
    if not found:
        raise Invalid(f"{JARS}={folder}: there is no jar")
    return {"spark.jars": ",".join(found)}


def _connector(error: Exception) -> MeterlakeError:
    what = str(error).strip().splitlines()[0]
    if "kafka" in what.lower():
        return MeterlakeError(
            f"Spark has no Kafka connector ({what}): put {CONNECTOR} and what it needs into a folder, and name that by {JARS}"
        )
    return MeterlakeError(f"the stream did not begin: {what}")


def security(url: KafkaUrl) -> dict[str, str]:
    """Settings of the environment by the names that the Java client gives them."""
    told = {name: str(value) for name, value in url.configuration({}).items()}
    found = {f"kafka.{PASSED[name]}": value for name, value in told.items() if name in PASSED}
    if "ssl.ca.location" in told:
        found["kafka.ssl.truststore.type"] = "PEM"
    if "sasl.username" in told:
        module = MECHANISMS.get(found.get("kafka.sasl.mechanism", "PLAIN").upper(), SCRAM)
        user, password = (_quoted(told.get(f"sasl.{name}", "")) for name in ("username", "password"))
        found["kafka.sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module} required username={user} password={password};"
        )
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def writer_of(
    place: Place, url: str, ends: Mapping[str, int]
) -> Callable[[Iterator[Any]], Iterator[Written]]:
    """Return what runs in tasks: messages at or after ``ends`` into files, and what is told of each."""

    def task(rows: Iterator[Any]) -> Iterator[Written]:
        store = as_site(place).lake.store
        where, held, size = KafkaUrl.parse(url), dict[str, list[Record]](), 0
        for row in rows:
            record = _record(row, where)
            if record.offset < ends[record.shard]:
                continue
            held.setdefault(record.shard, []).append(record)
            size += len(record.data)
            if size > HELD_BYTES:
                yield from _written(store, held)
                size = 0
        yield from _written(store, held)

    return task


def _written(store: Any, held: dict[str, list[Record]]) -> Iterator[Written]:
    """Write what is held, and forget it."""
    for records in held.values():
        yield Written(write(store, records), sum(len(record.data) for record in records))
    held.clear()


def _record(row: Any, url: KafkaUrl) -> Record:
    headers = [(one.key, None if one.value is None else bytes(one.value)) for one in row.headers or ()]
    value = b"" if row.value is None else bytes(row.value)
    return Record(shard_of(url, row.topic, row.partition), row.offset, row.at_ms * 1000, value, headers)


_CONFORMS: type[Stream] = SparkStream
