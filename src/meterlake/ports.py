"""The architecture on one page: what the use cases need from the outside, and nothing more.

Each port has one contract test class in `meterlake.testing`, run against every adapter; the memory
adapter is the oracle. Data crosses a port as Arrow tables only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from meterlake.accounts import Account, Entry, PeopleChange, StoredAccount, StoredLink, StoredSession
    from meterlake.keys import StoredKey
    from meterlake.live.live import Live
    from meterlake.registry import TableReceipt
    from meterlake.site import Site


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

    def examined(self) -> str:
        """Say which database it is, and change nothing; MeterlakeError where it cannot be written."""


class Keys(Protocol):
    """API keys; of their secrets only the hash."""

    def create(self, stored: StoredKey) -> None:
        """Keep a new key; Conflict where its id or its secret is taken."""

    def all(self) -> Sequence[StoredKey]:
        """Return every key, revoked ones too, in the order in which they were made."""

    def find(self, sha256: bytes) -> StoredKey | None:
        """Return the key whose secret has this hash, revoked or not; None where there is none."""

    def revoke(self, id_: str, at: datetime) -> StoredKey:
        """End a key at a moment, or leave it ended as it was; return it. NotFound where there is none."""

    def used(self, id_: str, day: date) -> None:
        """Note that a key was used on a day; an earlier day than the one known changes nothing."""


class People(Protocol):
    """Accounts, their sessions and their one-time links; of passwords and tokens only the hash."""

    def account(self, *, id_: str | None = None, email: str | None = None) -> StoredAccount | None:
        """Return the account of an id or an e-mail, closed or not; None where there is none."""

    def accounts(self, q: str, after: str | None, limit: int) -> Sequence[Account]:
        """Return accounts whose e-mail or name has ``q`` in it, or that hold the service point ``q``.

        They come by e-mail, closed ones too; those of e-mails after ``after``.
        """

    def session(self, sha256: bytes) -> tuple[StoredSession, StoredAccount] | None:
        """Return the session whose token has this hash, however old, and whose it is."""

    def sessions(self, account_id: str) -> Sequence[StoredSession]:
        """Return the sessions of an account, the newest first."""

    def link(self, sha256: bytes) -> StoredLink | None:
        """Return the link whose token has this hash, used or over too."""

    def change(self, change: PeopleChange) -> None:
        """Make ``change``, all of it or nothing.

        Raises:
            Conflict: the e-mail is taken, or what the change ``knows`` is so no more.
            NotFound: there is no such account, or the link that it uses is unknown, used or over.

        """


class Trail(Protocol):
    """The audit trail: lines are added and never changed; they go when they are older than their age."""

    def note(self, entries: Sequence[Entry]) -> None:
        """Add lines; those whose ``once`` is there already are left out."""

    def entries(
        self, *, account: str | None, subject: str | None, before: int | None, limit: int
    ) -> Sequence[Entry]:
        """Return the newest lines first: of who did it, of whom it was done to, with numbers below ``before``."""

    def forget(self, before: datetime, *, dry_run: bool = False) -> int:
        """Drop the lines before a moment; return how many go, or would go."""


class PeopleStore(People, Trail, Protocol):
    """Both in one database, so that what happens and its line in the trail are one change."""


@dataclass(frozen=True, slots=True)
class Append:
    """One batch for the log: its bytes, and the names under which a repeat of it will be recognised.

    ``names`` are the hash of its content and the sender's own key; ``memo`` (JSON) is what a repeat is told.
    ``headers`` go beside the bytes where the log keeps some.
    """

    data: bytes
    names: tuple[str, ...]
    memo: str
    headers: Sequence[tuple[str, bytes | None]] = ()


class Log(Protocol):
    """Accepted batches in the order of their acceptance, durable before they are acknowledged."""

    url: str

    def append(self, batches: Sequence[Append]) -> int:
        """Make ``batches`` durable, all or none of them; return the offset of the first, others follow by one.

        Raises:
            Overloaded: the disk is full; nothing was taken, later ones may be.
            LogFailed: a write or sync failed; every later append fails too until the log is opened anew.

        """

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of the batches from ``offset`` on that were there at the call; Damaged by checksum."""

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that were appended before, truncated or not."""

    def bounds(self) -> tuple[int, int]:
        """Return the offset of the first batch that is kept, and that of the next to come."""

    def truncate(self, offset: int, *, forget_s: float = 30 * 86_400) -> None:
        """Drop the batches below ``offset``, and the names of those taken longer than ``forget_s`` ago."""

    def close(self) -> None:
        """Let go of the log; what was appended is durable already."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one place of a shard's log holds, whoever wrote it."""

    shard: str
    offset: int
    at_us: int
    """When the log took it (µs since 1970 UTC)."""
    data: bytes
    headers: Sequence[tuple[str, bytes | None]]


