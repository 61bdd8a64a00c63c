"""Which nightly runs there were, which days are due, and when a day was published."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.intervals import DAY_S, HOUR_S
from meterlake.nightly.days import date_of, start_of
from meterlake.pending import pending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.ports import Lake, Snapshot

PUBLISHED_AFTER_S: Final = 6 * HOUR_S
"""A day of a lake that is fed by files alone counts as published so long after its end."""


def runs(lake: Lake) -> list[dict[str, Any]]:
    """Receipts of all nightly runs, newest first."""
    told = [json.loads(receipt) for _, receipt in _receipts(lake, "batch")]
    return sorted(told, key=lambda receipt: -receipt["version"])


def _receipts(lake: Lake, operation: str) -> Iterator[tuple[int, str]]:
    """Version and receipt of each ``operation``."""
    operations = lake.records("operations")
    mine = operations.filter(pc.equal(operations["operation"], operation))
    return zip(mine["version"].to_pylist(), mine["receipt"].to_pylist(), strict=True)


def is_open(lake: Lake, start_s: int, version: int) -> bool:
    """Whether batches that were recorded up to ``version`` may have readings of the day that no seal has brought yet."""
    seals = [(at, receipt) for at, receipt in _receipts(lake, "seal") if at <= version]
    if not seals:
        return False
    floors = json.loads(max(seals)[1])["floors"]
    return min(floors.values(), default=0) < start_s + DAY_S


def published_at(lake: Lake, start_s: int, cut: int) -> int | None:
    """Version at which the UTC day from ``start_s`` was published before ``cut``; None where it is open still.

    That is the cut of the run of this day before, else the seal that closed the last of its blocks, else the first
    version `PUBLISHED_AFTER_S` after its end.
    """
    if is_open(lake, start_s, cut):
        return None
    day = date_of(start_s).isoformat()
    before = [
        run for run in runs(lake) if run["day"] == day and run["published"] is not None and run["cut"] <= cut
    ]
    if before:
        return int(max(run["cut"] for run in before))
    closed = _closed_at(lake, start_s, cut)
    if closed is not None:
        return closed
    operations = lake.records("operations")
    since = start_s + DAY_S + PUBLISHED_AFTER_S
    late = operations.filter(pc.greater_equal(operations["landed_at"].cast(pa.int64()), since * 1_000_000))[
        "version"
    ].to_numpy()
    return int(min(late.min(initial=cut), cut))


def _closed_at(lake: Lake, start_s: int, cut: int) -> int | None:
    """Version of the seal that was the first to close the last of the day's blocks; None where none did."""
    first: dict[tuple[str, int, int], int] = {}
    for version, receipt in sorted(_receipts(lake, "seal")):
        if version > cut:
            continue
        for channel, interval_s, begin_s in json.loads(receipt)["sets"]:
            if start_s <= begin_s < start_s + DAY_S:
                first.setdefault((channel, interval_s, begin_s), version)
    return max(first.values(), default=None)


def due_days(lake: Lake, now: datetime, grace_s: int, first: date | None = None) -> list[date]:
    """UTC days without a run whose end and ``grace_s`` have passed and that hold blocks, oldest first.

    Days are counted from the ``first``, else from that of the lake's first load or seal.
    """
    operations = lake.records("operations")
    brought = operations.filter(pc.is_in(operations["operation"], value_set=pa.array(["load", "seal"])))
    if not len(brought):
        return []
    if first is None:
        first = pc.min(brought["landed_at"]).as_py().astimezone(UTC).date()
    last_s = int(now.timestamp()) - grace_s - DAY_S
    done = {run["day"] for run in runs(lake)}
    first = max(first, *(date_of(start_s) for start_s in dropped_before(lake).values()), first)
    snapshot = lake.snapshot()
    waiting = pc.unique(pending(lake, snapshot)["start"].cast(pa.int64())).to_pylist()
    starts = [*(file.starts_us for file in snapshot.files), *((at, at) for at in waiting)]
    day, due = first, []
    while (start_s := start_of(day)) <= last_s:
        held = any(
            low < (start_s + DAY_S) * 1_000_000 and high >= start_s * 1_000_000 for low, high in starts
        )
        if day.isoformat() not in done and held and not is_open(lake, start_s, snapshot.version):
            due.append(day)
        day += timedelta(days=1)
    return due


def dropped_before(lake: Lake) -> dict[str, int]:
    """By tier of blocks (beats, intervals) the moment (s) before which retention has dropped all there was."""
    found: dict[str, int] = {}
    for _, receipt in _receipts(lake, "retain"):
        for tier, day in json.loads(receipt)["before"].items():
            if tier in {"beats", "intervals"}:
                found[tier] = max(
                    found.get(tier, start_of(date.fromisoformat(day))), start_of(date.fromisoformat(day))
                )
    return found


def changed_days(lake: Lake, snapshot: Snapshot, span: tuple[int, int]) -> list[date]:
    """UTC days that begin in ``span`` (s) with blocks that no run has seen as they are now, oldest first."""
    days: set[int] = set()
    for file in snapshot.files:
        if file.starts_us[0] >= span[1] * 1_000_000 or file.starts_us[1] < span[0] * 1_000_000:
            continue
        start = lake.blocks(file, ["start"])["start"].cast(pa.int64()).to_numpy()
        days |= set((pc.unique(pa.array(start // (DAY_S * 1_000_000)))).to_pylist())
    cuts = {run["day"]: run["cut"] for run in reversed(runs(lake))}
    deliveries = lake.records("deliveries")
    spans = [
        (version, first.timestamp(), last.timestamp())
        for version, first, last in zip(
            *(deliveries[name].to_pylist() for name in ("version", "first", "last")), strict=True
        )
        if first is not None
    ]
    undone = max((version for version, _ in _receipts(lake, "undo")), default=-1)
    changed = []
    for number in sorted(number for number in days if span[0] <= number * DAY_S < span[1]):
        day, start_s = date_of(number * DAY_S), number * DAY_S
        cut = cuts.get(day.isoformat(), -1)
        if (
            cut < 0
            or undone > cut
            or any(v > cut and a < start_s + DAY_S and b >= start_s for v, a, b in spans)
        ):
            changed.append(day)
    return changed
