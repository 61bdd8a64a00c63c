"""The state of some meters at an earlier version or moment, from blocks and record and what is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from meterlake import record
from meterlake.blocks import BLOCK_SCHEMA, to_strips
from meterlake.ledger import Delivered
from meterlake.pending import current
from meterlake.query.overlay import within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meterlake.live.part import Part
    from meterlake.ports import Lake


def past(lake: Lake, at: int | datetime, meters: Sequence[str] | None, part: Part | None) -> pa.Table:
    """Blocks of ``meters`` (None: all) as they were at a version, or a moment, with ``part`` taken before.

    What had been acknowledged by the moment is folded with what had landed in files; a version knows the lake alone.
    Returns rows of BLOCK_SCHEMA in key order.
    """
    ranges = [None] if meters is None else [(meter, meter) for meter in sorted(set(meters))]
    if part is None or isinstance(at, int):
        return pa.concat_tables([record.as_of(lake, at, some) for some in ranges])
    snapshot = lake.snapshot()
    known = Delivered.read(lake).including(part.senders, part.landed_us)
    stored, lost = [BLOCK_SCHEMA.empty_table()], []
    for some in ranges:
        stored += [within(rows, some) for rows in current(lake, snapshot, some)]
        lost.append(within(lake.records("superseded", some), some))
    every = record.Candidates(known, pa.concat_tables(stored), pa.concat_tables(lost))
    every.add(to_strips(part.blocks, every.ids, every.kinds, known.senders))
    for rows in (part.lost, part.late):
        every.add(record.strips_of(rows, every.ids, every.kinds, known.senders))
    return every.blocks(known.visible_at(at))
