"""The log in one SQLite file of the server's own folder.

Every batch is a row with the checksum of its offset and bytes; the checksum stands here alone, an entry's bytes have
none of their own. Room of dropped batches is used again: the file is as large as the log ever was.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
import zlib
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from itertools import takewhile
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.sqlite_files import SqliteFile, told
from meterlake.errors import Conflict, Damaged, Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from meterlake.ports import Append, Log

PAGE: Final = 16_384
"""Bytes of a page: twice that appends 1 MB batches 15 % faster, but each of a batch's names writes a page of its own."""

GATHERED: Final = 4 << 20
"""Bytes of the write-ahead log before they go into the file."""

BATCH_PAGES: Final = 6
"""Pages that a batch writes beside its own bytes: the leaves of its names, its rows and the bounds."""

CUT_BYTES: Final = 16 << 20
"""Bytes that one transaction of `truncate` drops; an append waits for one of them at most."""

CUT_ROWS: Final = 2_000
"""Batches that one transaction of `truncate` drops, or whose names it forgets."""

NAME_BYTES: Final = 16
"""Names are kept as hashes: long ones cost no more, and the file tells nobody a sender's keys."""

SCHEMA: Final = """
CREATE TABLE batches (offset INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE taken (
    offset INTEGER PRIMARY KEY, crc INTEGER NOT NULL, at_s INTEGER NOT NULL, names BLOB NOT NULL, memo BLOB NOT NULL
);
CREATE TABLE names (name BLOB PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE bounds (first INTEGER NOT NULL, next INTEGER NOT NULL);
INSERT INTO bounds VALUES (0, 0)
"""
"""``batches`` has the offsets of ``bounds``; ``taken`` and ``names`` also those dropped and not yet forgotten."""

_REMEDY: Final = "restore the log and the checkpoints from one backup, or move both away and have sent again what came after the last seal"


