"""Room for the strips and tables of a job: in memory up to a budget, beyond it in temporary files."""

from __future__ import annotations

import os
from dataclasses import fields
from itertools import pairwise
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numba import njit

from meterlake.ids import PARTITIONS
from meterlake.strips import MISSING, Strips

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

BUDGET: Final = 512 << 20
"""Bytes of strips kept in memory; more are written to a temporary file."""

NEAR_SLOTS: Final = 200_000
"""Slots of neighbouring partitions taken together."""

TABLE_BUDGET: Final = 128 << 20
"""Bytes of a `TableSpool` kept in memory."""


@njit(nogil=True, cache=True)
def _spread(  # noqa: PLR0913  # pragma: no cover - compiled
    place: Any, count: Any, at: Any, amounts: Any, order: Any, next_strip: Any, next_slot: Any, out: Any
) -> None:
    """Counting sort of strips by ``place``: positions into ``order``, amounts moved along to ``out``."""
    for j in range(len(place)):
        p = place[j]
        order[next_strip[p]] = j
        next_strip[p] += 1
        to = next_slot[p]
        n = count[j]
        out[to : to + n] = amounts[at[j] : at[j] + n]
        next_slot[p] = to + n


class _Shelf:
    """The strips of one chunk, sorted by partition; ``strip_at`` and ``slot_at`` are the borders.

    Once spilled they are read back piece by piece and not mapped: mapped pages would count as memory.
    """

    file: IO[bytes]
    at: list[int]
    kinds: list[np.dtype[Any]]

    def __init__(self, strips: Strips, place: npt.NDArray[np.int16]) -> None:
        n = np.bincount(place, minlength=PARTITIONS)
        slots = np.bincount(place, weights=strips.count, minlength=PARTITIONS).astype(np.int64)
        self.strip_at = np.append(0, np.cumsum(n))
        self.slot_at = np.append(0, np.cumsum(slots))
        order = np.empty(len(strips), np.int64)
        amounts = np.empty(len(strips.amounts), np.int64)
        _spread(
            place, strips.count, strips.offsets(), strips.amounts, order,
            self.strip_at[:-1].copy(), self.slot_at[:-1].copy(), amounts,
        )  # fmt: skip
        low = np.iinfo(np.int32)
        known = amounts[amounts != MISSING]
        if len(known) == len(amounts) and (
            not len(known) or (known.min() > low.min and known.max() < low.max)
        ):
            amounts = amounts.astype(np.int32)
        self.columns: list[npt.NDArray[Any]] = [
            getattr(strips, f.name)[order] for f in fields(Strips) if f.name != "amounts"
        ]
        self.columns.append(amounts)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns)

    def spill(self, file: IO[bytes]) -> None:
        """Move the columns to the end of ``file``, out of memory."""
        self.file, self.at, self.kinds = file, [], [column.dtype for column in self.columns]
        for column in self.columns:
            self.at.append(file.tell())
            file.write(np.ascontiguousarray(column).tobytes())
        file.flush()
        self.columns = []

    def read(self, low: int, high: int) -> list[npt.NDArray[Any]]:
        """Columns of the strips of partitions ``low`` to ``high``."""
        spans = [(self.strip_at[low], self.strip_at[high])] * 5 + [(self.slot_at[low], self.slot_at[high])]
        if self.columns:
            return [column[a:b] for column, (a, b) in zip(self.columns, spans, strict=True)]
        held = []
        for at, kind, (a, b) in zip(self.at, self.kinds, spans, strict=True):
            content = os.pread(self.file.fileno(), int(b - a) * kind.itemsize, at + int(a) * kind.itemsize)
            held.append(np.frombuffer(content, kind))
        return held


