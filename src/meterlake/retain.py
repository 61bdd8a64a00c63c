"""Retention: what is older than its age goes, coarser figures before finer ones are lost.

=========  ==========================================================  =====================================
tier       what                                                        before it goes
=========  ==========================================================  =====================================
beats      blocks of intervals below a minute                          complete quarter-hours become blocks
intervals  blocks of a minute and more                                 the totals of their local days are there
archive    Parquet files of the log's batches as they were accepted, and messages that a stream job received
days       totals of local days
trail      lines of the audit trail
=========  ==========================================================  =====================================

Ages are text such as ``90d``, ``13m`` or ``2y``; a tier without an age is kept for ever. With the blocks goes what
the record says of them, so that no reading that lost comes back.
"""

from __future__ import annotations

import os
import time
import tomllib
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterlake.accounts import Entry
from meterlake.archive import ARCHIVE
from meterlake.blocks import sort_blocks
from meterlake.errors import ConcurrentCommit, Invalid
from meterlake.intervals import DAY_S, MINUTE_S
from meterlake.landing import put_by_month
from meterlake.ledger import DELIVERY_SCHEMA, LOST_SCHEMA, Delivered, operation_row, superseded
from meterlake.moments import back
from meterlake.nightly.days import date_of, start_of
from meterlake.nightly.history import changed_days, dropped_before
from meterlake.nightly.rollup import QUARTER_S, Rollup
from meterlake.pending import folded, pending
from meterlake.ports import Change, Kept, Store
from meterlake.seal import newest_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.ports import DataFile, Lake, Received, ReceivedFile, Registry, Snapshot, Trail

FILE: Final = "retention.toml"
TRAIL: Final = "trail"
TIERS: Final = ("beats", "intervals", "archive", "days", TRAIL)
NEVER_S: Final = -(2**40)


@runtime_checkable
class Forgets(Protocol):
    """A lake whose side tables can lose rows for good."""

    def forget(self, name: str, needed: Callable[[pa.Table], pa.Table]) -> int:
        """Write a side table anew with the rows that are ``needed``; return how many went."""


@dataclass(slots=True)
class Tier:
    """What goes of one tier, or would go."""

    tier: str
    before: str
    """Date (UTC) before which it goes."""
    blocks: int = 0
    """Blocks; of the archive its files, of days their rows, of the trail its lines."""
    readings: int = 0
    bytes: int = 0
    first: str | None = None
    last: str | None = None


