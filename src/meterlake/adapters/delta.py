"""The lake as Delta tables in a folder or a bucket: pyarrow writes and reads the files, deltalake the commits.

One commit, step by step, and what a crash after each step costs:

1. data files are written and synced            -> orphans, swept later
2. side tables get their rows, named (app, number) -> rows that no landed commit names do not count
3. one Delta commit adds, removes and carries Transaction(app, number) and Transaction("layout", n)
   -> the change is there, whole
4. in a folder the commit file is synced        -> only now is the change acknowledged

The layout transaction makes of two commits planned on one snapshot the second one fail, always.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from meterlake.adapters.delta_place import Place
from meterlake.adapters.delta_records import (
    SWEEP_AFTER_S,
    RowCache,
    SideTable,
    make_side_table,
    make_table,
)
from meterlake.adapters.files import FileReader, packed_blocks
from meterlake.adapters.received import TABLE as RECEIVED
from meterlake.blocks import BLOCK_SCHEMA
from meterlake.errors import ConcurrentCommit, Conflict, Invalid, NotFound
from meterlake.ledger import RECORD_SCHEMAS, STAGING
from meterlake.ports import Change, DataFile, Lake, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deltalake import DeltaTable

    from meterlake.adapters.store_folder import FolderStore
    from meterlake.adapters.store_s3 import S3Store

BLOCKS: Final = "interval_blocks"
LAYOUT: Final = "layout"
NUMBERS: Final = "numbers"
SETTINGS: Final = "lake.json"
FORMAT: Final = 1
FINAL: Final = "-final"
"""In the name of a file that compaction wrote."""
LATER: Final = ("pending_blocks", "adjustments", "completeness", "daily_totals")
"""Side tables that older lakes lack; they are made when such a lake is opened."""
_ADDED: Final = re.compile(r'"path":"([^"]+\.parquet)"')


class DeltaLake:
    """`ports.Lake` in a store. Safe to share between threads; of commits planned on one version the first wins."""

    def __init__(self, store: FolderStore | S3Store, *, create: bool = False, buckets: int = 64) -> None:
        """Open the lake in ``store``, or make one there."""
        self.store, self.url = store, store.url
        self._place = Place(store)
        self._lock = RLock()
        self._reader = FileReader(store)
        self._landed: dict[str, int] = {}
        self._snapshot: Snapshot | None = None
        self._unsynced = True
        """Whether the newest commit may not be durable: after opening, or where its sync failed."""
        found = store.read(SETTINGS)
        if found is None:
            if not create:
                raise NotFound(f"no lake in {self.url}: make one with `meterlake init --lake {self.url}`")
            found = _made(self._place, buckets)
        settings = json.loads(found[0])
        if settings.get("format") != FORMAT:
            raise Invalid(f"{self.url}/{SETTINGS} is of format {settings.get('format')}, not {FORMAT}")
        self.buckets = int(settings["buckets"])
        self._table = self._place.open(BLOCKS)
        for name in LATER:
            if not self._place.has(name):
                make_side_table(self._place, name)
        cache = RowCache()
        self._sides = {
            name: SideTable(self._place, name, self._reader, cache, self._has_landed)
            for name in RECORD_SCHEMAS
        }

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the newest state, or an earlier one; NotFound where it is not kept."""
        with self._lock:
            if version is None:
                self._sync()
                return self._newest()
            if self._snapshot is not None and self._snapshot.version == version:
                return self._snapshot
        try:
            old = self._place.open(BLOCKS, version)
        except (DeltaError, NotFound) as error:
            raise NotFound(f"{self.url} has no version {version}: {error}") from error
        return Snapshot(version, _data_files(old))

    def _newest(self) -> Snapshot:
        """Newest snapshot; as long as no later commit's file is there, the one that is known."""
        known = self._snapshot
        if known is not None and not self._place.has_commit(BLOCKS, known.version + 1):
            return known
        table = self._table
        table.update_incremental()
        if known is None or known.version != table.version():
            self._snapshot = known = Snapshot(table.version(), _data_files(table))
        return known

    def put(self, blocks: pa.Table, partitions: tuple[int, int], *, final: bool = False) -> DataFile:
        """Write one file of sorted blocks, durable but not yet part of the lake."""
        starts = pc.min_max(blocks["start"].cast(pa.int64())).as_py()
        month = time.strftime("%Y-%m", time.gmtime(starts["min"] // 1_000_000))
        name = f"{month}/{partitions[0]:04d}-{partitions[1]:04d}-{uuid.uuid4().hex}{FINAL if final else ''}.parquet"
        data = packed_blocks(blocks, final=final)
        self.store.write(f"{BLOCKS}/{name}", data)
        return DataFile(
            name, data.size, len(blocks), partitions,
            (blocks["meter_id"][0].as_py(), blocks["meter_id"][-1].as_py()),
            (starts["min"], starts["max"]), final,
        )  # fmt: skip

    def blocks(
        self,
        file: DataFile,
        columns: Sequence[str] | None = None,
        meters: tuple[str, str] | None = None,
    ) -> pa.Table:
        """Read a file: the named columns, at least the rows of meters within the closed range, in order."""
        return self._reader.read(f"{BLOCKS}/{file.path}", columns, meters)

    def commit(self, change: Change) -> int:
        """Make ``change`` the next version, whole or not at all; ConcurrentCommit if ``base`` is not newest."""
        with self._lock:
            for name, rows in change.records.items():
                if len(rows):
                    self._sides[name].append(rows, change.app, change.number)
            table = self._table
            self._check_base(change)
            actions = [_add(file) for file in change.added] + [_remove(file) for file in change.removed]
            layout = {change.app: change.number, LAYOUT: change.base.version + 1}
            self._place.commit(table, actions, layout)
            self._unsynced = True
            self._sync()
            return int(table.version())

    def _sync(self) -> None:
        """Make the newest commit durable; nothing is told of it before."""
        if self._unsynced:
            self._place.sync(BLOCKS, self._table.version())
            self._unsynced = False

    def _check_base(self, change: Change) -> None:
        table = self._table
        table.update_incremental()
        if table.version() != change.base.version:
            raise ConcurrentCommit(
                f"{self.url} is at version {table.version()}, the change was planned on {change.base.version}"
            )
        if table.transaction_version(change.app) == change.number:
            raise Conflict(f"{change.app} attempt {change.number} has landed already")

    def records(self, name: str, meters: tuple[str, str] | None = None) -> pa.Table:
        """Return rows of a side table whose commit has landed, at least those within the range of meters."""
        side = self._sides[name]
        with self._lock:
            listing = side.listing()
            self._place.refresh(self._table, BLOCKS)
            state = self._table.version()
        return side.rows(listing, state, meters)

    def _has_landed(self, app: str, number: int) -> bool:
        if self._landed.get(app) != number:
            with self._lock:
                landed = self._table.transaction_version(app)
            if landed is None:
                return False
            self._landed[app] = landed
        return self._landed[app] == number

    def reserve(self, count: int) -> int:
        """Reserve ``count`` delivery numbers for ever; return the first."""
        table = self._sides["deliveries"].table
        with self._lock:
            while True:
                table.update_incremental()
                used = table.transaction_version(NUMBERS) or 0
                try:
                    self._place.commit(table, [], {NUMBERS: used + count})
                except ConcurrentCommit:
                    continue
                self._place.sync("deliveries", table.version())
                return int(used) + 1

    def sweep(self, *, now_s: float | None = None) -> list[str]:
        """Remove files that no commit names and that are a day old; return the paths of those of blocks."""
        limit = (time.time() if now_s is None else now_s) - SWEEP_AFTER_S
        gone = self._sweep(BLOCKS, limit)
        self._sweep(RECEIVED, limit)
        for one in self.store.list(f"{STAGING}/"):
            if one.modified_s < limit:
                self.store.delete(one.name)
        with self._lock:
            for side in self._sides.values():
                side.sweep()
        return gone

    def _sweep(self, table: str, limit: float) -> list[str]:
        """Remove files of a table that no commit ever named and that are older than ``limit`` (s); return their paths."""
        kept = self.store.list(f"{table}/")
        old = [
            one.name.removeprefix(f"{table}/")
            for one in kept
            if one.name.endswith(".parquet") and "/_delta_log/" not in one.name and one.modified_s < limit
        ]
        if not old:
            return []
        logs = [one.name for one in kept if "/_delta_log/" in one.name and one.name.endswith(".json")]
        named: set[str] = set()
        for log in logs:
            found = self.store.read(log)
            named |= set() if found is None else set(_ADDED.findall(found[0].decode()))
        gone = [name for name in old if name not in named]
        for name in gone:
            self.store.delete(f"{table}/{name}")
        return gone

    def gather(self, folded_through: int, *, now_s: float | None = None) -> int:
        """Write the many small files of the side tables anew as few; return how many files went.

        Pending blocks of versions up to ``folded_through`` are in the files by now and go.
        """

        def needed(rows: pa.Table) -> pa.Table:
            return rows.filter(pc.greater(rows["version"], folded_through))

        now = time.time() if now_s is None else now_s
        with self._lock:
            self._place.refresh(self._table, BLOCKS)
            return sum(
                side.gather(now, needed if name == "pending_blocks" else None)
                for name, side in self._sides.items()
            )

    def forget(self, name: str, needed: Callable[[pa.Table], pa.Table]) -> int:
        """Write a side table anew with the rows that are ``needed``; return how many went."""
        with self._lock:
            self._place.refresh(self._table, BLOCKS)
            return self._sides[name].forget(needed)


def _made(place: Place, buckets: int) -> tuple[bytes, str]:
    """Make the tables of a lake, and what says that it is one, last; who comes second takes what the first made."""
    if buckets < 1 or buckets > 1024 or buckets & (buckets - 1):
        raise Invalid(f"--buckets {buckets}: take a power of two from 1 to 1024")
    if place.local is not None:
        place.local.mkdir(parents=True, exist_ok=True)
    make_table(place, BLOCKS, BLOCK_SCHEMA)
    for name in RECORD_SCHEMAS:
        make_side_table(place, name)
    with suppress(Conflict):
        place.store.write(
            SETTINGS, json.dumps({"format": FORMAT, "buckets": buckets}).encode() + b"\n", new=True
        )
    found = place.store.read(SETTINGS)
    assert found is not None, "it was written"
    return found


def _data_files(table: DeltaTable) -> tuple[DataFile, ...]:
    entries = pa.table(table.get_add_actions(flatten=True))
    if not len(entries):
        return ()
    rows = zip(
        *(entries[name].to_pylist() for name in ("path", "size_bytes", "num_records")),
        *(entries[name].to_pylist() for name in ("min.meter_id", "max.meter_id")),
        *(entries[name].cast(pa.int64()).to_pylist() for name in ("min.start", "max.start")),
        strict=True,
    )
    return tuple(
        sorted(
            DataFile(path, size, n, _partitions(path), (low, high), (first, last), FINAL in path)
            for path, size, n, low, high, first, last in rows
        )
    )


def _partitions(path: str) -> tuple[int, int]:
    low, high, _ = path.rpartition("/")[2].split("-", 2)
    return int(low), int(high)


def _iso(us: int) -> str:
    return f"{np.datetime64(us // 1_000_000, 's')}.000Z"


def _add(file: DataFile) -> AddAction:
    low, high = file.starts_us
    stats = {
        "numRecords": file.rows,
        "minValues": {"meter_id": file.meters[0], "start": _iso(low)},
        "maxValues": {"meter_id": file.meters[1], "start": _iso(high)},
        "nullCount": {"meter_id": 0, "start": 0},
    }
    return AddAction(file.path, file.bytes, {}, _now_ms(), True, json.dumps(stats))


def _remove(file: DataFile) -> RemoveAction:
    return RemoveAction(file.path, True, _now_ms(), file.bytes, {})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_CONFORMS: type[Lake] = DeltaLake
