"""The contract of `ports.Store`: subclass it and every adapter keeps the same promises.

``store`` is a fixture that gives an empty one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meterlake.errors import Conflict

if TYPE_CHECKING:
    from meterlake.ports import Store


def read(store: Store, name: str) -> tuple[bytes, str]:
    """What is there under a name."""
    found = store.read(name)
    assert found is not None
    return found


class StoreContract:
    """What every store promises."""

    def test_what_is_written_is_read(self, store: Store) -> None:
        """Also under names with folders, and bytes of any number."""
        for name, data in (("a", b""), ("b/c/d.toml", b"x = 1\n"), ("b/large", b"0123456789" * 300_000)):
            store.write(name, data)
            assert read(store, name)[0] == data
        assert store.read("b/c") is None
        assert store.read("nothing") is None

    def test_a_mark_changes_with_the_bytes(self, store: Store) -> None:
        """And what was there is gone."""
        store.write("a", b"1")
        first = read(store, "a")
        store.write("a", b"22")
        second = read(store, "a")
        assert first[1] != second[1]
        assert second == (b"22", read(store, "a")[1])

    def test_a_new_name_is_taken_once(self, store: Store) -> None:
        """Who comes second is told, and changes nothing."""
        store.write("a/b", b"1", new=True)
        with pytest.raises(Conflict):
            store.write("a/b", b"2", new=True)
        assert read(store, "a/b")[0] == b"1"

    def test_of_many_that_take_a_name_at_once_one_wins(self, store: Store) -> None:
        """Round after round."""

        def take(number: int) -> bool:
            try:
                store.write(f"a/{number // 6}", str(number).encode(), new=True)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(take, range(60)))
        assert sum(won) == 10
        for number, first in enumerate(won):
            if first:
                assert read(store, f"a/{number // 6}")[0] == str(number).encode()

    def test_names_are_listed_by_what_they_begin_with(self, store: Store) -> None:
        """In their order, with their bytes."""
        for name in ("x/b", "x/a", "x/ab", "y"):
            store.write(name, name.encode())
        assert [(one.name, one.bytes) for one in store.list("x/a")] == [("x/a", 3), ("x/ab", 4)]
        assert [one.name for one in store.list("")] == ["x/a", "x/ab", "x/b", "y"]
        assert store.list("z") == []
        assert store.list("x/")[0].modified_s > 0

    def test_what_is_let_go_of_is_gone(self, store: Store) -> None:
        """A name that is not there can be let go of too."""
        store.write("a", b"1")
        store.delete("a")
        store.delete("a")
        assert store.read("a") is None
        assert store.list("") == []

    def test_parquet_is_read_from_it(self, store: Store) -> None:
        """By row groups."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"a": list(range(1000))}), sink, row_group_size=100)
        store.write("t/f.parquet", sink.getvalue())
        with pq.ParquetFile(store.opened("t/f.parquet")) as file:
            assert file.read_row_group(7)["a"].to_pylist() == list(range(700, 800))
