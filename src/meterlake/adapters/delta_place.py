"""Where the Delta tables of a lake are: a folder, or a bucket. What differs between them is here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from meterlake.adapters.files import sync
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import ConcurrentCommit, MeterlakeError, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.adapters.store_s3 import S3Store

HOOKS: Final = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)

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
        return bool(self.store.list(f"{name}/_delta_log/"))

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

    def commit(self, table: DeltaTable, actions: list[Any], transactions: Mapping[str, int]) -> None:
        """Add a commit to ``table``, which has it then.

        Raises:
            ConcurrentCommit: another commit came first, where ``transactions`` say that it matters.
            MeterlakeError: the store did not answer; the commit may be there or not.

        """
        properties = CommitProperties(app_transactions=[Transaction(*one) for one in transactions.items()])
        try:
            table.create_write_transaction(
                actions,
                "append",
                table.schema(),
                commit_properties=properties,
                post_commithook_properties=HOOKS,
            )
            table.update_incremental()
        except CommitFailedError as error:
            raise ConcurrentCommit(f"{self.store.url}: another commit landed first: {error}") from error
        except OSError as error:
            what = str(error).splitlines()[-1].strip()
            raise MeterlakeError(
                f"{self.store.url} did not answer a commit: {what}; do the same again"
            ) from error

    def sync(self, name: str, version: int) -> None:
        """Make the commit of ``version`` survive a power cut; a bucket has done so when it answered."""
        if self.local is not None:
            sync(self.local / _commit(name, version))


def _commit(name: str, version: int) -> str:
    return f"{name}/_delta_log/{version:020d}.json"
