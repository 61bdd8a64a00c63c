"""Logs of shards in memory: the oracle of their contract, and several members in one process for tests."""

from __future__ import annotations

import time
from threading import RLock
from typing import TYPE_CHECKING

from meterlake.ports import Record
from meterlake.spread import COMMODITIES, shard_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.ports import Append, Log, Logs, Member, Shards


class MemoryLogs:
    """`ports.Logs` that live as long as their process."""

    def __init__(self, partitions: int = 4, url: str = "memory:logs") -> None:
        """Start empty."""
        self.url, self._partitions = url, partitions
        self.names = [shard_name(one, part) for one in COMMODITIES for part in range(partitions)]
        self.records: dict[str, list[Record]] = {name: [] for name in self.names}
        self.first = dict.fromkeys(self.names, 0)
        self.members: list[MemoryMember] = []
        self._memos: dict[str, str] = {}
        self.lock = RLock()

    def partitions(self) -> int:
        """Return into how many shards each commodity is cut."""
        return self._partitions

    def append(self, batches: Sequence[tuple[str, Append]]) -> Sequence[int]:
        """Keep ``batches``; return their offsets."""
        with self.lock:
            for shard, batch in batches:
                records = self.records[shard]
                at = len(records)
                records.append(Record(shard, at, time.time_ns() // 1000, batch.data, batch.headers))
                self._memos |= dict.fromkeys(batch.names, batch.memo)
            ends: dict[str, int] = {}
            offsets = []
            for shard, _ in reversed(batches):
                ends[shard] = ends.get(shard, len(self.records[shard])) - 1
                offsets.append(ends[shard])
            return offsets[::-1]

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the memos of those ``names`` that are known."""
        return {name: self._memos[name] for name in names if name in self._memos}

    def shard(self, name: str) -> Log:
        """Return the log of one shard."""
        return _OneOf(self, name)

    def place(self, shard: str) -> tuple[str, int]:
        """Return commodity and part of a shard."""
        commodity, _, part = shard.rpartition("-")
        return commodity, int(part)

    def join(self, shards: Shards) -> Member:
        """Become one of those who share the shards."""
        return MemoryMember(self, shards)

    def close(self) -> None:
        """Nothing is held."""


class _OneOf:
    """`ports.Log` of one shard."""

    def __init__(self, logs: MemoryLogs, name: str) -> None:
        self._logs, self._name = logs, name
        self.url = f"{logs.url}/{name}"

    def append(self, batches: Sequence[Append]) -> int:
        first = self.bounds()[1]
        self._logs.append([(self._name, batch) for batch in batches])
        return first

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        first, _ = self.bounds()
        return iter([(r.offset, r.data) for r in self._logs.records[self._name][max(offset, first) :]])

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        return self._logs.find(names)

    def bounds(self) -> tuple[int, int]:
        return self._logs.first[self._name], len(self._logs.records[self._name])

    def truncate(self, offset: int, *, forget_s: float = 0.0) -> None:  # noqa: ARG002
        first, end = self.bounds()
        self._logs.first[self._name] = max(first, min(offset, end))

    def close(self) -> None:
        pass


class MemoryMember:
    """`ports.Member`: shards are dealt out by turns, anew whenever somebody joins or leaves."""

    def __init__(self, logs: MemoryLogs, shards: Shards) -> None:
        """Join."""
        self._logs, self._shards = logs, shards
        self.mine: dict[str, int] = {}
        with logs.lock:
            logs.members.append(self)

    def _share(self) -> set[str]:
        members = self._logs.members
        return {name for i, name in enumerate(self._logs.names) if i % len(members) == members.index(self)}

    def poll(self, timeout_s: float) -> Sequence[Record]:  # noqa: ARG002
        """Give up what is another's, take what nobody has, and return what came next."""
        with self._logs.lock:
            wanted = self._share()
            gone = sorted(set(self.mine) - wanted)
            if gone:
                self._shards.released(gone, lost=False)
                self.mine = {name: at for name, at in self.mine.items() if name in wanted}
            held = {name for other in self._logs.members if other is not self for name in other.mine}
            fresh = sorted(wanted - set(self.mine) - held)
            if fresh:
                self.mine |= self._shards.taken(fresh)
            found = []
            for name, at in self.mine.items():
                some = self._logs.records[name][at : at + 50]
                found += some
                self.mine[name] = at + len(some)
        if not found:
            time.sleep(0.001)
        return found

    def done(self, offsets: Mapping[str, int]) -> None:
        """Nobody watches."""

    def close(self) -> None:
        """Leave."""
        with self._logs.lock:
            self._shards.released(sorted(self.mine), lost=False)
            self.mine = {}
            if self in self._logs.members:
                self._logs.members.remove(self)


if TYPE_CHECKING:
    _: type[Logs] = MemoryLogs
