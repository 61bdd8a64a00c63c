"""From candidates to files: merge what a job brought with what the lake holds, run by run of meters.

A run of partitions is merged in one thread: its new blocks become new files by month, its colliding blocks
are handed to the rewriting of the files that hold them. Nothing is visible before the one commit.
"""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, KEY, flat_amounts, flat_traits, group_rows, sort_blocks, to_strips
from meterlake.ids import PARTITIONS
from meterlake.ledger import LOST_SCHEMA
from meterlake.merge import SERIES_SCHEMA, Grid, Pile, Slab
from meterlake.pending import Over
from meterlake.readings import QUALITY_NAMES, UTC_US
from meterlake.record import lost_rows
from meterlake.series import gaps
from meterlake.spool import StripStore, TableSpool, concat
from meterlake.strips import Ints, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from meterlake.blocks import Sender
    from meterlake.ids import MeterIds
    from meterlake.ports import DataFile, Lake, Snapshot

RUN_SLOTS: Final = 8_000_000
"""Slots merged at once by a thread: about 40 bytes each at the worst."""

FILE_GROUPS: Final = 128
"""Row groups of one file: bounds what a correction rewrites and what a footer costs."""

CHANGE_SCHEMA: Final = pa.schema(
    [
        pa.field("meter", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("start", UTC_US),
        pa.field("old", pa.int64()),
        pa.field("new", pa.int64()),
        pa.field("old_quality", pa.string()),
        pa.field("new_quality", pa.string()),
    ]
)
"""A value of the lake that a load replaces; amounts in milli units."""


@dataclass(slots=True)
class Outcome:
    """What a landing made, ready to be committed."""

    counts: dict[int, Ints] = field(default_factory=dict)
    """By delivery: stored, replaced, duplicate, superseded, conflict."""
    amounts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    added: list[DataFile] = field(default_factory=list)
    removed: list[DataFile] = field(default_factory=list)
    blocks: int = 0
    off_grid: list[Strips] = field(default_factory=list)
    meters: int = 0
    channels: int = 0
    """Meter-channels."""
    gaps: int = 0
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By delivery: start (s) of its first and last reading that was not refused."""

    def add(self, part: Outcome) -> None:
        """Add what came of another run of meters."""
        for number, counts in part.counts.items():
            self.counts[number] = self.counts.get(number, 0) + counts
        for channel, amount in part.amounts.items():
            self.amounts[channel] += amount
        self.added += part.added
        self.blocks += part.blocks
        self.off_grid += part.off_grid
        self.meters += part.meters
        self.channels += part.channels
        self.gaps += part.gaps
        for number, span in part.spans.items():
            held = self.spans.get(number, span)
            self.spans[number] = min(held[0], span[0]), max(held[1], span[1])


class Landing:
    """One attempt to merge the strips of ``store`` with the lake at ``base``."""

    def __init__(  # noqa: PLR0913
        self,
        lake: Lake,
        base: Snapshot,
        store: StripStore,
        kinds: Kinds,
        ids: MeterIds,
        new: frozenset[int],
        senders: Mapping[int, Sender],
        folder: Path,
        series_before: Callable[[pa.Array], pa.Table],
        *,
        waiting: pa.Table,
        open_from: Mapping[int, int],
        write: bool = True,
    ) -> None:
        """``senders`` knows the lake's deliveries; ``folder`` takes what outgrows memory.

        ``series_before`` gives the registry's SERIES_STATE rows of some meters. ``waiting`` are pending blocks, of which
        there are none if anything is written; ``open_from`` is `ledger.open_from`.

        With ``write`` false nothing is put into the lake: the outcome says what would change.
        """
        self.lake, self.base, self.store, self.kinds, self.ids = lake, base, store, kinds, ids
        self.new, self.senders, self.write = new, senders, write
        self._series_before = series_before
        self._over, self._open_from = Over(waiting), open_from
        self.texts = ids.texts()
        self.outcome = Outcome()
        self.lost = TableSpool(folder / f"lost-{base.version}", LOST_SCHEMA)
        self.series = TableSpool(folder / f"series-{base.version}", SERIES_SCHEMA)
        self.changes = TableSpool(folder / f"changes-{base.version}", CHANGE_SCHEMA)
        self._replaced: dict[DataFile, list[tuple[Ints, pa.Table]]] = defaultdict(list)
        self._lock = Lock()

    def run(self, progress: Callable[[int, int], None] | None = None) -> Outcome:
        """Merge all runs, then rewrite the files that hold colliding keys."""
        total, done = int(self.store.slots.sum()), 0
        share = max(total // (os.cpu_count() or 1) + 1, RUN_SLOTS // 4)
        runs = self.store.runs(min(RUN_SLOTS, share), PARTITIONS // self.lake.buckets)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for low, high in pool.map(self._merge_run, runs):
                done += int(self.store.slots[low:high].sum())
                if progress is not None:
                    progress(done, total)
            if self.write:
                for files in pool.map(self._rewrite, sorted(self._replaced)):
                    self.outcome.added += files
        self.outcome.removed = sorted(self._replaced) if self.write else []
        return self.outcome

    def merge(self, run: tuple[int, int]) -> Mapping[DataFile, list[tuple[Ints, pa.Table]]]:
        """Merge one run of partitions; return, by file, the rows that go and the merged blocks that come instead."""
        self._merge_run(run)
        return self._replaced

    def absorb(self, part: Outcome, tables: tuple[pa.Table, pa.Table, pa.Table]) -> None:
        """Add what another process made of a run: its outcome, and what was lost, the series and the changes."""
        self.outcome.add(part)
        for spool, table in zip((self.lost, self.series, self.changes), tables, strict=True):
            spool.add(table)

    def holds_on(self, newer: Snapshot, waiting: pa.Table) -> bool:
        """Whether the outcome stands on ``newer`` as it is: nothing that landed since can share its keys.

        ``waiting`` are the blocks that are pending by now.
        """
        before, now = set(self.base.files), set(newer.files)
        if not set(self.outcome.removed) <= now:
            return False
        if any(_may_share(a, b) for a in now - before for b in self.outcome.added):
            return False
        over = Over(waiting)
        return not any(
            over.covers(self.lake.blocks(file, KEY)).any() for file in over.near(self.outcome.added)
        )

    def _merge_run(self, run: tuple[int, int]) -> tuple[int, int]:
        strips = self.store.take(*run)
        if not len(strips):
            return run
        pile = Pile(strips, self.kinds, self.texts, self.new)
        off = pile.off_grid()
        if off.any():
            with self._lock:
                self.outcome.off_grid.append(strips.where(off))
            pile = Pile(strips.where(~off), self.kinds, self.texts, self.new)
        fresh: list[pa.Table] = []
        reach: list[pa.Table] = []
        alone = len(pile.lengths) == 1
        for grid in pile.grids():
            fresh += self._merge_grid(grid, run, reach, alone=alone)
        self._note_series(concat(reach, SERIES_SCHEMA))
        if fresh and self.write:
            blocks = concat(fresh, BLOCK_SCHEMA)
            self._put(blocks if alone else sort_blocks(blocks), run)
        return run

    def _merge_grid(
        self, grid: Grid, run: tuple[int, int], reach: list[pa.Table], *, alone: bool
    ) -> list[pa.Table]:
        """Merge one grid; return its new blocks, of which full slabs are put away at once if it is alone.

        ``reach`` gets what its series reach.
        """
        owner, files, held = self._collisions(grid, run)
        clashing = grid.settle_offsets(held)
        if len(clashing):
            with self._lock:
                self.outcome.off_grid.append(clashing)
        self._note_spans(grid)
        fresh: list[pa.Table] = []
        for slab in grid.slabs(held):
            part = owner[slab.first_block : slab.first_block + len(slab.blocks)]
            self._note(slab)
            reach.append(slab.series)
            filled = slab.blocks["filled"].to_numpy() > 0
            last = slab.first_block + len(slab.blocks)
            for i, (file, rows, number) in enumerate(files):
                mine = slab.blocks.filter(pa.array((part == i) & filled & slab.changed))
                here = (number >= slab.first_block) & (number < last)
                here[here] = slab.changed[number[here] - slab.first_block]
                if len(mine):
                    with self._lock:
                        self._replaced[file].append((rows[here], mine))
            new_rows = slab.blocks.filter(pa.array((part < 0) & filled)) if files else slab.blocks
            new_rows = new_rows if filled.all() else new_rows.filter(pc.greater(new_rows["filled"], 0))
            fresh.append(new_rows)
            if alone and len(grid) > last and self.write:
                self._put(fresh.pop(), run)
        return fresh

    def _collisions(
        self, grid: Grid, run: tuple[int, int]
    ) -> tuple[Ints, list[tuple[DataFile, Ints, Ints]], Strips]:
        """Which file holds each block of ``grid`` (-1: none); by file its rows and their blocks; all as strips."""
        owner = np.full(len(grid), -1, np.int64)
        files: list[tuple[DataFile, Ints, Ints]] = []
        held: list[Strips] = []
        for file in self._candidates(grid, run):
            keys = self.lake.blocks(file, KEY)
            rows = np.flatnonzero(keys["interval_s"].to_numpy() == grid.interval_s)
            keys = keys.take(pa.array(rows))
            start_s = keys["start"].cast(pa.int64()).to_numpy() // 1_000_000
            number = grid.locate(
                self.ids.codes_of(keys["meter_id"]), keys["channel"].combine_chunks(), start_s
            )
            hit = np.flatnonzero((number >= 0) & ~self._over.covers(keys))
            if not len(hit):
                continue
            owner[number[hit]] = len(files)
            files.append((file, rows[hit], number[hit]))
            held.append(
                to_strips(
                    self.lake.blocks(file).take(pa.array(rows[hit])), self.ids, self.kinds, self.senders
                )
            )
        waiting = self._over.blocks.filter(pc.equal(self._over.blocks["interval_s"], grid.interval_s))
        if len(waiting):
            start_s = waiting["start"].cast(pa.int64()).to_numpy() // 1_000_000
            number = grid.locate(
                self.ids.codes_of(waiting["meter_id"]), waiting["channel"].combine_chunks(), start_s
            )
            owner[number[number >= 0]] = len(files)
            waiting = waiting.filter(pa.array(number >= 0))
            held.append(to_strips(waiting, self.ids, self.kinds, self.senders))
        return owner, files, Strips.concat(held)

    def _candidates(self, grid: Grid, run: tuple[int, int]) -> list[DataFile]:
        if not len(grid):
            return []
        meters = grid.pile.meters
        ends = self.texts[int(meters[0])].as_py(), self.texts[int(meters[-1])].as_py()
        first, last = grid.block_start_s.min() * 1_000_000, grid.block_start_s.max() * 1_000_000
        return [
            file
            for file in self.base.files
            if file.partitions[0] < run[1] and run[0] < file.partitions[1]
            and file.starts_us[0] <= last and first <= file.starts_us[1]
            and file.meters[0] <= ends[1] and ends[0] <= file.meters[1]
        ]  # fmt: skip

    def _note_series(self, series: pa.Table) -> None:
        """Count meters, channels and gaps of a run; no series is in two of them."""
        with self._lock:
            before = self._series_before(series["meter_id"].combine_chunks())
            self.outcome.meters += len(pc.unique(series["meter_id"]))
            self.outcome.channels += len(series.group_by(["meter_id", "channel"]).aggregate([]))
            self.outcome.gaps += gaps(series, before)
        self.series.add(series)

    def _note_spans(self, grid: Grid) -> None:
        """Widen the span of every delivery by its strips in ``grid``."""
        strips, kinds = grid.strips, self.kinds.table
        used = np.flatnonzero(np.bincount(strips.kind))
        low = np.full(len(kinds), np.iinfo(np.int64).max)
        high = np.full(len(kinds), np.iinfo(np.int64).min)
        np.minimum.at(low, strips.kind, strips.start)
        np.maximum.at(high, strips.kind, strips.start + (strips.count - 1) * np.int64(grid.interval_s))
        with self._lock:
            for k in used.tolist():
                number, span = kinds[k].delivery, (int(low[k]), int(high[k]))
                held = self.outcome.spans.get(number, span)
                self.outcome.spans[number] = min(held[0], span[0]), max(held[1], span[1])

    def _note(self, slab: Slab) -> None:
        lost = lost_rows(slab.blocks, slab.losers, self._open_from)
        self.lost.add(lost)
        if not self.write:
            self.changes.add(self._changes(slab))
        with self._lock:
            outcome = self.outcome
            outcome.blocks += len(slab.blocks)
            for delivery, counts in slab.counts.items():
                outcome.counts[delivery] = outcome.counts.get(delivery, 0) + counts
            for channel, amount in slab.stored_amount.items():
                outcome.amounts[channel] += amount

    def _changes(self, slab: Slab) -> pa.Table:
        """Values of the lake that lose to a different one."""
        losers = slab.losers
        gone = np.flatnonzero(~np.isin(losers.delivery, list(self.new)))
        amounts, borders = flat_amounts(slab.blocks)
        quality, _, _ = flat_traits(slab.blocks, borders)
        at = borders[losers.block[gone]] + losers.slot[gone]
        differs = (amounts[at] != losers.amount[gone]) | (quality[at] < losers.quality[gone])
        gone, at = gone[differs], at[differs]
        rows = slab.blocks.select(["meter_id", "channel", "interval_s", "start", "offset_s"])
        rows = rows.take(pa.array(losers.block[gone]))
        start = rows["start"].cast(pa.int64()).to_numpy() + 1_000_000 * (
            rows["offset_s"].to_numpy() + losers.slot[gone] * rows["interval_s"].to_numpy().astype(np.int64)
        )
        names = np.array(QUALITY_NAMES)
        return pa.Table.from_arrays(
            [
                rows["meter_id"].combine_chunks(), rows["channel"].combine_chunks(), pa.array(start).cast(UTC_US),
                pa.array(losers.amount[gone]), pa.array(amounts[at]),
                pa.array(names[losers.quality[gone]]), pa.array(names[quality[at]]),
            ],
            schema=CHANGE_SCHEMA,
        )  # fmt: skip

    def _put(self, blocks: pa.Table, partitions: tuple[int, int]) -> None:
        files = put_by_month(self.lake, blocks, partitions)
        with self._lock:
            self.outcome.added += files

    def _rewrite(self, file: DataFile) -> list[DataFile]:
        return rewritten(self.lake, file, self._replaced[file])


def rewritten(lake: Lake, file: DataFile, replaced: Sequence[tuple[Ints, pa.Table]]) -> list[DataFile]:
    """Write a file again with the merged rows in place of those that collided."""
    keep = np.ones(file.rows, bool)
    for rows, _ in replaced:
        keep[rows] = False
    whole = lake.blocks(file).filter(pa.array(keep))
    blocks = sort_blocks(pa.concat_tables([whole, *(merged for _, merged in replaced)]))
    return put_by_month(lake, blocks, file.partitions)


def _may_share(a: DataFile, b: DataFile) -> bool:
    """Whether two files may hold the same key."""
    return (
        a.meters[0] <= b.meters[1] and b.meters[0] <= a.meters[1]
        and a.starts_us[0] <= b.starts_us[1] and b.starts_us[0] <= a.starts_us[1]
        and a.partitions[0] < b.partitions[1] and b.partitions[0] < a.partitions[1]
    )  # fmt: skip


def put_by_month(
    lake: Lake, blocks: pa.Table, partitions: tuple[int, int], *, final: bool = False, period: str = "M"
) -> list[DataFile]:
    """Put sorted blocks into files of one UTC month and at most `FILE_GROUPS` row groups each.

    ``period`` may be ``Y``: one file for a whole year, for lakes whose months are small.
    """
    if not len(blocks):
        return []
    month = blocks["start"].to_numpy().astype(f"datetime64[{period}]").astype(np.int64)
    months = np.unique(month).tolist()
    files = []
    for m in months:
        mine = blocks if len(months) == 1 else blocks.filter(pa.array(month == m))
        step = group_rows(mine) * FILE_GROUPS
        files += [lake.put(mine.slice(at, step), partitions, final=final) for at in range(0, len(mine), step)]
    return files
