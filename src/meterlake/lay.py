"""Unsealed readings laid over the lake: the blocks that it would hold if they were sealed now.

A block of which the lake holds nothing, and for which no late reading came, is taken as it is. Every other one is
folded again from all candidates there are, in the order in which their deliveries landed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.block_keys import BlockKeys, among, hours_of, near
from meterlake.blocks import BLOCK_SCHEMA, KEY, sort_blocks, to_strips
from meterlake.intervals import block_span_s
from meterlake.ledger import LOST_SCHEMA, SUPERSEDED_SCHEMA
from meterlake.pending import of_meters, pending
from meterlake.record import Candidates, lost_strips, strips_of
from meterlake.spool import concat
from meterlake.strips import MISSING, Strips

if TYPE_CHECKING:
    from meterlake.ledger import Delivered
    from meterlake.live.part import Part
    from meterlake.merge import Bools
    from meterlake.ports import Lake, Snapshot
    from meterlake.strips import Ints, Kind


@dataclass(frozen=True, slots=True)
class Laid:
    """Blocks that stand for their keys in the lake, and what else became of the readings laid over it."""

    blocks: pa.Table
    """BLOCK_SCHEMA in key order."""
    fresh: Bools
    """Which of ``blocks`` the lake holds nothing of."""
    late: Bools
    """Which of ``blocks`` late readings came for."""
    held: Ints
    """Slots of each that the lake has filled."""
    changed: Bools
    """Which of ``blocks`` differ from what the lake holds; all of them unless ``lost`` was asked for."""
    lost: pa.Table
    """LOST_SCHEMA with amounts: readings that hold no slot and are not in the record yet; none unless asked for."""
    beside: pa.Table
    """LOST_SCHEMA: readings beside the phase of their block, which are in none."""


def lay(lake: Lake, snapshot: Snapshot, known: Delivered, part: Part, *, lost: bool = False) -> Laid:
    """Lay ``part`` over the lake at ``snapshot``; ``known`` are its deliveries.

    Readings that the lake holds already change nothing, and readings of withdrawn deliveries hold no slot.
    With ``lost``, say which readings lose by it.
    """
    keys = BlockKeys()
    own = keys.of(part.blocks)
    late = np.unique(keys.of_runs(part.late)[0])
    wanted = np.union1d(own, late)
    held = _held(lake, snapshot, part, keys, wanted)
    in_lake = np.sort(keys.of(held))
    exact = among(own, in_lake) | among(own, late) | _withdrawn(part.blocks, known)
    if not len(late) and not exact.any():
        none = LOST_SCHEMA.empty_table()
        all_, no = np.ones(len(own), bool), np.zeros(len(own), bool)
        return Laid(
            part.blocks, all_, no, np.zeros(len(own), np.int64), all_, part.lost if lost else none, none
        )
    again = np.union1d(own[exact], late)
    fold = _Fold(lake, known, part, keys, again, held)
    plain = part.blocks.filter(pa.array(~exact))
    blocks = sort_blocks(pa.concat_tables([plain, fold.blocks])) if len(plain) else fold.blocks
    number = keys.of(blocks)
    gone = [LOST_SCHEMA.empty_table()]
    changed = np.ones(len(blocks), bool)
    if lost:
        rest = (
            part.lost.filter(pa.array(~among(keys.of_runs(part.lost)[0], again)))
            if len(part.lost)
            else part.lost
        )
        won, gave_up = fold.outcome()
        gone += [rest, gave_up]
        changed = ~among(number, in_lake) | among(number, won)
    return Laid(
        blocks, ~among(number, in_lake), among(number, late), _filled(number, keys.of(held), held), changed,
        pa.concat_tables(gone), fold.beside,
    )  # fmt: skip


def _filled(number: Ints, keys: Ints, held: pa.Table) -> Ints:
    """Slots that the rows ``held``, of ``keys``, have filled of each block ``number``; 0 where there is no row."""
    if not len(held):
        return np.zeros(len(number), np.int64)
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys[order], number), len(keys) - 1)
    filled = held["filled"].to_numpy().astype(np.int64)[order][at]
    return np.where(keys[order][at] == number, filled, 0)


def _withdrawn(blocks: pa.Table, known: Delivered) -> Bools:
    """Which of ``blocks`` hold a slot of a delivery that was withdrawn."""
    held = np.zeros(len(blocks), bool)
    gone = pa.array(sorted(known.withdrawn), pa.int32())
    if not len(gone) or not len(blocks):
        return held
    held |= pc.is_in(blocks["delivery"], value_set=gone).to_numpy()
    lists = blocks["origin"].combine_chunks()
    runs = pc.list_flatten(lists)
    if len(runs):
        hit = pc.is_in(runs.field("delivery"), value_set=gone).to_numpy(zero_copy_only=False)
        held[pc.list_parent_indices(lists).to_numpy()[hit]] = True
    return held


def _held(lake: Lake, snapshot: Snapshot, part: Part, keys: BlockKeys, wanted: Ints) -> pa.Table:
    """Blocks of the lake with one of the keys ``wanted``, what waits to be folded in place of the files' rows."""
    named = _named(part)
    if not len(named):
        return BLOCK_SCHEMA.empty_table()
    ends = named["meter_id"][0].as_py(), named["meter_id"][-1].as_py()
    waiting = of_meters(pending(lake, snapshot), ends)
    waiting = waiting.filter(pa.array(among(keys.of(waiting), wanted)))
    wanted = np.setdiff1d(wanted, keys.of(waiting), assume_unique=True)
    starts = np.unique(named["start"].cast(pa.int64()).to_numpy())
    parts = [waiting]
    for file in near(snapshot.files, named, keys):
        low, high = max(ends[0], file.meters[0]), min(ends[1], file.meters[1])
        rows = lake.blocks(file, KEY, (low, high))
        rows = rows.filter(pa.array(among(rows["start"].cast(pa.int64()).to_numpy(), starts)))
        rows = rows.filter(pa.array(among(keys.of(rows), wanted)))
        if len(rows):
            some = rows["meter_id"][0].as_py(), rows["meter_id"][-1].as_py()
            whole = lake.blocks(file, None, some)
            parts.append(whole.filter(pa.array(among(keys.of(whole), wanted))))
    return concat(parts, BLOCK_SCHEMA)


