"""Turn the files of many loads into month files: sorted, few, and written to be read for years.

Answers do not change; earlier versions keep their files until they age out.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterlake.blocks import BLOCK_SCHEMA, sort_blocks
from meterlake.errors import ConcurrentCommit
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.landing import put_by_month
from meterlake.ports import Change
from meterlake.record import operation_row
from meterlake.spool import concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterlake.ports import DataFile, Lake, Snapshot

ROWS_AT_ONCE = 400_000
"""Blocks sorted at once: about 100 MB of half-hours, twice that of quarter-hours."""


@dataclass(slots=True)
class CompactReceipt:
    """What a compaction did."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    version: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def compact(lake: Lake, progress: Callable[[int, int], None] | None = None) -> CompactReceipt:
    """Rewrite, month by month, every group of files that overlap or that no compaction has written yet."""
    started = time.monotonic()
    snapshot = lake.snapshot()
    receipt = CompactReceipt(
        len(snapshot.files), bytes_before=sum(f.bytes for f in snapshot.files), version=snapshot.version
    )
    months = sorted({_month(file) for file in snapshot.files})
    for i, month in enumerate(months):
        _compact_month(lake, month)
        if progress is not None:
            progress(i + 1, len(months))
    after = lake.snapshot()
    receipt.files_after, receipt.bytes_after = len(after.files), sum(f.bytes for f in after.files)
    receipt.version, receipt.seconds = after.version, time.monotonic() - started
    return receipt


def _month(file: DataFile) -> int:
    return int(np.datetime64(file.starts_us[0], "us").astype("datetime64[M]").astype(np.int64))


def _compact_month(lake: Lake, month: int) -> None:
    while True:
        base = lake.snapshot()
        groups = [g for g in _overlapping(base, month) if len(g) > 1 or not g[0].final]
        if not groups:
            return
        removed = [file for group in groups for file in group]
        added = [file for group in groups for file in _rewrite(lake, group)]
        receipt = {"removed": len(removed), "added": len(added)}
        records = {
            "operations": operation_row("compact", "", base.version + 1, time.time_ns() // 1000, receipt)
        }
        change = Change(base, added, removed, f"compact:{uuid.uuid4().hex}", int.from_bytes(os.urandom(6)), records)
        try:
            lake.commit(change)
        except ConcurrentCommit:
            continue
        return


def _overlapping(snapshot: Snapshot, month: int) -> list[list[DataFile]]:
    """Files of a month in groups that share no partition with each other."""
    files = sorted((f for f in snapshot.files if _month(f) == month), key=lambda f: f.partitions)
    groups: list[list[DataFile]] = []
    reach = -1
    for file in files:
        if groups and file.partitions[0] < reach:
            groups[-1].append(file)
        else:
            groups.append([file])
        reach = max(reach, file.partitions[1])
    return [_settled(group) for group in groups]


def _settled(group: list[DataFile]) -> list[DataFile]:
    """A group that compaction wrote as it stands is one final file to the caller."""
    in_order = sorted(group, key=lambda f: f.meters)
    apart = all(a.meters[1] <= b.meters[0] for a, b in zip(in_order, in_order[1:], strict=False))
    if all(file.final for file in group) and apart and len({f.partitions for f in group}) == 1:
        return group[:1]
    return group


def _rewrite(lake: Lake, group: list[DataFile]) -> Iterator[DataFile]:
    """Write the rows of ``group`` again, run of partitions by run."""
    rows = sum(file.rows for file in group)
    low, high = min(f.partitions[0] for f in group), max(f.partitions[1] for f in group)
    align = PARTITIONS // lake.buckets
    runs = max(1, min((high - low) // align, -(-rows // ROWS_AT_ONCE)))
    borders = np.unique(low + (np.arange(runs + 1) * ((high - low) // align) // runs) * align).tolist()
    borders[-1] = high
    for a, b in zip(borders, borders[1:], strict=False):
        parts = [_of_partitions(lake.blocks(f), f, a, b) for f in group if f.partitions[0] < b and a < f.partitions[1]]
        yield from put_by_month(lake, sort_blocks(concat(parts, BLOCK_SCHEMA)), (a, b), final=True)


def _of_partitions(blocks: pa.Table, file: DataFile, low: int, high: int) -> pa.Table:
    if low <= file.partitions[0] and file.partitions[1] <= high:
        return blocks
    ids = MeterIds()
    place = ids.partitions(ids.codes_of(blocks["meter_id"]))
    return blocks.filter(pa.array((place >= low) & (place < high)))
