"""Logs: accepted batches before they are in the lake, and what of them outlives the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa


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


class Archive(Protocol):
    """What came by the log, kept as it was accepted for longer than the log keeps it."""

    def keep(self, first: int, last: int, rows: pa.Table) -> None:
        """Keep the batches of offsets ``first`` to ``last`` (archive.ARCHIVE_SCHEMA), durable."""

    def end(self) -> int:
        """Return the offset after the last that is kept; 0 for none."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of received messages of one shard, by rising offset."""

    path: str
    bytes: int
    shard: str
    first: int
    last: int
    rows: int
    newest_us: int
    """When the log took the newest of them."""


class Received(Protocol):
    """What the logs of shards held, kept in the lake message by message, for longer than the logs keep it."""

    def bounds(self, shard: str) -> tuple[int, int] | None:
        """Return the offset that a shard was received from, and that after the last; None for nothing."""

    def commit(self, files: Sequence[ReceivedFile], since: Mapping[str, int]) -> None:
        """Make written ``files`` count; ``since`` tells where shards begin of which nothing is there.

        Raises:
            ConcurrentCommit: another was faster; ask for `bounds` again.
            MeterlakeError: the store did not answer; it may have landed or not.

        """

    def files(self) -> Sequence[ReceivedFile]:
        """Return the files that count, by shard and offset."""

    def read(self, shard: str, offset: int) -> Iterator[Sequence[Record]]:
        """Yield the messages of a shard from ``offset`` on, some at a time."""

    def drop(self, goes: Callable[[ReceivedFile], bool]) -> Sequence[ReceivedFile]:
        """Delete the files for which ``goes`` says so; return them."""
