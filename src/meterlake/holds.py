"""Since when and until when somebody is the customer of a service point, as the registry says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.accounts import Hold

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from meterlake.ports import Registry


def held_now(registry: Registry, service_points: Iterable[str], now: datetime) -> tuple[Hold, ...]:
    """Return a hold of each service point for the time of its customer of ``now``; open where none is known."""
    wanted = list(dict.fromkeys(service_points))
    if not wanted:
        return ()
    rows = registry.table("service_points").select(["service_point_id", "customer_id", "from", "to"])
    rows = rows.filter(pc.is_in(rows["service_point_id"], value_set=pa.array(wanted, pa.string())))
    known: dict[str, list[Any]] = {}
    for row in rows.to_pylist():
        known.setdefault(row["service_point_id"], []).append(row)
    return tuple(_hold(id_, known.get(id_, []), now) for id_ in wanted)


def _hold(id_: str, rows: list[Any], now: datetime) -> Hold:
    """Hold of the row of ``now`` and of those that touch it and have the same customer; ``rows`` follow one another."""
    at = next((n for n, row in enumerate(rows) if _covers(row, now)), None)
    if at is None:
        return Hold(id_)
    first = last = at
    while first > 0 and _goes_on(rows[first - 1], rows[first]):
        first -= 1
    while last + 1 < len(rows) and _goes_on(rows[last], rows[last + 1]):
        last += 1
    return Hold(id_, _seconds(rows[first]["from"]), _seconds(rows[last]["to"]))


def _covers(row: Any, now: datetime) -> bool:
    return (row["from"] is None or row["from"] <= now) and (row["to"] is None or now < row["to"])


def _goes_on(earlier: Any, later: Any) -> bool:
    same = earlier["customer_id"] is not None and earlier["customer_id"] == later["customer_id"]
    return same and earlier["to"] == later["from"]


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
