"""Turn the files of many loads into month files: sorted, few, and written to be read for years.

Answers do not change; earlier versions keep their files until they age out.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter, defaultdict
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
from meterlake.site import Threads
from meterlake.spool import concat

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.ports import DataFile, Engine, Lake, Snapshot
    from meterlake.site import Site

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


def compact(
    lake: Lake, progress: Callable[[int, int], None] | None = None, engine: Engine | None = None
) -> CompactReceipt:
    """Rewrite, month by month, every group of files that overlap or that no compaction has written yet.

    ``engine`` does the work, else threads; ``progress`` is told (done, total) runs of partitions.
    """
    started = time.monotonic()
    fold(lake)
    snapshot = lake.snapshot()
    receipt = CompactReceipt(
        len(snapshot.files), bytes_before=sum(f.bytes for f in snapshot.files), version=snapshot.version
    )
    with engine or Threads(lake) as tasks:
        units = _units(snapshot)
        while units:
            units = _compact_units(lake, units, tasks, progress)
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


class Rewriting(NamedTuple):
    """A task: the rows of a run of partitions in a group of files, written anew."""

    unit: Unit
    group: list[DataFile]
    run: tuple[int, int]


def _compact_units(
    lake: Lake, units: list[Unit], tasks: Engine, progress: Callable[[int, int], None] | None
) -> list[Unit]:
    """Rewrite what needs it, a commit a unit; return the units whose files others rewrote meanwhile."""
    base = lake.snapshot()
    removed: dict[Unit, list[DataFile]] = {}
    jobs: list[Rewriting] = []
    for unit in units:
        groups = [group for group in _overlapping(base, unit) if not _is_settled(group, unit)]
        if groups:
            removed[unit] = [file for group in groups for file in group]
            jobs += [Rewriting(unit, group, run) for group in groups for run in _runs(lake, group)]
    left, again = Counter(job.unit for job in jobs), []
    added: dict[Unit, list[DataFile]] = defaultdict(list)
    for job, files in zip(jobs, tasks.map(rewrite, jobs, progress), strict=True):
        added[job.unit] += files
        left[job.unit] -= 1
        if not left[job.unit] and not _commit(lake, base, added.pop(job.unit), removed[job.unit]):
            again.append(job.unit)
    return again


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


def _runs(lake: Lake, group: list[DataFile]) -> list[tuple[int, int]]:
    """Cut the partitions of a group of files into runs of about `ROWS_AT_ONCE` rows."""
    rows = sum(file.rows for file in group)
    low, high = min(f.partitions[0] for f in group), max(f.partitions[1] for f in group)
    align = PARTITIONS // lake.buckets
    runs = max(1, min((high - low) // align, -(-rows // ROWS_AT_ONCE)))
    borders = np.unique(low + (np.arange(runs + 1) * ((high - low) // align) // runs) * align).tolist()
    borders[-1] = high
    return list(pairwise(borders))


def rewrite(site: Site, job: Rewriting) -> list[DataFile]:
    """Write the rows of a run of partitions again."""
    low, high = job.run
    parts = [
        _of_partitions(site.lake.blocks(file), file, low, high)
        for file in job.group
        if file.partitions[0] < high and low < file.partitions[1]
    ]
    blocks = sort_blocks(concat(parts, BLOCK_SCHEMA))
    return put_by_month(site.lake, blocks, job.run, final=True, period=job.unit.period)


def _of_partitions(blocks: pa.Table, file: DataFile, low: int, high: int) -> pa.Table:
    if low <= file.partitions[0] and file.partitions[1] <= high:
        return blocks
    ids = MeterIds()
    place = ids.partitions(ids.codes_of(blocks["meter_id"]))
    return blocks.filter(pa.array((place >= low) & (place < high)))
