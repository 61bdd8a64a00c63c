"""How far the archive of received batches has come in each partition: application transactions of its Delta table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping


def archive_app(topic: str, partition: int) -> str:
    """Application whose transaction is the offset after the last message of a partition that the archive holds."""
    return f"archive:{topic}-{partition}"


def archived_end(uri: str, topic: str, partition: int, options: Mapping[str, str] | None = None) -> int:
    """Return the offset after the last message of a partition that the archive at ``uri`` holds; 0 for none."""
    try:
        table = DeltaTable(uri, storage_options=dict(options or {}))
    except TableNotFoundError:
        return 0
    return table.transaction_version(archive_app(topic, partition)) or 0