class Shards(Protocol):
    """Who works on shards, told of those that come and go; called from `Member.poll` alone."""

    def taken(self, shards: Sequence[str]) -> Mapping[str, int]:
        """Begin with ``shards``; return the offsets to read them from."""

    def released(self, shards: Sequence[str], *, lost: bool) -> None:
        """Let go of ``shards``: others take them next, or have them already where they are ``lost``."""


class Member(Protocol):
    """One of the processes that share the shards among them."""

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Return what came next in the shards that are ours, those of one shard by rising offset."""

    def done(self, offsets: Mapping[str, int]) -> None:
        """Tell those who watch the log how far shards are; nothing is ever read from there."""

    def close(self) -> None:
        """Leave; the shards are released before."""


class Logs(Protocol):
    """Many logs under one roof, one a shard, written by any process and read by one at a time each."""

    url: str

    def partitions(self) -> int:
        """Return into how many shards each commodity is cut; Invalid where the topics do not fit together."""

    def append(self, batches: Sequence[tuple[str, Append]]) -> Sequence[int | None]:
        """Make ``batches``, each of a shard, durable; return their offsets as far as these are known.

        Raises:
            Overloaded: not all of them are durable, any may be: the same again is recognised by its shard.

        """

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that were appended before, by whatever process, and are not forgotten."""

    def shard(self, name: str) -> Log:
        """Return the log of one shard."""

    def place(self, shard: str) -> tuple[str, int]:
        """Return topic and partition of a shard, as other programs know them."""

    def join(self, shards: Shards) -> Member:
        """Become one of those who share the shards."""

    def close(self) -> None:
        """Let go; what was appended is durable already."""


class Checkpoints(Protocol):
    """The live state as of one log offset: named pieces of bytes that change together."""

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Put ``pieces``, drop the pieces named (or beginning with a name that ends in ``*``) ``gone``, and set ``state``.

        All at once or not at all, and durable.
        """

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]] | None:
        """Return the state and all pieces of the last save; None where there was none; Damaged by checksum."""

    @property
    def generation(self) -> int | None:
        """Number of the last save: who takes over later saves under a greater one. None where nobody can."""

    def close(self) -> None:
        """Let go of the store."""


class Publisher(Protocol):
    """Who shows a live side to other processes."""

    def publish(self, live: Live) -> None:
        """Show what has changed since the last time; all of it where that is gone.

        Raises:
            Fenced: another process shows this shard now.
            MeterlakeError: it cannot be shown right now.

        """

    def close(self) -> None:
        """Let go; what is shown stays."""


class Cuts(Protocol):
    """What processes that hold shards hand to the one that commits, until it has landed."""

    def put(self, shard: str, name: str, data: bytes) -> None:
        """Keep a cut, durable; the same name may be put again."""

    def waiting(self) -> Sequence[tuple[str, str]]:
        """Return shards and names of the cuts that are kept, those of one shard by name."""

    def get(self, shard: str, name: str) -> bytes:
        """Return a cut; NotFound where it was dropped."""

    def drop(self, shard: str, name: str) -> None:
        """Forget a cut, which may be gone already."""


class Archive(Protocol):
    """What came by the log, kept as it was accepted for longer than the log keeps it."""

    def keep(self, first: int, last: int, rows: pa.Table) -> None:
        """Keep the batches of offsets ``first`` to ``last`` (archive.ARCHIVE_SCHEMA), durable."""

    def end(self) -> int:
        """Return the offset after the last that is kept; 0 for none."""


class Engine(Protocol):
    """What the parts of a job run on: threads of this process, or the processes of a cluster."""

    def __enter__(self) -> Self:
        """Begin a job."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and let go of what it was given to run on."""

    def map(
        self,
        work: Callable[[Site, Any], Any],
        jobs: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Any]:
        """Yield what ``work`` gives for each of ``jobs``, in their order; ``progress`` is told (done, total).

        ``work`` is a function of a module, jobs and what it gives are small and can be pickled. A task may run more than
        once, also at the same time: what it writes counts only by what it returns.
        """
