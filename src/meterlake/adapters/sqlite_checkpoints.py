"""Checkpoints of the live state in one SQLite file; the lock of the log beside it keeps other processes out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from meterlake.adapters.sqlite_files import SqliteFile, told
from meterlake.errors import Damaged, Fenced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from meterlake.ports import Checkpoints

PAGE: Final = 16_384
GATHERED: Final = 16 << 20
"""Bytes of the write-ahead log before they go into the file."""

SCHEMA: Final = """
CREATE TABLE pieces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 0), pieces INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)
"""
"""``state.pieces`` says how many pieces there are."""

_PUT: Final = """
INSERT INTO pieces (name, crc, data) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET crc = excluded.crc, data = excluded.data
"""
_REMEDY: Final = "move the checkpoints away: the next start reads the log instead, as far back as it goes"


class SqliteCheckpoints:
    """`ports.Checkpoints` in the file ``path``."""

    def __init__(self, path: Path) -> None:
        """Open the checkpoints, or make a file without one."""
        self.url = str(path)
        self._file = SqliteFile(path, SCHEMA, page=PAGE, gathered=GATHERED)
        self._state: bytes | None = None
        """State as of our last load or save."""

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Drop what is ``gone`` (a name, or all that begin with what stands before ``*``), put ``pieces``, set ``state``.

        Raises:
            Fenced: another process has saved since this one loaded; nothing was changed.
            Overloaded: the disk is full; the checkpoint before this one stays.
            LogFailed: a write or sync failed; every later save fails too.

        """
        size = sum(map(len, pieces.values())) + len(state) + len(pieces) * PAGE
        with self._file.change(size) as connection:
            now = connection.execute("SELECT data FROM state").fetchone()
            if (None if now is None else now[0]) != self._state:
                raise Fenced(f"{self.url}: another process has saved since: it works on this now")
            for name in gone:
                if name.endswith("*"):
                    start = name[:-1]
                    connection.execute("DELETE FROM pieces WHERE substr(name, 1, ?) = ?", (len(start), start))
                else:
                    connection.execute("DELETE FROM pieces WHERE name = ?", (name,))
            connection.executemany(
                _PUT, ((name, _checksum(name, data), data) for name, data in pieces.items())
            )
            connection.execute(
                "INSERT OR REPLACE INTO state VALUES (0, (SELECT count(*) FROM pieces), ?, ?)",
                (zlib.crc32(state), state),
            )
        self._state = state

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]] | None:
        """Return the state and, one at a time, all pieces of the last save; a save meanwhile changes neither.

        Damaged names the piece whose bytes have changed.
        """
        rows = self._rows()
        state = next(rows, None)
        self._state = None if state is None else state[1]
        return None if state is None else (state[1], rows)

    def _rows(self) -> Iterator[tuple[str, bytes]]:
        """Yield the state under an empty name, then the pieces, all of one moment."""
        reader = self._file.reader()
        try:
            with told(self._file.path, "cannot be read"):
                reader.execute("BEGIN")
                state = reader.execute("SELECT pieces, crc, data FROM state").fetchone()
                if state is None:
                    return
                count, crc, data = state
                if zlib.crc32(data) != crc:
                    raise Damaged(f"{self.url}: its state is not what was written; {_REMEDY}")
                yield "", data
                for name, crc, data in reader.execute("SELECT name, crc, data FROM pieces ORDER BY id"):
                    if _checksum(name, data) != crc:
                        raise Damaged(f"{self.url}: piece {name} is not what was written; {_REMEDY}")
                    count -= 1
                    yield name, data
            if count:
                raise Damaged(f"{self.url}: {count} pieces are missing; {_REMEDY}")
        finally:
            reader.close()

    @property
    def generation(self) -> None:
        """None: one process alone can have it."""

    def close(self) -> None:
        """Let go of the file; what was saved is durable already."""
        self._file.close()


def _checksum(name: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(name.encode()))


if TYPE_CHECKING:
    _: type[Checkpoints] = SqliteCheckpoints