def _named(part: Part) -> pa.Table:
    """Meters (``meter_id``, rising) and starts of the blocks that ``part`` touches, not always in pairs."""
    own = part.blocks.select(["meter_id", "start"])
    if not len(part.late):
        return own
    keys = BlockKeys()
    number, row = keys.of_runs(part.late)
    first = part.late.select(["meter_id"]).take(pa.array(row))
    touched = first.append_column(own.schema.field("start"), _starts(number, own.schema.field("start").type))
    return pa.concat_tables([own, touched.cast(own.schema)]).sort_by("meter_id").combine_chunks()


class _Fold:
    """Blocks of some keys folded again from the lake's block, its record, and what is laid over it."""

    def __init__(
        self, lake: Lake, known: Delivered, part: Part, keys: BlockKeys, again: Ints, held: pa.Table
    ) -> None:
        """``again`` are the keys (sorted), ``held`` the lake's blocks of some of them."""
        self._keys = keys
        known = known.including(part.senders, part.landed_us)
        lost = _record(lake, known, keys, again, held)
        candidates = self._candidates = Candidates(known, held, lost)
        self._recorded = candidates.strips
        ids, kinds = candidates.ids, candidates.kinds
        own = part.blocks.filter(pa.array(among(keys.of(part.blocks), again)))
        own_lost = (
            part.lost.filter(pa.array(among(keys.of_runs(part.lost)[0], again)))
            if len(part.lost)
            else part.lost
        )
        self._laid = Strips.concat(
            [
                to_strips(own, ids, kinds, known.senders),
                strips_of(own_lost, ids, kinds, known.senders),
                strips_of(part.late, ids, kinds, known.senders),
            ]
        )
        candidates.add(self._laid)
        self.blocks, beside = candidates.settled(known.standing)
        self._beside = beside
        self.beside = lost_strips(beside, ids, kinds) if len(beside) else LOST_SCHEMA.empty_table()

    def outcome(self) -> tuple[Ints, pa.Table]:
        """Keys (sorted) of the blocks in which a slot has another holder, and LOST_SCHEMA rows of new losers."""
        c = self._candidates
        winners = to_strips(self.blocks, c.ids, c.kinds, c.known.senders)
        before = c.current
        piles = [winners, self._recorded, self._beside, self._laid, before]
        tags = [0, 1, 1, 2, 2]
        if len(self._recorded) > len(before):  # the holders come first in it, the record after them
            held = np.arange(len(self._recorded)) < len(before)
            piles[1] = self._recorded.where(~held)
        else:
            piles[1] = Strips.empty()
        entries = _Entries.of(piles, c.kinds.table)
        tag = np.repeat(tags, [int((pile.amounts != MISSING).sum()) for pile in piles])
        gone = entries.first_of(tag, 2)
        lost = lost_strips(entries.take(gone).strips(c.kinds.table), c.ids, c.kinds)
        own = _Entries.of([before, winners], c.kinds.table)
        n = int((before.amounts != MISSING).sum())
        new = own.first_of((np.arange(len(own.amount)) >= n).astype(np.int64), 1)
        won = lost_strips(own.take(new).strips(c.kinds.table), c.ids, c.kinds)
        return np.unique(self._keys.of_runs(won)[0]) if len(won) else np.empty(0, np.int64), lost


