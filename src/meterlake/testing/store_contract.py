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


class StoreContract:
    """What every store promises."""

    def test_what_is_written_is_read(self, store: Store) -> None:
        """Also under names with folders, and bytes of any number."""
        for name, data in (("a", b""), ("b/c/d.toml", b"x = 1\n"), ("b/large", b"0123456789" * 300_000)):
            mark = store.write(name, data)
            assert store.read(name) == (data, mark)
        assert store.read("b/c") is None
        assert store.read("nothing") is None

    def test_a_mark_changes_with_the_bytes(self, store: Store) -> None:
        """And what was there is gone."""
        first = store.write("a", b"1")
        second = store.write("a", b"22")
        assert first != second
        assert store.read("a") == (b"22", second)

    def test_a_name_is_swapped_only_where_it_is_as_it_was(self, store: Store) -> None:
        """Nothing there is a mark too."""
        first = store.write("a", b"1", unless="")
        with pytest.raises(Conflict):
            store.write("a", b"2", unless="")
        second = store.write("a", b"3", unless=first)
        with pytest.raises(Conflict):
            store.write("a", b"4", unless=first)
        assert store.read("a") == (b"3", second)

    def test_of_many_that_swap_at_once_one_wins(self, store: Store) -> None:
        """Round after round, each winner is known to all."""
        mark = store.write("a", b"", unless="")

        def swap(number: int) -> str | None:
            try:
                return store.write("a", str(number).encode(), unless=mark)
            except Conflict:
                return None

        with ThreadPoolExecutor(6) as pool:
            for _ in range(5):
                won = [one for one in pool.map(swap, range(6)) if one is not None]
                assert len(won) == 1
                mark = won[0]

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
