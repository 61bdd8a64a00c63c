"""Accept batches of readings: parse, check, make durable, make visible, and only then answer.

Many threads parse; one commits. It takes all batches that wait, gives each its number and arrival, writes them to
the log with one sync, applies them to the live side, and answers their senders. What was answered is in
the log and in every answer to a question; what was not may or may not be, and a retry under the same
Idempotency-Key, or with the same content, counts once.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from meterlake.bodies import BatchReceipt, Reader, Waiting, known_as, memo_of, names_of
from meterlake.entry import Entry
from meterlake.errors import Conflict, LogFailed, MeterlakeError, Overloaded, TooLarge
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.ports import Append

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meterlake.keys import ApiKey
    from meterlake.live.live import Live
    from meterlake.node_settings import AcceptLimits
    from meterlake.ports import Lake, Log

WEIGH_S: Final = 0.2

NUMBERS_AT_ONCE: Final = 4096
"""Delivery numbers reserved at once; those that a stopped process did not use are never used."""


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
        self._reader = Reader(limits, lambda: live.ids, live.phases_clash)
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
            content, names = names_of(body, media, key, idempotency)
            known = self._known(names, content)
            if known is not None:
                return known
            waiting = self._reader.read(body, media, key, (content, names), uuid.uuid4().hex[:20])
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
        return known_as(self._log.find(names), content)

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
                Append(entry.encode(self._live.ids), waiting.names, memo_of(receipt, waiting, entry.number))
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
