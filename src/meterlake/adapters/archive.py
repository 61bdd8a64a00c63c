"""The archive as Parquet files in a folder, named by the log offsets that they hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from meterlake.adapters.files import fsync_dir

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from meterlake.ports import Archive


class FolderArchive:
    """`ports.Archive` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make ``folder`` where there is none."""
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def keep(self, first: int, last: int, rows: pa.Table) -> None:
        """Write one file, durable; the same offsets again replace it."""
        path = self._folder / f"{first:016d}-{last:016d}.parquet"
        part = path.with_suffix(".part")
        pq.write_table(rows, part, compression="zstd", write_page_checksum=True)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
        fsync_dir(self._folder)

    def end(self) -> int:
        """Return the offset after the last that is kept."""
        names = [path.stem for path in self._folder.glob("*-*.parquet")]
        return max((int(name.partition("-")[2]) + 1 for name in names), default=0)


_CONFORMS: type[Archive] = FolderArchive
