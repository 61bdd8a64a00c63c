"""One SQLite file with one writer: durable transactions, and errors told apart.

Write-ahead log with ``synchronous=FULL``: a transaction is on the disk when it returns, with one sync. What the
write-ahead log gathers goes into the file every few megabytes here and not by SQLite itself, which
would keep an error of that step to itself.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from meterlake.errors import Damaged, Invalid, LogFailed, MeterlakeError, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYOUT: Final = 1
"""Number of the tables' layout; files of a later one are refused."""

FULL_TRY_AGAIN_S: Final = 30

_RESULT: Final = 0xFF
"""The low byte of an extended result code is the result code."""


class SqliteFile:
    """A file with the tables of ``schema``; one connection writes, `reader` gives others that read."""

    def __init__(self, path: Path, schema: str, *, page: int, gathered: int) -> None:
        """Open the file, or make it with pages of ``page`` bytes.

        ``gathered`` bytes go to the write-ahead log before they are taken over into the file.
        """
        self.path = path
        self._lock = Lock()
        self._gathered, self._since = gathered, 0
        self._failure: str | None = None
        with self._told("cannot be opened"):
            self._writer = _connect(path)
        try:
            with self._told("cannot be opened"):
                self._prepare(schema, page)
        except MeterlakeError:
            self._writer.close()
            raise

    def _prepare(self, schema: str, page: int) -> None:
        run = self._writer.execute
        run(f"PRAGMA page_size = {page:d}")
        if run("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":  # How SQLite tells of any error here.
            raise LogFailed(f"{self.path} cannot keep a write-ahead log: look at its disk")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA wal_autocheckpoint = 0")
        run(f"PRAGMA journal_size_limit = {2 * self._gathered:d}")
        layout = run("PRAGMA user_version").fetchone()[0]
        if layout > LAYOUT:
            raise Invalid(f"{self.path} was written by a later Meterlake: install that version")
        if layout == 0:
            self._writer.executescript(f"BEGIN; {schema}; PRAGMA user_version = {LAYOUT}; COMMIT;")
        # What a killed process had written and not synced reads back like the rest: sync it before it counts.
        run("PRAGMA wal_checkpoint(TRUNCATE)")
        _sync_folder(self.path.parent)  # SQLite does so too, but ignores an error of it.

    def reader(self) -> sqlite3.Connection:
        """Return a connection of its own that only reads; any thread may use it, one at a time."""
        with self._told("cannot be opened"):
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            return connection

    @contextmanager
    def change(self, size: int) -> Iterator[sqlite3.Connection]:
        """Run the body as one transaction of about ``size`` bytes: durable after it, or as if it had not been.

        Raises:
            Overloaded: the disk is full.
            LogFailed: a write or sync failed, now or earlier; open the file anew.

        """
        with self._lock:
            if self._failure is not None:
                raise LogFailed(self._failure)
            try:
                with self._told("was not written"), self._transaction():
                    yield self._writer
                self._since += size
                if self._since >= self._gathered:
                    self._take_over()
            except (LogFailed, Damaged) as error:
                self._failure = str(error)
                raise LogFailed(self._failure) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _take_over(self) -> None:
        try:
            with self._told("was not synced"):
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._since = 0
        except Overloaded:
            return  # The transaction itself is durable; the next one finds out whether there is room.

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        with told(self.path, what):
            yield

    def close(self) -> None:
        """Take everything over into the file and let go of it."""
        with self._lock, closing(self._writer), self._told("was not closed"):
            if self._failure is None:
                self._failure = f"{self.path} is closed"
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Tell errors of SQLite as ours: a full disk, damaged bytes, a program's mistake, or a failed disk."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except OSError as error:
        raise LogFailed(f"{path} {what}: {error}; look at its disk, then restart the server") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        why = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
        match code & _RESULT:
            case sqlite3.SQLITE_FULL:
                raise Overloaded(
                    f"the disk of {path} is full: make room, then send this again", FULL_TRY_AGAIN_S
                ) from error
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise Damaged(f"{path} is damaged: {why}; restore it from a backup") from error
            case _:
                raise LogFailed(f"{path} {what}: {why}; look at its disk, then restart the server") from error


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)


def _sync_folder(folder: Path) -> None:
    """Make the names of the files in it durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
