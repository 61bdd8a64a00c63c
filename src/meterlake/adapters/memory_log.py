"""A log and checkpoints in memory: the oracles of their contracts, and a server that forgets."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from meterlake.errors import Fenced, Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.ports import Append, Checkpoints, Log


class MemoryLog:
    """`ports.Log` that lives as long as its process."""

    def __init__(self, url: str = "memory:") -> None:
        """Start empty."""
        self.url = url
        self._lock = Lock()
        self._next = 0
        self._batches: dict[int, bytes] = {}
        self._names: dict[str, tuple[int, float, str]] = {}

    def append(self, batches: Sequence[Append]) -> int:
        """Keep ``batches``; return the offset of the first. Invalid if a name was taken before."""
        with self._lock:
            names = [name for batch in batches for name in batch.names]
            if len(set(names) - self._names.keys()) < len(names):
                raise Invalid(f"{self.url}: a batch of one of these names was taken before")
            first = self._next
            for at, batch in enumerate(batches, first):
                self._batches[at] = batch.data
                self._names |= dict.fromkeys(batch.names, (at, time.time(), batch.memo))
            self._next += len(batches)
            return first

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Return (offset, bytes) of the batches from ``offset`` on that are there now."""
        with self._lock:
            return iter([(at, data) for at, data in self._batches.items() if at >= offset])

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that are known."""
        with self._lock:
            return {name: self._names[name][2] for name in names if name in self._names}

    def bounds(self) -> tuple[int, int]:
        """Return the offset of the first batch that is kept, and that of the next to come."""
        with self._lock:
            return self._next - len(self._batches), self._next

    def truncate(self, offset: int, *, forget_s: float = 30 * 86_400) -> None:
        """Drop the batches below ``offset``, and names of dropped ones that were taken longer than ``forget_s`` ago."""
        border_s = time.time() - forget_s
        with self._lock:
            self._batches = {at: data for at, data in self._batches.items() if at >= offset}
            self._names = {
                name: taken
                for name, taken in self._names.items()
                if taken[0] >= offset or taken[1] > border_s
            }

    def close(self) -> None:
        """Nothing is held."""


class MemoryKept:
    """What checkpoints keep, for one writer after another."""

    def __init__(self) -> None:
        """Start without a save."""
        self.saves = 0
        self.state: bytes | None = None
        self.pieces: dict[str, bytes] = {}


class MemoryCheckpoints:
    """`ports.Checkpoints` that live as long as their process; of two writers the later one goes on."""

    def __init__(self, kept: MemoryKept | None = None) -> None:
        """Work on what is ``kept``, or on nothing."""
        self._kept = kept or MemoryKept()
        self._saves = self._kept.saves

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Drop what is ``gone``, put ``pieces``, set ``state``; Fenced where another saved since this loaded."""
        if self._kept.saves != self._saves:
            raise Fenced("another process has saved since: it works on this now")
        names = {name for name in gone if not name.endswith("*")}
        starts = tuple(name[:-1] for name in gone if name.endswith("*"))
        kept = {
            n: data for n, data in self._kept.pieces.items() if n not in names and not n.startswith(starts)
        }
        self._kept.state, self._kept.pieces = state, kept | dict(pieces)
        self._kept.saves = self._saves = self._saves + 1

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]] | None:
        """Return the state and all pieces of the last save."""
        self._saves = self._kept.saves
        if self._kept.state is None:
            return None
        return self._kept.state, iter(self._kept.pieces.items())

    @property
    def generation(self) -> None:
        """None: one process alone can have it."""

    def close(self) -> None:
        """Nothing is held."""


if TYPE_CHECKING:
    _log: type[Log] = MemoryLog
    _checkpoints: type[Checkpoints] = MemoryCheckpoints
