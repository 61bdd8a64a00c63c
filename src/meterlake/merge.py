"""Which of two readings for one slot wins: any pile of strips becomes blocks, losers and counts.

The law (version order): the larger of (precedence, stamp, quality rank, source, amount). Candidates are
folded in the order in which they landed, those of one landing by version. A later version whose amount
and quality are the holder's refreshes it only where the sender gave the stamp; a mere arrival does not.

`Pile` holds the candidates of some meters; its `grids` number the blocks of each interval length, take
the lake's colliding blocks as further strips, and yield merged `Slab`s within a bound of memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake import fold
from meterlake.blocks import Cells, from_cells
from meterlake.intervals import DAY_S, block_slots, block_span_s, is_local_day
from meterlake.strips import MISSING, Codes, Ints, Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SERIES_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("interval_s", pa.int32()),
        pa.field("first_s", pa.int64()),
        pa.field("last_s", pa.int64()),
        pa.field("gained", pa.int64()),
    ]
)
"""One row a meter-channel and interval: start (s) of its first and last filled slot, slots gained."""

Bools = npt.NDArray[np.bool_]

CELLS_MAX: Final = 16_000_000
"""Cells folded at once: 12 to 40 bytes each, so a slab stays below about half a gigabyte."""

TABLE_MAX: Final = 32_000_000
"""Entries of the table that numbers the blocks of a grid; meters whose dates lie far apart are cut into more
grids, so that a few wrong clocks cost time and not memory."""


@dataclass(frozen=True, slots=True)
class Losers:
    """Candidates that do not hold their slot, one an entry; what `superseded` rows are made of."""

    block: Ints
    """Row of the slab's blocks."""
    slot: Ints
    quality: npt.NDArray[np.int8]
    delivery: Codes
    stamp_us: Ints
    amount: Ints
    """Milli units; MISSING where it is the winner's amount."""

    def __len__(self) -> int:
        """Return the number of losers."""
        return len(self.block)


@dataclass(frozen=True, slots=True)
class Slab:
    """Some merged blocks in key order."""

    blocks: pa.Table
    """BLOCK_SCHEMA; a block that lost all its readings is still here, with ``filled`` 0."""
    first_block: int
    """Number, within the grid, of the first of ``blocks``."""
    counts: Mapping[int, Ints]
    """By new delivery: stored, replaced, duplicate, superseded, conflict."""
    losers: Losers
    stored_amount: Mapping[str, int]
    """Sum by channel of what this pile stored, milli units."""
    changed: Bools
    """Which of ``blocks`` hold anything new."""
    series: pa.Table
    """SERIES_SCHEMA: the reach of the merged blocks and the slots gained over the lake's."""


@dataclass(frozen=True, slots=True)
class KindTable:
    """The kinds in use as arrays, and the two orders of versions."""

    kinds: Sequence[Kind]
    turn: Codes
    """Order of (landing, version): equal for candidates of one class."""
    rank: Codes
    """Order of versions alone."""
    quality: npt.NDArray[np.int8]
    sender: Bools
    delivery: Codes
    """Index into ``deliveries``."""
    new: Bools
    trait: Codes
    """Index into ``traits``."""
    deliveries: Ints
    traits: Ints

    @classmethod
    def of(cls, kinds: Sequence[Kind], landings: Mapping[int, Any], new: frozenset[int]) -> KindTable:
        """Rank ``kinds``; ``landings`` gives the place of each delivery in the order of landing, default 0."""
        versions = [(k.precedence, k.stamp_us, -k.quality, k.source) for k in kinds]
        classes = [(landings.get(k.delivery, 0), v) for k, v in zip(kinds, versions, strict=True)]
        deliveries, delivery = np.unique([k.delivery for k in kinds], return_inverse=True)
        traits, trait = np.unique([(k.delivery, k.stamp_us) for k in kinds], axis=0, return_inverse=True)
        return cls(
            kinds=kinds,
            turn=_dense(classes),
            rank=_dense(versions),
            quality=np.array([k.quality for k in kinds], np.int8),
            sender=np.array([k.sender_stamp for k in kinds]),
            delivery=delivery.astype(np.int32),
            new=np.array([k.delivery in new for k in kinds]),
            trait=trait.reshape(-1).astype(np.int32),
            deliveries=deliveries,
            traits=traits,
        )


