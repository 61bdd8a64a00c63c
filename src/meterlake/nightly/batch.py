"""The nightly batch of a UTC day, bucket by bucket, cut off and begun again as often as need be, and one commit.

1. the lake is folded; its version is the *cut*, at which everything below is true
2. every bucket's blocks are folded again from the complete record; what was found is kept in a file a bucket
3. blocks that are not what the record says are replaced, as a commit of its own
4. one commit takes the receipt, the adjustments, the completeness and the totals of local days

A run that was cut off goes on at its cut and skips the buckets that are done.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.completeness import EVER_S, Roster
from meterlake.errors import ConcurrentCommit, Invalid, NotFound
from meterlake.exact import decimal_text
from meterlake.ledger import Delivered, operation_row
from meterlake.merge import SERIES_SCHEMA
from meterlake.nightly.bucket import Night, buckets, lost_of, rework
from meterlake.nightly.days import date_of, start_of
from meterlake.nightly.history import dropped_before, published_at, runs
from meterlake.nightly.outcome import Outcome, Split
from meterlake.nightly.repair import repair
from meterlake.nightly.spread import Spread
from meterlake.nightly.tables import ADJUSTMENT_SCHEMA, COMPLETENESS_SCHEMA, DAILY_SCHEMA
from meterlake.pending import folded
from meterlake.ports import Change
from meterlake.series import resettle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterlake.ports import Lake, Registry, Snapshot

    Progress = Callable[[int, int], None]

FOLDER: Final = "batch"
"""Folder of a lake in which runs that are not finished keep what they found."""


@dataclass(slots=True)
class BatchReceipt:
    """What a nightly run found. Amounts are exact decimal text in base units."""

    run_id: str
    day: str
    cut: int
    """Version of the lake that was recomputed."""
    published: int | None
    """Version at which the day was published before; None where it never was."""
    landed_at: str = ""
    buckets: int = 0
    resumed: int = 0
    """Buckets that an earlier attempt had done."""
    blocks: int = 0
    readings: int = 0
    repaired: int = 0
    """Blocks that were not what the record makes of them, and were replaced."""
    adjustments: int = 0
    """Series of the day that differ from what was published."""
    daily_totals: int = 0
    channels: list[dict[str, Any]] = field(default_factory=list)
    """By channel and length: published, amount, difference, adjusted."""
    completeness: dict[str, int] = field(default_factory=dict)
    regions: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    version: int = 0
    seconds: float = 0.0

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> BatchReceipt:
        """Return the receipt that `to_json` wrote."""
        return cls(**told)

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def batch(lake: Lake, registry: Registry, day: date, progress: Progress | None = None) -> BatchReceipt:
    """Recompute the UTC ``day``; ``progress`` is told (done, total) buckets.

    Raises:
        NotFound: the lake holds nothing of that day, and nothing was expected.
        Invalid: retention has dropped readings of that day.

    """
    started = time.monotonic()
    resettle(lake, registry)
    start_s = start_of(day)
    _check_kept(lake, day)
    with _begun(lake, day) as (cut, folder):
        base = lake.snapshot(cut)
        night = _night(lake, registry, base, start_s)
        receipt = BatchReceipt(f"{day:%Y%m%d}-{cut}", day.isoformat(), cut, night.published)
        found = _recomputed(night, folder, receipt, progress)
        if not (found.blocks or found.regions or found.channels or len(found.table("daily_totals"))):
            raise NotFound(f"{lake.url} holds nothing of {day}, and nothing was expected")
        broken = found.table("broken")
        if len(broken):
            repair(lake, broken, receipt.run_id)
            resettle(lake, registry)
        _tell(receipt, found)
        return _committed(lake, registry, receipt, found, started)


def _check_kept(lake: Lake, day: date) -> None:
    for tier, before_s in dropped_before(lake).items():
        if start_of(day) < before_s:
            raise Invalid(
                f"{day}: retention has dropped the {tier} before {date_of(before_s)}; the totals of that day stand"
            )


@contextmanager
def _begun(lake: Lake, day: date) -> Iterator[tuple[int, Path]]:
    """Cut and folder of a run: those of one that was cut off, else new ones; the folder goes when the run is done."""
    if not Path(lake.url).is_dir():
        with tempfile.TemporaryDirectory(prefix="meterlake-batch-") as folder:
            yield folded(lake).version, Path(folder)
        return
    done = max((run["cut"] for run in runs(lake) if run["day"] == day.isoformat()), default=-1)
    for path in sorted((Path(lake.url) / FOLDER).glob(f"{day.isoformat()}-*")):
        cut = int(path.name.rpartition("-")[2])
        if cut > done and _is_kept(lake, cut):
            break
        shutil.rmtree(path, ignore_errors=True)
    else:
        cut = folded(lake).version
        path = Path(lake.url) / FOLDER / f"{day.isoformat()}-{cut}"
        path.mkdir(parents=True, exist_ok=True)
    try:
        yield cut, path
    except NotFound:
        shutil.rmtree(path, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)


def _is_kept(lake: Lake, version: int) -> bool:
    try:
        lake.snapshot(version)
    except NotFound:
        return False
    return True


def _night(lake: Lake, registry: Registry, base: Snapshot, start_s: int) -> Night:
    lost = lost_of(lake.records("superseded"), base.version, start_s)
    published = published_at(lake, start_s, base.version)
    roster = Roster.read(registry, start_s)
    kept_from_s = dropped_before(lake).get("intervals", -EVER_S)
    return Night(lake, base, Delivered.read(lake), start_s, published, Spread(lost), roster, kept_from_s)


def _recomputed(night: Night, folder: Path, receipt: BatchReceipt, progress: Progress | None) -> Outcome:
    """Recompute all buckets that are not done, a few at once; return what was found in all."""
    todo = buckets(night.lake, night.base, night.start_s)
    receipt.buckets = len(todo)
    whole = Outcome()

    def one(run: tuple[int, int]) -> tuple[Outcome, bool]:
        path = folder / f"bucket-{run[0]:04d}-{run[1]:04d}.arrow"
        found = Outcome.read(path)
        if found is not None:
            return found, True
        found = rework(night, run)
        found.write(path)
        return found, False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (found, resumed) in enumerate(pool.map(one, todo), 1):
            whole.add(found)
            receipt.resumed += resumed
            if progress is not None:
                progress(done, len(todo))
    return whole


def _tell(receipt: BatchReceipt, found: Outcome) -> None:
    receipt.blocks, receipt.readings = found.blocks, found.readings
    receipt.repaired = len(found.table("broken"))
    receipt.adjustments = len(found.table("adjustments"))
    receipt.daily_totals = len(found.table("daily_totals"))
    told = receipt.published is not None
    receipt.channels = [
        {
            "channel": channel, "interval_s": interval_s,
            "published": decimal_text(sums.published) if told else None, "amount": decimal_text(sums.amount),
            "difference": decimal_text(sums.amount - sums.published) if told else None,
            "adjusted": sums.adjusted,
        }
        for (channel, interval_s), sums in sorted(found.channels.items())
    ]  # fmt: skip
    receipt.regions = _listed("region", found.regions)
    receipt.sources = [
        {name: value for name, value in row.items() if name not in {"expected", "missing"}}
        for row in _listed("source", found.sources)
    ]
    receipt.completeness = {
        name: sum(counts[i] for counts in found.regions.values())
        for i, name in enumerate(("expected", "received", "late", "missing"))
    }


def _listed(by: str, split: Split) -> list[dict[str, Any]]:
    ordered = sorted(split.items(), key=lambda item: (item[0][0] is None, item[0][0] or "", item[0][1]))
    return [
        {by: name, "channel": channel}
        | dict(zip(("expected", "received", "late", "missing"), counts, strict=True))
        for (name, channel), counts in ordered
    ]


def _committed(
    lake: Lake, registry: Registry, receipt: BatchReceipt, found: Outcome, started: float
) -> BatchReceipt:
    """Commit what was found; where the run has landed already, return its receipt."""
    app = f"batch:{receipt.run_id}"
    while True:
        base = lake.snapshot()
        for run in runs(lake):
            if run["run_id"] == receipt.run_id:
                return BatchReceipt.from_json(run)
        receipt.version = base.version + 1
        landed_us = Delivered.read(lake).next_us(time.time_ns() // 1000)
        receipt.landed_at = str(np.datetime64(landed_us, "us")) + "Z"
        receipt.seconds = round(time.monotonic() - started, 3)
        records = _records(receipt, found)
        records["operations"] = operation_row(
            "batch", receipt.run_id, receipt.version, landed_us, receipt.to_json()
        )
        try:
            lake.commit(Change(base, [], [], app, int.from_bytes(os.urandom(6)), records))
        except ConcurrentCommit:
            continue
        if registry.series_version() == base.version:
            registry.update_series(SERIES_SCHEMA.empty_table(), receipt.version)
        return receipt


def _records(receipt: BatchReceipt, found: Outcome) -> dict[str, pa.Table]:
    """Rows of the side tables of a run."""
    day = date.fromisoformat(receipt.day)
    adjusted, daily = found.table("adjustments"), found.table("daily_totals")
    head = pa.table(
        {
            "run_id": pa.array([receipt.run_id] * len(adjusted), pa.string()),
            "day": pa.array([day] * len(adjusted), pa.date32()),
        }
    )
    columns = [*head.columns, *adjusted.columns]
    rows = [
        {
            "run_id": receipt.run_id, "day": day, "by": by, "name": row[by], "channel": row["channel"],
            "expected": row.get("expected"), "received": row["received"], "late": row["late"],
            "missing": row.get("missing"),
        }
        for by, listed in (("region", receipt.regions), ("source", receipt.sources))
        for row in listed
    ]  # fmt: skip
    return {
        "adjustments": pa.Table.from_arrays(columns, schema=ADJUSTMENT_SCHEMA),
        "completeness": pa.Table.from_pylist(rows, schema=COMPLETENESS_SCHEMA),
        "daily_totals": daily.append_column(
            DAILY_SCHEMA.field("version"), pa.array(np.full(len(daily), receipt.version))
        ),
    }
