"""The contracts of `ports.Log` and `ports.Checkpoints`: subclass them and every adapter keeps the same promises.

``log`` and ``checkpoints`` are fixtures that give empty ones.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

import pytest

from meterlake.errors import Fenced, Invalid
from meterlake.ports import Append, Checkpoints, Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def batch(k: int, size: int = 1000) -> Append:
    """Batch number ``k``: bytes that tell it apart, two names, a memo."""
    return Append(
        k.to_bytes(8, "little") * (size // 8), (f"content:{k}", f"key:own:{k}"), f'{{"batch": {k}}}'
    )


def batches(first: int, stop: int, size: int = 1000) -> list[Append]:
    """Batches ``first`` to ``stop - 1``."""
    return [batch(k, size) for k in range(first, stop)]


def expected(first: int, stop: int, size: int = 1000) -> list[tuple[int, bytes]]:
    """What a log of `batches` from 0 on gives for the offsets ``first`` to ``stop - 1``."""
    return [(k, batch(k, size).data) for k in range(first, stop)]


class LogContract:
    """What every log promises; ``log`` is a fixture that gives an empty one."""

    forgets_by_call = True
    """Whether `truncate` decides which names are forgotten; else their own age does."""

    def test_a_new_log_is_empty(self, log: Log) -> None:
        """Offsets begin with 0."""
        assert log.bounds() == (0, 0)
        assert list(log.read(0)) == []
        assert log.find(["content:1"]) == {}

    def test_batches_read_back_in_order_from_any_offset(self, log: Log) -> None:
        """Offsets rise by one whatever is appended at once."""
        assert [log.append(batches(0, 1)), log.append(batches(1, 4)), log.append(batches(4, 6))] == [0, 1, 4]
        assert log.bounds() == (0, 6)
        for offset in range(7):
            assert list(log.read(offset)) == expected(offset, 6)

    @pytest.mark.parametrize("size", [0, 8, 100_000, 5_000_000])
    def test_batches_of_any_size_come_back(self, log: Log, size: int) -> None:
        """From none to several megabytes."""
        log.append(batches(0, 3, size))
        assert list(log.read(0)) == expected(0, 3, size)

    def test_a_name_gives_the_memo_of_its_batch(self, log: Log) -> None:
        """Unknown names are left out."""
        log.append(batches(0, 3))
        assert log.find(["key:own:1", "content:2", "content:9"]) == {
            "key:own:1": '{"batch": 1}',
            "content:2": '{"batch": 2}',
        }

    def test_a_name_is_taken_once_and_a_refused_append_leaves_nothing(self, log: Log) -> None:
        """Whether it was taken before or twice in one append."""
        log.append(batches(0, 2))
        for wrong in ([batch(5), batch(1)], [batch(6), batch(6)]):
            with pytest.raises(Invalid, match="taken before"):
                log.append(wrong)
        assert log.bounds() == (0, 2)
        assert log.find(["content:5", "content:6"]) == {}
        assert log.append([batch(2)]) == 2

    def test_what_is_truncated_is_gone_and_offsets_go_on(self, log: Log) -> None:
        """Also after everything was truncated, and more than there is."""
        log.append(batches(0, 5))
        log.truncate(3)
        assert log.bounds() == (3, 5)
        assert list(log.read(0)) == expected(3, 5)
        log.truncate(1)
        assert log.bounds() == (3, 5)
        log.truncate(99)
        assert log.bounds() == (5, 5)
        assert log.append(batches(5, 7)) == 5
        assert list(log.read(0)) == expected(5, 7)

    def test_names_outlive_their_batches_until_they_are_old(self, log: Log) -> None:
        """Those of batches that are kept are never forgotten."""
        log.append(batches(0, 4))
        log.truncate(2)
        assert set(log.find(["content:0", "content:3"])) == {"content:0", "content:3"}
        log.truncate(2, forget_s=0)
        if not self.forgets_by_call:
            return
        assert set(log.find(["content:0", "content:1", "content:2"])) == {"content:2"}
        assert log.append([batch(0)]) == 4

    def test_reading_gives_what_was_there_at_the_call(self, log: Log) -> None:
        """Later batches do not show up, whatever another thread appends meanwhile."""
        log.append(batches(0, 50))
        seen = log.read(10)
        assert next(seen) == expected(10, 11)[0]
        writer = Thread(target=lambda: [log.append([batch(k)]) for k in range(50, 80)])
        writer.start()
        assert list(seen) == expected(11, 50)
        writer.join()
        assert list(log.read(0)) == expected(0, 80)


class CheckpointsContract:
    """What every store of checkpoints promises; ``checkpoints`` is a fixture that gives an empty one.

    ``another`` is one that gives a function: it opens the same store once more, as another process would.
    """

    @staticmethod
    def loaded(checkpoints: Checkpoints) -> tuple[bytes, dict[str, bytes]]:
        """State and pieces of the last save."""
        last = checkpoints.load()
        assert last is not None
        return last[0], dict(last[1])

    def test_without_a_save_there_is_nothing(self, checkpoints: Checkpoints) -> None:
        """None and not an empty state."""
        assert checkpoints.load() is None

    def test_a_save_puts_and_keeps_pieces(self, checkpoints: Checkpoints) -> None:
        """Those not named stay as they were; sizes may change, also to none."""
        checkpoints.save({"a/1": b"one", "a/2": b"two" * 100_000, "b": b""}, [], b"first")
        assert self.loaded(checkpoints) == (b"first", {"a/1": b"one", "a/2": b"two" * 100_000, "b": b""})
        checkpoints.save({"a/2": b"2", "b": b"more" * 50_000}, [], b"second")
        assert self.loaded(checkpoints) == (b"second", {"a/1": b"one", "a/2": b"2", "b": b"more" * 50_000})
        checkpoints.save({}, [], b"")
        assert self.loaded(checkpoints)[0] == b""

    @pytest.mark.parametrize(
        ("gone", "left"),
        [
            (["a/1"], {"a/2", "a_2", "A/3", "b%"}),
            (["a/*"], {"a_2", "A/3", "b%"}),
            (["a_*", "b%*"], {"a/1", "a/2", "A/3"}),
            (["*"], set()),
            (["none", "x*"], {"a/1", "a/2", "a_2", "A/3", "b%"}),
        ],
    )
    def test_pieces_go_by_name_or_by_how_they_begin(
        self, checkpoints: Checkpoints, gone: Sequence[str], left: set[str]
    ) -> None:
        """Nothing but ``*`` at the end has a meaning; a piece that is put in the same save stays."""
        checkpoints.save(dict.fromkeys(["a/1", "a/2", "a_2", "A/3", "b%"], b"x"), [], b"")
        checkpoints.save({"a/new": b"y"}, gone, b"")
        assert set(self.loaded(checkpoints)[1]) == left | {"a/new"}

    def test_a_save_while_pieces_are_read_changes_none_of_them(self, checkpoints: Checkpoints) -> None:
        """State and pieces are those of one save."""
        checkpoints.save({f"p{i}": b"old" for i in range(20)}, [], b"old")
        last = checkpoints.load()
        assert last is not None
        state, pieces = last
        seen = [next(pieces)]
        checkpoints.save({f"p{i}": b"new" for i in range(20)}, [], b"new")
        seen += pieces
        assert (state, dict(seen)) == (b"old", {f"p{i}": b"old" for i in range(20)})
        assert self.loaded(checkpoints) == (b"new", {f"p{i}": b"new" for i in range(20)})

    def test_of_two_writers_the_one_that_came_later_goes_on(
        self, checkpoints: Checkpoints, another: Callable[[], Checkpoints]
    ) -> None:
        """The other one is told, and changes nothing; whoever loads anew is the later one."""
        checkpoints.save({"a": b"1"}, [], b"first")
        other = another()
        assert self.loaded(other) == (b"first", {"a": b"1"})
        checkpoints.save({"a": b"2"}, [], b"second")
        with pytest.raises(Fenced):
            other.save({"a": b"wrong"}, [], b"wrong")
        assert self.loaded(other) == (b"second", {"a": b"2"})
        other.save({"b": b"3"}, [], b"third")
        for _ in range(2):
            with pytest.raises(Fenced):
                checkpoints.save({"a": b"wrong"}, ["b"], b"wrong")
        assert self.loaded(another()) == (b"third", {"a": b"2", "b": b"3"})
        other.save({}, ["a"], b"fourth")
        assert self.loaded(checkpoints) == (b"fourth", {"b": b"3"})
        other.close()

    def test_a_writer_that_is_far_behind_is_told_too(
        self, checkpoints: Checkpoints, another: Callable[[], Checkpoints]
    ) -> None:
        """However often the other has saved meanwhile; and what that saved stays."""
        checkpoints.save({"a": b"0"}, [], b"0")
        other = another()
        self.loaded(other)
        for number in range(1, 12):
            other.save({"a": b"%d" % number}, [], b"%d" % number)
            with pytest.raises(Fenced):
                checkpoints.save({"a": b"wrong"}, [], b"wrong")
        assert self.loaded(another()) == (b"11", {"a": b"11"})
        other.save({"a": b"12"}, [], b"12")
        other.close()
