"""Faults on purpose: a lake that dies at a chosen step, as a process does that is killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from meterlake.ports import Change, DataFile, Lake, Snapshot


class DyingLake:
    """Any lake, killed (SIGKILL, nothing is cleaned up) just before or after its n-th writing call.

    ``point`` counts from 0: an even one is before, an odd one after the writing call ``point // 2``.
    """

    def __init__(self, lake: Lake, point: int) -> None:
        """Wrap ``lake``."""
        self._lake, self._point, self._calls = lake, point, 0
        self.url, self.store, self.buckets = lake.url, lake.store, lake.buckets

    def _die(self, when: int) -> None:
        if 2 * self._calls + when == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
        self._calls += when

    def snapshot(self, version: int | None = None) -> Snapshot:
        """See `ports.Lake`."""
        return self._lake.snapshot(version)

    def put(self, blocks: pa.Table, partitions: tuple[int, int], *, final: bool = False) -> DataFile:
        """See `ports.Lake`; may die."""
        self._die(0)
        file = self._lake.put(blocks, partitions, final=final)
        self._die(1)
        return file

    def blocks(
        self, file: DataFile, columns: Sequence[str] | None = None, meters: tuple[str, str] | None = None
    ) -> pa.Table:
        """See `ports.Lake`."""
        return self._lake.blocks(file, columns, meters)

    def commit(self, change: Change) -> int:
        """See `ports.Lake`; may die."""
        self._die(0)
        version = self._lake.commit(change)
        self._die(1)
        return version

    def records(self, name: str, meters: tuple[str, str] | None = None) -> pa.Table:
        """See `ports.Lake`."""
        return self._lake.records(name, meters)

    def reserve(self, count: int) -> int:
        """See `ports.Lake`; may die."""
        self._die(0)
        first = self._lake.reserve(count)
        self._die(1)
        return first
