"""The lake in memory: the plainest thing that keeps the contract, and the oracle of its tests."""

from __future__ import annotations

from itertools import count
from threading import RLock
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.adapters.store_memory import MemoryStore
from meterlake.errors import ConcurrentCommit, Conflict, NotFound
from meterlake.ledger import RECORD_SCHEMAS
from meterlake.ports import Change, DataFile, Lake, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class MemoryLake:
    """`ports.Lake` without a disk."""

    def __init__(self, url: str = "memory:", buckets: int = 64) -> None:
        """Start at version 0 with nothing."""
        self.url, self.buckets = url, buckets
        self.store = MemoryStore(url)
        self._lock = RLock()
        self._versions = [Snapshot(0, ())]
        self._tables: dict[str, pa.Table] = {}
        self._records = {name: [schema.empty_table()] for name, schema in RECORD_SCHEMAS.items()}
        self._landed: set[tuple[str, int]] = set()
        self._names = count(1)
        self._numbers = 1

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the newest state, or an earlier one; NotFound where it is not kept."""
        if version is None:
            return self._versions[-1]
        if not 0 <= version < len(self._versions):
            raise NotFound(f"{self.url} has no version {version}")
        return self._versions[version]

    def put(self, blocks: pa.Table, partitions: tuple[int, int], *, final: bool = False) -> DataFile:
        """Keep one file of sorted blocks, not yet part of the lake."""
        path = f"{next(self._names):08d}"
        self._tables[path] = blocks
        starts = pc.min_max(blocks["start"].cast(pa.int64())).as_py()
        return DataFile(
            path, blocks.nbytes, len(blocks), partitions,
            (blocks["meter_id"][0].as_py(), blocks["meter_id"][-1].as_py()),
            (starts["min"], starts["max"]), final,
        )  # fmt: skip

    def blocks(
        self,
        file: DataFile,
        columns: Sequence[str] | None = None,
        meters: tuple[str, str] | None = None,
    ) -> pa.Table:
        """Read a file: the named columns, the rows of meters within the closed range, in order."""
        table = self._tables[file.path]
        if meters is not None:
            ids = table["meter_id"]
            table = table.filter(pc.and_(pc.greater_equal(ids, meters[0]), pc.less_equal(ids, meters[1])))
        return table if columns is None else table.select(list(columns))

    def commit(self, change: Change) -> int:
        """Make ``change`` the next version, whole or not at all; ConcurrentCommit if ``base`` is not newest."""
        with self._lock:
            now = self._versions[-1]
            if now.version != change.base.version:
                raise ConcurrentCommit(f"{self.url} is at version {now.version}, not {change.base.version}")
            if (change.app, change.number) in self._landed:
                raise Conflict(f"{change.app} attempt {change.number} has landed already")
            gone = set(change.removed)
            files = sorted([file for file in now.files if file not in gone] + list(change.added))
            for name, rows in change.records.items():
                self._records[name].append(rows)
            self._landed.add((change.app, change.number))
            self._versions.append(Snapshot(now.version + 1, tuple(files)))
            return now.version + 1

    def records(self, name: str, meters: tuple[str, str] | None = None) -> pa.Table:  # noqa: ARG002
        """Return all rows of a side table."""
        return pa.concat_tables(self._records[name])

    def forget(self, name: str, needed: Callable[[pa.Table], pa.Table]) -> int:
        """Keep of a side table only the rows that are ``needed``; return how many went."""
        with self._lock:
            rows = self.records(name)
            self._records[name] = [needed(rows)]
            return len(rows) - len(self._records[name][0])

    def reserve(self, count: int) -> int:
        """Reserve ``count`` delivery numbers for ever; return the first."""
        with self._lock:
            first = self._numbers
            self._numbers += count
            return first


_CONFORMS: type[Lake] = MemoryLake
