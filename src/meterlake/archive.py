"""What came by the log, as it was accepted: rows for Parquet files that outlive the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from meterlake.readings import UTC_US
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meterlake.entry import Entry
    from meterlake.ids import MeterIds

ARCHIVE: Final = "archive"
"""Folder of a lake that holds it."""

ROWS_AT_ONCE: Final = 2_000_000
"""Rows of one file, about."""

ARCHIVE_SCHEMA: Final = pa.schema(
    [
        pa.field("batch_id", pa.dictionary(pa.int32(), pa.string())),
        pa.field("source", pa.dictionary(pa.int32(), pa.string())),
        pa.field("received_at", UTC_US),
        pa.field("meter_id", pa.string()),
        pa.field("channel", pa.dictionary(pa.int32(), pa.string())),
        pa.field("interval_start", UTC_US),
        pa.field("interval_s", pa.int32()),
        pa.field("amount", pa.int64()),
        pa.field("quality", pa.uint8()),
        pa.field("stamp", UTC_US),
    ]
)
"""One accepted reading a row; ``stamp`` is null where the sender gave none, ``amount`` is in milli units."""


def rows_of(entry: Entry, ids: MeterIds) -> pa.Table:
    """Rows of ARCHIVE_SCHEMA for one accepted batch, in its order."""
    strips, kinds = entry.strips, entry.kinds
    at = np.repeat(np.arange(len(strips)), strips.count)
    within = np.arange(len(at)) - np.repeat(strips.offsets()[:-1], strips.count)
    kind = strips.kind[at]
    interval = np.array([k.interval_s for k in kinds], np.int32)[kind]
    start = strips.start[at] + within * interval.astype(np.int64)
    filled = strips.amounts != MISSING
    n = int(filled.sum())
    stamp = np.array([k.stamp_us for k in kinds], np.int64)[kind][filled]
    arrived = ~np.array([k.sender_stamp for k in kinds], bool)[kind][filled]
    channel = pa.DictionaryArray.from_arrays(
        pa.array(kind[filled].astype(np.int32)), pa.array([k.channel for k in kinds], pa.string())
    )
    columns = [
        _same(entry.batch_id, n), _same(entry.source, n),
        pa.array(np.full(n, entry.received_us)).cast(UTC_US),
        ids.take(strips.meter[at][filled]).cast(pa.string()), channel,
        pa.array(start[filled] * 1_000_000).cast(UTC_US), pa.array(interval[filled]),
        pa.array(strips.amounts[filled]),
        pa.array(np.array([k.quality for k in kinds], np.uint8)[kind][filled]),
        pa.array(stamp, mask=arrived).cast(UTC_US),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=ARCHIVE_SCHEMA)


def _same(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text], pa.string()))


def files(entries: Iterable[tuple[int, Entry]], ids: MeterIds) -> Iterator[tuple[int, int, pa.Table]]:
    """Gather batches into (first offset, last offset, rows) of about `ROWS_AT_ONCE` rows."""
    held: list[pa.Table] = []
    first = last = rows = 0
    for offset, entry in entries:
        first = first if held else offset
        last = offset
        held.append(rows_of(entry, ids))
        rows += len(held[-1])
        if rows >= ROWS_AT_ONCE:
            yield first, last, pa.concat_tables(held).unify_dictionaries()
            held, rows = [], 0
    if held:
        yield first, last, pa.concat_tables(held).unify_dictionaries()
