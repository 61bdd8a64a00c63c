"""Parquet files of a lake: how blocks are laid out in them, and reading a few rows of one fast."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.blocks import BLOCK_SCHEMA, group_rows
from meterlake.errors import Damaged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meterlake.ports import Store

LEVEL: Final = 3
LEVEL_FINAL: Final = 12
"""zstd levels: of a load, and of a compaction, which is read for years."""

DICTIONARY: Final = ["channel", "interval_s", "offset_s", "scale", "quality", "delivery", "stamp"]
RARE: Final = ("wide_values", "qualities", "origin")
"""Columns left out of files in which no row has them: to any Delta reader a missing column is null."""

DELTA: Final = {
    "meter_id": "DELTA_BYTE_ARRAY",
    "start": "DELTA_BINARY_PACKED",
    "values": "DELTA_BINARY_PACKED",
    "wide_values": "DELTA_BINARY_PACKED",
    "total": "DELTA_BINARY_PACKED",
}
"""Encodings that every Delta reader knows. Splitting integers by byte would take 17 % less (1.17 bytes a value
on real half-hours instead of 1.33), but DuckDB reads that for floats only before its version 2."""

LISTS: Final = ("values", "wide_values")

OPEN_BYTES: Final = 256 << 20
"""Budget of open footers; one costs about 11 kB a row group."""

FOOTER_BYTES: Final = 11_000


class _Open(NamedTuple):
    file: pq.ParquetFile
    first: np.ndarray[Any, Any]
    last: np.ndarray[Any, Any]
    lock: Lock
    names: frozenset[str]


def packed_blocks(blocks: pa.Table, *, final: bool) -> pa.Buffer:
    """Sorted blocks as the bytes of a Parquet file."""
    rare = [name for name in RARE if blocks[name].null_count == len(blocks)]
    blocks = blocks.drop_columns(rare)
    encoding = {
        f"{name}.list.element" if name in LISTS else name: DELTA[name] for name in DELTA if name not in rare
    }
    sink = pa.BufferOutputStream()
    pq.write_table(
        blocks,
        sink,
        row_group_size=group_rows(blocks),
        compression="zstd",
        compression_level=LEVEL_FINAL if final else LEVEL,
        use_dictionary=DICTIONARY,
        column_encoding=encoding,
        write_statistics=["meter_id", "start"],
        write_page_checksum=True,
        store_schema=False,
    )
    return sink.getvalue()


def packed_rows(rows: pa.Table) -> pa.Buffer:
    """Rows of a side table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows, sink, compression="zstd", compression_level=LEVEL, write_page_checksum=True, store_schema=False
    )
    return sink.getvalue()


def sync(path: Path) -> None:
    """Make a file and its entry in the folder survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    fsync_dir(path.parent)


def fsync_dir(folder: Path) -> None:
    """Make the entries of ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileReader:
    """Reads row groups of immutable files of a store; keeps footers open within a budget, oldest out first."""

    def __init__(self, store: Store) -> None:
        """Start with none open."""
        self._store = store
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def read(self, path: str, columns: Sequence[str] | None, meters: tuple[str, str] | None) -> pa.Table:
        """Read the named columns of the row groups that may hold ``meters``, in file order."""
        handle = self._handle(path)
        groups = range(len(handle.first))
        if meters is not None:
            low = int(np.searchsorted(handle.last, meters[0], "left"))
            high = int(np.searchsorted(handle.first, meters[1], "right"))
            groups = range(low, max(low, high))
        names = list(columns) if columns is not None else BLOCK_SCHEMA.names
        schema = pa.schema([BLOCK_SCHEMA.field(name) for name in names])
        if not groups:
            return schema.empty_table()
        present = [name for name in names if name in handle.names]
        try:
            with handle.lock:
                table = handle.file.read_row_groups(list(groups), columns=present, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise Damaged(f"{path}: {error}") from error
        return pa.Table.from_arrays([_column(table, schema.field(name)) for name in names], schema=schema)

    def read_rows(self, path: str, *schemas: pa.Schema) -> pa.Table:
        """Read a whole file of a side table as the fields of ``schemas``."""
        try:
            table = pq.read_table(self._store.opened(path), page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise Damaged(f"{path}: {error}") from error
        return table.cast(pa.schema([field for schema in schemas for field in schema]))

    def _handle(self, path: str) -> _Open:
        with self._lock:
            found = self._open.get(path)
            if found is not None:
                self._open.move_to_end(path)
                return found
        opened = _open(path, self._store)
        with self._lock:
            self._open[path] = opened
            self._bytes += len(opened.first) * FOOTER_BYTES
            while self._bytes > OPEN_BYTES and len(self._open) > 1:
                _, old = self._open.popitem(last=False)
                self._bytes -= len(old.first) * FOOTER_BYTES
        return opened


def _column(table: pa.Table, field: pa.Field[Any]) -> pa.ChunkedArray[Any] | pa.Array[Any]:
    if field.name not in table.schema.names:
        return pa.nulls(len(table), field.type)
    column = table[field.name]
    return column if column.type == field.type else column.cast(field.type)


def _open(path: str, store: Store) -> _Open:
    try:
        source = store.opened(path)
        mapped = isinstance(source, str)
        file = pq.ParquetFile(
            source, memory_map=mapped, pre_buffer=not mapped, page_checksum_verification=True
        )
        meta = file.metadata
        stats = [meta.row_group(i).column(0).statistics for i in range(meta.num_row_groups)]
        first, last = np.array([s.min for s in stats]), np.array([s.max for s in stats])
    except (OSError, pa.ArrowException, AttributeError) as error:
        raise Damaged(f"{path} cannot be opened: {error}") from error
    return _Open(file, first, last, Lock(), frozenset(file.schema_arrow.names))
