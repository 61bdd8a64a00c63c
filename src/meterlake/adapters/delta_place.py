"""Where the Delta tables of a lake are: a folder, or a bucket. What differs between them is here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from meterlake.adapters.files import sync
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from meterlake.adapters.store_s3 import S3Store

LOOK_S: Final = 0.05
"""A bucket is asked for later commits no more often."""


class Place:
    """The tables in one store."""

    def __init__(self, store: FolderStore | S3Store) -> None:
        """Find the tables in ``store``."""
        self.store = store
        self.local = store.folder if isinstance(store, FolderStore) else None
        self.options = None if isinstance(store, FolderStore) else store.access.delta()
        self._looked: dict[str, float] = {}

    def uri(self, name: str) -> str:
        """Address of a table."""
        return f"{self.store.url}/{name}"

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        """Open a table; NotFound where there is none."""
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self.options)
        except TableNotFoundError as error:
            raise NotFound(f"{self.uri(name)} is missing: restore it or make a new lake") from error

    def has(self, name: str) -> bool:
        """Whether a table is there."""
        return DeltaTable.is_deltatable(self.uri(name), storage_options=self.options)

    def has_commit(self, name: str, version: int) -> bool:
        """Whether the commit of a version has been seen; a bucket is asked now and then."""
        if self.local is not None:
            return (self.local / _commit(name, version)).exists()
        now = time.monotonic()
        if now - self._looked.get(name, 0.0) < LOOK_S:
            return False
        self._looked[name] = now
        return bool(self.store.list(_commit(name, version)))

    def refresh(self, table: DeltaTable, name: str) -> None:
        """Bring ``table`` to its newest version; as long as no later commit is there it is."""
        if self.has_commit(name, table.version() + 1):
            table.update_incremental()

    def sync(self, name: str, version: int) -> None:
        """Make the commit of ``version`` survive a power cut; a bucket has done so when it answered."""
        if self.local is not None:
            sync(self.local / _commit(name, version))


def _commit(name: str, version: int) -> str:
    return f"{name}/_delta_log/{version:020d}.json"
