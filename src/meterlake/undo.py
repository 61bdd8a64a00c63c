"""Take a load or a batch back: its deliveries are withdrawn, and each slot falls to the greatest reading that stands.

Nothing is erased: what the load had won goes into the record, so that every earlier version can still be
asked for, and no replay of the load's files brings it back.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, KEY, sort_blocks
from meterlake.errors import ConcurrentCommit, Invalid, NotFound
from meterlake.intervals import block_span_s
from meterlake.landing import put_by_month
from meterlake.ledger import LOST_SCHEMA, Delivered, operation_row, superseded
from meterlake.pending import folded
from meterlake.ports import Change
from meterlake.record import Candidates, lost_strips
from meterlake.spool import concat

if TYPE_CHECKING:
    from meterlake.ports import DataFile, Lake
    from meterlake.strips import Ints


@dataclass(slots=True)
class UndoReceipt:
    """What an undo did, or would do: slots the load held, those an earlier reading holds again, those empty."""

    load_id: str
    dry_run: bool
    withdrawn: int = 0
    restored: int = 0
    emptied: int = 0
    blocks: int = 0
    version: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def undo(lake: Lake, load_id: str, *, dry_run: bool = False) -> UndoReceipt:
    """Withdraw the deliveries of a load, or an accepted batch by its id, as a new version.

    Readings of a batch that are not sealed yet hold no slot from then on.

    Raises:
        NotFound: no such load, or no such batch that a seal has recorded.
        Invalid: it has been undone already.

    """
    started = time.monotonic()
    while True:
        base = lake.snapshot() if dry_run else folded(lake)
        known = Delivered.read(lake)
        gone = _deliveries(lake, load_id)
        receipt = UndoReceipt(load_id, dry_run, version=base.version)
        added, removed, lost = [], [], []
        for file in base.files:
            rows = _held_rows(lake, file, gone)
            if len(rows):
                blocks, gave_up = _without(lake, file, rows, known, gone, receipt)
                lost.append(gave_up)
                removed.append(file)
                if not dry_run:
                    added += put_by_month(lake, blocks, file.partitions)
        receipt.seconds = time.monotonic() - started
        if dry_run:
            return receipt
        receipt.version = base.version + 1
        records = {
            "superseded": superseded(concat(lost, LOST_SCHEMA), receipt.version),
            "operations": operation_row(
                "undo", load_id, receipt.version, known.next_us(time.time_ns() // 1000), receipt.to_json()
            ),
        }
        change = Change(base, added, removed, f"undo:{load_id}", int.from_bytes(os.urandom(6)), records)
        try:
            lake.commit(change)
        except ConcurrentCommit:
            continue
        return receipt


def _deliveries(lake: Lake, load_id: str) -> Ints:
    operations = lake.records("operations")
    mine = operations.filter(pc.equal(operations["load_id"], load_id))["operation"].to_pylist()
    deliveries = lake.records("deliveries")
    numbers: Ints = deliveries.filter(pc.equal(deliveries["load_id"], load_id))["number"].to_numpy()
    if not len(numbers):
        raise NotFound(f"no load {load_id}: `meterlake loads` lists them; a batch is known once it is sealed")
    if "undo" in mine:
        raise Invalid(f"{load_id} has been undone already; load or send it again to bring it back")
    return numbers


def _held_rows(lake: Lake, file: DataFile, gone: Ints) -> Ints:
    """Rows of ``file`` in which one of the deliveries ``gone`` holds a slot."""
    origin = lake.blocks(file, ["delivery", "origin"])
    held = pc.fill_null(pc.is_in(origin["delivery"], value_set=pa.array(gone)), False).to_numpy().copy()
    lists = origin["origin"].combine_chunks()
    runs = pc.list_flatten(lists)
    if len(runs):
        hit = pc.is_in(runs.field("delivery"), value_set=pa.array(gone)).to_numpy(zero_copy_only=False)
        held[pc.list_parent_indices(lists).to_numpy()[hit]] = True
    return np.flatnonzero(held)


def _without(
    lake: Lake, file: DataFile, rows: Ints, known: Delivered, gone: Ints, receipt: UndoReceipt
) -> tuple[pa.Table, pa.Table]:
    """Blocks of ``file`` without the deliveries ``gone``, and the strips that they gave up."""
    whole = lake.blocks(file)
    held = whole.take(pa.array(rows))
    ends = pc.min_max(held["meter_id"]).as_py()
    lost = _of_blocks(lake.records("superseded", (ends["min"], ends["max"])), held)
    candidates = Candidates(known, held, lost)
    rebuilt = candidates.blocks(known.standing.without(set(gone.tolist())))
    strips = candidates.current
    numbers = np.array([kind.delivery for kind in candidates.kinds.table])
    gave_up = strips.where(np.isin(numbers[strips.kind], gone))
    lost_rows = lost_strips(gave_up, candidates.ids, candidates.kinds)
    withdrawn = int(pc.sum(lost_rows["count"]).as_py() or 0)
    left = int(pc.sum(rebuilt["filled"]).as_py() or 0)
    empty = int(pc.sum(held["filled"]).as_py()) - left
    receipt.withdrawn += withdrawn
    receipt.emptied += empty
    receipt.restored += withdrawn - empty
    receipt.blocks += len(rows)
    keep = np.ones(len(whole), bool)
    keep[rows] = False
    return sort_blocks(concat([whole.filter(pa.array(keep)), rebuilt], BLOCK_SCHEMA)), lost_rows


def _of_blocks(lost: pa.Table, held: pa.Table) -> pa.Table:
    """Rows of ``lost`` that belong to the blocks ``held``."""
    spans = np.array([block_span_s(int(i)) for i in lost["interval_s"].to_numpy()], np.int64) * 1_000_000
    starts = lost["start"].cast(pa.int64()).to_numpy()
    start = pa.array(starts - starts % np.maximum(spans, 1))
    keys = lost.select(["meter_id", "channel", "interval_s"]).append_column("start", start)
    keys = keys.append_column("row", pa.array(np.arange(len(lost))))
    wanted = held.select(list(KEY))
    wanted = wanted.set_column(3, "start", wanted["start"].cast(pa.int64()))
    return lost.take(keys.join(wanted, list(KEY), join_type="left semi")["row"])