class StripStore:
    """All strips of a job, readable by runs of partitions in the order of their keys. Thread-safe."""

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        """Spill into ``folder`` beyond ``budget`` bytes."""
        self._budget = budget
        self._file = (folder / "strips").open("w+b")
        self._shelves: dict[tuple[int, ...], _Shelf] = {}
        self.lock = Lock()
        self._bytes = 0
        self.slots = np.zeros(PARTITIONS, np.int64)
        self.strips = np.zeros(PARTITIONS, np.int64)

    def add(self, key: tuple[int, ...], strips: Strips, place: npt.NDArray[np.int16]) -> None:
        """Keep ``strips`` under ``key``, which orders them; ``place`` is the partition of each."""
        if not len(strips):
            return
        shelf = _Shelf(strips, place)
        with self.lock:
            self.slots += np.diff(shelf.slot_at)
            self.strips += np.diff(shelf.strip_at)
            spill = self._bytes + shelf.nbytes > self._budget
            if not spill:
                self._bytes += shelf.nbytes
            self._shelves[key] = shelf
            if spill:
                shelf.spill(self._file)

    def drop(self, first: int) -> None:
        """Forget all strips whose key begins with ``first``."""
        for key in [key for key in self._shelves if key[0] == first]:
            shelf = self._shelves.pop(key)
            self.slots -= np.diff(shelf.slot_at)
            self.strips -= np.diff(shelf.strip_at)

    def take(self, low: int, high: int) -> Strips:
        """Return the strips of partitions ``low`` to ``high``: those of one partition ordered by key.

        Neighbouring partitions come together, so that a merge works on cells that fit a processor's cache.
        """
        step = max(1, (high - low) * NEAR_SLOTS // max(1, int(self.slots[low:high].sum())))
        pieces: list[Strips] = []
        shelves = [self._shelves[key] for key in sorted(self._shelves)]
        held = [(shelf, shelf.read(low, high)) for shelf in shelves]
        for a, b in pairwise([*range(low, high, step), high]):
            for shelf, columns in held:
                i, j = shelf.strip_at[[a, b]] - shelf.strip_at[low]
                if j > i:
                    k, n = shelf.slot_at[[a, b]] - shelf.slot_at[low]
                    meter, kind, start, count, line = (column[i:j] for column in columns[:-1])
                    pieces.append(Strips(meter, kind, start, count, line, columns[-1][k:n].astype(np.int64)))
        return Strips.concat(pieces)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def runs(self, slots_max: int, align: int) -> list[tuple[int, int]]:
        """Cut the partitions into runs of about ``slots_max`` slots, each a multiple of ``align`` wide."""
        weight = (self.slots + 4 * self.strips).reshape(-1, align).sum(axis=1)
        reach = np.cumsum(weight)
        n = max(1, -(-int(reach[-1]) // slots_max))
        cuts = np.searchsorted(reach, np.arange(1, n) * int(reach[-1]) / n) + 1
        borders = np.unique(np.concatenate([[0], cuts * align, [PARTITIONS]])).tolist()
        return list(pairwise(borders))


class TableSpool:
    """Arrow tables of one schema piling up: in memory first, then in a mapped file. Thread-safe."""

    def __init__(self, path: Path, schema: pa.Schema, budget: int = TABLE_BUDGET) -> None:
        """Spill to ``path`` beyond ``budget`` bytes."""
        self._path, self._schema, self._budget = path, schema, budget
        self._tables: list[pa.Table] = []
        self._mapped: list[pa.Table] = []
        self._bytes, self._parts, self._lock = 0, 0, Lock()

    def add(self, table: pa.Table) -> None:
        """Keep one more table."""
        if not len(table):
            return
        with self._lock:
            self._tables.append(table)
            self._bytes += table.nbytes
            if self._bytes > self._budget:
                self._spill()

    def _spill(self) -> None:
        path = self._path.with_name(f"{self._path.name}-{self._parts}")
        self._parts += 1
        held = pa.concat_tables(self._tables)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_table(held)
        self._mapped.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        self._tables.clear()
        self._bytes = 0

    def table(self) -> pa.Table:
        """All rows, in the order of their coming."""
        return concat([*self._mapped, *self._tables], self._schema)


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Rows of all ``tables``, also of none."""
    return pa.concat_tables(tables) if tables else schema.empty_table()
