"""Side tables of a lake: rows of an attempt count once its commit to the blocks has landed.

Each attempt adds a small file. `SideTable.gather` writes those that landed anew as few large ones, which count
without looking up their commits again. Files never change, so what was read of them is kept within a budget.
"""

from __future__ import annotations

import json
import time
import uuid
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from meterlake.adapters.delta_place import HOOKS
from meterlake.adapters.files import packed_rows
from meterlake.errors import ConcurrentCommit
from meterlake.ledger import RECORD_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.adapters.delta_place import Place
    from meterlake.adapters.files import FileReader

LANDING: Final = pa.schema([pa.field("commit_app", pa.string()), pa.field("commit_number", pa.int64())])
GATHERED: Final = ""
"""``commit_app`` of rows whose commit has landed for certain."""

TABLE_SETTINGS: Final = {
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
}
SWEEP_AFTER_S: Final = 24 * 3600
"""Files that no commit names, and rows whose commit did not land, are removed when this old: no commit takes so long."""

FILE_ROWS: Final = 500_000
"""Rows of a file that need not be gathered again."""

GATHER_MIN: Final = 8
"""Fewer small files than this may stay as they are."""

KEPT_BYTES: Final = 256 << 20
"""Rows of all side tables that are kept in memory."""

ORDERS: Final[Mapping[str, str]] = {
    "superseded": "meter_id", "pending_blocks": "meter_id", "deliveries": "number", "operations": "version",
}  # fmt: skip
"""By what the rows of a file are sorted, so that some of them are found fast."""


class _Entry(NamedTuple):
    """One file of a side table."""

    path: str
    rows: int
    bytes: int
    written_ms: int
    meters: tuple[str, str] | None


Listing = tuple[int, list[_Entry]]
"""A version of a side table and its files."""


class _File(NamedTuple):
    """What was read of a file: its rows (those of the ledger's schema), and the commit that they belong to."""

    rows: pa.Table
    app: str
    number: int
    by_meter: bool


class RowCache:
    """Files of side tables that were read, the longest unused out first. Safe to share between threads."""

    def __init__(self, budget: int = KEPT_BYTES) -> None:
        """Keep at most ``budget`` bytes."""
        self.budget = budget
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, path: str, read: Callable[[], _File]) -> _File:
        """Return what was read of ``path``; ``read`` it where that is not kept."""
        with self._lock:
            found = self._files.get(path)
            if found is not None:
                self._files.move_to_end(path)
                return found
        fresh = read()
        with self._lock:
            if path not in self._files:
                self._files[path] = fresh
                self._bytes += fresh.rows.nbytes
            while self._bytes > self.budget and len(self._files) > 1:
                self._bytes -= self._files.popitem(last=False)[1].rows.nbytes
        return fresh


