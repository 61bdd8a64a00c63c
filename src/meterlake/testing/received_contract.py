"""The contract of `ports.Received`: subclass it and every adapter keeps the same promises.

``received`` is a fixture that gives an empty one, ``another`` one that makes a second handle on the same, and ``put`` one that
writes messages of a shard as a file.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from meterlake.errors import ConcurrentCommit
from meterlake.ports import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meterlake.ports import Received, ReceivedFile

    Put = Callable[[Sequence[Record]], ReceivedFile]

LARGE = 5 << 20


def record(shard: str, offset: int, size: int = 20) -> Record:
    """A message; ours at even offsets, another program's at odd ones."""
    headers = [] if offset % 2 else [("ml-batch", b"b%d" % offset), ("ml-source", b"hes"), ("none", None)]
    return Record(shard, offset, 1_700_000_000_123_000 + offset * 1000, b"%d" % offset * size, headers)


def several(shard: str, first: int, end: int, size: int = 20) -> list[Record]:
    """Messages of a shard."""
    return [record(shard, offset, size) for offset in range(first, end)]


def read(received: Received, shard: str, offset: int = 0) -> list[Record]:
    """All messages of a shard from an offset on."""
    return [one for some in received.read(shard, offset) for one in some]


class ReceivedContract:
    """What every adapter promises."""

    def test_nothing_is_there_at_first(self, received: Received) -> None:
        """And that is no error."""
        assert received.bounds("gas-0") is None
        assert list(received.files()) == []
        assert read(received, "gas-0") == []

    def test_what_was_committed_is_read_as_it_came(self, received: Received, put: Put) -> None:
        """By shard and offset, over files and large messages."""
        gas, water = several("gas-0", 3, 9), several("water-1", 0, 4)
        received.commit([put(gas), put(water)], {"gas-0": 3, "water-1": 0})
        large = several("gas-0", 12, 24, LARGE)
        received.commit([put(large)], {"gas-0": 99, "water-1": 99})
        assert received.bounds("gas-0") == (3, 24)
        assert received.bounds("water-1") == (0, 4)
        assert read(received, "gas-0") == [*gas, *large]
        assert read(received, "gas-0", 8) == [*gas[5:], *large]
        assert read(received, "water-1") == water
        assert len(list(received.read("gas-0", 12))) > 1

    def test_a_file_that_is_not_committed_does_not_count(self, received: Received, put: Put) -> None:
        """As if it were not there."""
        put(several("gas-0", 0, 2))
        received.commit([put(several("gas-0", 0, 1))], {"gas-0": 0})
        assert read(received, "gas-0") == several("gas-0", 0, 1)

    def test_a_message_is_there_once(
        self, received: Received, another: Callable[[], Received], put: Put
    ) -> None:
        """Whoever brings it again is refused, also through another handle, and many at once."""
        received.commit([put(several("gas-0", 0, 5))], {"gas-0": 0})
        with pytest.raises(ConcurrentCommit):
            another().commit([put(several("gas-0", 4, 9))], {"gas-0": 0})
        files = [put(several("gas-0", 5, 6 + n)) for n in range(6)]

        def commit(file: ReceivedFile) -> bool:
            try:
                another().commit([file], {})
            except ConcurrentCommit:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(commit, files)) == 1
        bounds = received.bounds("gas-0")
        assert bounds is not None
        assert read(received, "gas-0") == several("gas-0", 0, bounds[1])

    def test_what_is_dropped_is_gone_and_the_bounds_stay(self, received: Received, put: Put) -> None:
        """So that it is not received again."""
        received.commit([put(several("gas-0", 0, 5))], {"gas-0": 0})
        received.commit([put(several("gas-0", 5, 8))], {})
        gone = received.drop(lambda file: file.last < 5)
        assert [(file.shard, file.first, file.last, file.rows) for file in gone] == [("gas-0", 0, 4, 5)]
        assert received.drop(lambda file: file.last < 5) == []
        assert read(received, "gas-0") == several("gas-0", 5, 8)
        assert received.bounds("gas-0") == (0, 8)

    def test_files_say_what_they_hold(self, received: Received, put: Put) -> None:
        """Offsets, and the moment of the newest message."""
        file = put(several("gas-0", 2, 7))
        received.commit([file], {"gas-0": 2})
        (found,) = received.files()
        assert found == file
        assert found.newest_us == record("gas-0", 6).at_us
