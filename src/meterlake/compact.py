"""Turn the files of many loads into month files: sorted, few, and written to be read for years.

Answers do not change; earlier versions keep their files until they age out.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.blocks import BLOCK_SCHEMA, sort_blocks
from meterlake.errors import ConcurrentCommit
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.landing import put_by_month
from meterlake.ledger import Delivered, operation_row
from meterlake.pending import fold, folded_through
from meterlake.ports import Change, Sweeps
from meterlake.spool import concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterlake.ports import DataFile, Lake, Snapshot

ROWS_AT_ONCE: Final = 400_000
"""Blocks sorted at once: about 100 MB of half-hours, twice that of quarter-hours."""

YEAR_ROWS: Final = 150_000
"""A year of fewer blocks is one file: footers would cost more than they save."""


@dataclass(slots=True)
class CompactReceipt:
    """What a compaction did."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    swept: int = 0
    """Files that no commit names, left by processes that were cut off."""
    gathered: int = 0
    """Small files of side tables that were written anew as few."""
    version: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def compact(lake: Lake, progress: Callable[[int, int], None] | None = None) -> CompactReceipt:
    """Rewrite, month by month, every group of files that overlap or that no compaction has written yet."""
    started = time.monotonic()
    fold(lake)
    snapshot = lake.snapshot()
    receipt = CompactReceipt(
        len(snapshot.files), bytes_before=sum(f.bytes for f in snapshot.files), version=snapshot.version
    )
    units = _units(snapshot)
    for i, unit in enumerate(units):
        _compact_unit(lake, unit)
        if progress is not None:
            progress(i + 1, len(units))
    if isinstance(lake, Sweeps):
        receipt.gathered = lake.gather(folded_through(lake, lake.snapshot().version))
        receipt.swept = len(lake.sweep())
    after = lake.snapshot()
    receipt.files_after, receipt.bytes_after = len(after.files), sum(f.bytes for f in after.files)
    receipt.version, receipt.seconds = after.version, time.monotonic() - started
    return receipt


class Unit(NamedTuple):
    """What is compacted into its own files: a UTC month, or a year (``Y``) whose months are small."""

    period: str
    number: int

    def holds(self, file: DataFile) -> bool:
        """Whether ``file`` begins in this unit."""
        return _period(file.starts_us[0], self.period) == self.number


def _period(us: int, period: str) -> int:
    return int(np.datetime64(us, "us").astype(f"datetime64[{period}]").astype(np.int64))


def _units(snapshot: Snapshot) -> list[Unit]:
    rows: dict[int, int] = defaultdict(int)
    for file in snapshot.files:
        rows[_period(file.starts_us[0], "Y")] += file.rows
    units = {
        Unit("Y", year) if rows[year] <= YEAR_ROWS else Unit("M", _period(file.starts_us[0], "M"))
        for file in snapshot.files
        for year in [_period(file.starts_us[0], "Y")]
    }
    return sorted(units)


def _compact_unit(lake: Lake, unit: Unit) -> None:
    while True:
        base = lake.snapshot()
        groups = [group for group in _overlapping(base, unit) if not _is_settled(group, unit)]
        if not groups:
            return
        removed = [file for group in groups for file in group]
        added = [file for group in groups for file in _rewrite(lake, group, unit)]
        if _commit(lake, base, added, removed):
            return


def _commit(lake: Lake, base: Snapshot, added: list[DataFile], removed: list[DataFile]) -> bool:
    """Commit rewritten files, on whatever landed since ``base``; False where that rewrote one of them too."""
    app, receipt = f"compact:{uuid.uuid4().hex}", {"removed": len(removed), "added": len(added)}
    while set(removed) <= set(base.files):
        version = base.version + 1
        landed_us = Delivered.read(lake).next_us(time.time_ns() // 1000)
        records = {"operations": operation_row("compact", "", version, landed_us, receipt)}
        try:
            lake.commit(Change(base, added, removed, app, int.from_bytes(os.urandom(6)), records))
        except ConcurrentCommit:
            base = lake.snapshot()
        else:
            return True
    return False


def _overlapping(snapshot: Snapshot, unit: Unit) -> list[list[DataFile]]:
    """Files of a unit in groups that share no partition with each other."""
    files = sorted((f for f in snapshot.files if unit.holds(f)), key=lambda f: f.partitions)
    groups: list[list[DataFile]] = []
    reach = -1
    for file in files:
        if groups and file.partitions[0] < reach:
            groups[-1].append(file)
        else:
            groups.append([file])
        reach = max(reach, file.partitions[1])
    return groups


def _is_settled(group: list[DataFile], unit: Unit) -> bool:
    """Whether compaction wrote these files and nothing has come since."""
    in_order = sorted(group, key=lambda f: (f.meters, f.starts_us))
    apart = all(a.meters[1] <= b.meters[0] for a, b in pairwise(in_order))
    inside = all(_period(f.starts_us[1], unit.period) == unit.number for f in group)
    return all(f.final for f in group) and apart and inside and len({f.partitions for f in group}) == 1


def _rewrite(lake: Lake, group: list[DataFile], unit: Unit) -> Iterator[DataFile]:
    """Write the rows of ``group`` again, run of partitions by run."""
    rows = sum(file.rows for file in group)
    low, high = min(f.partitions[0] for f in group), max(f.partitions[1] for f in group)
    align = PARTITIONS // lake.buckets
    runs = max(1, min((high - low) // align, -(-rows // ROWS_AT_ONCE)))
    borders = np.unique(low + (np.arange(runs + 1) * ((high - low) // align) // runs) * align).tolist()
    borders[-1] = high
    for a, b in pairwise(borders):
        parts = [
            _of_partitions(lake.blocks(f), f, a, b)
            for f in group
            if f.partitions[0] < b and a < f.partitions[1]
        ]
        blocks = sort_blocks(concat(parts, BLOCK_SCHEMA))
        yield from put_by_month(lake, blocks, (a, b), final=True, period=unit.period)


def _of_partitions(blocks: pa.Table, file: DataFile, low: int, high: int) -> pa.Table:
    if low <= file.partitions[0] and file.partitions[1] <= high:
        return blocks
    ids = MeterIds()
    place = ids.partitions(ids.codes_of(blocks["meter_id"]))
    return blocks.filter(pa.array((place >= low) & (place < high)))
