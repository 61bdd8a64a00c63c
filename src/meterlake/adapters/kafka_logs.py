"""All topics of one prefix: batches in, and the names of those that are known.

A batch counts as taken when its partitions have it on all replicas that are in sync (acks=all, idempotent producer);
then its names go to the topic ``batches``, from which every process that takes batches knows it.
"""

from __future__ import annotations

import time
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.kafka_group import KafkaMember, group_of
from meterlake.adapters.kafka_log import KafkaLog
from meterlake.adapters.kafka_names import KafkaNames
from meterlake.adapters.kafka_settings import MESSAGE_BYTES, KafkaUrl, client, kafka
from meterlake.adapters.kafka_topics import PATIENCE_S, partitions_of, place_of
from meterlake.errors import Overloaded, TooLarge
from meterlake.spread import COMMODITIES, shard_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.ports import Append, Log, Logs, Member, Shards

DELIVERY_MS: Final = 8_000
"""So long a message may wait for its acknowledgement; then the sender is told to come again."""

PRODUCER: Final = {
    "enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": 2,
    "message.max.bytes": MESSAGE_BYTES, "delivery.timeout.ms": DELIVERY_MS, "request.timeout.ms": 4_000,
    "socket.timeout.ms": 6_000, "retry.backoff.ms": 50, "retry.backoff.max.ms": 500, "queue.buffering.max.kbytes": 1 << 18,
}  # fmt: skip


class Sent:
    """Messages on their way: their offsets, and the first of them that did not arrive."""

    def __init__(self, n: int) -> None:
        """Of ``n`` messages."""
        self.offsets: list[int | None] = [None] * n
        self.error = ""
        self._left, self._lock, self._done = n, Lock(), Event()

    def one(self, i: int) -> Callable[[Any, Any], None]:
        """What is to be called once message ``i`` is durable, or given up."""

        def told(error: Any, message: Any) -> None:
            with self._lock:
                if error is None:
                    self.offsets[i] = _offset_of(message)
                else:
                    self.error = self.error or error.str()
                self._left -= 1
                if not self._left:
                    self._done.set()

        return told

    def wait(self) -> None:
        """Wait until all are durable or given up, which the client does by itself."""
        self._done.wait()


def _offset_of(message: Any) -> int | None:
    """Where it is; of one that was sent again the client tells -1 or nothing."""
    offset = message.offset()
    return int(offset) if offset is not None and offset >= 0 else None


class KafkaLogs:
    """`ports.Logs` in the topics of one prefix."""

    def __init__(self, url: KafkaUrl) -> None:
        """Connect; Overloaded where no broker answers, NotFound where there are no topics."""
        self.kafka_url, self.url = url, str(url)
        self._producer = client(kafka().Producer, url.configuration(PRODUCER))
        self._partitions = partitions_of(self._producer, url)
        self._admin = client(kafka().admin.AdminClient, url.configuration({}))
        self._names: KafkaNames | None = None
        self._opening, self._stop = Lock(), Event()
        self._thread = Thread(target=self._poll, name="kafka-acks", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)

    def partitions(self) -> int:
        """Return into how many partitions each commodity is cut."""
        return self._partitions

    def append(self, batches: Sequence[tuple[str, Append]]) -> Sequence[int | None]:
        """Make ``batches`` durable on all replicas in sync, then their names; return their offsets.

        That of a message which was sent again, because an acknowledgement was lost, is not told by the brokers.
        """
        offsets = self.produce(
            [(*place_of(self.kafka_url, shard), None, batch.data, batch.headers) for shard, batch in batches]
        )
        named = [(batch.names, batch.memo) for _, batch in batches if batch.names]
        if named:
            self._known().keep(named, self.produce)
        return offsets

    def produce(
        self, messages: Sequence[tuple[str, int, bytes | None, bytes, Sequence[tuple[str, bytes | None]]]]
    ) -> list[int | None]:
        """Send (topic, partition, key, value, headers), wait for all, and return their offsets."""
        library, sent = kafka(), Sent(len(messages))
        error = ""
        for i, (topic, partition, key, value, headers) in enumerate(messages):
            if not error:
                try:
                    self._producer.produce(
                        topic, value, key, partition, on_delivery=sent.one(i), headers=list(headers)
                    )
                    continue
                except BufferError:
                    error = "more is on its way than brokers take"
                except library.KafkaException as refused:
                    error = refused.args[0].str()
                    if refused.args[0].code() == library.KafkaError.MSG_SIZE_TOO_LARGE:
                        raise TooLarge(f"a message of {len(value)} bytes for {topic}: {error}") from refused
            sent.one(i)(None, library.Message())
        if messages:
            sent.wait()
        if error or sent.error:
            raise Overloaded(
                f"Kafka did not acknowledge within {DELIVERY_MS // 1000} s: {error or sent.error}; two of three copies must "
                "have a batch: are enough brokers running? Send this again in a moment", 2,
            )  # fmt: skip
        return sent.offsets

    def _known(self) -> KafkaNames:
        with self._opening:
            if self._names is None:
                self._names = KafkaNames(self.kafka_url, self._partitions)
            return self._names

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that are known."""
        return self._known().find(names)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that is kept in a partition, and the next to come."""
        library = kafka()
        place, spec = library.TopicPartition(topic, partition), library.admin.OffsetSpec
        first = self._asked(partial(self._ends, place, spec.earliest()))
        end = self._asked(partial(self._ends, place, spec.latest()))
        return int(first.offset), int(end.offset)

    def _ends(self, place: Any, at: Any) -> Any:
        """What brokers are asked for the first or last offset."""
        return self._admin.list_offsets({place: at}, request_timeout=PATIENCE_S)[place]

    def delete_below(self, topic: str, partition: int, offset: int) -> None:
        """Drop what a partition has below ``offset``."""
        place = kafka().TopicPartition(topic, partition, offset)
        self._asked(lambda: self._admin.delete_records([place], request_timeout=PATIENCE_S)[place])

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Answer of the brokers; while a partition changes its leader, ask again."""
        library, patience = kafka(), time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask().result()
            except library.KafkaException as error:
                if time.monotonic() > patience:
                    raise Overloaded(f"{self.url} does not answer: {error.args[0].str()}", 5) from error
                time.sleep(0.2)
                # what this client knows of leaders may be from before a broker was restarted
                self._admin = client(library.admin.AdminClient, self.kafka_url.configuration({}))

    def shard(self, name: str) -> Log:
        """Return the log of one shard."""
        return KafkaLog(self, name)

    def shards(self) -> list[str]:
        """Return the names of all shards."""
        return [shard_name(one, part) for one in COMMODITIES for part in range(self._partitions)]

    def holders(self) -> int:
        """Return how many processes share the shards right now."""
        library, group = kafka(), group_of(self.kafka_url)
        found = self._asked(
            lambda: self._admin.describe_consumer_groups([group], request_timeout=PATIENCE_S)[group]
        )
        return 0 if found.state == library.ConsumerGroupState.DEAD else len(found.members)

    def place(self, shard: str) -> tuple[str, int]:
        """Return topic and partition of a shard."""
        return place_of(self.kafka_url, shard)

    def join(self, shards: Shards) -> Member:
        """Become one of those who share the partitions."""
        return KafkaMember(self.kafka_url, shards)

    def close(self) -> None:
        """Let go of the connections."""
        self._stop.set()
        self._thread.join()
        if self._names is not None:
            self._names.close()
        self._producer.flush(0)


if TYPE_CHECKING:
    _: type[Logs] = KafkaLogs
