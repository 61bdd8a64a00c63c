"""Side tables of the nightly batch: what it found to differ, what came and what is missing, and totals of local days."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

ADJUSTMENT_SCHEMA: Final = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("meter_id", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("interval_s", pa.int32()),
        pa.field("published", pa.int64()),
        pa.field("amount", pa.int64()),
        pa.field("difference", pa.int64()),
        pa.field("published_filled", pa.int32()),
        pa.field("filled", pa.int32()),
    ]
)
"""One row a series of a meter-channel whose UTC day differs from what was published before the run, milli units.

The differences of all runs of a day, added to what was published first, give what stands.
"""

COMPLETENESS_SCHEMA: Final = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("by", pa.string()),
        pa.field("name", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("expected", pa.int64()),
        pa.field("received", pa.int64()),
        pa.field("late", pa.int64()),
        pa.field("missing", pa.int64()),
    ]
)
"""One row a region (``by`` region, ``name`` its geohash of five digits, null where nobody knows the place) or
head-end (``by`` source) and channel, in slots; ``expected`` and ``missing`` are null by source."""

DAILY_SCHEMA: Final = pa.schema(
    [
        pa.field("day", pa.date32()),
        pa.field("meter_id", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("zone", pa.string()),
        pa.field("amount", pa.int64()),
        pa.field("filled", pa.int32()),
        pa.field("expected", pa.int32()),
        pa.field("version", pa.int64()),
    ]
)
"""One row a meter-channel and local day of its place's ``zone``, milli units; of one key the newest version counts."""
