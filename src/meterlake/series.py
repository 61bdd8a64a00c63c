"""What each meter-channel reaches: first and last filled slot and how many are filled, from the lake itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import flat_amounts
from meterlake.intervals import DAY_S, is_local_day
from meterlake.merge import SERIES_SCHEMA
from meterlake.pending import MOVES, current
from meterlake.spool import concat
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from meterlake.ports import Lake, Registry, Snapshot


def series_of(blocks: pa.Table, gained: pa.Array | None = None) -> pa.Table:
    """Rows of SERIES_SCHEMA for blocks; ``gained`` says how many slots of each are new, else all that it fills."""
    amounts, borders = flat_amounts(blocks)
    filled = np.append(False, amounts != MISSING).cumsum()[borders]
    at = np.flatnonzero(amounts != MISSING)
    first = at[filled[:-1]] - borders[:-1]
    last = at[filled[1:] - 1] - borders[:-1]
    interval = blocks["interval_s"].to_numpy().astype(np.int64)
    start = blocks["start"].cast(pa.int64()).to_numpy() // 1_000_000 + blocks["offset_s"].to_numpy()
    rows = blocks.select(["meter_id", "channel", "interval_s"])
    for name, values in (
        ("first_s", pa.array(start + first * interval)),
        ("last_s", pa.array(start + last * interval)),
        ("gained", blocks["filled"].cast(pa.int64()) if gained is None else gained),
    ):
        rows = rows.append_column(SERIES_SCHEMA.field(name), values)
    return summed(rows)


def summed(rows: pa.Table) -> pa.Table:
    """One row a meter-channel and interval of SERIES_SCHEMA rows."""
    grouped = rows.group_by(["meter_id", "channel", "interval_s"]).aggregate(
        [("first_s", "min"), ("last_s", "max"), ("gained", "sum")]
    )
    return grouped.rename_columns(SERIES_SCHEMA.names).cast(SERIES_SCHEMA)


def recount(lake: Lake, snapshot: Snapshot) -> pa.Table:
    """Rows of SERIES_SCHEMA for the whole lake, counted from its blocks."""
    parts = [series_of(blocks) for blocks in current(lake, snapshot)]
    return summed(concat(parts, SERIES_SCHEMA))


def within(rows: pa.Table, meter_ids: pa.Array) -> pa.Table:
    """Rows of the named meters."""
    return rows.filter(pc.is_in(rows["meter_id"], value_set=meter_ids))


def resettle(lake: Lake, registry: Registry) -> None:
    """Bring the registry's figures to the newest version: count all again where a load's are missing.

    They are missing where a process was cut off between its commit and telling the registry.
    """
    snapshot, known = lake.snapshot(), registry.series_version()
    if known == snapshot.version:
        return
    operations = lake.records("operations")
    made = dict(zip(operations["version"].to_pylist(), operations["operation"].to_pylist(), strict=True))
    missing = range(known + 1, snapshot.version + 1)
    if all(made.get(version) in MOVES for version in missing):
        for version in missing:
            registry.update_series(SERIES_SCHEMA.empty_table(), version)
    else:
        registry.update_series(recount(lake, snapshot), snapshot.version, whole=True)


def gaps(series: pa.Table, before: pa.Table) -> int:
    """Empty slots between the first and last filled slot of each meter-channel, summed.

    ``series`` (SERIES_SCHEMA) tells what a landing added, ``before`` (with ``filled`` for ``gained``) what
    was known of the same meter-channels. Local-day reads of 23, 24 and 25 hours are one family.
    """
    names = {"gained": "filled"}
    added = series.rename_columns([names.get(name, name) for name in series.column_names])
    both = pa.concat_tables([added, before.select(added.column_names).cast(added.schema)])
    interval = both["interval_s"].to_numpy().copy()
    interval[[is_local_day(int(i)) for i in interval]] = DAY_S
    both = both.set_column(2, "interval_s", pa.array(interval))
    reach = both.group_by(["meter_id", "channel", "interval_s"]).aggregate(
        [("first_s", "min"), ("last_s", "max"), ("filled", "sum")]
    )
    length = reach["interval_s"].to_numpy().astype(np.int64)
    slots = np.rint((reach["last_s_max"].to_numpy() - reach["first_s_min"].to_numpy()) / length) + 1
    return int((slots - reach["filled_sum"].to_numpy()).sum())
