"""The law of merging written out slot by slot, and a live side as plain as can be: what seals are held to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.blocks import BLOCK_SCHEMA, Sender, sort_blocks, to_strips
from meterlake.ids import MeterIds
from meterlake.ledger import LOST_SCHEMA, QUARANTINE_SCHEMA
from meterlake.live.cut import Cut, EntryNote
from meterlake.live.part import Part
from meterlake.merge import Pile
from meterlake.readings import PRECEDENCE
from meterlake.strips import MISSING, Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_S: Final = 86_400
BASE_S: Final = 1_767_225_600
WIDTH_S: Final = 1800
CHANNEL: Final = "electricity.import"


Slot = tuple[str, int]
"""Meter and number of the slot since `BASE_S`."""

Value = tuple[int, int, int, int]
"""Amount, quality, delivery, stamp (µs)."""


class Reading(NamedTuple):
    """One reading of a batch or file; ``age`` (µs) makes its stamp the sender's, that long before it came."""

    meter: str
    slot: int
    amount: int
    quality: int = 4
    age: int = 0

    @property
    def block_s(self) -> int:
        """Start (s) of its block."""
        return BASE_S + self.slot * WIDTH_S // DAY_S * DAY_S


class Candidate(NamedTuple):
    """A reading as delivered."""

    reading: Reading
    stamp: int
    sender: bool
    source: str
    delivery: int

    @property
    def version(self) -> tuple[int, int, int, str]:
        """Order of versions."""
        return PRECEDENCE[self.reading.quality], self.stamp, -self.reading.quality, self.source


def plain_fold(landings: Sequence[Sequence[Candidate]]) -> dict[Slot, Value]:
    """The law written out: landing by landing, version by version, the greatest amount of each."""
    held: dict[tuple[str, int], Candidate] = {}
    for landing in landings:
        for key in {(c.reading.meter, c.reading.slot) for c in landing}:
            mine = [c for c in landing if (c.reading.meter, c.reading.slot) == key]
            for version in sorted({c.version for c in mine}):
                best = max(
                    (c for c in mine if c.version == version), key=lambda c: (c.reading.amount, -c.delivery)
                )
                old = held.get(key)
                if old is None or best.version > old.version:
                    same = old and old.reading[2:4] == best.reading[2:4]
                    if not same or best.sender:
                        held[key] = best
                elif best.version == old.version:
                    held[key] = max(old, best, key=lambda c: (c.reading.amount, -c.delivery))
    return {k: (c.reading.amount, c.reading.quality, c.delivery, c.stamp) for k, c in held.items()}


def slots_of(blocks: pa.Table) -> dict[Slot, Value]:
    """Every filled slot: (meter, slot) -> (amount, quality, delivery, stamp)."""
    ids, kinds = MeterIds(), Kinds()
    strips = to_strips(blocks, ids, kinds, defaultdict(lambda: Sender("x", -1)))
    names, at = ids.texts().to_pylist(), strips.offsets()
    found: dict[Slot, Value] = {}
    for i in range(len(strips)):
        kind = kinds.table[strips.kind[i]]
        for k, amount in enumerate(strips.amounts[at[i] : at[i + 1]].tolist()):
            if amount != MISSING:
                slot = (int(strips.start[i]) - BASE_S) // WIDTH_S + k
                key = names[strips.meter[i]], slot
                assert key not in found
                found[key] = amount, kind.quality, kind.delivery, kind.stamp_us
    return found


@dataclass
class Batch:
    """An acknowledged batch."""

    number: int
    received_us: int
    readings: list[Reading]

    @property
    def candidates(self) -> list[Candidate]:
        """Readings as delivered."""
        return [Candidate(r, self.received_us - r.age, r.age > 0, "head", self.number) for r in self.readings]


