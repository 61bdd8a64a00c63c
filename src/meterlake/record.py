"""The complete record beside the blocks: who delivered what, what lost, what was refused, and when.

`superseded` holds every reading that lost its slot, as stored strips, with the version of the commit in
which it lost. A loser of the winner's own amount, brought by another delivery, leaves a strip without
amounts: they are those of the slots' winners after that version. With `deliveries` and `operations` this
answers any earlier moment and any undo exactly, as long as the record is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, Sender, flat_amounts, kind_of, sort_blocks, to_strips
from meterlake.errors import NotFound
from meterlake.ids import MeterIds
from meterlake.intervals import block_span_s
from meterlake.ledger import LOST_SCHEMA, SUPERSEDED_SCHEMA, Delivered
from meterlake.merge import Pile
from meterlake.pending import current
from meterlake.readings import UTC_US
from meterlake.spool import concat
from meterlake.strips import MISSING, Ints, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from datetime import datetime

    from meterlake.merge import Bools, Losers
    from meterlake.ports import Lake


def lost_rows(blocks: pa.Table, losers: Losers, open_from: Mapping[int, int] | None = None) -> pa.Table:
    """Rows of LOST_SCHEMA for the ``losers`` of a slab with ``blocks``.

    A loser of the winner's amount is kept without amounts, unless its slot has other losers of this
    commit: then it keeps its own, because the fold of one landing cannot be repeated without it. So it does in
    blocks ``open_from`` (`ledger.open_from`) some start: readings of earlier batches may still come to them.
    """
    if not len(losers):
        return LOST_SCHEMA.empty_table()
    width = int(losers.slot.max()) + 1
    cell = losers.block * width + losers.slot
    fill = losers.amount == MISSING
    fill &= np.isin(cell, cell[~fill]) | _are_open(blocks, open_from or {})[losers.block]
    amount = losers.amount.copy()
    if fill.any():
        held, borders = flat_amounts(blocks)
        amount[fill] = held[borders[losers.block[fill]] + losers.slot[fill]]
    silent = amount == MISSING
    traits = np.stack([losers.delivery, losers.stamp_us, losers.quality, silent], axis=1).astype(np.int64)
    distinct, trait = _few(traits)
    order, cell = _in_order(trait * (int(cell.max()) + 2) + cell, amount)
    cut = np.append(True, cell[1:] != cell[:-1] + 1)
    cut |= np.append(True, losers.block[order][1:] != losers.block[order][:-1])
    return _runs(blocks, losers, order, np.flatnonzero(cut), distinct[trait[order]], amount[order])


def _are_open(blocks: pa.Table, open_from: Mapping[int, int]) -> Bools:
    """Which of ``blocks`` may miss readings of batches that are recorded already."""
    if not open_from:
        return np.zeros(len(blocks), bool)
    lengths, inverse = np.unique(blocks["interval_s"].to_numpy(), return_inverse=True)
    never = np.iinfo(np.int64).max
    since = np.array([open_from.get(block_span_s(int(i)), never) for i in lengths], np.int64)
    start_s = blocks["start"].cast(pa.int64()).to_numpy() // 1_000_000
    return np.asarray(start_s >= since[inverse.reshape(-1)], bool)


def _few(rows: Ints) -> tuple[Ints, Ints]:
    """Distinct rows and the index of each, where most rows are like the row before."""
    fresh = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))
    distinct, inverse = np.unique(rows[fresh], axis=0, return_inverse=True)
    return distinct, inverse.reshape(-1)[np.cumsum(fresh) - 1]


def _in_order(key: Ints, amount: Ints) -> tuple[Ints, Ints]:
    """Order by ``key``, equal entries (of one key and amount) once; and the keys in that order."""
    order = np.argsort(key, kind="stable")
    if (key[order][1:] == key[order][:-1]).any():
        order = np.lexsort((amount, key))
        again = (key[order][1:] == key[order][:-1]) & (amount[order][1:] == amount[order][:-1])
        order = order[np.append(True, ~again)]
    return order, key[order]


def _runs(blocks: pa.Table, losers: Losers, order: Ints, heads: Ints, traits: Ints, amount: Ints) -> pa.Table:
    """Rows of LOST_SCHEMA for runs that begin at ``heads`` of the losers taken in ``order``."""
    delivery, stamp, quality, silent = traits[heads].T
    slot = losers.slot[order][heads]
    rows = blocks.select(["meter_id", "channel", "interval_s", "start", "offset_s"])
    rows = rows.take(pa.array(losers.block[order][heads]))
    interval = rows["interval_s"].to_numpy().astype(np.int64)
    first_s = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000 + rows["offset_s"].to_numpy()
    sizes = np.diff(np.append(heads, len(order)))
    borders = np.zeros(len(heads) + 1, np.int32)
    np.cumsum(np.where(silent, 0, sizes), out=borders[1:])
    columns = {
        "meter_id": rows["meter_id"],
        "channel": rows["channel"],
        "interval_s": rows["interval_s"],
        "start": pa.array((first_s + slot * interval) * 1_000_000).cast(UTC_US),
        "count": pa.array(sizes.astype(np.int32)),
        "quality": pa.array(quality.astype(np.int8)),
        "delivery": pa.array(delivery.astype(np.int32)),
        "stamp": pa.array(stamp).cast(UTC_US),
        "amounts": pa.ListArray.from_arrays(
            pa.array(borders), pa.array(amount[amount != MISSING]), mask=pa.array(silent == 1)
        ),
    }
    return pa.table(columns, schema=LOST_SCHEMA)


def strips_of(rows: pa.Table, ids: MeterIds, kinds: Kinds, senders: Mapping[int, Sender]) -> Strips:
    """Strips of ``superseded`` rows that have their amounts."""
    if not len(rows):
        return Strips.empty()
    channel = pc.dictionary_encode(rows["channel"].combine_chunks())
    names = channel.dictionary.to_pylist()
    columns = [
        channel.indices.to_numpy(zero_copy_only=False),
        *(rows[name].to_numpy() for name in ("interval_s", "quality", "delivery")),
        rows["stamp"].cast(pa.int64()).to_numpy(),
    ]
    traits = np.stack([column.astype(np.int64) for column in columns], axis=1)
    distinct, inverse = np.unique(traits, axis=0, return_inverse=True)
    codes = [kinds.code(kind_of(names[c], i, q, s, d, senders[d])) for c, i, q, d, s in distinct.tolist()]
    return Strips(
        ids.codes_of(rows["meter_id"]),
        np.array(codes, np.int32)[inverse.reshape(-1)],
        rows["start"].cast(pa.int64()).to_numpy() // 1_000_000,
        rows["count"].to_numpy().astype(np.int32),
        np.zeros(len(rows), np.int64),
        pc.list_flatten(rows["amounts"].combine_chunks()).to_numpy().astype(np.int64),
    )


def lost_strips(strips: Strips, ids: MeterIds, kinds: Kinds) -> pa.Table:
    """Rows of LOST_SCHEMA for whole strips, empty slots left out."""
    table = kinds.table
    channels = sorted({kind.channel for kind in table})
    code = np.array([channels.index(kind.channel) for kind in table], np.int64)[strips.kind]
    by_kind = np.array([(k.interval_s, k.quality, k.delivery, k.stamp_us) for k in table], np.int64)
    interval, quality, delivery, stamp = by_kind.reshape(-1, 4)[strips.kind].T
    filled = strips.amounts != MISSING
    owner = np.repeat(np.arange(len(strips)), strips.count)
    within = np.arange(len(owner)) - strips.offsets()[owner]
    cut = np.ones(len(owner), bool)
    cut[1:] = (owner[1:] != owner[:-1]) | ~filled[:-1]
    heads = np.flatnonzero(cut & filled)
    run = np.cumsum(cut) - 1
    count = np.bincount(run[filled], minlength=run[-1] + 1 if len(run) else 0)[run[heads]]
    row = owner[heads]
    start = strips.start[row] + within[heads] * interval[row]
    borders = np.append(0, np.cumsum(count)).astype(np.int32)
    columns = {
        "meter_id": ids.texts().take(pa.array(strips.meter[row])).cast(pa.string()),
        "channel": pa.array(channels, pa.string()).take(pa.array(code[row])),
        "interval_s": pa.array(interval[row].astype(np.int32)),
        "start": pa.array(start * 1_000_000).cast(UTC_US),
        "count": pa.array(count.astype(np.int32)),
        "quality": pa.array(quality[row].astype(np.int8)),
        "delivery": pa.array(delivery[row].astype(np.int32)),
        "stamp": pa.array(stamp[row]).cast(UTC_US),
        "amounts": pa.ListArray.from_arrays(pa.array(borders), pa.array(strips.amounts[filled])),
    }
    return pa.table(columns, schema=LOST_SCHEMA)


def as_of(lake: Lake, at: int | datetime, meters: tuple[str, str] | None = None) -> pa.Table:
    """Blocks of the lake as they were at a version or moment, from blocks and record; sorted by key.

    A batch of the log counts from its acknowledgement, asked for a version from the seal that recorded it.
    ``meters`` limits the answer to ids within the closed range.
    """
    newest = lake.snapshot()
    known = Delivered.read(lake)
    if isinstance(at, int) and not 0 <= at <= newest.version:
        raise NotFound(f"{lake.url} has versions 0 to {newest.version}, not {at}")
    blocks = [_within(rows, meters) for rows in current(lake, newest, meters)]
    lost = _within(lake.records("superseded", meters), meters)
    visible = known.visible(at) if isinstance(at, int) else known.visible_at(at)
    return Candidates(known, concat(blocks, BLOCK_SCHEMA), lost).blocks(visible)


class Candidates:
    """Every candidate for the slots of some blocks, to be folded again with or without some deliveries."""

    def __init__(self, known: Delivered, blocks: pa.Table, lost: pa.Table) -> None:
        """Take the blocks as they are and what was superseded in them (SUPERSEDED_SCHEMA).

        Losers kept without amounts get them from the winners of their time.
        """
        self.known, self.ids, self.kinds = known, MeterIds(), Kinds()
        silent = lost["amounts"].is_null()
        self.current = to_strips(blocks, self.ids, self.kinds, known.senders)
        self._piles = [
            self.current,
            strips_of(lost.filter(pc.invert(silent)), self.ids, self.kinds, known.senders),
        ]
        lost = lost.filter(silent)
        for version in np.unique(lost["version"].to_numpy()).tolist():
            self._give_amounts(lost.filter(pc.equal(lost["version"], version)), version)

    def _give_amounts(self, rows: pa.Table, version: int) -> None:
        """Add strips without amounts: they lost in ``version`` to winners of their own amount."""
        pile = self._pile(self.known.visible(version))
        for grid in pile.grids():
            mine = rows.filter(pc.equal(rows["interval_s"], grid.interval_s))
            if not len(mine):
                continue
            grid.settle_offsets(Strips.empty())
            winners = pa.concat_tables([slab.blocks for slab in grid.slabs(Strips.empty())])
            amounts, borders = flat_amounts(winners)
            start_s = mine["start"].cast(pa.int64()).to_numpy() // 1_000_000
            block = grid.locate(
                self.ids.codes_of(mine["meter_id"]), mine["channel"].combine_chunks(), start_s
            )
            first = (start_s - grid.block_start_s[block] - grid.offset_s[block]) // grid.interval_s
            count = mine["count"].to_numpy().astype(np.int64)
            at = np.repeat(borders[block] + first - (np.cumsum(count) - count), count) + np.arange(
                count.sum()
            )
            lists = pa.ListArray.from_arrays(
                pa.array(np.append(0, np.cumsum(count)).astype(np.int32)), pa.array(amounts[at])
            )
            place = mine.schema.get_field_index("amounts")
            mine = mine.set_column(place, SUPERSEDED_SCHEMA.field("amounts"), lists)
            self._piles.append(strips_of(mine, self.ids, self.kinds, self.known.senders))

    @property
    def strips(self) -> Strips:
        """All candidates."""
        return Strips.concat(self._piles)

    def add(self, strips: Strips) -> None:
        """Add candidates, of meters and kinds numbered by ``ids`` and ``kinds``."""
        self._piles.append(strips)

    def _pile(self, visible: Container[int]) -> Pile:
        seen = np.array([kind.delivery in visible for kind in self.kinds.table], bool)
        strips = self.strips
        if len(strips):
            strips = strips.where(seen[strips.kind])
        return Pile(strips, self.kinds, self.ids.texts(), frozenset(), self.known.order)

    def blocks(self, visible: Container[int]) -> pa.Table:
        """Fold the candidates of ``visible`` deliveries in the order of their landing; sorted by key."""
        return self.settled(visible)[0]

    def settled(self, visible: Container[int]) -> tuple[pa.Table, Strips]:
        """Fold like `blocks`; return also the strips that lie beside the phase of their block."""
        tables, beside = [BLOCK_SCHEMA.empty_table()], []
        for grid in self._pile(visible).grids():
            beside.append(grid.settle_offsets(Strips.empty()))
            tables += [slab.blocks for slab in grid.slabs(Strips.empty())]
        blocks = pa.concat_tables(tables)
        blocks = blocks.filter(pc.greater(blocks["filled"], 0))
        return sort_blocks(blocks), Strips.concat(beside)


def _within(rows: pa.Table, meters: tuple[str, str] | None) -> pa.Table:
    if meters is None:
        return rows
    ids = rows["meter_id"]
    return rows.filter(pc.and_(pc.greater_equal(ids, meters[0]), pc.less_equal(ids, meters[1])))
