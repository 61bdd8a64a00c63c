"""Which state a question is answered from: the lake's files with what lies over them, now or as it once was."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.blocks import BLOCK_SCHEMA, sort_blocks
from meterlake.ledger import Delivered
from meterlake.moments import Moment, seconds_of
from meterlake.pending import pending
from meterlake.query.kept import BUDGET_BYTES, Kept
from meterlake.query.overlay import ALL, Keys, laid_over, overlay_of, small, table_file, within
from meterlake.query.series import REACH_S
from meterlake.query.view import Memory, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.live.part import LiveSource, Part
    from meterlake.ports import DataFile, Lake, Snapshot
    from meterlake.query.overlay import Overlay
    from meterlake.slots import Channels, Sheet

Version = int | Moment
Span = tuple[int, int]

WHOLE_AGE_S: Final = 1.0
"""Questions about all meters may be answered from a state so old, as long as no commit came after it."""

SOME_KEPT: Final = 4_096
"""Meters, or those of service points, whose state is kept."""

_NONE: Final = BLOCK_SCHEMA.empty_table()


class _Whole(NamedTuple):
    """The state of all meters that was made last."""

    span: Span
    epoch: int
    made_s: float
    view: View


class _Some(NamedTuple):
    """A state of some meters."""

    span: Span
    touched: int
    view: View

    def holds(self, span: Span, touched: int, version: int) -> bool:
        """Whether it answers for ``span``: nothing of them came since, nor a commit."""
        same = self.touched == touched and self.view.version == version
        return same and self.span[0] <= span[0] and span[1] <= self.span[1]


class States:
    """The states of one lake and of what is live beside it. Safe to share between threads.

    The live part is always taken first and the lake's newest version then: what is sealed in between is in
    both, which changes nothing.
    """

    def __init__(self, lake: Lake, live: LiveSource | None = None, kept_bytes: int = BUDGET_BYTES) -> None:
        """Read ``lake`` and ``live``; keep at most ``kept_bytes`` of what was decoded of files."""
        self.lake, self.live = lake, live
        self._memory = Memory(Kept(kept_bytes))
        self._now: _Files | None = None
        self._whole: _Whole | None = None
        self._some: dict[tuple[str, ...], _Some] = {}

    @property
    def channels(self) -> Channels:
        """Numbers of the channels in all states."""
        return self._memory.channels

    def _files(self) -> _Files:
        snapshot = self.lake.snapshot()
        files = self._now
        if files is None or files.view.version != snapshot.version:
            self._now = files = _Files(self.lake, snapshot, self._memory)
        return files

    def files(self, version: int | None = None) -> View:
        """Files alone, of ``version`` or the newest; NotFound where they are not kept."""
        if version is None:
            return self._files().view
        now = self._now
        if now is not None and now.view.version == version:
            return now.view
        return _Files(self.lake, self.lake.snapshot(version), self._memory).view

    def is_plain(self, view: View) -> bool:
        """Whether nothing lies over the files of ``view``, and it is of the newest version."""
        return self._now is not None and view is self._now.view

    def _part(self, meters: Sequence[str] | None, span: Span) -> Part | None:
        return None if self.live is None else self.live.part(meters, span[0] - REACH_S, span[1] + REACH_S)

    def of_meters(self, meters: Sequence[str], span: Span) -> View:
        """State of some meters in and around ``span`` (s); made anew when something of them came, or a commit."""
        if self.live is None or not self.live.reaches(meters, span[0] - REACH_S, span[1] + REACH_S):
            return self._files().some(None, meters)
        key, touched = tuple(meters), self.live.touched(meters)
        files, known = self._files(), self._some.get(key)
        if known is not None and known.holds(span, touched, files.view.version):
            return known.view
        part = self._part(meters, span)
        view = self._files().some(part, meters)
        if len(self._some) >= SOME_KEPT:
            self._some = {}  # threads that still write to the one before only lose what they made
        self._some[key] = _Some(span, touched, view)
        return view

    def of_all(self, span: Span) -> View:
        """State of all meters in and around ``span`` (s), at most `WHOLE_AGE_S` old."""
        epoch = 0 if self.live is None else self.live.epoch
        now_s, known = time.monotonic(), self._whole
        if (
            known is not None and known.span == span and known.view.version == self.lake.snapshot().version
            and (known.epoch == epoch or now_s - known.made_s < WHOLE_AGE_S)
        ):  # fmt: skip
            return known.view
        self._whole = known = None  # what it held is free before as much is made again
        part = self._part(None, span)
        files = self._files()
        view = files.whole(part)
        if view is not files.view:
            self._whole = _Whole(span, epoch, now_s, view)
        return view

    def then(self, as_of: Version, meters: Sequence[str] | None, span: Span) -> View:
        """State at a version of the lake, or at a moment with all that was acknowledged by then.

        Args:
            as_of: a version, its number as text, or a moment.
            meters: whose readings are asked; None: of all.
            span: what is asked of them, s.

        """
        from meterlake.query.past import past  # loads the compiler, which no question about now needs

        at = _named(as_of)
        version = at if isinstance(at, int) else Delivered.read(self.lake).version_at(at)
        part = self._part(meters, span) if isinstance(at, datetime) else None
        table = past(self.lake, at, meters, part)
        view = _fixed(version, table, self.lake, self._memory)
        if part is not None:
            view.arrived(part.landed_us)
        return view


def _named(as_of: Version) -> int | datetime:
    """Version or moment that ``as_of`` names."""
    if isinstance(as_of, int):
        return as_of
    if isinstance(as_of, str) and as_of.isdigit() and len(as_of) < 8:
        return int(as_of)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds_of(as_of, "UTC", "as of"))


def _fixed(version: int, table: pa.Table, lake: Lake, memory: Memory) -> View:
    """View of a table of blocks alone."""

    def read(_: DataFile, columns: Sequence[str], meters: tuple[str, str] | None = None) -> pa.Table:
        return within(table, meters).select(list(columns))

    files = [table_file("as-of", table, ALL)] if len(table) else []
    return View(version, files, read, Memory(Kept(), memory.channels), lambda: lake.records("deliveries"))


class _Files:
    """The files of one version, and what is read of the side tables beside them when it is needed first."""

    def __init__(self, lake: Lake, snapshot: Snapshot, memory: Memory) -> None:
        """Index the files of ``snapshot``."""
        self._lake, self._snapshot, self._channels = lake, snapshot, memory.channels
        self.view = View(
            snapshot.version, snapshot.files, lake.blocks, memory, lambda: lake.records("deliveries")
        )

    @cached_property
    def _known(self) -> Delivered:
        return Delivered.read(self._lake)

    @cached_property
    def _waiting(self) -> tuple[pa.Table, Sheet] | None:
        """Blocks that wait to be folded into their files; None where there are none."""
        table = pending(self._lake, self._snapshot)
        return (table, small(table, self._channels)) if len(table) else None

    def _waiting_of(self, meters: Sequence[str]) -> pa.Table:
        if self._waiting is None:
            return _NONE
        table, sheet = self._waiting
        runs = [sheet.run(meter.encode()) for meter in sorted(set(meters))]
        return pa.concat_tables([table.slice(low, high - low) for low, high in runs])

    def some(self, part: Part | None, meters: Sequence[str]) -> View:
        """State of some meters."""
        overlay = self._over(part, self._waiting_of(meters))
        if overlay is None:
            return self.view
        return self.view.under(overlay, {} if part is None else part.senders)

    def _over(self, part: Part | None, waiting: pa.Table) -> Overlay | None:
        """What lies over the files' rows of some meters; None where nothing does."""
        if part is not None and not len(part.late) and not len(waiting):
            overlay = overlay_of(part.blocks, self._channels)  # the rule: blocks that the lake has nothing of
            gone = self._known.withdrawn
            if not overlay.meets(self.view) and not (
                gone and not gone.keys().isdisjoint(overlay.deliveries().tolist())
            ):
                return overlay
        blocks = waiting if part is None else self._laid(part, waiting)[0]
        return overlay_of(blocks, self._channels) if len(blocks) else None

    def _laid(self, part: Part, waiting: pa.Table) -> tuple[pa.Table, pa.Table]:
        """All that lies over the files in key order, and of it the blocks whose keys files may have."""
        from meterlake.lay import lay

        laid = lay(self._lake, self._snapshot, self._known, part)
        known = laid.blocks.filter(pa.array(~np.asarray(laid.fresh, bool)))
        if not len(waiting):
            return laid.blocks, known
        waiting = Keys(small(laid.blocks, self._channels)).left(waiting, self._channels)
        return tuple(sort_blocks(pa.concat_tables([blocks, waiting])) for blocks in (laid.blocks, known))

    def whole(self, part: Part | None) -> View:
        """State of all meters."""
        waiting = _NONE if self._waiting is None else self._waiting[0]
        blocks, known = (waiting, waiting) if part is None else self._laid(part, waiting)
        if not len(blocks):
            return self.view
        return laid_over(self.view, blocks, Keys(small(known, self._channels)))