@dataclass
class PlainLive:
    """The live side as plainly as can be: batches in a list, and a floor below which blocks are late."""

    floor_s: int = BASE_S + DAY_S
    open: list[Candidate] = field(default_factory=list)
    late: list[Candidate] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    notes: list[EntryNote] = field(default_factory=list)
    sequence: int = 0

    def apply(self, batch: Batch) -> None:
        """Take a batch."""
        self.batches.append(batch)
        for one in batch.candidates:
            (self.late if one.reading.block_s < self.floor_s else self.open).append(one)
        starts = [BASE_S + r.slot * WIDTH_S for r in batch.readings]
        n = len(batch.readings)
        self.notes.append(
            EntryNote(
                batch.number, len(self.batches) - 1, f"b{batch.number}", "k", "head", batch.received_us, None,
                f"c{batch.number}", n, 0, n, min(starts), max(starts), (0, 0, 0, 0, 0), 0,
                QUARANTINE_SCHEMA.empty_table(),
            )
        )  # fmt: skip

    @property
    def part(self) -> Part:
        """All that is held."""
        return part_of(self.open, self.late, self.batches)

    def cut(self, floor_s: int) -> Cut:
        """Cut off the blocks that begin before ``floor_s``, and all that is late."""
        self.floor_s = max(self.floor_s, floor_s)
        frozen = [c for c in self.open if c.reading.block_s < self.floor_s]
        self.sequence += 1
        number = self.batches[-1].number if self.batches else 0
        sets = sorted({(CHANNEL, WIDTH_S, c.reading.block_s) for c in frozen})
        part = part_of(frozen, self.late, self.batches)
        floors = {DAY_S: self.floor_s, 3600: self.floor_s}
        return Cut(number, len(self.batches), self.sequence, floors, sets, part, list(self.notes))

    def release(self) -> None:
        """Drop what was cut off."""
        self.open = [c for c in self.open if c.reading.block_s >= self.floor_s]
        self.late, self.notes = [], []


def part_of(open_: list[Candidate], late: list[Candidate], batches: list[Batch]) -> Part:
    """Part of open and late readings; the open ones are merged."""
    ids, kinds = MeterIds(), Kinds()
    strips = Strips.concat(strip_of(c, ids, kinds) for c in open_)
    landed = {b.number: b.received_us for b in batches}
    tables = [BLOCK_SCHEMA.empty_table()]
    for grid in Pile(strips, kinds, ids.texts(), frozenset(), landed).grids():
        grid.settle_offsets(Strips.empty())
        tables += [slab.blocks for slab in grid.slabs(Strips.empty())]
    blocks = sort_blocks(pa.concat_tables(tables))
    held = slots_of(blocks)
    lost = [
        c
        for c in dict.fromkeys(open_)
        if held[c.reading.meter, c.reading.slot] != (c.reading.amount, c.reading.quality, c.delivery, c.stamp)
    ]
    senders = {b.number: Sender("head", b.received_us) for b in batches}
    return Part(blocks, rows_of(lost), rows_of(late), senders, landed)


def strip_of(c: Candidate, ids: MeterIds, kinds: Kinds) -> Strips:
    """Strip of one reading."""
    quality = c.reading.quality
    kind = Kind(CHANNEL, WIDTH_S, quality, PRECEDENCE[quality], c.stamp, c.sender, c.source, c.delivery)
    return Strips(
        ids.codes_of(pa.array([c.reading.meter])), np.array([kinds.code(kind)], np.int32),
        np.array([BASE_S + c.reading.slot * WIDTH_S]), np.ones(1, np.int32), np.zeros(1, np.int64),
        np.array([c.reading.amount]),
    )  # fmt: skip


def rows_of(candidates: list[Candidate]) -> pa.Table:
    """Rows of LOST_SCHEMA, one a reading."""
    rows = [
        {
            "meter_id": c.reading.meter, "channel": CHANNEL, "interval_s": WIDTH_S,
            "start": (BASE_S + c.reading.slot * WIDTH_S) * 1_000_000, "count": 1,
            "quality": c.reading.quality, "delivery": c.delivery, "stamp": c.stamp, "amounts": [c.reading.amount],
        }
        for c in candidates
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LOST_SCHEMA)
