"""The architecture on one page: what the use cases need from the outside, and nothing more.

Each port has one contract test class in `meterlake.testing`, run against every adapter; the memory
adapter is the oracle. Data crosses a port as Arrow tables only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from meterlake.registry import TableReceipt


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


@runtime_checkable
class Sweeps(Protocol):
    """A lake whose abandoned files need to be cleared away."""

    def sweep(self, *, now_s: float | None = None) -> list[str]:
        """Remove files that no commit names and that are a day old; return their paths."""


class Registry(Protocol):
    """Customers, service points and meters, and what is known of each meter-channel's series."""

    url: str

    def table(self, name: str, at: datetime | None = None) -> pa.Table:
        """Return ``customers``, ``service_points`` or ``meters``: all rows as they follow one another, or those of a moment.

        Columns are those of `registry.SHAPES` and ``extra``. Meters known by their readings alone are
        among ``meters``, without a service point.
        """

    def installations(self, id_: str) -> pa.Table:
        """Return the stays (registry.INSTALLATION_SCHEMA) of a meter or at a service point, by start; none if unknown."""

    def import_tables(self, tables: Mapping[str, pa.Table]) -> Mapping[str, TableReceipt]:
        """Take over rows of registry.SHAPES by table, all of them or none; a changed row supersedes the older one."""

    def series(self, meter_ids: pa.Array | None = None) -> pa.Table:
        """Return what is known of the series (registry.SERIES_STATE) of some meters, or of all."""

    def update_series(self, rows: pa.Table, version: int, *, whole: bool = False) -> int:
        """Take over what a lake's version did to its series (merge.SERIES_SCHEMA); return how many series are new.

        A version that was taken over before changes nothing. With ``whole`` the rows are those of the whole
        lake at ``version``, counted anew: they replace all that was known.
        """

    def series_version(self) -> int:
        """Newest version of the lake that the series cover without a gap; 0 for none."""
