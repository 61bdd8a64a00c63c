"""Names of the batches that are known, and what a repeat is told: kept in a compacted topic, held in bounded memory.

Every process that takes batches reads the topic's end when it starts and follows it from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.kafka_settings import KafkaUrl, client, kafka
from meterlake.adapters.kafka_topics import BATCHES, PATIENCE_S
from meterlake.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HELD: Final = 400_000
"""Names held in memory: some 200 MB."""

NAME_BYTES: Final = 16
REFERENCE: Final = b">"
"""A value that begins so is the name under which the memo stands: a memo is kept once."""


class KafkaNames:
    """What the topic of names holds, newest first as far as memory goes. Safe to share between threads."""

    def __init__(self, url: KafkaUrl, partitions: int) -> None:
        """Begin to read; `find` waits until all that was there is known."""
        self._url, self._topic = url, url.topic(BATCHES)
        self._partitions = partitions
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock, self._stop, self._ready = Lock(), Event(), Event()
        self._thread = Thread(target=self._follow, name="kafka-names", daemon=True)
        self._thread.start()

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that are known; Overloaded while the topic is still being read."""
        if not self._ready.wait(PATIENCE_S):
            raise Overloaded(
                f"the names in {self._topic} are still being read; send this again in a moment", 5
            )
        found = {}
        with self._lock:
            for name in names:
                memo = self._held.get(_hash(name))
                if memo is not None and memo.startswith(REFERENCE):
                    memo = self._held.get(memo[1:])
                if memo is not None:
                    found[name] = memo.decode()
        return found

    def keep(self, named: Sequence[tuple[Sequence[str], str]], produce: Any) -> None:
        """Make the names of batches durable; their memos stand under the first of each."""
        rows: dict[bytes, bytes] = {}
        for names, memo in named:
            first, *others = map(_hash, names)
            rows[first] = memo.encode()
            rows |= dict.fromkeys(others, REFERENCE + first)
        produce([(self._topic, key[0] % self._partitions, key, value, ()) for key, value in rows.items()])
        self._put(rows)

    def _put(self, rows: Mapping[bytes, bytes]) -> None:
        with self._lock:
            self._held |= rows
            while len(self._held) > HELD:
                self._held.popitem(last=False)

    def _follow(self) -> None:
        library = kafka()
        own = {"group.id": f"{self._url.prefix}.names", "enable.auto.commit": False, "fetch.wait.max.ms": 100}
        own["enable.partition.eof"] = True
        while not self._stop.is_set():
            reader = client(library.Consumer, self._url.configuration(own))
            try:
                self._read(reader, library)
            except library.KafkaException:
                self._stop.wait(1.0)
            finally:
                reader.close()

    def _read(self, reader: Any, library: Any) -> None:
        """Read the end of every partition, and go on."""
        places = []
        for number in range(self._partitions):
            place = library.TopicPartition(self._topic, number)
            low, high = reader.get_watermark_offsets(place, timeout=PATIENCE_S)
            place.offset = max(low, high - HELD // self._partitions)
            places.append(place)
        reader.assign(places)
        unread = set(range(self._partitions))
        while not self._stop.is_set():
            first = reader.poll(0.2)
            messages = [] if first is None else [first, *reader.consume(1000, 0)]
            self._put({m.key(): m.value() for m in messages if not m.error() and m.key() and m.value()})
            for message in messages:
                if message.error() and message.error().code() == library.KafkaError._PARTITION_EOF:  # noqa: SLF001
                    unread.discard(message.partition())
            if not unread:
                self._ready.set()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()