@dataclass(slots=True)
class RetainReceipt:
    """What a retention run did, or would do."""

    dry_run: bool
    before: dict[str, str] = field(default_factory=dict)
    """By tier the date (UTC) before which all is gone."""
    tiers: list[dict[str, Any]] = field(default_factory=list)
    rolled_up: int = 0
    """Quarter-hours made of beats."""
    computed: list[str] = field(default_factory=list)
    """Days whose totals had to be computed first."""
    forgotten: int = 0
    """Rows of the record that went with their blocks."""
    version: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def read_ages(store: Store) -> dict[str, str]:
    """Ages by tier that a lake keeps in its retention.toml; none where it has none.

    Raises:
        Invalid: the file is no TOML, or names an unknown tier or age.

    """
    path, kept = f"{store.url}/{FILE}", store.read(FILE)
    if kept is None:
        return {}
    try:
        told = tomllib.loads(kept[0].decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: {error}") from error
    try:
        borders(told, datetime.now(UTC).date())
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from error
    return told


def borders(ages: Mapping[str, str], today: date) -> dict[str, date]:
    """Date by tier before which everything goes; Invalid where a tier or an age is none."""
    found = {}
    for tier, age in ages.items():
        if tier not in TIERS:
            raise Invalid(f"{tier!r} is no tier: write any of {', '.join(TIERS)}")
        try:
            found[tier] = back(today, age)
        except (Invalid, TypeError):
            raise Invalid(
                f"{tier}: {age!r} is no age: write a number and d, w, m or y, such as 90d or 2y"
            ) from None
    return found


def retain(  # noqa: PLR0913 - the tiers lie in these
    lake: Lake, registry: Registry, ages: Mapping[str, str], now: datetime, *, dry_run: bool = False,
    trail: Trail | None = None, received: Received | None = None,
) -> RetainReceipt:  # fmt: skip
    """Drop what is older than its age, as one commit; with ``dry_run`` say what would go.

    Of ``received`` messages those go, with the archive, that seals have taken to the lake.

    Raises:
        Invalid: a tier or age is none, or this lake cannot forget what the record says of dropped blocks.

    """
    started = time.monotonic()
    edges = borders(ages, now.date())
    receipt = RetainReceipt(dry_run, {tier: day.isoformat() for tier, day in sorted(edges.items())})
    limits = {tier: start_of(day) for tier, day in edges.items()}
    own = {tier: day for tier, day in edges.items() if tier != TRAIL}
    if own:
        if not dry_run:
            receipt.computed = _totals_first(lake, registry, limits)
        _drop(lake, own, limits, receipt, now)
    if "archive" in own and received is not None:
        _drop_received(lake, received, limits["archive"], receipt)
    if TRAIL in edges and trail is not None:
        receipt.tiers.append(asdict(_forget_trail(trail, edges["trail"], now, dry_run=dry_run)))
    receipt.seconds = round(time.monotonic() - started, 3)
    return receipt


def _drop(
    lake: Lake, edges: Mapping[str, date], limits: Mapping[str, int], receipt: RetainReceipt, now: datetime
) -> None:
    """Drop what of the lake is older than its age, or count it."""
    while True:
        base = lake.snapshot() if receipt.dry_run else folded(lake)
        receipt.tiers = [asdict(tier) for tier in _tiers(lake, base, edges, limits)]
        receipt.version = base.version
        if receipt.dry_run:
            return
        if not any(tier["blocks"] for tier in receipt.tiers) or _drop_blocks(
            lake, base, limits, receipt, now
        ):
            break
    _forget_days(lake, limits)
    for path in _archived(lake, limits.get("archive")):
        lake.store.delete(path.name)


def _totals_first(lake: Lake, registry: Registry, limits: Mapping[str, int]) -> list[str]:
    """Run the batch of every day that loses blocks and whose totals are missing or out of date; return the days."""
    from meterlake.nightly.batch import batch

    limit = max(limits.get("beats", NEVER_S), limits.get("intervals", NEVER_S))
    already = dropped_before(lake)
    since = max(already.values(), default=NEVER_S)
    # A local day that ends on the border's day begins before it.
    days = changed_days(lake, lake.snapshot(), (since, limit + DAY_S))
    for day in days:
        batch(lake, registry, day)
    return [day.isoformat() for day in days]


def goes(rows: pa.Table, limits: Mapping[str, int]) -> Any:
    """Which rows (with ``interval_s`` and ``start``) are older than the age of their tier: bool, one a row."""
    start_s = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000
    interval = rows["interval_s"].to_numpy()
    whole = QUARTER_S % np.maximum(interval, 1) == 0  # beats that make no quarter-hours stay as they are
    beats = np.where(whole, limits.get("beats", NEVER_S), NEVER_S)
    limit = np.where(interval < MINUTE_S, beats, limits.get("intervals", NEVER_S))
    return start_s < limit


def _tiers(lake: Lake, base: Snapshot, edges: Mapping[str, date], limits: Mapping[str, int]) -> list[Tier]:
    """What goes, tier by tier."""
    found = {tier: Tier(tier, day.isoformat()) for tier, day in edges.items()}
    for file in _touched(base, limits):
        rows = lake.blocks(file, ["interval_s", "start", "filled"])
        gone = rows.filter(pa.array(goes(rows, limits)))
        beats = gone["interval_s"].to_numpy() < MINUTE_S
        for name, mine in (("beats", beats), ("intervals", ~beats)):
            if mine.any():
                _count(found[name], gone.filter(pa.array(mine)), file.bytes * int(mine.sum()) // file.rows)
    _count_archive(found, lake, limits)
    if "days" in found:
        rows = lake.records("daily_totals")
        rows = rows.filter(pc.less(rows["day"], pa.scalar(edges["days"])))
        tier = found["days"]
        tier.blocks, tier.readings = len(rows), int(pc.sum(rows["filled"]).as_py() or 0)
        tier.bytes = rows.nbytes
        ends = pc.min_max(rows["day"]).as_py()
        tier.first, tier.last = (str(ends[end]) if len(rows) else None for end in ("min", "max"))
    return [found[tier] for tier in TIERS if tier in found]


def _count(tier: Tier, rows: pa.Table, bytes_: int) -> None:
    ends = pc.min_max(rows["start"].cast(pa.int64())).as_py()
    days = [str(date_of(ends[end] // 1_000_000)) for end in ("min", "max")]
    tier.blocks += len(rows)
    tier.readings += int(pc.sum(rows["filled"]).as_py())
    tier.bytes += bytes_
    tier.first = min(days[0], tier.first or days[0])
    tier.last = max(days[1], tier.last or days[1])


def _count_archive(found: Mapping[str, Tier], lake: Lake, limits: Mapping[str, int]) -> None:
    for kept in _archived(lake, limits.get("archive")):
        tier, (day, rows) = found["archive"], _newest_day(lake, kept)
        tier.blocks += 1
        tier.readings += rows
        tier.bytes += kept.bytes
        tier.first, tier.last = min(day, tier.first or day), max(day, tier.last or day)


def _archived(lake: Lake, limit: int | None) -> list[Kept]:
    """Files of the archive all of whose batches were received before ``limit`` (s); the newest file always stays."""
    if limit is None:
        return []
    files = lake.store.list(f"{ARCHIVE}/")[:-1]
    return [kept for kept in files if _newest_day(lake, kept)[0] < str(date_of(limit))]


def _drop_received(lake: Lake, received: Received, limit: int, receipt: RetainReceipt) -> None:
    """Drop files of messages that are all older than ``limit`` (s) and below the newest seal of their shard, or count them."""
    seals = {shard: newest_seal(lake, shard) for shard in {file.shard for file in received.files()}}

    def goes(file: ReceivedFile) -> bool:
        seal = seals.get(file.shard)
        return file.newest_us < limit * 1_000_000 and seal is not None and file.last < seal.offset

    gone = [file for file in received.files() if goes(file)] if receipt.dry_run else received.drop(goes)
    tier = next(one for one in receipt.tiers if one["tier"] == "archive")
    days = [str(date_of(file.newest_us // 1_000_000)) for file in gone]
    tier["blocks"] += len(gone)
    tier["readings"] += sum(file.rows for file in gone)
    tier["bytes"] += sum(file.bytes for file in gone)
    tier["first"] = min([*days, *filter(None, [tier["first"]])], default=None)
    tier["last"] = max([*days, *filter(None, [tier["last"]])], default=None)


def _newest_day(lake: Lake, kept: Kept) -> tuple[str, int]:
    """Date (UTC) at which the last batch of an archive file was received, and its rows."""
    received = pq.read_table(lake.store.opened(kept.name), columns=["received_at"])["received_at"]
    return str(pc.max(received).as_py().date()), len(received)


def _touched(base: Snapshot, limits: Mapping[str, int]) -> list[DataFile]:
    """Files that begin before the age of some tier of blocks."""
    limit = max(limits.get("beats", NEVER_S), limits.get("intervals", NEVER_S))
    return [file for file in base.files if file.starts_us[0] < limit * 1_000_000]


def _drop_blocks(
    lake: Lake, base: Snapshot, limits: Mapping[str, int], receipt: RetainReceipt, now: datetime
) -> bool:
    """Roll up and drop blocks; False where it must be planned again because others wrote into that time."""
    # Before the commit: cut off in between, the next run finds the blocks and no loser without them.
    receipt.forgotten += _forget(lake, "superseded", lambda rows: rows.filter(pa.array(~goes(rows, limits))))
    files = _touched(base, limits)
    rollup = Rollup(lake, base, limits.get("beats", NEVER_S), limits.get("intervals", NEVER_S), now)
    rollup.run(files)
    added, removed = list(rollup.added), []
    for file in files:
        rows = lake.blocks(file)
        kept = ~np.asarray(goes(rows, limits), bool)
        replaced, own = rollup.over(rows)
        if kept.all() and not replaced.any():
            continue
        removed.append(file)
        added += put_by_month(
            lake,
            sort_blocks(pa.concat_tables([rows.filter(pa.array(kept & ~replaced)), own])),
            file.partitions,
        )
    receipt.rolled_up = rollup.quarters
    return _commit(lake, base, (added, removed), rollup, receipt, limits)


def _commit(
    lake: Lake, base: Snapshot, files: tuple[list[DataFile], list[DataFile]], rollup: Rollup,
    receipt: RetainReceipt, limits: Mapping[str, int],
) -> bool:  # fmt: skip
    """Commit what was planned on ``base``, on top of what landed since where that lies in a later time."""
    on, limit_us = base, max(limits.get("beats", NEVER_S), limits.get("intervals", NEVER_S)) * 1_000_000
    while True:
        version = receipt.version = on.version + 1
        landed_us = Delivered.read(lake).next_us(time.time_ns() // 1000)
        records = {
            "superseded": superseded(pa.concat_tables([LOST_SCHEMA.empty_table(), *rollup.lost]), version),
            "deliveries": rollup.delivery(version) if rollup.quarters else DELIVERY_SCHEMA.empty_table(),
            "operations": operation_row("retain", "", version, landed_us, receipt.to_json()),
        }
        change = Change(on, *files, f"retain:{uuid.uuid4().hex}", int.from_bytes(os.urandom(6)), records)
        try:
            lake.commit(change)
        except ConcurrentCommit:
            on = lake.snapshot()
            later = all(file.starts_us[0] >= limit_us for file in set(on.files) - set(base.files))
            waiting = pending(lake, on)["start"].cast(pa.int64())
            later &= bool((pc.min(waiting).as_py() or limit_us) >= limit_us)
            if not later or not set(files[1]) <= set(on.files):
                return False
            continue
        return True


def _forget_trail(trail: Trail, day: date, now: datetime, *, dry_run: bool) -> Tier:
    """Drop lines of the audit trail; one more says so."""
    count = trail.forget(datetime.combine(day, datetime.min.time(), UTC), dry_run=dry_run)
    if count and not dry_run:
        trail.note([Entry(at=now, what=f"{count} lines before {day} dropped")])
    return Tier(TRAIL, day.isoformat(), blocks=count)


def _forget_days(lake: Lake, limits: Mapping[str, int]) -> None:
    if "days" in limits:
        border = pa.scalar(date_of(limits["days"]))
        _forget(lake, "daily_totals", lambda rows: rows.filter(pc.greater_equal(rows["day"], border)))


def _forget(lake: Lake, name: str, needed: Callable[[pa.Table], pa.Table]) -> int:
    rows = lake.records(name)
    if len(needed(rows)) == len(rows):
        return 0
    if not isinstance(lake, Forgets):
        raise Invalid(f"{lake.url} cannot forget what its record says of dropped blocks")
    return lake.forget(name, needed)
