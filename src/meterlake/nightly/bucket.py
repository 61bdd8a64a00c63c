"""One bucket of a day: its blocks folded again from the complete record, and held against the lake and what was published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.block_keys import BlockKeys, among
from meterlake.blocks import BLOCK_SCHEMA, KEY, flat_amounts, flat_traits, sort_blocks
from meterlake.completeness import Names, Pairs, Series, Stays, by_region, by_source, late_by_row
from meterlake.ids import PARTITIONS
from meterlake.intervals import DAY_S
from meterlake.merge import exact_sum
from meterlake.nightly.daily import daily_totals
from meterlake.nightly.outcome import ADJUSTED, KEY_SCHEMA, Outcome
from meterlake.nightly.spread import Spread
from meterlake.query.sums import codes_of
from meterlake.record import Candidates
from meterlake.slots import width
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.completeness import Roster
    from meterlake.ledger import Counted, Delivered
    from meterlake.merge import Bools
    from meterlake.ports import DataFile, Lake, Snapshot
    from meterlake.strips import Ints

PIECE_SLOTS: Final = 4_000_000
"""Slots folded at once: about 150 bytes each at the worst."""

BUCKET_SLOTS: Final = 40_000_000
"""Slots of a bucket, where files do not force more: it is read as a whole."""


@dataclass(frozen=True, slots=True)
class Night:
    """A day to be recomputed at a cut, and all that its buckets need."""

    lake: Lake
    base: Snapshot
    """The lake at the cut; nothing waits over its files."""
    known: Delivered
    start_s: int
    published: int | None
    """Version at which the day was published before; None where it was not."""
    lost: Spread
    """Rows of the record that touch the day."""
    roster: Roster
    kept_from_s: int
    """Moment before which retention has dropped readings."""

    @property
    def counts(self) -> Counted:
        """Deliveries that count at the cut."""
        return self.known.visible(self.base.version)

    @property
    def counted_then(self) -> Counted | None:
        """Deliveries that counted when the day was published."""
        return None if self.published is None else self.known.visible(self.published)


def files_of(base: Snapshot, start_s: int, stop_s: int) -> list[DataFile]:
    """Files that may hold blocks that start in ``[start_s, stop_s)``."""
    return [
        file
        for file in base.files
        if file.starts_us[0] < stop_s * 1_000_000 and file.starts_us[1] >= start_s * 1_000_000
    ]


def of_time(blocks: pa.Table, start_s: int, stop_s: int) -> pa.Table:
    """Blocks that start in ``[start_s, stop_s)``."""
    start = blocks["start"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(start, start_s * 1_000_000), pc.less(start, stop_s * 1_000_000))
    return blocks.filter(inside)


def buckets(lake: Lake, base: Snapshot, start_s: int) -> list[tuple[int, int]]:
    """Cut the partitions into runs of about `BUCKET_SLOTS` of the day, where possible between files."""
    weight, crossed = np.zeros(PARTITIONS), np.zeros(PARTITIONS + 1, bool)
    for file in files_of(base, start_s, start_s + DAY_S):
        rows = of_time(lake.blocks(file, ["interval_s", "start"]), start_s, start_s + DAY_S)
        low, high = file.partitions
        weight[low:high] += float(width(rows["interval_s"].to_numpy()).sum()) / (high - low)
        crossed[low + 1 : high] |= len(rows) > 0
    sums = np.append(0, np.cumsum(weight))
    runs, low = [], 0
    while low < PARTITIONS:
        fits = max(low + 1, int(np.searchsorted(sums, sums[low] + BUCKET_SLOTS * 1.001, "right")) - 1)
        clean = [border for border in range(low + 1, fits + 1) if not crossed[border]]
        high = clean[-1] if clean else fits
        runs.append((low, high))
        low = high
    return runs


def rows_between(lake: Lake, base: Snapshot, span: tuple[int, int], run: tuple[int, int]) -> pa.Table:
    """Blocks that start in ``span`` (s) of the partitions of ``run``, file by file."""
    parts = [BLOCK_SCHEMA.empty_table()]
    for file in files_of(base, *span):
        low, high = file.partitions
        if low >= run[1] or high <= run[0]:
            continue
        rows = of_time(lake.blocks(file), *span)
        if len(rows) and not (run[0] <= low and high <= run[1]):
            rows = Spread(rows).of(*run)
        parts.append(rows)
    return pa.concat_tables(parts)


def rework(night: Night, run: tuple[int, int]) -> Outcome:
    """Recompute the day of the meters of a run of partitions."""
    stop_s = night.start_s + DAY_S
    rows = Spread(rows_between(night.lake, night.base, (night.start_s, stop_s), run))

    @lru_cache(maxsize=1)
    def before() -> Spread:
        span = night.start_s - 2 * DAY_S, night.start_s
        return Spread(rows_between(night.lake, night.base, span, run))

    found = Outcome()
    weight = width(rows.all()["interval_s"].to_numpy())
    for low, high in rows.pieces(*run, weight, PIECE_SLOTS):
        held = sort_blocks(rows.of(low, high)).combine_chunks()
        found.add(_piece(night, held, (low, high), lambda a=low, b=high: before().of(a, b)))
    return found


def _piece(night: Night, held: pa.Table, run: tuple[int, int], before: Any) -> Outcome:
    """Recompute the blocks ``held`` of a run of partitions; ``before`` gives those of the days before."""
    stop_s = night.start_s + DAY_S
    candidates = Candidates(night.known, held, night.lost.of(*run))
    truth = of_time(candidates.blocks(night.counts), night.start_s, stop_s).combine_chunks()
    then = night.counted_then
    found = Outcome(blocks=len(truth), readings=int(pc.sum(truth["filled"]).as_py() or 0))
    found.tables["broken"].append(_broken(held, truth))
    published = truth
    if then is not None and _differ(candidates, night.counts, then):
        published = of_time(candidates.blocks(then), night.start_s, stop_s)
    names = Names()
    series = Series.of(names, truth, late_by_row(truth, then))
    _adjust(found, names, series, Series.of(names, published), compared=then is not None)
    stays_rows, known = night.roster.of(*run)
    stays = Stays(names, stays_rows)
    pairs = Pairs.of(names, series, stays, known)
    found.regions = by_region(names, pairs, series, stays, (night.start_s, stop_s))

    def source(number: int) -> tuple[str, bool]:
        return night.known.senders[number].source, then is not None and number not in then

    found.sources = by_source(names, pairs, series, truth, source)
    found.tables["daily_totals"].append(
        daily_totals(names, stays, known, truth, before, (night.start_s, night.kept_from_s))
    )
    return found


def _differ(candidates: Candidates, now: Counted, then: Counted) -> bool:
    """Whether some delivery counts now and did not then, or the other way round."""
    numbers = {kind.delivery for kind in candidates.kinds.table}
    return any((number in now) != (number in then) for number in numbers)


def _adjust(found: Outcome, names: Names, now: Series, then: Series, *, compared: bool) -> None:
    """Note what each series amounts to, and those that differ from ``then``."""
    sides = (then, now)
    meter, channel, interval = (
        np.concatenate([getattr(side, name) for side in sides]) for name in ("meter", "channel", "interval")
    )
    code, first = codes_of(meter, channel, interval)
    amount, filled = np.zeros((2, len(first)), np.int64), np.zeros((2, len(first)), np.int64)
    for i, (side, own) in enumerate(zip(sides, np.split(code, [len(then.meter)]), strict=True)):
        amount[i, own], filled[i, own] = side.amount, side.filled
    meter, channel, interval = meter[first], channel[first], interval[first]
    differs = ((amount[0] != amount[1]) | (filled[0] != filled[1])) & compared
    kind, one = codes_of(channel, interval)
    for number, at in enumerate(one.tolist()):
        mine = kind == number
        sums = found.channels[names.channels[channel[at]], int(interval[at])]
        sums.published += exact_sum(amount[0][mine]) if compared else 0
        sums.amount += exact_sum(amount[1][mine])
        sums.adjusted += int((differs & mine).sum())
    rows = np.flatnonzero(differs)
    ids, channels = names.texts(meter[rows], channel[rows])
    columns = [
        ids, channels, pa.array(interval[rows].astype(np.int32)), pa.array(amount[0][rows]), pa.array(amount[1][rows]),
        pa.array(amount[1][rows] - amount[0][rows]), pa.array(filled[0][rows].astype(np.int32)),
        pa.array(filled[1][rows].astype(np.int32)),
    ]  # fmt: skip
    found.tables["adjustments"].append(pa.Table.from_arrays(columns, schema=ADJUSTED))


def _broken(held: pa.Table, truth: pa.Table) -> pa.Table:
    """Keys of blocks that differ, in key order."""
    if held.equals(truth):
        return KEY_SCHEMA.empty_table()
    keys = BlockKeys()
    ours, theirs = keys.of(held), keys.of(truth)
    alone = np.flatnonzero(~among(ours, np.sort(theirs)))
    missing = np.flatnonzero(~among(theirs, np.sort(ours)))
    both = truth.filter(pa.array(among(theirs, np.sort(ours))))
    same = held.filter(pa.array(among(ours, np.sort(theirs))))
    unlike = np.concatenate([np.empty(0, np.int64), *_unlike(same, both, 0)])
    parts = [held.take(pa.array(alone)), truth.take(pa.array(missing)), both.take(pa.array(unlike))]
    return sort_blocks(pa.concat_tables([part.select(list(KEY)) for part in parts])).cast(KEY_SCHEMA)


def _unlike(a: pa.Table, b: pa.Table, first: int) -> Iterator[Ints]:
    """Yield the rows, counted from ``first``, at which two tables of the same keys hold different readings."""
    if a.equals(b):
        return
    if len(a) > 64:
        half = len(a) // 2
        yield from _unlike(a.slice(0, half), b.slice(0, half), first)
        yield from _unlike(a.slice(half), b.slice(half), first + half)
        return
    yield first + np.flatnonzero(~_alike(a.combine_chunks(), b.combine_chunks()))


def _alike(a: pa.Table, b: pa.Table) -> Bools:
    """Which rows of two tables of the same keys hold the same readings, however they are written."""
    small = [a[name].to_numpy() == b[name].to_numpy() for name in ("offset_s", "filled", "total")]
    alike = np.logical_and.reduce(small)
    sides = []
    for table in (a, b):
        amounts, borders = flat_amounts(table)
        traits = flat_traits(table, borders)
        empty = amounts == MISSING
        sides.append((amounts, *(np.where(empty, 0, trait) for trait in traits), borders))
    if not np.array_equal(sides[0][-1], sides[1][-1]):
        return np.zeros(len(a), bool)
    row = np.repeat(np.arange(len(a)), np.diff(sides[0][-1]))
    for left, right in zip(sides[0][:-1], sides[1][:-1], strict=True):
        alike[row[left != right]] = False
    return np.asarray(alike, bool)


def lost_of(rows: pa.Table, version: int, start_s: int) -> pa.Table:
    """Rows of the record up to ``version`` that touch the UTC day from ``start_s``."""
    start = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000
    last = start + (rows["count"].to_numpy() - 1) * rows["interval_s"].to_numpy().astype(np.int64)
    mine = (start < start_s + DAY_S) & (last >= start_s) & (rows["version"].to_numpy() <= version)
    return rows.filter(pa.array(mine))
