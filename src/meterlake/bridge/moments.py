"""When messages came, kept beyond the end of the process: one that comes again is dated as it was the first time.

Only what is dated by its arrival needs this. A broker sends what was not acknowledged again under the number that it had, so
number and content find the moment. It is written before the batch is sent, and so before anybody can see it.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meterlake.bridge.run import Message

_ROW: Final = np.dtype([("number", "<u2"), ("content", "S8"), ("at_us", "<i8")])
_ROWS_MAX: Final = 4 * 65_536
"""Rows of the file at which it is written anew; there are 65,535 numbers."""


class Moments:
    """A file of moments by number of the message."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process kept."""
        self._path = path
        rows = _rows(path)
        self._known = {int(row["number"]): (bytes(row["content"]), int(row["at_us"])) for row in rows}
        self._rewrite()

    def recall(self, message: Message) -> int:
        """Return when a message came first."""
        content, at_us = self._known.get(message.number, (b"", 0))
        return at_us if message.again and content == _content(message) else message.at_us

    def keep(self, messages: Sequence[Message]) -> None:
        """Keep when these came; returns once that is durable."""
        told = [(one.number, _content(one), one.at_us) for one in messages if one.number]
        self._known |= {number: (content, at_us) for number, content, at_us in told}
        self._file.write(np.array(told, _ROW).tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._count += len(told)
        if self._count > _ROWS_MAX:
            self._file.close()
            self._rewrite()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _rewrite(self) -> None:
        """Write the newest moment of each number, and go on behind."""
        rows = np.array([(number, *rest) for number, rest in self._known.items()], _ROW)
        new = self._path.with_name(self._path.name + ".new")
        with new.open("wb") as file:
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._file = self._path.open("ab")
        self._count = len(rows)


def _rows(path: Path) -> np.ndarray:
    """Rows of a file, of which the last may be cut off; none where there is no file."""
    if not path.exists():
        return np.empty(0, _ROW)
    data = path.read_bytes()
    return np.frombuffer(data[: len(data) // _ROW.itemsize * _ROW.itemsize], _ROW)


def _content(message: Message) -> bytes:
    # Bytes of an array end before their last zeros, so there are none.
    return blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=8).hexdigest()[:8].encode()
