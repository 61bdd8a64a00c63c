"""One shard at work: its log read in order into its own live side, checkpoints of it, and its seals.

A checkpoint is saved ahead of every seal, at or after the place in the log that the seal reaches. So what is sealed is
never read again under other numbers, and a process that was given up for lost cannot seal any more: the one that took
the shard over has replaced its checkpoint (`errors.Fenced`).
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Final

from meterlake.arrivals import Arrivals
from meterlake.entry import Entry
from meterlake.errors import Damaged, Fenced
from meterlake.foreign import OWNER, Place, batch_of, poisoned
from meterlake.handover import encode
from meterlake.ingest import messages
from meterlake.logs import log
from meterlake.messages import FOREIGN, Poison, entry_of, is_foreign
from meterlake.seal import covers, newest_seal, seal, sealed
from meterlake.strips import Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meterlake.live.cut import Cut
    from meterlake.live.live import Live
    from meterlake.messages import Foreign
    from meterlake.node_settings import NodeSettings
    from meterlake.ports import Append, Checkpoints, Cuts, Lake, Log, Record, Registry
    from meterlake.seal import SealReceipt

EARLY: Final = 0.7
"""Of the memory for live readings in use: beyond it blocks are sealed without their grace."""


class Shard:
    """One shard, as the process that holds it sees it."""

    def __init__(  # noqa: PLR0913 - what a shard is made of
        self, name: str, lake: Lake, registry: Registry, live: Live, log_: Log, checkpoints: Checkpoints,
        settings: NodeSettings, place: Place, cuts: Cuts | None = None, archived: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        """``live`` is empty still; `restore` fills it. With ``cuts`` another process commits the seals.

        ``archived`` tells the offset after the last message that the archive holds, which is not cut off before.
        """
        self.name, self.live, self.log, self.place = name, live, log_, place
        self.checkpoints, self.settings = checkpoints, settings
        self._lake, self._registry, self._cuts = lake, registry, cuts
        self._handed = ""
        self._archived = archived
        self._arrivals = Arrivals(lake.reserve)
        live.beside = self._arrivals
        self._sealing = Lock()
        self.sealed_s = self.saved_s = time.monotonic()
        self.applied = self.repeated = self.poisoned = 0
        """Batches applied, messages left out because they came before, and those that were not what they said."""
        self.fenced = False
        """Whether another process has taken the shard over."""

    # -- take over and let go ------------------------------------------------------------------------

    def restore(self, since: int | None = None) -> int:
        """Fill the live side from the last checkpoint and make it ours; return the offset to read from.

        From ``since`` on there are messages elsewhere, if not in the log any more.
        """
        began = time.monotonic()
        offset = self.live.restore(self.checkpoints, sealed(self._lake, self.name))
        first, end = self.log.bounds()
        first = first if since is None else min(first, since)
        if not first <= offset <= end:
            raise Damaged(
                f"{self.log.url} has offsets {first} to {end}, the checkpoint of {self.name} stands at {offset}: they are not "
                "of one time; restore both from one backup"
            )
        self.live.save(self.checkpoints)
        seconds = round(time.monotonic() - began, 3)
        log.info("shard taken", shard=self.name, offset=offset, behind=end - offset, seconds=seconds)
        return offset

    def let_go(self, *, lost: bool) -> None:
        """Save, where the shard is still ours, and close what is open."""
        try:
            if not lost and not self.fenced:
                self.checkpoint()
        finally:
            with self._sealing:
                self.fenced = True
                self.checkpoints.close()
            log.info("shard released", shard=self.name, offset=self.live.offset, lost=lost)

    # -- what comes by the log -----------------------------------------------------------------------

    def foreign(self, records: Sequence[Record], parts: int) -> list[tuple[str, Append]]:
        """Return messages of ours for the foreign ones among ``records`` that are not passed yet.

        They must be durable before `take` passes those they are made of.
        """
        theirs = [
            record for record in records
            if record.offset >= self.live.offset and is_foreign(record.headers)
        ]  # fmt: skip
        if not theirs:
            return []
        source = self.settings.foreign_source or f"kafka:{self.place.topic}"
        return messages(batch_of(theirs, self.place, source), parts, "")

    def take(self, records: Sequence[Record]) -> None:
        """Apply what the log holds next; what was applied before is passed over, so the same may be given again."""
        for record in records:
            if record.offset < self.live.offset or self.fenced:
                continue
            found = entry_of(record.data, record.headers, self.live.ids)
            self._arrivals.provide()  # may fail, and nothing has changed yet
            with self.live.lock:
                self._apply(record, found)

    def _apply(self, record: Record, found: Entry | Poison | Foreign) -> None:
        at_us = self._arrivals.at(record.at_us)
        if isinstance(found, Poison):
            log.error("message refused", shard=self.name, offset=record.offset, why=found.why)
            self.poisoned += 1
            found = _refused(record, self.place, found.why)
        elif found is FOREIGN or not self._arrivals.is_new(record.data, at_us):
            self.repeated += found is not FOREIGN
            self.live.passed(record.offset)
            return
        assert isinstance(found, Entry), "a message is ours, foreign, or poison"
        self.live.apply(self._arrivals.stamped(found, at_us), record.offset)
        self.applied += 1

    # -- checkpoints and seals -----------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Save the live side, and cut the log below it."""
        with self._sealing:
            self._save()
            saved = self.live.saved_offset
            self.log.truncate(saved if self._archived is None else min(saved, self._archived()))

    def _save(self) -> None:
        if self.fenced:
            raise Fenced(f"{self.name} is another process's now")
        try:
            self.live.save(self.checkpoints)
        except Fenced:
            self.fenced = True
            raise
        self.saved_s = time.monotonic()

    def due(self, now_s: int, pressure: float) -> bool:
        """Whether something is to be sealed."""
        waited = time.monotonic() - self.sealed_s >= self.settings.flush_s
        return (
            self.live.pending is not None
            or waited
            or pressure > EARLY
            or self.live.due(now_s, self.settings.grace_s)
        )

    def seal(self, pressure: float = 0.0, *, everything: bool = False) -> SealReceipt | None:
        """Take what is due, late or not yet recorded to the lake; None where there is nothing."""
        with self._sealing:
            grace = 0 if pressure > EARLY else self.settings.grace_s
            cut = self.live.freeze(int(time.time()), grace, everything=everything)
            if cut is None:
                self.sealed_s = time.monotonic()
                return None
            receipt = self._landed(cut)
            if receipt is None:
                return None
            self.live.release(cut, receipt.sequence)
            self.sealed_s = time.monotonic()
        self.checkpoint()
        return receipt

    def _landed(self, cut: Cut) -> SealReceipt | None:
        """Receipt of what covers ``cut``: committed here, or by another process; None while that has not landed."""
        if self._cuts is None:
            self._save()
            return seal(self._lake, self._registry, cut, self.name)
        name = f"{cut.sequence:010d}-{cut.offset:016d}"
        if self._handed == name:
            newest = newest_seal(self._lake, self.name)
            if newest is not None and newest.sequence >= cut.sequence and covers(newest, cut):
                return newest
        else:
            self._save()
            self._cuts.put(self.name, name, encode(cut))
            self._handed = name
        return None


def _refused(record: Record, place: Place, why: str) -> Entry:
    """Batch without readings that records a message which is not what it says."""
    batch_id, rejects = poisoned(record, place, why)
    return Entry(
        0, batch_id, OWNER, f"kafka:{place.topic}", 0, None, batch_id, 1, 0, (), Strips.empty(), rejects
    )
