"""Beats that are about to go, as quarter-hours: exact sums of those that are complete, laid over the lake by the law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.block_keys import BlockKeys, among
from meterlake.blocks import BLOCK_SCHEMA, Sender, flat_amounts, sort_blocks
from meterlake.ids import PARTITIONS
from meterlake.intervals import MINUTE_S
from meterlake.landing import put_by_month
from meterlake.lay import lay
from meterlake.ledger import DELIVERY_SCHEMA, LOST_SCHEMA, Delivered
from meterlake.live.part import Part
from meterlake.nightly.bucket import rows_between
from meterlake.readings import UTC_US
from meterlake.slots import width
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meterlake.merge import Bools
    from meterlake.ports import DataFile, Lake, Snapshot
    from meterlake.strips import Ints

QUARTER_S: Final = 900
DERIVED: Final = 6
SOURCE: Final = "rollup"
SLOTS_AT_ONCE: Final = 20_000_000
EVER_S: Final = -(2**40)


class Rollup:
    """Quarter-hours of the beats before one moment, as far as quarter-hours are kept."""

    def __init__(self, lake: Lake, base: Snapshot, before_s: int, since_s: int, now: datetime) -> None:
        """Take beats that start before ``before_s``; quarter-hours before ``since_s`` are not kept."""
        self._lake, self._base, self._span = lake, base, (since_s, before_s)
        self._number, self._now_us = 0, int(now.timestamp() * 1_000_000)
        self._known = Delivered.read(lake)
        self._keys = BlockKeys()
        self._held = BLOCK_SCHEMA.empty_table()
        self._numbers: Ints = np.empty(0, np.int64)
        self._reach = (0, 0)
        self.quarters = 0
        self.added: list[DataFile] = []
        """Files of quarter-hours of which the lake held nothing."""
        self.lost: list[pa.Table] = []
        """LOST_SCHEMA: quarter-hours that hold no slot, or lose theirs."""

    def run(self, files: Sequence[DataFile]) -> None:
        """Sum up the beats of ``files``, a run of partitions at a time."""
        weight = np.zeros(PARTITIONS)
        for file in files:
            rows = self._lake.blocks(file, ["interval_s"])["interval_s"].to_numpy()
            low, high = file.partitions
            weight[low:high] += float(width(rows[rows < MINUTE_S]).sum()) / (high - low)
        if not weight.any() or self._span[0] >= self._span[1]:
            return
        replaced, sums, low = [BLOCK_SCHEMA.empty_table()], np.append(0, np.cumsum(weight)), 0
        while low < PARTITIONS:
            high = max(low + 1, int(np.searchsorted(sums, sums[low] + SLOTS_AT_ONCE, "right")) - 1)
            rows = rows_between(self._lake, self._base, self._span, (low, high))
            beats = rows.filter(pc.less(rows["interval_s"], MINUTE_S)).combine_chunks()
            if len(beats):
                replaced.append(self._lay(beats, (low, high)))
            low = high
        self._held = sort_blocks(pa.concat_tables(replaced))
        self._numbers = self._keys.of(self._held)

    def _lay(self, beats: pa.Table, run: tuple[int, int]) -> pa.Table:
        """Lay the quarter-hours of some beats over the lake; return the blocks that replace others."""
        quarters = self._quarters(beats)
        if not len(quarters):
            return BLOCK_SCHEMA.empty_table()
        none = LOST_SCHEMA.empty_table()
        senders = {self._number: Sender(SOURCE, self._now_us)}
        part = Part(BLOCK_SCHEMA.empty_table(), none, quarters, senders, {self._number: self._now_us})
        laid = lay(self._lake, self._base, self._known, part, lost=True)
        fresh, changed = pa.array(laid.fresh), pa.array(laid.changed & ~laid.fresh)
        self.added += put_by_month(self._lake, laid.blocks.filter(fresh), run)
        self.lost.append(laid.lost)
        return laid.blocks.filter(changed)

    def _quarters(self, beats: pa.Table) -> pa.Table:
        """Rows of LOST_SCHEMA, a run of complete quarter-hours each."""
        amounts, borders = flat_amounts(beats)
        interval = beats["interval_s"].to_numpy().astype(np.int64)
        each = np.where(QUARTER_S % interval == 0, QUARTER_S // interval, 0)
        row = np.repeat(np.arange(len(beats)), np.diff(borders))
        slot = np.arange(len(row)) - borders[row]
        use = each[row] > 0
        row, slot, amounts = row[use], slot[use], amounts[use]
        quarter = row * (3_600 // QUARTER_S) + slot // np.maximum(each[row], 1)
        n = len(beats) * (3_600 // QUARTER_S)
        filled, sums = np.bincount(quarter[amounts != MISSING], minlength=n), np.zeros(n, np.int64)
        np.add.at(sums, quarter, np.where(amounts == MISSING, 0, amounts))
        owner = np.arange(n) // (3_600 // QUARTER_S)
        whole = np.flatnonzero((filled == each[owner]) & (each[owner] > 0))
        return self._rows(beats, owner[whole], whole % (3_600 // QUARTER_S), sums[whole])

    def _rows(self, beats: pa.Table, owner: Ints, quarter: Ints, sums: Ints) -> pa.Table:
        if not len(owner):
            return LOST_SCHEMA.empty_table()
        if not self._number:
            self._number = self._lake.reserve(1)
        self.quarters += len(owner)
        rows = beats.select(["meter_id", "channel", "start", "offset_s"]).take(pa.array(owner))
        start = rows["start"].cast(pa.int64()).to_numpy() + 1_000_000 * (
            rows["offset_s"].to_numpy() + QUARTER_S * quarter
        )
        self._reach = (
            min(self._reach[0] or int(start.min()), int(start.min())), max(self._reach[1], int(start.max()))
        )  # fmt: skip
        one = np.ones(len(owner), np.int32)
        columns = [
            rows["meter_id"], rows["channel"], pa.array(one * QUARTER_S), pa.array(start).cast(UTC_US), pa.array(one),
            pa.array(np.full(len(owner), DERIVED, np.int8)), pa.array(one * self._number),
            pa.array(np.full(len(owner), self._now_us)).cast(UTC_US),
            pa.ListArray.from_arrays(pa.array(np.arange(len(owner) + 1, dtype=np.int32)), pa.array(sums)),
        ]  # fmt: skip
        return pa.Table.from_arrays(columns, schema=LOST_SCHEMA)

    def over(self, rows: pa.Table) -> tuple[Bools, pa.Table]:
        """Which of a file's ``rows`` are replaced, and the blocks that take their place."""
        if not len(self._held):
            return np.zeros(len(rows), bool), self._held
        numbers = self._keys.of(rows)
        replaced = among(numbers, np.sort(self._numbers))
        return replaced, self._held.filter(pa.array(among(self._numbers, np.sort(numbers[replaced]))))

    def delivery(self, version: int) -> pa.Table:
        """Row of DELIVERY_SCHEMA for the quarter-hours."""
        row: dict[str, Any] = {
            "number": self._number, "load_id": f"rollup-{version}", "path": SOURCE, "sha256": "", "content": "",
            "source": SOURCE, "received_at": self._now_us, "landed_at": self._now_us, "version": version,
            "first": self._reach[0], "last": self._reach[1], "received": self.quarters, "stored": self.quarters,
        }  # fmt: skip
        return pa.Table.from_pylist([row], schema=DELIVERY_SCHEMA)
