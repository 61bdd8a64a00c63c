"""Take batches into the logs of shards: parse, cut by shard, make durable everywhere, and only then answer.

Any number of processes do this beside one another; none of them holds readings. Numbers and arrivals are given where a
shard is read, in the order of its log. A batch that is durable in some shards only was not acknowledged; sent again it
makes the same messages, and the shards that have theirs drop them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from threading import Condition
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from meterlake.bodies import BatchReceipt, Reader, Waiting, known_as, memo_of, names_of
from meterlake.entry import Entry
from meterlake.errors import Overloaded, TooLarge
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.messages import message_of
from meterlake.ports import Append
from meterlake.spread import shard_name, spread
from meterlake.strips import MISSING, Strips

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from meterlake.keys import ApiKey
    from meterlake.node_settings import AcceptLimits
    from meterlake.ports import Logs
    from meterlake.strips import Kind

MESSAGE_BYTES: Final = 4 << 20
"""Bytes of one message, about; a batch of more for one shard is several."""

STRIP_BYTES: Final = 48
SLOT_BYTES: Final = 8

_NO_REJECTS: Final = QUARANTINE_SCHEMA.empty_table()


class Ingest:
    """Takes bodies from many threads into the logs of shards."""

    def __init__(self, logs: Logs, limits: AcceptLimits) -> None:
        """Cut batches into as many parts as ``logs`` have."""
        self._logs, self.limits = logs, limits
        self._parts = logs.partitions()
        self._reader = Reader(limits, MeterIds)
        self._ready = Condition()
        self._busy: set[str] = set()
        self._waiting = self._waiting_bytes = 0
        self._stopping = False

    @property
    def queue(self) -> tuple[int, int]:
        """Batches that wait for the log, and bytes of all bodies being worked on."""
        return self._waiting, self._waiting_bytes

    def accept(self, body: bytes, media: str, key: ApiKey, idempotency: str | None = None) -> BatchReceipt:
        """Return once the batch is durable in every shard that it has readings of.

        Raises:
            Invalid: the body as a whole cannot be read.
            TooLarge: it is beyond a limit.
            Overloaded: too much is on its way already, or the log does not acknowledge.
            Conflict: the Idempotency-Key was used for another content.

        """
        if len(body) > self.limits.body:
            raise TooLarge(
                f"a body of {len(body)} bytes: at most {self.limits.body} are taken, send smaller batches"
            )
        with self._entered(len(body)):
            content, names = names_of(body, media, key, idempotency)
            with self._alone(names):
                known = known_as(self._logs.find(names), content)
                if known is not None:
                    return known
                waiting = self._reader.read(body, media, key, (content, names), content[:20])
                waiting.kinds = tuple(map(_unstamped, waiting.kinds))
                receipt = waiting.receipt()
                self._logs.append(messages(waiting, self._parts, memo_of(receipt, waiting)))
                return receipt

    def stop(self) -> None:
        """Refuse what comes, and wait for what is on its way."""
        with self._ready:
            self._stopping = True
            self._ready.wait_for(lambda: not self._waiting)

    @contextmanager
    def _entered(self, size: int) -> Iterator[None]:
        with self._ready:
            if self._stopping:
                raise Overloaded("the server is stopping; send this again in a moment", 5)
            if self._waiting_bytes and self._waiting_bytes + size > self.limits.waiting:
                raise Overloaded("more is on its way than the log takes; send this again in a moment")
            self._waiting += 1
            self._waiting_bytes += size
        try:
            yield
        finally:
            with self._ready:
                self._waiting -= 1
                self._waiting_bytes -= size
                self._ready.notify_all()

    @contextmanager
    def _alone(self, names: Sequence[str]) -> Iterator[None]:
        """Hold ``names``: the same batch sent twice at once is taken once and then known."""
        with self._ready:
            self._ready.wait_for(lambda: self._busy.isdisjoint(names))
            self._busy |= set(names)
        try:
            yield
        finally:
            with self._ready:
                self._busy -= set(names)
                self._ready.notify_all()


def messages(waiting: Waiting, parts: int, memo: str) -> list[tuple[str, Append]]:
    """Cut a batch into messages by shard; the first carries its names, and what is told of the whole."""
    pieces = [
        (shard, piece)
        for shard, strips in spread(waiting.strips, waiting.kinds, waiting.ids, parts)
        for piece in _pieces(strips)
    ]
    home = pieces[0][0] if pieces else shard_name("electricity", int(waiting.batch_id[:8], 16) % parts)
    refused = list(_slices(waiting.rejects))
    pieces = pieces or [(home, Strips.empty())]
    pieces += [(home, Strips.empty())] * (len(refused) - sum(shard == home for shard, _ in pieces))
    rest = waiting.parsed.received - waiting.accepted
    made = []
    for i, (shard, strips) in enumerate(pieces):
        rejects = refused.pop(0) if shard == home and refused else _NO_REJECTS
        counts = (rest, waiting.duplicate) if i == 0 else (0, 0)
        value, headers = message_of(_entry(waiting, strips, rejects, counts), waiting.ids)
        names, told = (waiting.names, memo) if i == 0 else ((), "")
        made.append((shard, Append(value, names, told, headers)))
    return made


def _entry(waiting: Waiting, strips: Strips, rejects: pa.Table, counts: tuple[int, int]) -> Entry:
    used, code = np.unique(strips.kind, return_inverse=True)
    strips = replace(strips, kind=code.reshape(-1).astype(np.int32))
    kinds = tuple(waiting.kinds[code] for code in used.tolist())
    accepted = int((strips.amounts != MISSING).sum())
    return Entry(
        0, waiting.batch_id, waiting.owner, waiting.source, 0, None, waiting.content, accepted + counts[0], counts[1],
        kinds, strips, rejects,
    )  # fmt: skip


def _unstamped(kind: Kind) -> Kind:
    """Return a kind that gets its arrival, where its sender gave no stamp, from the shard that reads it."""
    return kind if kind.sender_stamp else kind._replace(stamp_us=0)


def _pieces(strips: Strips) -> Iterator[Strips]:
    """Cut strips into runs of about `MESSAGE_BYTES`."""
    size = np.cumsum(strips.count.astype(np.int64) * SLOT_BYTES + STRIP_BYTES)
    number = (size - 1) // MESSAGE_BYTES
    if number[-1] == 0:
        yield strips
        return
    for n in np.unique(number).tolist():
        yield strips.where(number == n)


def _slices(rejects: pa.Table) -> Iterator[pa.Table]:
    """Cut refused lines into runs of about `MESSAGE_BYTES`."""
    if not len(rejects):
        return
    size = np.cumsum(pc.binary_length(rejects["text"]).fill_null(0).to_numpy().astype(np.int64) + STRIP_BYTES)
    borders = [0, *(np.flatnonzero(np.diff((size - 1) // MESSAGE_BYTES)) + 1).tolist(), len(rejects)]
    for first, stop in pairwise(borders):
        yield rejects.slice(first, stop - first)