def _record(lake: Lake, known: Delivered, keys: BlockKeys, again: Ints, held: pa.Table) -> pa.Table:
    """Rows of SUPERSEDED_SCHEMA of the blocks ``again``."""
    if not len(held) and not known.withdrawn:
        return SUPERSEDED_SCHEMA.empty_table()  # who has lost has lost to somebody
    ends = pc.min_max(keys.meters(again)).as_py()
    lost = lake.records("superseded", (ends["min"], ends["max"]))
    if not len(lost):
        return lost
    number, row = keys.of_runs(lost)
    return lost.take(pa.array(np.unique(row[among(number, again)])))


@dataclass(slots=True)
class _Entries:
    """Single readings as columns; kinds are equal where channel, interval, quality, stamp and delivery are."""

    meter: Ints
    kind: Ints
    start: Ints
    amount: Ints

    @classmethod
    def of(cls, piles: list[Strips], table: list[Kind]) -> _Entries:
        """Take strips apart, one pile after the other."""
        interval = np.array([kind.interval_s for kind in table], np.int64)
        columns: list[list[Ints]] = [[], [], [], []]
        for pile in piles:
            owner = np.repeat(np.arange(len(pile)), pile.count)
            within = np.arange(len(owner)) - pile.offsets()[owner]
            some = np.flatnonzero(pile.amounts != MISSING)
            owner, within = owner[some], within[some]
            start = pile.start[owner] + within * interval[pile.kind[owner]]
            values: list[Any] = [pile.meter[owner], pile.kind[owner], start, pile.amounts[some]]
            for column, some_values in zip(columns, values, strict=True):
                column.append(some_values.astype(np.int64))
        return cls(*(np.concatenate(column) for column in columns))

    def take(self, rows: Ints) -> _Entries:
        """Return some of them."""
        return _Entries(self.meter[rows], self.kind[rows], self.start[rows], self.amount[rows])

    def first_of(self, tag: Ints, wanted: int) -> Ints:
        """Rows, one of equal ones each, whose least ``tag`` is ``wanted``."""
        order = np.lexsort((tag, self.amount, self.start, self.kind, self.meter))
        columns = [values[order] for values in (self.meter, self.kind, self.start, self.amount)]
        head = np.ones(len(order), bool)
        head[1:] = False
        for values in columns:
            head[1:] |= values[1:] != values[:-1]
        rows: Ints = order[head & (tag[order] == wanted)]
        return rows

    def strips(self, table: list[Kind]) -> Strips:
        """Return them as strips, none over the border of a block."""
        order = np.lexsort((self.amount, self.start, self.kind, self.meter))
        meter, kind, start = self.meter[order], self.kind[order], self.start[order]
        interval = np.array([k.interval_s for k in table], np.int64)[kind]
        span = np.array([block_span_s(k.interval_s) for k in table], np.int64)[kind]
        cut = np.ones(len(order), bool)
        cut[1:] = (
            (meter[1:] != meter[:-1]) | (kind[1:] != kind[:-1]) | (start[1:] != start[:-1] + interval[1:])
        )
        cut[1:] |= start[1:] // span[1:] != start[:-1] // span[1:]
        heads = np.flatnonzero(cut)
        count = np.diff(np.append(heads, len(order))).astype(np.int32)
        return Strips(
            meter[heads].astype(np.int32), kind[heads].astype(np.int32), start[heads], count,
            np.zeros(len(heads), np.int64), self.amount[order],
        )  # fmt: skip


def _starts(numbers: Ints, kind: pa.DataType) -> pa.Array:
    return pa.array(hours_of(numbers) * 3_600_000_000).cast(kind)