class SqliteLog:
    """`ports.Log` in the file ``path``; a lock on a ``.lock`` file beside it keeps other processes out."""

    def __init__(self, path: Path) -> None:
        """Open the log or make an empty one.

        Raises:
            Conflict: another process has it open.
            Damaged: batches are missing.

        """
        self.url = str(path)
        self._reading = Lock()
        with ExitStack() as held:
            held.enter_context(_held(path))
            self._file = SqliteFile(path, SCHEMA, page=PAGE, gathered=GATHERED)
            held.callback(self._file.close)
            self._reader = self._file.reader()
            held.callback(self._reader.close)
            self._check()
            self._open = held.pop_all()

    def _check(self) -> None:
        first, end = self.bounds()
        count, least, most = self._rows("SELECT count(*), min(offset), max(offset) FROM batches")[0]
        if count != end - first or (count and (least, most) != (first, end - 1)):
            raise Damaged(
                f"{self.url} has {count} batches from offset {least} to {most}, "
                f"but {end - first} from {first} on belong there; {_REMEDY}"
            )

    def _rows(self, query: str, *values: int | bytes) -> list[tuple[Any, ...]]:
        with self._reading, told(self._file.path, "cannot be read"):
            return self._reader.execute(query, values).fetchall()

    def append(self, batches: Sequence[Append]) -> int:
        """Make ``batches`` durable with one sync; return the offset of the first.

        Raises:
            Invalid: a name was taken before; nothing was appended.
            Overloaded: the disk is full; nothing was appended.
            LogFailed: a write or sync failed; every later append fails too.

        """
        now_s = int(time.time())
        hashes = [[_hash(name) for name in batch.names] for batch in batches]
        size = sum(len(batch.data) + BATCH_PAGES * PAGE for batch in batches)
        try:
            with self._file.change(size) as connection:
                first: int = connection.execute("SELECT next FROM bounds").fetchone()[0]
                for at, (batch, names) in enumerate(zip(batches, hashes, strict=True), first):
                    row = (at, _checksum(at, batch.data), batch.data)
                    connection.execute("INSERT INTO batches VALUES (?, ?, ?)", row)
                    joined, memo = b"".join(names), batch.memo.encode()
                    told_row = (at, _checksum(at, joined + memo), now_s, joined, memo)
                    connection.execute("INSERT INTO taken VALUES (?, ?, ?, ?, ?)", told_row)
                    connection.executemany("INSERT INTO names VALUES (?, ?)", [(name, at) for name in names])
                connection.execute("UPDATE bounds SET next = ?", (first + len(batches),))
        except sqlite3.IntegrityError as error:
            raise Invalid(
                f"{self.url}: a batch of one of these names was taken before; ask find() before append()"
            ) from error
        return first

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of the batches from ``offset`` on that were there at the call, one at a time.

        Batches that are dropped meanwhile are passed over. Damaged names the offset whose bytes have changed.
        """
        first, end = self.bounds()
        return self._batches(max(offset, first), end)

    def _batches(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        for at in range(first, end):
            rows = self._rows("SELECT crc, data FROM batches WHERE offset = ?", at)
            if not rows and at < self.bounds()[0]:
                continue
            if not rows or _checksum(at, rows[0][1]) != rows[0][0]:
                raise Damaged(f"{self.url}: the batch at offset {at} is not what was written; {_REMEDY}")
            yield at, rows[0][1]

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that were appended before and are not forgotten."""
        found = {}
        query = "SELECT offset, crc, names, memo FROM taken WHERE offset = (SELECT offset FROM names WHERE name = ?)"
        for name in names:
            for at, crc, joined, memo in self._rows(query, _hash(name)):
                if _checksum(at, joined + memo) != crc:
                    raise Damaged(
                        f"{self.url}: what was told of the batch at offset {at} is not what was written; {_REMEDY}"
                    )
                found[name] = memo.decode()
        return found

    def bounds(self) -> tuple[int, int]:
        """Return the offset of the first batch that is kept, and that of the next to come."""
        rows = self._rows("SELECT first, next FROM bounds")
        if len(rows) != 1:
            raise Damaged(f"{self.url} does not say which offsets it has; {_REMEDY}")
        return rows[0][0], rows[0][1]

    def truncate(self, offset: int, *, forget_s: float = 30 * 86_400) -> None:
        """Drop the batches below ``offset``, and names of dropped ones that were taken longer than ``forget_s`` ago.

        Works in short transactions, so that appends go on in between. Overloaded where the disk is too full even for this.
        """
        while self._drop_some(offset):
            pass
        while self._forget_some(offset, int(time.time() - forget_s)):
            pass

    def _drop_some(self, offset: int) -> bool:
        with self._file.change(CUT_ROWS) as connection:
            first, end = connection.execute("SELECT first, next FROM bounds").fetchone()
            stop, size = first, 0
            rows = connection.execute(
                "SELECT length(data) FROM batches WHERE offset < ? ORDER BY offset LIMIT ?",
                (offset, CUT_ROWS),
            )
            for (length,) in rows:
                stop, size = stop + 1, size + length
                if size >= CUT_BYTES:
                    rows.close()
                    break
            connection.execute("DELETE FROM batches WHERE offset < ?", (stop,))
            connection.execute("UPDATE bounds SET first = ?", (stop,))
        return bool(stop < min(offset, end))

    def _forget_some(self, offset: int, before_s: int) -> bool:
        """Forget the oldest batches as far as they are old enough: they were taken in the order of their offsets."""
        with self._file.change(CUT_ROWS * PAGE) as connection:
            rows = connection.execute(
                "SELECT offset, at_s, names FROM taken WHERE offset < ? ORDER BY offset LIMIT ?",
                (offset, CUT_ROWS),
            ).fetchall()
            old = list(takewhile(lambda row: row[1] <= before_s, rows))
            names = [(name,) for _, _, joined in old for name in _split(joined)]
            connection.executemany("DELETE FROM names WHERE name = ?", names)
            connection.executemany("DELETE FROM taken WHERE offset = ?", [(row[0],) for row in old])
        return len(old) == CUT_ROWS

    def close(self) -> None:
        """Let go of the log; what was appended is durable already."""
        self._open.close()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock beside ``path``, which ends with the process if not before."""
    with path.with_name(path.name + ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another server works on this lake: it has {path} open; stop it or give this one a lake of its own"
            ) from error
        yield


def _checksum(at: int, data: bytes) -> int:
    """CRC-32 that begins with the offset, so that a batch in another's place does not fit either."""
    return zlib.crc32(data, at & 0xFFFFFFFF)


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()


def _split(joined: bytes) -> list[bytes]:
    return [joined[i : i + NAME_BYTES] for i in range(0, len(joined), NAME_BYTES)]


if TYPE_CHECKING:
    _: type[Log] = SqliteLog
