"""The architecture on one page: what the use cases need from the outside, and nothing more.

Each port has one contract test class in `meterlake.testing`, run against every adapter; the memory
adapter is the oracle. Data crosses a port as Arrow tables only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa


@dataclass(frozen=True, slots=True, order=True)
class DataFile:
    """One immutable file of interval blocks, sorted by (meter_id, channel, interval_s, start).

    ``partitions`` is the half-open range of meter-hash partitions (`ids.PARTITIONS`) that it may hold;
    moments are microseconds since 1970 UTC of the first and last block's start.
    """

    path: str
    bytes: int
    rows: int
    partitions: tuple[int, int]
    meters: tuple[str, str]
    starts_us: tuple[int, int]
    final: bool = False
    """Whether compaction wrote it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lake at one version: every key lives in exactly one of ``files``."""

    version: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One commit: files in, files out, and the record of it.

    ``app`` and ``number`` are the application transaction that makes a retry recognisable (a load's id and
    its attempt). ``records`` are rows for the side tables by name (``superseded``, ``quarantine``,
    ``deliveries``, ``operations``), written before the commit; they count only once it has landed.
    """

    base: Snapshot
    added: Sequence[DataFile]
    removed: Sequence[DataFile]
    app: str
    number: int
    records: Mapping[str, pa.Table]


class Lake(Protocol):
    """Interval blocks in immutable files under one version counter, and the record of what changed them."""

    url: str
    buckets: int
    """Into how many runs of partitions jobs are cut; a power of two, fixed when the lake is made."""

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the newest state, or an earlier one; NotFound where it is not kept."""

    def put(self, blocks: pa.Table, partitions: tuple[int, int], *, final: bool = False) -> DataFile:
        """Write one file of sorted blocks (blocks.BLOCK_SCHEMA), durable but not yet part of the lake.

        ``final`` files are written once and read for years: slower to write, smaller.
        """

    def blocks(
        self,
        file: DataFile,
        columns: Sequence[str] | None = None,
        meters: tuple[str, str] | None = None,
    ) -> pa.Table:
        """Read a file: the named columns, at least the rows of meters within the closed range, in order."""

    def commit(self, change: Change) -> int:
        """Make ``change`` the next version, whole or not at all; ConcurrentCommit if ``base`` is not newest."""

    def records(self, name: str, meters: tuple[str, str] | None = None) -> pa.Table:
        """Return rows of a side table whose commit has landed, at least those within the range of meters."""

    def reserve(self, count: int) -> int:
        """Reserve ``count`` delivery numbers for ever; return the first."""
