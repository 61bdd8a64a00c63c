"""The lake: immutable files of interval blocks, the record of what changed them, and the store below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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
    ``deliveries``, ``operations``, ``pending_blocks``), written before the commit; they count only once it has landed.
    """

    base: Snapshot
    added: Sequence[DataFile]
    removed: Sequence[DataFile]
    app: str
    number: int
    records: Mapping[str, pa.Table]


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing in a store."""

    name: str
    bytes: int
    modified_s: float


class Store(Protocol):
    """Bytes by name (``folder/file``) under one root: what a lake's tables, settings and leftovers are kept in."""

    url: str

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a name and a mark that changes with them; None where there is none."""

    def write(self, name: str, data: bytes | pa.Buffer, *, new: bool = False) -> None:
        """Keep ``data`` under a name, durable and whole; with ``new`` only where it is not there, Conflict else."""

    def list(self, prefix: str) -> list[Kept]:
        """Return what is kept under names that begin with ``prefix``, by name."""

    def delete(self, name: str) -> None:
        """Let go of a name; nothing where there is none."""

    def opened(self, name: str) -> Any:
        """Return what pyarrow reads a Parquet file of: a path, or a file that is read from anywhere."""


@runtime_checkable
class OnFiles(Protocol):
    """A store whose names are files that pyarrow can read by itself, many at once."""

    @property
    def filesystem(self) -> Any:
        """The pyarrow file system."""

    def path(self, name: str) -> str:
        """Return the path of a name in it."""


class Lake(Protocol):
    """Interval blocks in immutable files under one version counter, and the record of what changed them."""

    url: str
    buckets: int
    """Into how many runs of partitions jobs are cut; a power of two, fixed when the lake is made."""

    @property
    def store(self) -> Store:
        """Where it keeps what is no table: settings of loads, tariffs and retention, files that were loaded."""

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
    """A lake whose abandoned files need to be cleared away, and whose small files are better few."""

    def sweep(self, *, now_s: float | None = None) -> list[str]:
        """Remove files that no commit names and that are a day old; return the paths of those of blocks."""

    def gather(self, folded_through: int, *, now_s: float | None = None) -> int:
        """Write the many small files of the side tables anew as few; return how many files went.

        Pending blocks of versions up to ``folded_through`` are in the files by now and go.
        """
