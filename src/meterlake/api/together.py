"""What is live of the meters at one place, added up; nothing shows of the time before it was the asker's."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.intervals import DAY_S
from meterlake.live.views import AVERAGE_OF, METER_SCHEMA, RECENT_SCHEMA, WINDOWS_S

if TYPE_CHECKING:
    from meterlake.live.part import LiveView

LONG_S: Final = 400 * DAY_S
"""Nothing is live that began longer ago."""
SUMS: Final = ("today", "filled", *WINDOWS_S, "average")


def together(
    live: LiveView, meters: list[tuple[str, int]], now_s: int, seconds: int
) -> tuple[pa.Table, pa.Table]:
    """Return how some meters stand together (`views.METER_SCHEMA`) and their latest slots (`views.RECENT_SCHEMA`).

    ``meters`` are ids, each with the second since when its slots count. Sums that reach back further are null.
    """
    rows: list[dict[str, Any]] = []
    slots = [RECENT_SCHEMA.empty_table()]
    for meter, since in meters:
        back = min(now_s - since, LONG_S)
        stands = live.meter(meter, now_s)
        if stands is not None:
            own = stands.to_pylist() if back == LONG_S else _since(live, meter, stands, since, now_s)
            rows += own
        slots.append(live.recent(meter, now_s, min(seconds, back)))
    return _stand(rows), _added(pa.concat_tables(slots))


def _since(live: LiveView, meter: str, stands: pa.Table, since: int, now_s: int) -> list[dict[str, Any]]:
    """Rows of a meter, without sums of slots that began before ``since``."""
    slots = live.recent(meter, now_s, LONG_S)
    begun = pc.greater_equal(slots["start"], since)
    counts = slots.append_column("own", begun.cast(pa.int64())).group_by(["channel", "seconds"])
    held = counts.aggregate([("own", "sum"), ("own", "count")]).to_pylist()
    whole = {
        (row["channel"], row["seconds"])
        for row in held
        if row["own_sum"] >= min(AVERAGE_OF, row["own_count"])
    }
    rows = [row for row in stands.to_pylist() if row["start"] >= since]
    for row in rows:
        length = row["interval_s"]
        end = row["start"] + length
        for name, window in WINDOWS_S.items():
            if end + -(-window // length) * -length < since:
                row[name] = None
        if now_s // DAY_S * DAY_S < since:
            row["today"] = row["filled"] = None
        if (row["channel"], length) not in whole:
            row["average"] = None
    return rows


def _stand(rows: list[dict[str, Any]]) -> pa.Table:
    def key(row: dict[str, Any]) -> tuple[str, int]:
        return row["channel"], row["interval_s"]

    added = []
    for _, some in groupby(sorted(rows, key=key), key):
        group = list(some)
        start = max(row["start"] for row in group)
        newest = [row for row in group if row["start"] == start]
        one = newest[0] | {
            "amount": sum(row["amount"] for row in newest),
            "quality": max(row["quality"] for row in newest),
            "received_us": max(row["received_us"] for row in group),
        }
        for name in SUMS:
            parts = [row[name] for row in group]
            one[name] = None if None in parts else sum(parts)
        added.append(one)
    return pa.Table.from_pylist(added, schema=METER_SCHEMA)


def _added(slots: pa.Table) -> pa.Table:
    sums = slots.group_by(["channel", "start", "seconds"]).aggregate([("amount", "sum"), ("quality", "max")])
    order = [("channel", "ascending"), ("start", "ascending"), ("seconds", "ascending")]
    named = sums.sort_by(order).rename_columns({"amount_sum": "amount", "quality_max": "quality"})
    return named.select(RECENT_SCHEMA.names).cast(RECENT_SCHEMA)
