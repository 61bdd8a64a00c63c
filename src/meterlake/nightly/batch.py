"""The nightly batch of a UTC day, bucket by bucket, cut off and begun again as often as need be, and one commit.

1. the lake is folded; its version is the *cut*, at which everything below is true
2. every bucket's blocks are folded again from the complete record; what was found is kept in a file a bucket
3. blocks that are not what the record says are replaced, as a commit of its own
4. one commit takes the receipt, the adjustments, the completeness and the totals of local days

A run that was cut off goes on at its cut and skips the buckets that are done.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.completeness import EVER_S, Roster
from meterlake.errors import ConcurrentCommit, Invalid, MeterlakeError, NotFound
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
from meterlake.site import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterlake.ports import Engine, Lake, Registry
    from meterlake.site import Site

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


def batch(
    lake: Lake, registry: Registry, day: date, progress: Progress | None = None, engine: Engine | None = None
) -> BatchReceipt:
    """Recompute the UTC ``day`` on ``engine``, else in threads; ``progress`` is told (done, total) buckets.

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
        published = published_at(lake, start_s, cut)
        receipt = BatchReceipt(f"{day:%Y%m%d}-{cut}", day.isoformat(), cut, published)
        todo = [Bucket(cut, start_s, folder, run) for run in buckets(lake, base, start_s)]
        receipt.buckets = len(todo)
        found = Outcome()
        with engine or Threads(lake, registry) as tasks:
            for name, resumed in tasks.map(recompute, todo, progress):
                found.add(_read(lake, name))
                receipt.resumed += resumed
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
def _begun(lake: Lake, day: date) -> Iterator[tuple[int, str]]:
    """Cut and folder of a run: those of one that was cut off, else new ones; the folder goes when the run is done."""
    done = max((run["cut"] for run in runs(lake) if run["day"] == day.isoformat()), default=-1)
    begun = f"{FOLDER}/{day.isoformat()}-"
    for folder in sorted({kept.name.rpartition("/")[0] for kept in lake.store.list(begun)}):
        cut = int(folder.rpartition("-")[2])
        if cut > done and _is_kept(lake, cut):
            break
        _drop(lake, folder)
    else:
        cut = folded(lake).version
        folder = f"{begun}{cut}"
    try:
        yield cut, folder
    except NotFound:
        _drop(lake, folder)
        raise
    _drop(lake, folder)


def _drop(lake: Lake, folder: str) -> None:
    for kept in lake.store.list(f"{folder}/"):
        lake.store.delete(kept.name)


def _is_kept(lake: Lake, version: int) -> bool:
    try:
        lake.snapshot(version)
    except NotFound:
        return False
    return True


class Bucket(NamedTuple):
    """A task of a run: a run of partitions of the UTC day from ``start_s``, as of the lake's version ``cut``."""

    cut: int
    start_s: int
    folder: str
    run: tuple[int, int]

    @property
    def name(self) -> str:
        """What is found is kept under it."""
        return f"{self.folder}/bucket-{self.run[0]:04d}-{self.run[1]:04d}.arrow"


def recompute(site: Site, bucket: Bucket) -> tuple[str, bool]:
    """Recompute a bucket that is not done; return where what was found is, and whether it was there already."""
    kept = site.lake.store.read(bucket.name)
    if kept is not None and Outcome.of(kept[0]) is not None:
        return bucket.name, True
    night = site.once((bucket.cut, bucket.start_s), lambda: _night(site, bucket))
    site.lake.store.write(bucket.name, rework(night, bucket.run).to_bytes())
    return bucket.name, False


def _night(site: Site, bucket: Bucket) -> Night:
    lake, start_s = site.lake, bucket.start_s
    lost = lost_of(lake.records("superseded"), bucket.cut, start_s)
    published = published_at(lake, start_s, bucket.cut)
    roster = Roster.read(site.registry, start_s)
    kept_from_s = dropped_before(lake).get("intervals", -EVER_S)
    base = lake.snapshot(bucket.cut)
    return Night(lake, base, Delivered.read(lake), start_s, published, Spread(lost), roster, kept_from_s)


def _read(lake: Lake, name: str) -> Outcome:
    kept = lake.store.read(name)
    found = None if kept is None else Outcome.of(kept[0])
    if found is None:
        raise MeterlakeError(f"{lake.url}/{name} was taken away while the batch ran; run the same again")
    return found


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
