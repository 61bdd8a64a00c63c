"""Accept batches of readings: parse, check, make durable, make visible, and only then answer.

Many threads parse; one commits. It takes all batches that wait, gives each its number and arrival, writes them to
the log with one sync, applies them to the live side, and answers their senders. What was answered is in
the log and in every answer to a question; what was not may or may not be, and a retry under the same
Idempotency-Key, or with the same content, counts once.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.entry import Entry
from meterlake.errors import Conflict, LogFailed, MeterlakeError, Overloaded, TooLarge
from meterlake.formats.batch import parse_body
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA, of_load, quarantine_rows
from meterlake.ports import Append
from meterlake.readings import REASON_CODES
from meterlake.repeats import drop_repeats
from meterlake.strips import MISSING, Kind, Kinds, Rejects, Strips, beyond_years

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.formats.codec import Parsed
    from meterlake.keys import ApiKey
    from meterlake.live.live import Live
    from meterlake.node_settings import AcceptLimits
    from meterlake.ports import Lake, Log

ERRORS_SHOWN: Final = 100
"""Refused lines that the answer lists; the quarantine has all of them."""

TEXT_MAX: Final = 1000
"""Bytes of a refused line that are kept."""

WEIGH_S: Final = 0.2

NUMBERS_AT_ONCE: Final = 4096
"""Delivery numbers reserved at once; those that a stopped process did not use are never used."""


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """What became of a batch: received = accepted + duplicate + rejected."""

    batch_id: str
    received: int
    accepted: int
    duplicate: int
    rejected: int
    errors: list[dict[str, Any]]
    replayed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return {
            "batch_id": self.batch_id, "received": self.received, "accepted": self.accepted,
            "duplicate": self.duplicate, "rejected": self.rejected, "errors": self.errors,
            "replayed": self.replayed,
        }  # fmt: skip

    @classmethod
    def again(cls, memo: Mapping[str, Any]) -> BatchReceipt:
        """Answer for a batch that is known already: nothing of it is new."""
        return cls(
            memo["batch_id"], memo["received"], 0, memo["received"] - memo["rejected"],
            memo["rejected"], memo["errors"], replayed=True,
        )  # fmt: skip


@dataclass(slots=True)
class Waiting:
    """A parsed batch on its way to the log."""

    batch_id: str
    owner: str
    source: str
    content: str
    names: tuple[str, ...]
    parsed: Parsed
    kinds: Sequence[Kind]
    strips: Strips
    rejects: pa.Table
    duplicate: int
    bytes: int
    done: Future[BatchReceipt] = field(default_factory=Future)

    @property
    def accepted(self) -> int:
        """Readings that the log will hold."""
        return int((self.strips.amounts != MISSING).sum())

    def receipt(self) -> BatchReceipt:
        """What its sender is told once it is durable."""
        rejected = self.parsed.received - self.accepted - self.duplicate
        shown = self.rejects.slice(0, ERRORS_SHOWN).select(["line", "reason", "text", "count"]).to_pylist()
        return BatchReceipt(
            self.batch_id, self.parsed.received, self.accepted, self.duplicate, rejected, shown
        )


class Acceptor:
    """Takes bodies from many threads; commits them in one."""

    def __init__(
        self,
        live: Live,
        log: Log,
        lake: Lake,
        limits: AcceptLimits,
        changed: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:
        """``changed`` is told the live epoch after each group, ``failed`` why nothing is acknowledged any more."""
        self._live, self._log, self._lake, self.limits = live, log, lake, limits
        self._changed, self._failed = changed, failed
        self._ready = Condition()
        self._queue: deque[Waiting] = deque()
        self._numbers: list[int] = []
        self._last_us = 0
        self._waiting_bytes = 0
        self._stopping = False
        self._weighed = (0.0, 0.0)
        self.failure: str | None = None
        self._thread = Thread(target=self._run, name="commit", daemon=True)

    def start(self, last_us: int) -> None:
        """Begin to commit; arrivals come after ``last_us``."""
        self._last_us = last_us
        self._thread.start()

    def stop(self) -> None:
        """Refuse what comes, commit what waits, and end."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def queue(self) -> tuple[int, int]:
        """Batches that wait for the log, and bytes of all bodies being worked on."""
        return len(self._queue), self._waiting_bytes

    def accept(self, body: bytes, media: str, key: ApiKey, idempotency: str | None = None) -> BatchReceipt:
        """Return once the batch is durable and visible.

        Raises:
            Invalid: the body as a whole cannot be read.
            TooLarge: it is beyond a limit.
            Overloaded: too much is on its way already, or the disk is full.
            Conflict: the Idempotency-Key was used for another content.
            LogFailed: the log has failed; the message says how.

        """
        if len(body) > self.limits.body:
            raise TooLarge(
                f"a body of {len(body)} bytes: at most {self.limits.body} are taken, send smaller batches"
            )
        self._enter(len(body))
        try:
            content = hashlib.sha256(
                f"{key.id}\n{key.source}\n{key.best_quality}\n{media}\n".encode() + body
            ).hexdigest()
            names = (f"content:{content}", *([f"key:{key.id}:{idempotency}"] if idempotency else ()))
            known = self._known(names, content)
            if known is not None:
                return known
            waiting = self._parse(body, media, key, content, names)
            with self._ready:
                if self._stopping:
                    raise Overloaded("the server is stopping; send this again in a moment", 5)
                self._queue.append(waiting)
                self._ready.notify()
            return waiting.done.result()
        finally:
            with self._ready:
                self._waiting_bytes -= len(body)

    def _enter(self, size: int) -> None:
        with self._ready:
            if self.failure is not None:
                raise LogFailed(self.failure)
            if self._stopping:
                raise Overloaded("the server is stopping; send this again in a moment", 5)
            if self._waiting_bytes and self._waiting_bytes + size > self.limits.waiting:
                raise Overloaded("more is on its way than the disk takes; send this again in a moment")
            if self._pressure() >= 1:
                raise Overloaded(
                    "the memory for open blocks is full; send this again after the next seal", 30
                )
            self._waiting_bytes += size

    def _pressure(self) -> float:
        """How full the live side is, weighed anew five times a second."""
        now = time.monotonic()
        if now - self._weighed[0] > WEIGH_S:
            self._weighed = now, self._live.pressure()
        return self._weighed[1]

    def _known(self, names: Sequence[str], content: str) -> BatchReceipt | None:
        for memo in map(json.loads, self._log.find(names).values()):
            if memo["content"] != content:
                raise Conflict(
                    "this Idempotency-Key was used for another content; give each batch its own key"
                )
            return BatchReceipt.again(memo)
        return None

    def _parse(self, body: bytes, media: str, key: ApiKey, content: str, names: tuple[str, ...]) -> Waiting:
        now_us = time.time_ns() // 1000
        kinds = Kinds()
        origin = Origin(key.source, 0, now_us, now_us // 1_000_000, key.best_quality)
        ids = self._live.ids if key.meters is None else MeterIds()
        parsed = parse_body(body, media, ReadOptions(), origin, ids, kinds, line_max=self.limits.line)
        if parsed.received > self.limits.readings:
            raise TooLarge(
                f"{parsed.received} readings in one batch: at most {self.limits.readings} are taken, send smaller ones"
            )
        batch_id = uuid.uuid4().hex[:20]
        rejects = [quarantine_rows(0, "", parsed.rejects)]
        strips = parsed.strips
        if key.meters is not None and len(strips):
            mine = np.isin(strips.meter, ids.find(sorted(key.meters)))
            rejects.append(self._refused(strips.where(~mine), "unknown_meter", body, media, kinds))
            strips = strips.where(mine)
            strips.meter = self._live.ids.codes_of(ids.take(strips.meter))
        strips = self._sound(strips, body, media, rejects, kinds)
        strips, duplicate = drop_repeats(strips, kinds.table)
        return Waiting(
            batch_id, key.id, key.source, content, (*names, f"batch:{batch_id}"), parsed, tuple(kinds.table), strips,
            of_load(pa.concat_tables(rejects), batch_id), duplicate, len(body),
        )  # fmt: skip

    def _sound(
        self, strips: Strips, body: bytes, media: str, rejects: list[pa.Table], kinds: Kinds
    ) -> Strips:
        """Strips of years that can be asked for, in the phase of their meters; the others are refused."""
        odd = beyond_years(strips)
        if odd.any():
            rejects.append(self._refused(strips.where(odd), "bad_time", body, media, kinds))
            strips = strips.where(~odd)
        beside = self._live.phases_clash(strips, kinds.table)
        if beside.any():
            rejects.append(self._refused(strips.where(beside), "off_grid", body, media, kinds))
            strips = strips.where(~beside)
        return strips

    @staticmethod
    def _refused(strips: Strips, reason: str, body: bytes, media: str, kinds: Kinds) -> pa.Table:
        """Quarantine rows for readings that could be read."""
        if not len(strips):
            return QUARANTINE_SCHEMA.empty_table()
        within = np.arange(len(strips.amounts)) - np.repeat(strips.offsets()[:-1], strips.count)
        per_line = np.array([kind.per_line for kind in kinds.table], bool)[strips.kind]
        line = np.repeat(strips.line, strips.count) + np.where(np.repeat(per_line, strips.count), within, 0)
        lines, counts = np.unique(line[strips.amounts != MISSING], return_counts=True)
        code = np.full(len(lines), REASON_CODES[reason], np.uint8)
        texts = _texts(body, media, lines.tolist())
        return quarantine_rows(0, "", Rejects(lines, code, counts.astype(np.int32), texts))

    # -- the one thread that commits ------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._stopping:
                    self._ready.wait()
                if not self._queue:
                    return
                group = [self._queue.popleft() for _ in range(min(len(self._queue), self.limits.group))]
            if self.failure is not None:
                self._answer(group, LogFailed(self.failure))
                continue
            try:
                self._commit(group)
            except MeterlakeError as error:
                if isinstance(error, LogFailed):
                    self._fail(str(error))
                self._answer(group, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be acknowledged after it
                self._fail(f"{type(error).__name__}: {error}")
                self._answer(
                    group, LogFailed(f"nothing is acknowledged any more: {error}; restart the server")
                )

    @staticmethod
    def _answer(group: Sequence[Waiting], error: MeterlakeError) -> None:
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    def _fail(self, why: str) -> None:
        self.failure = why
        self._failed(why)

    def _commit(self, group: Sequence[Waiting]) -> None:
        """Make ``group`` durable with one sync, apply it, answer; repeats of what is durable are told so."""
        fresh, again = self._sorted_out(group)
        entries = [self._entry(waiting) for waiting in fresh]
        receipts = [waiting.receipt() for waiting in fresh]
        if fresh:
            first = self._log.append([
                Append(entry.encode(self._live.ids), waiting.names, _memo(receipt, waiting, entry.number))
                for waiting, entry, receipt in zip(fresh, entries, receipts, strict=True)
            ])  # fmt: skip
            for i, entry in enumerate(entries):
                self._live.apply(entry, first + i)
            self._changed(self._live.epoch)
        for waiting, receipt in zip(fresh, receipts, strict=True):
            waiting.done.set_result(receipt)
        for waiting in again:
            known = self._again(waiting)
            if isinstance(known, BatchReceipt):
                waiting.done.set_result(known)
            else:
                waiting.done.set_exception(known)

    def _again(self, waiting: Waiting) -> BatchReceipt | MeterlakeError:
        try:
            known = self._known(waiting.names, waiting.content)
        except Conflict as error:
            return error
        return known or Overloaded("the same batch is on its way; send this again in a moment")

    def _sorted_out(self, group: Sequence[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
        """Batches that are new, and those that the log or the group has under one of their names already."""
        taken = set(self._log.find([name for waiting in group for name in waiting.names]))
        fresh: list[Waiting] = []
        again: list[Waiting] = []
        for waiting in group:
            (again if taken & set(waiting.names) else fresh).append(waiting)
            taken |= set(waiting.names)
        return fresh, again

    def _entry(self, waiting: Waiting) -> Entry:
        """Decide number and arrival; readings without a stamp of their own get the arrival."""
        number = self._number()
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        kinds = tuple(
            kind._replace(delivery=number, stamp_us=kind.stamp_us if kind.sender_stamp else self._last_us)
            for kind in waiting.kinds
        )
        place = QUARANTINE_SCHEMA.get_field_index("delivery")
        numbers = pa.array(np.full(len(waiting.rejects), number, np.int32))
        return Entry(
            number, waiting.batch_id, waiting.owner, waiting.source, self._last_us, None, waiting.content,
            waiting.parsed.received, waiting.duplicate, kinds, waiting.strips,
            waiting.rejects.set_column(place, QUARANTINE_SCHEMA.field(place), numbers),
        )  # fmt: skip

    def _number(self) -> int:
        if not self._numbers:
            first = self._lake.reserve(NUMBERS_AT_ONCE)
            self._numbers = list(range(first + NUMBERS_AT_ONCE - 1, first - 1, -1))
        return self._numbers.pop()


def _memo(receipt: BatchReceipt, waiting: Waiting, number: int) -> str:
    told = receipt.to_json() | {"content": waiting.content, "owner": waiting.owner, "number": number}
    return json.dumps(told)


def _texts(body: bytes, media: str, numbers: Sequence[int]) -> list[str]:
    """Lines of a body by their numbers from 1, cut to what a quarantine keeps; empty where the form has no lines."""
    if media not in {"text/csv", "application/x-ndjson"}:
        return [""] * len(numbers)
    lines = body.split(b"\n")
    return [lines[number - 1][:TEXT_MAX].decode("utf-8", "replace").rstrip("\r") for number in numbers]
