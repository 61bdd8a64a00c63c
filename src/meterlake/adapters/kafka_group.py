"""A member of the group that shares the partitions of all commodities.

Where to read from is never asked of Kafka: whoever takes a shard says so, from its checkpoint. What is committed to Kafka
is for those who watch lags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.kafka_settings import KafkaUrl, client, kafka
from meterlake.adapters.kafka_topics import place_of, shard_of
from meterlake.errors import LogFailed, MeterlakeError
from meterlake.logs import log
from meterlake.ports import Record
from meterlake.spread import COMMODITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.ports import Member, Shards

AT_ONCE: Final = 500
SETTINGS: Final = {
    "session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000, "max.poll.interval.ms": 300_000,
    "partition.assignment.strategy": "cooperative-sticky", "fetch.wait.max.ms": 50, "fetch.error.backoff.ms": 100,
    "queued.max.messages.kbytes": 65_536,
}  # fmt: skip
OURS: Final = {
    "enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error", "check.crcs": True,
}  # fmt: skip


def group_of(url: KafkaUrl) -> str:
    """Name of the group of those who share the partitions."""
    return f"{url.prefix}.live"


class KafkaMember:
    """`ports.Member` of the consumer group ``PREFIX.live``."""

    def __init__(self, url: KafkaUrl, shards: Shards) -> None:
        """Ask for a share of the partitions."""
        self._url, self._shards = url, shards
        self._broken: MeterlakeError | Exception | None = None
        own = {"group.id": group_of(url), **OURS}
        told = SETTINGS | url.configuration({})
        if told.get("group.protocol") == "consumer":  # the broker decides these
            for name in ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"):
                told.pop(name, None)
        self._consumer = client(kafka().Consumer, told | own)
        self._consumer.subscribe(
            [url.topic(name) for name in COMMODITIES],
            on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost,
        )  # fmt: skip

    def _names(self, places: Sequence[Any]) -> list[str]:
        return [shard_of(self._url, place.topic, place.partition) for place in places]

    def _assigned(self, consumer: Any, places: Sequence[Any]) -> None:
        names = self._names(places)
        try:
            offsets = self._shards.taken(names) if names else {}
        except Exception as error:  # noqa: BLE001 - the client would only print it
            self._broken = error
            return
        for place, name in zip(places, names, strict=True):
            place.offset = offsets[name]
        consumer.incremental_assign(list(places))

    def _revoked(self, consumer: Any, places: Sequence[Any]) -> None:
        self._let_go(places, lost=False)
        consumer.incremental_unassign(list(places))

    def _lost(self, consumer: Any, places: Sequence[Any]) -> None:
        self._let_go(places, lost=True)
        consumer.incremental_unassign(list(places))

    def _let_go(self, places: Sequence[Any], *, lost: bool) -> None:
        try:
            self._shards.released(self._names(places), lost=lost)
        except Exception as error:  # noqa: BLE001 - the client would only print it
            self._broken = error

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Return what came next; whatever a shard said when it was taken or released is raised here."""
        first = self._consumer.poll(timeout_s)
        messages = [] if first is None else [first, *self._consumer.consume(AT_ONCE, 0)]
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        records = []
        for message in messages:
            if message.error():
                self._failed(message.error())
                continue
            records.append(
                Record(
                    shard_of(self._url, message.topic(), message.partition()), message.offset(),
                    message.timestamp()[1] * 1000, message.value() or b"", message.headers() or (),
                )
            )  # fmt: skip
        return records

    def _failed(self, error: Any) -> None:
        library = kafka()
        if error.code() == library.KafkaError._AUTO_OFFSET_RESET or error.fatal():  # noqa: SLF001 - its name
            raise LogFailed(
                f"{self._url} cannot be read where the checkpoint stands: {error.str()}; messages are missing that were "
                "not in a checkpoint: was somebody else deleting records?"
            )
        log.warning("kafka", code=error.name(), said=error.str())

    def done(self, offsets: Mapping[str, int]) -> None:
        """Commit offsets, for tools that show lags."""
        library = kafka()
        places = [
            library.TopicPartition(*place_of(self._url, shard), offset) for shard, offset in offsets.items()
        ]
        if places:
            self._consumer.commit(offsets=places, asynchronous=True)

    def close(self) -> None:
        """Leave the group at once."""
        self._consumer.close()


if TYPE_CHECKING:
    _: type[Member] = KafkaMember
