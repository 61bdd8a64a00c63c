"""A folder as a store: a file a name, in place by a rename, durable before it is told."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from meterlake.adapters.files import fsync_dir
from meterlake.errors import Conflict
from meterlake.ports import Kept, Store

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

PART = ".part"
"""Ends the name of a file that is being written."""


class FolderStore:
    """`ports.Store` in a folder, which is made with the first name. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in ``folder``."""
        self.folder, self.url = folder, str(folder)

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a name and a mark that changes with them; None where there is none."""
        path = self.folder / name
        try:
            return path.read_bytes(), _mark(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, name: str, data: bytes | pa.Buffer, *, new: bool = False) -> None:
        """Keep ``data`` under a name, durable and whole; with ``new`` only where it is not there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}-{uuid.uuid4().hex}{PART}")
        try:
            with part.open("wb") as file:
                file.write(memoryview(data))
                file.flush()
                os.fsync(file.fileno())
            if new:
                path.hardlink_to(part)
            else:
                part.rename(path)
        except FileExistsError as error:
            raise Conflict(f"{path} was written by another process meanwhile") from error
        finally:
            part.unlink(missing_ok=True)
        fsync_dir(path.parent)

    def list(self, prefix: str) -> list[Kept]:
        """Return what is kept under names that begin with ``prefix``, by name."""
        found = []
        top = self.folder / prefix.rpartition("/")[0]
        for folder, _, names in os.walk(top):
            for one in names:
                path = os.path.join(folder, one)  # noqa: PTH118 - a million of them
                name = os.path.relpath(path, self.folder)
                if name.startswith(prefix) and not one.endswith(PART):
                    with suppress(FileNotFoundError):
                        stat = os.stat(path)  # noqa: PTH116 - likewise
                        found.append(Kept(name, stat.st_size, stat.st_mtime))
        return sorted(found, key=lambda one: one.name)

    def delete(self, name: str) -> None:
        """Let go of a name; nothing where there is none."""
        (self.folder / name).unlink(missing_ok=True)

    @property
    def filesystem(self) -> Any:
        """The disk."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem()

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.folder / name)

    def opened(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.folder / name)


def _mark(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


_CONFORMS: type[Store] = FolderStore
