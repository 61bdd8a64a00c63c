"""One partition of a topic as a log: what is there, read from an offset to the end, and cut off below one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.kafka_settings import client, kafka
from meterlake.adapters.kafka_topics import PATIENCE_S, place_of
from meterlake.errors import Invalid, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.adapters.kafka_logs import KafkaLogs
    from meterlake.ports import Append, Log

AT_ONCE: Final = 500


class KafkaLog:
    """`ports.Log` in one partition; other programs may write to it too, and offsets may have gaps."""

    def __init__(self, logs: KafkaLogs, shard: str) -> None:
        """Look at the partition of ``shard`` through the clients of ``logs``."""
        self._logs, self._shard = logs, shard
        self._place = place_of(logs.kafka_url, shard)
        self.url = f"{logs.url}, partition {self._place[1]} of {self._place[0]}"

    def append(self, batches: Sequence[Append]) -> int:
        """Make ``batches`` durable; return the offset of the first. Invalid where a name was taken before."""
        names = [name for batch in batches for name in batch.names]
        if len(set(names)) < len(names) or self._logs.find(names):
            raise Invalid(f"{self.url}: a batch of one of these names was taken before")
        before = self.bounds()[1]
        at = self._logs.append([(self._shard, batch) for batch in batches])[0]
        if at is None:  # it was sent again: look where it is
            return next(offset for offset, data in self.read(before) if data == batches[0].data)
        return at

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) from ``offset`` on as far as there was something at the call."""
        first, end = self.bounds()
        return self._values(max(offset, first), end)

    def _values(self, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
        if offset >= end:
            return
        library = kafka()
        reader = self._reader()
        try:
            reader.assign([library.TopicPartition(*self._place, offset)])
            at, patience = offset, time.monotonic() + PATIENCE_S
            while at < end:
                for message in reader.consume(AT_ONCE, 0.1):
                    if message.error() and message.error().code() == library.KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                        at = max(at, message.offset())  # what is left are marks of transactions
                        continue
                    if message.error():
                        raise Overloaded(f"{self.url} cannot be read at {at}: {message.error().str()}", 5)
                    at, patience = message.offset() + 1, time.monotonic() + PATIENCE_S
                    if at <= end:
                        yield at - 1, message.value() or b""
                if time.monotonic() > patience:
                    raise Overloaded(f"{self.url} gives nothing at {at} within {PATIENCE_S:.0f} s", 5)
        finally:
            reader.close()

    def _reader(self) -> Any:
        own = {
            "group.id": f"{self._logs.kafka_url.prefix}.read",
            "enable.auto.commit": False,
            "check.crcs": True,
        }
        own["enable.partition.eof"] = True
        return client(kafka().Consumer, self._logs.kafka_url.configuration(own))

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that are known, of whatever partition."""
        return self._logs.find(names)

    def bounds(self) -> tuple[int, int]:
        """Return the offset of the first message that is kept, and that of the next to come."""
        return self._logs.bounds(*self._place)

    def truncate(self, offset: int, *, forget_s: float = 30 * 86_400) -> None:  # noqa: ARG002
        """Drop what is below ``offset``; names are forgotten by the age that their topic has, not by ``forget_s``."""
        first, end = self.bounds()
        if first < min(offset, end):
            self._logs.delete_below(*self._place, min(offset, end))

    def close(self) -> None:
        """Nothing is held."""


if TYPE_CHECKING:
    _: type[Log] = KafkaLog
