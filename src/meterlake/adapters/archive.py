"""The archive as Parquet files in a store, named by the log offsets that they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.archive import ARCHIVE

if TYPE_CHECKING:
    from meterlake.ports import Archive, Store


class StoreArchive:
    """`ports.Archive` in a store."""

    def __init__(self, store: Store) -> None:
        """Keep the files in ``store``."""
        self._store = store

    def keep(self, first: int, last: int, rows: pa.Table) -> None:
        """Write one file, durable; the same offsets again replace it."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
        self._store.write(f"{ARCHIVE}/{first:016d}-{last:016d}.parquet", sink.getvalue())

    def end(self) -> int:
        """Return the offset after the last that is kept."""
        names = [
            kept.name.rpartition("/")[2].removesuffix(".parquet") for kept in self._store.list(f"{ARCHIVE}/")
        ]
        return max((int(name.partition("-")[2]) + 1 for name in names), default=0)


if TYPE_CHECKING:
    _CONFORMS: type[Archive] = StoreArchive
