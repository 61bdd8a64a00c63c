"""Put blocks right that are not what the complete record makes of them."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.block_keys import BlockKeys, among, near
from meterlake.blocks import BLOCK_SCHEMA, KEY, sort_blocks
from meterlake.errors import ConcurrentCommit
from meterlake.ids import PARTITIONS
from meterlake.landing import put_by_month
from meterlake.ledger import SUPERSEDED_SCHEMA, Delivered, operation_row, superseded
from meterlake.pending import folded
from meterlake.ports import Change
from meterlake.record import Candidates, lost_strips

if TYPE_CHECKING:
    from meterlake.merge import Bools
    from meterlake.ports import DataFile, Lake, Snapshot
    from meterlake.strips import Ints


def repair(lake: Lake, broken: pa.Table, run_id: str) -> int:
    """Replace the blocks of the keys ``broken`` (in key order) by what the record makes of them; return the version.

    What they held goes into the record, so that nothing that was ever shown is gone.
    """
    while True:
        base = folded(lake)
        keys = BlockKeys()
        wanted = np.sort(keys.of(broken))
        files = _holding(lake, base, broken, keys, wanted)
        whole = {file: lake.blocks(file) for file in files}
        held = pa.concat_tables(
            [BLOCK_SCHEMA.empty_table(), *(whole[file].filter(pa.array(hit)) for file, hit in files.items())]
        )
        known = Delivered.read(lake)
        candidates = Candidates(known, held, _lost(lake, broken, keys, wanted))
        truth = candidates.blocks(known.visible(base.version))
        added, place = [], keys.of(truth)
        rest = np.ones(len(truth), bool)
        for file, hit in files.items():
            mine = among(place, np.sort(keys.of(whole[file].filter(pa.array(hit)))))
            rest &= ~mine
            rows = pa.concat_tables([whole[file].filter(pa.array(~hit)), truth.filter(pa.array(mine))])
            added += put_by_month(lake, sort_blocks(rows), file.partitions)
        added += put_by_month(lake, truth.filter(pa.array(rest)), (0, PARTITIONS))
        version = base.version + 1
        gave_up = lost_strips(candidates.current, candidates.ids, candidates.kinds)
        told = operation_row(
            "repair",
            "",
            version,
            known.next_us(time.time_ns() // 1000),
            {"run_id": run_id, "blocks": len(broken)},
        )
        records = {"superseded": superseded(gave_up, version), "operations": told}
        app, attempt = f"repair:{uuid.uuid4().hex}", int.from_bytes(os.urandom(6))
        try:
            return lake.commit(Change(base, added, list(files), app, attempt, records))
        except ConcurrentCommit:
            continue


def _holding(
    lake: Lake, base: Snapshot, broken: pa.Table, keys: BlockKeys, wanted: Ints
) -> dict[DataFile, Bools]:
    """Files that hold some of the ``wanted`` keys, and which of their rows."""
    found = {}
    for file in near(base.files, broken, keys):
        hit = among(keys.of(lake.blocks(file, KEY)), wanted)
        if hit.any():
            found[file] = hit
    return found


def _lost(lake: Lake, broken: pa.Table, keys: BlockKeys, wanted: Ints) -> pa.Table:
    ends = pc.min_max(broken["meter_id"]).as_py()
    rows = lake.records("superseded", (ends["min"], ends["max"]))
    if not len(rows):
        return SUPERSEDED_SCHEMA.empty_table()
    number, row = keys.of_runs(rows)
    return rows.take(pa.array(np.unique(row[among(number, wanted)])))
