"""A store in memory: the plainest thing that keeps the contract."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any

import pyarrow as pa

from meterlake.errors import Conflict
from meterlake.ports import Kept, Store


class MemoryStore:
    """`ports.Store` without a disk. Safe to share between threads."""

    def __init__(self, url: str = "memory:") -> None:
        """Start with nothing."""
        self.url = url
        self._lock = Lock()
        self._held: dict[str, tuple[bytes, str, float]] = {}
        self._written = 0

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a name and a mark that changes with them; None where there is none."""
        found = self._held.get(name)
        return None if found is None else found[:2]

    def write(self, name: str, data: bytes | pa.Buffer, *, new: bool = False) -> None:
        """Keep ``data`` under a name; with ``new`` only where it is not there."""
        with self._lock:
            if new and name in self._held:
                raise Conflict(f"{name} was written by another thread meanwhile")
            self._written += 1
            self._held[name] = bytes(data), str(self._written), time.time()

    def list(self, prefix: str) -> list[Kept]:
        """Return what is kept under names that begin with ``prefix``, by name."""
        with self._lock:
            return [
                Kept(name, len(data), at)
                for name, (data, _, at) in sorted(self._held.items())
                if name.startswith(prefix)
            ]

    def delete(self, name: str) -> None:
        """Let go of a name; nothing where there is none."""
        with self._lock:
            self._held.pop(name, None)

    def opened(self, name: str) -> Any:
        """Return a file over the bytes of a name."""
        return pa.BufferReader(self._held[name][0])


_CONFORMS: type[Store] = MemoryStore