class SideTable:
    """One side table. The lake's lock guards it."""

    def __init__(
        self,
        place: Place,
        name: str,
        reader: FileReader,
        cache: RowCache,
        landed: Callable[[str, int], bool],
    ) -> None:
        """``landed`` tells whether a commit to the blocks, by app and number, has landed."""
        self.place, self.name, self.schema = place, name, RECORD_SCHEMAS[name]
        self._reader, self._cache, self._has_landed = reader, cache, landed
        self.table = place.open(name)
        self._listed: Listing | None = None
        self._counts: set[str] = set()
        self._whole: tuple[int, int, pa.Table] | None = None

    def update(self) -> None:
        """Take notice of commits that others made."""
        self.place.refresh(self.table, self.name)

    def append(self, rows: pa.Table, app: str, number: int) -> None:
        """Add rows of the attempt ``number`` of ``app``."""
        add = self._write(self._in_order(rows), app, number)
        while True:
            self.table.update_incremental()
            with suppress(ConcurrentCommit):  # appends never collide
                self.place.commit(self.table, [add], {})
                break
        self.place.sync(self.name, self.table.version())

    def _in_order(self, rows: pa.Table) -> pa.Table:
        by = ORDERS.get(self.name)
        return rows if by is None or not len(rows) else rows.take(pc.sort_indices(rows[by]))

    def _write(self, rows: pa.Table, app: str, number: int) -> AddAction:
        named = rows.append_column(LANDING.field("commit_app"), pa.array([app] * len(rows), pa.string()))
        named = named.append_column(
            LANDING.field("commit_number"), pa.array(np.full(len(rows), number), pa.int64())
        )
        name, data = f"{uuid.uuid4().hex}.parquet", packed_rows(named)
        self.place.store.write(f"{self.name}/{name}", data)
        return AddAction(name, data.size, {}, _now_ms(), True, _stats(named))

    def listing(self) -> Listing:
        """Return the newest version and its files."""
        self.update()
        version = self.table.version()
        if self._listed is None or self._listed[0] != version:
            self._listed = version, _entries_of(self.table)
        return self._listed

    def rows(self, listing: Listing, state: int, meters: tuple[str, str] | None) -> pa.Table:
        """Rows of the listed files that count in a ``state`` of the blocks, at least those of meters within the range."""
        version, entries = listing
        if meters is None and self._whole is not None and self._whole[:2] == (version, state):
            return self._whole[2]
        parts, bytes_ = [self.schema.empty_table()], 0
        for entry in entries:
            if meters and entry.meters and (entry.meters[1] < meters[0] or entry.meters[0] > meters[1]):
                continue
            file = self._file(entry)
            if self._count(entry, file):
                parts.append(_of_meters(file, meters))
                bytes_ += file.rows.nbytes
        whole = pa.concat_tables(parts)
        if meters is None and bytes_ < self._cache.budget // 2:
            whole = whole.combine_chunks()
            self._whole = version, state, whole
        return whole

    def _count(self, entry: _Entry, file: _File) -> bool:
        """Whether the rows of a file count; once they do they always will."""
        if entry.path not in self._counts and (
            file.app == GATHERED or self._has_landed(file.app, file.number)
        ):
            self._counts.add(entry.path)
        return entry.path in self._counts

    def _file(self, entry: _Entry) -> _File:
        return self._cache.get(f"{self.name}/{entry.path}", lambda: self._read(entry))

    def _read(self, entry: _Entry) -> _File:
        rows = self._reader.read_rows(f"{self.name}/{entry.path}", self.schema, LANDING)
        app, number = rows["commit_app"][0].as_py(), rows["commit_number"][0].as_py()
        rows = rows.select(self.schema.names).combine_chunks()
        by_meter = "meter_id" in rows.schema.names
        if by_meter:
            ids = rows["meter_id"]
            by_meter = bool(
                pc.all(pc.less_equal(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py() in {True, None}
            )
        return _File(rows, app, number, by_meter)

    def gather(self, now_s: float, needed: Callable[[pa.Table], pa.Table] | None = None) -> int:
        """Write the rows of many small files, or those that are ``needed``, anew as few; return how many files went.

        Rows of attempts that did not land are left out when they are a day old.
        """
        while True:
            _, entries = self.listing()
            self._counts &= {entry.path for entry in entries}
            gone, kept = [], [self.schema.empty_table()]
            for entry in entries:
                if entry.rows >= FILE_ROWS:
                    continue
                file = self._file(entry)
                counts = self._count(entry, file)
                if counts or entry.written_ms < (now_s - SWEEP_AFTER_S) * 1000:
                    gone.append(entry)
                    kept += [file.rows] if counts else []
            if len(gone) < GATHER_MIN:
                return 0
            rows = pa.concat_tables(kept)
            rows = rows if needed is None else needed(rows)
            if self._swap(gone, self._in_order(rows.combine_chunks())):
                return len(gone)

    def forget(self, needed: Callable[[pa.Table], pa.Table]) -> int:
        """Write the files anew that hold rows which are not ``needed``; return how many rows went."""
        while True:
            _, entries = self.listing()
            gone, kept, n = [], [self.schema.empty_table()], 0
            for entry in entries:
                file = self._file(entry)
                rows = needed(file.rows)
                if len(rows) < len(file.rows) and self._count(entry, file):
                    gone.append(entry)
                    kept.append(rows)
                    n += len(file.rows) - len(rows)
            if not gone or self._swap(gone, self._in_order(pa.concat_tables(kept).combine_chunks())):
                return n

    def _swap(self, gone: list[_Entry], rows: pa.Table) -> bool:
        """Put ``rows`` in the place of files, as one commit; False where another came first."""
        planned_on = self.table.version()
        adds = [self._write(rows.slice(at, FILE_ROWS), GATHERED, 0) for at in range(0, len(rows), FILE_ROWS)]
        removes = [RemoveAction(entry.path, True, _now_ms(), entry.bytes, {}) for entry in gone]
        try:
            self.place.commit(self.table, [*adds, *removes], {"gather": planned_on + 1})
        except ConcurrentCommit:
            return False
        self.place.sync(self.name, self.table.version())
        return True

    def sweep(self) -> None:
        """Delete files that no commit has named for a day."""
        self.table.vacuum(
            retention_hours=SWEEP_AFTER_S // 3600, dry_run=False, enforce_retention_duration=False,
            post_commithook_properties=HOOKS,
        )  # fmt: skip
        self.table.update_incremental()


def _of_meters(file: _File, meters: tuple[str, str] | None) -> pa.Table:
    if meters is None or not file.by_meter:
        return file.rows
    ids = file.rows["meter_id"]
    low = bisect_left(ids, meters[0], key=_text)
    return file.rows.slice(low, bisect_right(ids, meters[1], lo=low, key=_text) - low)


def _text(scalar: Any) -> str:
    return str(scalar.as_py())


def make_table(place: Place, name: str, schema: pa.Schema) -> None:
    """Make an empty Delta table, or leave the one that is there."""
    create_table_with_add_actions(
        place.uri(name), Schema.from_arrow(schema), [], mode="ignore", configuration=TABLE_SETTINGS,
        storage_options=place.options,
    )  # fmt: skip


def make_side_table(place: Place, name: str) -> None:
    """Make a side table where it is missing."""
    make_table(place, name, pa.schema([*RECORD_SCHEMAS[name], *LANDING]))


def _entries_of(table: DeltaTable) -> list[_Entry]:
    listed = pa.table(table.get_add_actions(flatten=True))
    n, names = len(listed), listed.schema.names
    nothing: list[Any] = [None] * n
    low, high = (
        listed[name].to_pylist() if name in names else nothing for name in ("min.meter_id", "max.meter_id")
    )
    columns = (listed[name].to_pylist() for name in ("path", "num_records", "size_bytes"))
    written = listed["modification_time"].cast(pa.int64()).to_pylist()
    rows = zip(*columns, written, low, high, strict=True)
    return sorted(
        _Entry(path, count, size, at, None if a is None or b is None else (a, b))
        for path, count, size, at, a, b in rows
    )


def _stats(rows: pa.Table) -> str:
    stats: dict[str, Any] = {"numRecords": len(rows)}
    if "meter_id" in rows.schema.names:
        ends = cast("Mapping[str, str]", pc.min_max(rows["meter_id"]).as_py())
        stats["minValues"] = {"meter_id": ends["min"]}
        stats["maxValues"] = {"meter_id": ends["max"]}
    return json.dumps(stats)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
