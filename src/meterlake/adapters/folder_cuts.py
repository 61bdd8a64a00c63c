"""Cuts of shards as files in a folder beside the lake."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from meterlake.adapters.files import fsync_dir
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meterlake.ports import Cuts


class FolderCuts:
    """`ports.Cuts` in ``folder``, a folder a shard."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where there is none."""
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def put(self, shard: str, name: str, data: bytes) -> None:
        """Keep a cut, durable."""
        folder = self._folder / shard
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{uuid.uuid4().hex}"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / f"{name}.arrow")
        fsync_dir(folder)

    def waiting(self) -> Sequence[tuple[str, str]]:
        """Return shards and names of the cuts that are kept, those of one shard by name."""
        return [(path.parent.name, path.stem) for path in sorted(self._folder.glob("*/*.arrow"))]

    def get(self, shard: str, name: str) -> bytes:
        """Return a cut; NotFound where it was dropped."""
        try:
            return (self._folder / shard / f"{name}.arrow").read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"no cut {name} of {shard}") from error

    def drop(self, shard: str, name: str) -> None:
        """Forget a cut, which may be gone already."""
        (self._folder / shard / f"{name}.arrow").unlink(missing_ok=True)


if TYPE_CHECKING:
    _: type[Cuts] = FolderCuts
