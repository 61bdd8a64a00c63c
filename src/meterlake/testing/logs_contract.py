"""The contract of `ports.Logs`: subclass it and every adapter keeps the same promises.

``logs`` is a fixture that gives empty ones of four partitions.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from meterlake.ports import Append
from meterlake.spread import COMMODITIES, shard_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.ports import Logs, Member, Record

PATIENCE_S = 30.0


class Holder:
    """Who remembers which shards it has, and what it read; reading goes on where ``done`` says."""

    def __init__(self, logs: Logs, done: dict[str, int]) -> None:
        """Join ``logs``; ``done`` is shared by all."""
        self.held: set[str] = set()
        self.read: list[Record] = []
        self._done = done
        self.member: Member = logs.join(self)

    def taken(self, shards: Sequence[str]) -> Mapping[str, int]:
        """Go on where the one before stopped."""
        self.held |= set(shards)
        return {name: self._done.get(name, 0) for name in shards}

    def released(self, shards: Sequence[str], *, lost: bool) -> None:
        """Let go."""
        assert not lost
        self.held -= set(shards)

    def step(self) -> None:
        """Read a little."""
        for record in self.member.poll(0.05):
            assert record.shard in self.held
            assert record.offset >= self._done.get(record.shard, 0)
            self.read.append(record)
            self._done[record.shard] = record.offset + 1


def until(holds: Callable[[], bool], *holders: Holder) -> None:
    """Let ``holders`` read in turn until something holds."""
    patience = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < patience, "it did not come about"
        for holder in holders:
            holder.step()


def some(n: int, first: int = 0) -> list[tuple[str, Append]]:
    """Batches that go to all shards by turns."""
    names = [shard_name(one, part) for one in COMMODITIES for part in range(4)]
    return [
        (names[k % 12], Append(b"%d" % k, (f"name:{k}",), f'{{"k": {k}}}', (("h", b"%d" % k),)))
        for k in range(first, first + n)
    ]


class LogsContract:
    """What all logs of shards promise."""

    def test_batches_land_in_their_shards_in_order(self, logs: Logs) -> None:
        """Offsets are those of each shard."""
        assert logs.partitions() == 4
        told = logs.append(some(36))
        assert [at for at in told if at is not None] == [k // 12 for k in range(36) if told[k] is not None]
        assert [data for _, data in logs.shard("electricity-1").read(0)] == [b"1", b"13", b"25"]
        assert logs.shard("electricity-1").bounds() == (0, 3)
        assert logs.shard("water-3").bounds() == (0, 3)

    def test_names_are_known_whatever_shard_took_them(self, logs: Logs) -> None:
        """A batch without names has none."""
        logs.append([*some(3), ("gas-0", Append(b"x", (), ""))])
        assert logs.find(["name:0", "name:2", "name:3"]) == {"name:0": '{"k": 0}', "name:2": '{"k": 2}'}

    def test_one_member_reads_everything_with_headers_and_times(self, logs: Logs) -> None:
        """Of each shard in order."""
        before_us = time.time_ns() // 1000 - 60_000_000
        logs.append(some(60))
        holder = Holder(logs, {})
        until(lambda: len(holder.read) == 60, holder)
        told: dict[str, list[Any]] = {}
        for record in holder.read:
            assert record.at_us > before_us
            assert dict(record.headers) == {"h": record.data}
            told.setdefault(record.shard, []).append((record.offset, record.data))
        assert told["gas-0"] == [(i, b"%d" % (4 + 12 * i)) for i in range(5)]
        assert len(told) == 12
        holder.member.close()
        assert not holder.held

    def test_members_share_the_shards_and_read_each_batch_once(self, logs: Logs) -> None:
        """Whoever joins or leaves meanwhile."""
        done: dict[str, int] = {}
        logs.append(some(24))
        one = Holder(logs, done)
        until(lambda: len(one.read) == 24, one)
        two = Holder(logs, done)
        until(lambda: len(two.held) >= 4 and len(one.held) + len(two.held) == 12, one, two)
        assert not one.held & two.held
        logs.append(some(24, 24))
        until(lambda: len(one.read) + len(two.read) == 48, one, two)
        two.member.close()
        until(lambda: len(one.held) == 12, one)
        logs.append(some(24, 48))
        until(lambda: len(one.read) + len(two.read) == 72, one)
        counted = Counter(record.data for record in one.read + two.read)
        assert counted == Counter(b"%d" % k for k in range(72))
        one.member.close()
