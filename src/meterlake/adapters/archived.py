"""How far the archive of received batches has come in each partition: application transactions of its Delta table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.adapters.delta_place import Place
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from meterlake.adapters.store_folder import FolderStore
    from meterlake.adapters.store_s3 import S3Store

TABLE: Final = "archive"


def archive_app(topic: str, partition: int) -> str:
    """Application whose transaction is the offset after the last message of a partition that the archive holds."""
    return f"{TABLE}:{topic}-{partition}"


def archived_end(store: FolderStore | S3Store, topic: str, partition: int) -> int:
    """Return the offset after the last message of a partition that the archive in ``store`` holds; 0 for none."""
    try:
        table = Place(store).open(TABLE)
    except NotFound:
        return 0
    return table.transaction_version(archive_app(topic, partition)) or 0