def _dense(keys: Sequence[Any]) -> Codes:
    place = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] for key in keys], np.int32)


_working = threading.local()


def _scratch(name: str, size: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    """Array of ``size`` for this thread to work in, with whatever it held: fresh memory would cost its faults."""
    held = getattr(_working, name, None)
    if held is None or len(held) < size:
        held = np.empty(size, kind)
        setattr(_working, name, held)
    return held[:size]


class Pile:
    """The candidates of some meters, and the order of their series.

    ``strips`` are in the order that breaks ties (first stays); ``texts`` are all meter ids by code;
    ``new`` are the deliveries being decided, all others come from the lake.
    """

    def __init__(
        self,
        strips: Strips,
        kinds: Kinds,
        texts: pa.LargeStringArray,
        new: frozenset[int],
        landings: Mapping[int, Any] | None = None,
    ) -> None:
        """Order the meters and channels of ``strips``."""
        self.numbered, self.texts, self.new = kinds, texts, new
        self.landings = landings if landings is not None else dict.fromkeys(new, 1)
        self.strips = strips
        seen = np.zeros(len(texts), bool)
        seen[strips.meter] = True
        present = np.flatnonzero(seen)
        order = pc.sort_indices(texts.take(pa.array(present))).to_numpy() if len(present) else present
        self.meters: Ints = present[order]
        self.meter_rank = np.full(len(texts), -1, np.int32)
        self.meter_rank[self.meters] = np.arange(len(self.meters))
        self.used: list[int] = np.flatnonzero(np.bincount(strips.kind)).tolist()
        self.channels = sorted({self.kinds[k].channel for k in self.used})
        self.lengths = sorted({self.kinds[k].interval_s for k in self.used})
        """Interval lengths in use."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """The kinds by code, as far as they are numbered by now."""
        return self.numbered.table

    def channel_codes(self) -> Ints:
        """Index into ``channels`` of every kind, -1 where this pile has no such channel."""
        place = {name: code for code, name in enumerate(self.channels)}
        return np.array([place.get(kind.channel, -1) for kind in self.kinds], np.int64)

    def off_grid(self) -> Bools:
        """Which strips lie beside the phase that most readings of their meter-channel have.

        Local-day reads share one family whatever the day's length. Ties fall to the smallest phase.
        """
        strips = self.strips
        interval = self._by_kind([k.interval_s for k in self.kinds])
        days = self._by_kind([is_local_day(k.interval_s) for k in self.kinds])
        given = self._by_kind([k.phase for k in self.kinds])
        phase = np.where((given >= 0) | (days == 1), given, strips.start % np.maximum(interval, 1))
        if not phase.any():
            return np.zeros(len(strips), bool)
        family = np.where(days == 1, DAY_S, interval)
        channel = self.channel_codes()[strips.kind]
        series = np.stack([strips.meter, channel, family], axis=1).astype(np.int64)
        _, series_code = np.unique(series, axis=0, return_inverse=True)
        pairs, pair = np.unique(
            np.stack([series_code.reshape(-1), phase], axis=1), axis=0, return_inverse=True
        )
        weight = np.bincount(pair.reshape(-1), weights=strips.count, minlength=len(pairs))
        best = np.lexsort((pairs[:, 1], -weight, pairs[:, 0]))
        leaders = best[np.unique(pairs[best, 0], return_index=True)[1]]
        return ~np.isin(pair.reshape(-1), leaders) & (phase >= 0)

    def _by_kind(self, values: Sequence[int]) -> Ints:
        return np.array(values, np.int64)[self.strips.kind]

    def grids(self) -> Iterator[Grid]:
        """Split by interval length, shortest first, and by meters where their days reach too far."""
        for interval_s in self.lengths:
            mine = np.array([k.interval_s == interval_s for k in self.kinds])
            strips = self.strips if len(self.lengths) == 1 else self.strips.where(mine[self.strips.kind])
            for some in self._within_table(strips, interval_s):
                yield Grid(self, some, interval_s)

    def _within_table(self, strips: Strips, interval_s: int) -> Iterator[Strips]:
        """Cut ``strips`` by meters, in their order, so that no grid numbers more than `TABLE_MAX` blocks."""
        span_s, channels = block_span_s(interval_s), len(self.channels)
        first = strips.start // span_s
        last = (strips.start + (strips.count - 1) * np.int64(interval_s)) // span_s
        if (int(last.max()) - int(first.min()) + 1) * len(self.meters) * channels <= TABLE_MAX:
            yield strips
            return
        rank = self.meter_rank[strips.meter]
        low = np.full(len(self.meters), np.iinfo(np.int64).max)
        high = np.full(len(self.meters), np.iinfo(np.int64).min)
        np.minimum.at(low, rank, first)
        np.maximum.at(high, rank, last)
        reach = np.where(high >= low, high - low + 1, 0) * channels
        part = (np.cumsum(reach) - reach) // TABLE_MAX
        for number in np.unique(part[rank]).tolist():
            yield strips.where(part[rank] == number)


@dataclass(slots=True)
class _Cell:
    """Working arrays of one slab."""

    winner: Codes
    amount: Ints
    repeats: int = 0
    lake: Codes = field(default_factory=lambda: np.empty(0, np.int32))
    lake_amount: Ints = field(default_factory=lambda: np.empty(0, np.int64))


class Grid:
    """All candidates of one interval length with their blocks numbered in key order."""

    def __init__(self, pile: Pile, strips: Strips, interval_s: int) -> None:
        """Number the blocks that ``strips`` touch."""
        self.pile, self.strips, self.interval_s = pile, strips, interval_s
        self.span_s, self.width = block_span_s(interval_s), block_slots(interval_s)
        n_series = len(pile.meters) * len(pile.channels)
        self._first = np.full(n_series, np.iinfo(np.int64).max // 2)
        self._last = np.full(n_series, -1 - np.iinfo(np.int64).max // 2)
        series = self._series(strips)
        fold.extents(series, strips.start, strips.count, interval_s, self.span_s, self._first, self._last)
        sizes = np.maximum(self._last - self._first + 1, 0)
        self._base = np.cumsum(sizes) - sizes
        self._number = np.zeros(int(sizes.sum()), np.int32)
        fold.mark(
            series, strips.start, strips.count, interval_s, self.span_s,
            self._first, self._base, self._number,
        )  # fmt: skip
        at = np.flatnonzero(self._number)
        self._number[:] = -1
        self._number[at] = np.arange(len(at))
        owner = np.repeat(np.arange(n_series), sizes)[at]
        self.block_series: Ints = owner
        self.block_start_s: Ints = (self._first[owner] + at - self._base[owner]) * self.span_s
        self.offset_s = np.full(len(at), -1, np.int64)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.block_series)

    def _series(self, strips: Strips) -> Ints:
        n = len(self.pile.channels)
        rank = self.pile.meter_rank[strips.meter].astype(np.int64)
        return rank if n == 1 else rank * n + self.pile.channel_codes()[strips.kind]

    def locate(self, meter: Codes, channel: pa.Array, start_s: Ints) -> Ints:
        """Return the block number of each key, -1 where this grid has no such block."""
        channels = self.pile.channels
        code = (
            pc.fill_null(pc.index_in(channel, pa.array(channels, pa.string())), -1)
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )
        known = (meter >= 0) & (meter < len(self.pile.meter_rank))
        rank = np.where(known, self.pile.meter_rank[np.where(known, meter, 0)], -1)
        series = rank * np.int64(len(channels)) + code
        ok = (rank >= 0) & (code >= 0)
        day = start_s // self.span_s
        safe = np.where(ok, series, 0)
        ok &= (day >= self._first[safe]) & (day <= self._last[safe])
        safe = np.where(ok, safe, 0)
        at = np.where(ok, self._base[safe] + day - self._first[safe], 0)
        return np.where(ok, self._number[at], -1) if len(self._number) else np.full(len(day), -1)

    def settle_offsets(self, lake: Strips) -> Strips:
        """Give every block its phase, the lake's first; drop and return the strips that lie beside it."""
        self._set_offsets(lake, np.zeros(len(lake), bool))
        clash = np.zeros(len(self.strips), bool)
        self._set_offsets(self.strips, clash)
        beside = self.strips.where(clash)
        self.strips = self.strips.where(~clash)
        return beside

    def _set_offsets(self, strips: Strips, clash: Bools) -> None:
        fold.offsets(
            self._series(strips), strips.start, strips.count, self.interval_s, self.span_s, self.width,
            self._first, self._base, self._number, self.offset_s, clash,
        )  # fmt: skip

    def slabs(self, lake: Strips) -> Iterator[Slab]:
        """Fold everything, the lake's strips of colliding blocks included; slabs in key order."""
        pile, kinds = self.pile, self.pile.kinds
        strips = Strips.concat([lake, self.strips])
        used = np.flatnonzero(np.bincount(strips.kind))
        place = np.zeros(used[-1] + 1 if len(used) else 0, np.int32)
        place[used] = np.arange(len(used))
        table = KindTable.of([kinds[k] for k in used.tolist()], pile.landings, pile.new)
        kind = place[strips.kind]
        series = self._series(strips)
        step = max(1, CELLS_MAX // self.width)
        for low in range(0, len(self), step):
            high = min(low + step, len(self))
            yield self._slab(strips, kind, series, table, low, high)

    def _slab(self, strips: Strips, kind: Codes, series: Ints, table: KindTable, low: int, high: int) -> Slab:
        at = strips.offsets()
        shape = (
            self.interval_s, self.span_s, self.width, MISSING, low, high,
            self._first, self._base, self._number,
        )  # fmt: skip
        size = (high - low) * self.width
        cell = _Cell(_scratch("winner", size, np.int32), _scratch("amount", size, np.int64))
        traits = table.turn, table.rank, table.quality, table.sender, table.delivery
        for many in (False, True):
            order = np.argsort(table.turn[kind], kind="stable") if many else np.empty(0, np.int64)
            late = _scratch("late", size if many else 0, np.int32)
            cell.winner.fill(-1)
            late.fill(-1)
            cell.repeats = fold.fold(
                order, series, kind, strips.start, strips.count, at, strips.amounts, *shape, *traits,
                cell.winner, cell.amount, late, _scratch("late_amount", len(late), np.int64),
            )  # fmt: skip
            if cell.repeats >= 0:
                break
        ends, held = np.zeros((high - low, 2), np.int64), np.zeros(len(table.kinds), np.int64)
        blocks = self._rows(kind, table, cell, low, ends, held)
        if cell.repeats == 0 and bool(table.new.all()):
            counts, losers = self._all_stored(table, held), _no_losers()
            sums = blocks["total"].to_numpy()
            changed = np.ones(high - low, bool)
        else:
            counts, losers = self._judge(strips, kind, series, table, at, shape, cell)
            sums = self._stored(table, kind, cell)
            changed = self._changed(table, kind, cell)
        channel = self.block_series[low:high] % len(self.pile.channels)
        amounts = {name: exact_sum(sums[channel == code]) for code, name in enumerate(self.pile.channels)}
        return Slab(blocks, low, counts, losers, amounts, changed, self._reach(blocks, cell, low, ends))

    def _all_stored(self, table: KindTable, held: Ints) -> dict[int, Ints]:
        """Counts of a slab in which nothing met anything."""
        tally = np.zeros((len(table.deliveries), 5), np.int64)
        np.add.at(tally[:, fold.STORED], table.delivery, held)
        return self._by_delivery(table, tally)

    def _judge(  # noqa: PLR0913
        self, strips: Strips, kind: Codes, series: Ints, table: KindTable, at: Ints,
        shape: tuple[Any, ...], cell: _Cell,
    ) -> tuple[dict[int, Ints], Losers]:  # fmt: skip
        tally = np.zeros((len(table.deliveries), 5), np.int64)
        old = ~table.new[kind]
        if old.any():
            cell.lake = np.full(len(cell.winner), -1, np.int32)
            cell.lake_amount = np.zeros(len(cell.winner), np.int64)
            fold.holders(
                old,
                series,
                strips.start,
                strips.count,
                at,
                strips.amounts,
                *shape,
                cell.lake,
                cell.lake_amount,
            )
        room = cell.repeats
        found = np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room, np.int64)
        n = fold.judge(
            series, kind, strips.start, strips.count, at, strips.amounts, *shape,
            table.rank, table.quality, table.delivery, table.new,
            cell.winner, cell.amount, cell.lake, cell.lake_amount, tally, *found,
        )  # fmt: skip
        cells, holder, amount = found[0][:n], found[1][:n], found[2][:n]
        k = kind[holder]
        losers = Losers(
            cells // self.width, cells % self.width, table.quality[k],
            table.deliveries[table.delivery[k]].astype(np.int32), table.traits[table.trait[k], 1], amount,
        )  # fmt: skip
        return self._by_delivery(table, tally), losers

    @staticmethod
    def _by_delivery(table: KindTable, tally: Ints) -> dict[int, Ints]:
        fresh = set(table.delivery[table.new].tolist())
        return {int(table.deliveries[i]): tally[i] for i in sorted(fresh)}

    def _stored(self, table: KindTable, kind: Codes, cell: _Cell) -> Ints:
        """Sum by block what new candidates hold, but for duplicates of the lake's amount."""
        won = cell.winner >= 0
        won[won] = table.new[kind[cell.winner[won]]]
        if len(cell.lake):
            same = won & (cell.lake >= 0) & (cell.lake_amount == cell.amount)
            old, now = kind[cell.lake[same]], kind[cell.winner[same]]
            won[np.flatnonzero(same)[table.quality[now] >= table.quality[old]]] = False
        sums: Ints = np.where(won, cell.amount, 0).reshape(-1, self.width).sum(axis=1)
        return sums

    def _changed(self, table: KindTable, kind: Codes, cell: _Cell) -> Bools:
        won = cell.winner >= 0
        won[won] = table.new[kind[cell.winner[won]]]
        return np.asarray(won.reshape(-1, self.width).any(axis=1), bool)

    def _reach(self, blocks: pa.Table, cell: _Cell, low: int, ends: Ints) -> pa.Table:
        """Rows of SERIES_SCHEMA for the merged blocks."""
        filled = blocks["filled"].to_numpy().astype(np.int64)
        gained = filled
        if len(cell.lake):
            gained = filled - (cell.lake >= 0).reshape(-1, self.width).sum(axis=1)
        some = np.flatnonzero(filled)
        series = self.block_series[low + some]
        heads = np.flatnonzero(np.append(True, series[1:] != series[:-1])) if len(some) else some
        tails = np.append(heads[1:], len(some)) - 1 if len(some) else some
        moment = (self.block_start_s + self.offset_s)[low + some][:, None] + ends[some] * self.interval_s
        names = blocks.select(["meter_id", "channel", "interval_s"]).take(pa.array(some[heads]))
        return pa.Table.from_arrays(
            [
                *names.columns,
                pa.array(moment[heads, 0]),
                pa.array(moment[tails, 1]),
                pa.array(np.add.reduceat(gained[some], heads) if len(some) else some),
            ],
            schema=SERIES_SCHEMA,
        )

    def _rows(self, kind: Codes, table: KindTable, cell: _Cell, low: int, ends: Ints, held: Ints) -> pa.Table:
        n, size = len(ends), len(cell.winner)
        high = low + n
        values, valid = np.empty(size, np.int32), np.empty(size, bool)
        filled, total, scale = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int8)
        trait, quality, fits = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, bool)
        fold.pack(
            cell.winner, cell.amount, self.width, kind, table.trait, table.quality,
            values, valid, filled, total, scale, trait, quality, fits, ends, held,
        )  # fmt: skip
        series = self.block_series[low:high]
        codes = self.pile.meters[series // len(self.pile.channels)]
        channel = pa.DictionaryArray.from_arrays(
            pa.array((series % len(self.pile.channels)).astype(np.int32)), pa.array(self.pile.channels)
        )
        return from_cells(Cells(
            self.pile.texts.take(pa.array(codes)).cast(pa.string()), channel.cast(pa.string()),
            self.interval_s, self.block_start_s[low:high], self.offset_s[low:high],
            values, valid, cell.amount, scale, fits, filled, total, quality, trait,
            lambda at: table.quality[kind[cell.winner[at]]],
            lambda at: table.trait[kind[cell.winner[at]]],
            table.traits,
        ))  # fmt: skip


def exact_sum(amounts: Ints) -> int:
    """Sum without a wrap, whatever the amounts."""
    return (int((amounts >> 32).sum()) << 32) + int((amounts & 0xFFFFFFFF).sum())


def _no_losers() -> Losers:
    none = np.empty(0, np.int64)
    return Losers(none, none, none.astype(np.int8), none.astype(np.int32), none, none)
