"""Tell waiting event streams that something changed, from any thread, without making the teller wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Watcher:
    """One waiting stream: its loop, its bell, and whether the bell is about to ring."""

    def __init__(self) -> None:
        self.loop, self.bell, self.rung = asyncio.get_running_loop(), asyncio.Event(), False


class Changes:
    """A bell for many listeners that remembers only the newest epoch."""

    def __init__(self) -> None:
        """Start at epoch 0 with nobody listening."""
        self.epoch = 0
        self._watchers: set[_Watcher] = set()
        self._lock = Lock()

    def tell(self, epoch: int) -> None:
        """Wake everybody who waits; calls between two wakings of a listener are one."""
        self.epoch = epoch
        with self._lock:
            for watcher in self._watchers:
                if not watcher.rung:
                    watcher.rung = True
                    with suppress(RuntimeError):  # its loop has ended
                        watcher.loop.call_soon_threadsafe(watcher.bell.set)

    async def watch(self, min_gap_s: float = 0.1) -> AsyncIterator[int]:
        """Yield the epoch now and after each change, at most once in ``min_gap_s`` seconds."""
        watcher = _Watcher()
        with self._lock:
            self._watchers.add(watcher)
        try:
            while True:
                yield self.epoch
                await asyncio.sleep(min_gap_s)
                await watcher.bell.wait()
                watcher.bell.clear()
                watcher.rung = False
        finally:
            with self._lock:
                self._watchers.discard(watcher)
