"""Every lake adapter keeps the lake contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import Damaged, NotFound
from meterlake.ledger import PENDING_SCHEMA
from meterlake.ports import Change
from meterlake.testing.lake_contract import WHOLE, LakeContract, change, everything, plain_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.ports import Lake


def waiting_blocks(meters: list[str], version: int) -> pa.Table:
    blocks = plain_blocks(meters)
    return pa.table([*blocks.columns, pa.array([version] * len(blocks))], schema=PENDING_SCHEMA)


class TestMemoryLake(LakeContract):
    """The oracle."""

    @pytest.fixture
    def lake(self) -> Lake:
        return MemoryLake()


class TestDeltaLake(LakeContract):
    """The folder of Delta tables."""

    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        return DeltaLake(FolderStore(tmp_path / "lake"), create=True)

    def test_a_second_handle_sees_the_commit(self, tmp_path: Path) -> None:
        a = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        b = DeltaLake(FolderStore(tmp_path / "lake"))
        a.commit(change(a.snapshot(), [a.put(plain_blocks(["m1"]), WHOLE)]))
        assert everything(b).equals(everything(a))
        assert b.records("operations").equals(a.records("operations"))

    def test_records_of_an_attempt_that_did_not_land_do_not_count(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        planned = change(lake.snapshot(), [], app="load:lost", number=7)
        lake._sides["operations"].append(planned.records["operations"], planned.app, planned.number)
        assert len(lake.records("operations")) == 0

    def test_a_flipped_bit_is_found_when_read(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        file = lake.put(plain_blocks([f"m{i}" for i in range(500)]), WHOLE)
        path = tmp_path / "lake" / "interval_blocks" / file.path
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
        with pytest.raises(Damaged, match=file.path):
            lake.blocks(file)

    def test_other_engines_read_the_same_truth(self, tmp_path: Path) -> None:
        polars = pytest.importorskip("polars")
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        lake.commit(change(lake.snapshot(), [lake.put(plain_blocks(["m1", "m2"]), WHOLE)]))
        seen = polars.read_delta(str(tmp_path / "lake" / "interval_blocks"))
        assert seen["total"].to_list() == everything(lake)["total"].to_pylist()

    def test_a_folder_without_a_lake_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="meterlake init"):
            DeltaLake(FolderStore(tmp_path))

    def test_sweeping_takes_only_old_files_that_no_commit_names(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        kept = lake.put(plain_blocks(["m1"]), WHOLE)
        lake.commit(change(lake.snapshot(), [kept]))
        after = lake.put(plain_blocks(["m1"], delivery=2), WHOLE)
        lake.commit(change(lake.snapshot(), [after], [kept], app="load:b"))
        orphan = lake.put(plain_blocks(["m2"]), WHOLE)
        assert lake.sweep() == []
        assert lake.sweep(now_s=time.time() + 2 * 86_400) == [orphan.path]
        assert everything(lake, 1)["delivery"].to_pylist() == [1]
        assert everything(lake)["delivery"].to_pylist() == [2]

    def test_gathered_side_tables_answer_the_same_from_few_files(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        for n in range(12):
            base = lake.snapshot()
            rows = waiting_blocks([f"m{n}", "m5"], n + 1)
            lake.commit(
                Change(base, [], [], f"seal:{n}", 1, {"pending_blocks": rows, **change(base, []).records})
            )
        planned = change(lake.snapshot(), [], app="load:lost", number=7)
        lake._sides["operations"].append(planned.records["operations"], planned.app, planned.number)
        before = {name: lake.records(name) for name in ("operations", "pending_blocks")}
        assert lake.gather(4) == 24
        for one in (lake, DeltaLake(FolderStore(tmp_path / "lake"))):
            assert sorted(one.records("operations")["version"].to_pylist()) == list(range(1, 13))
            rows = one.records("pending_blocks")
            assert sorted(rows["version"].to_pylist()) == [v for v in range(5, 13) for _ in range(2)]
            assert len(one.records("pending_blocks", ("m7", "m7"))) == 1
        assert before["operations"].sort_by("version").equals(lake.records("operations").sort_by("version"))
        assert len(list((tmp_path / "lake" / "operations").glob("*.parquet"))) == 14
        assert lake.gather(4) == 0

    def test_rows_of_an_attempt_that_did_not_land_go_when_they_are_a_day_old(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        for n in range(8):
            planned = change(lake.snapshot(), [], app=f"load:{n}", number=7)
            lake._sides["operations"].append(planned.records["operations"], planned.app, planned.number)
        assert lake.gather(0) == 0
        assert lake.gather(0, now_s=time.time() + 2 * 86_400) == 8
        assert len(lake.records("operations")) == 0

    def test_a_gathering_that_another_overtakes_is_planned_again(self, tmp_path: Path) -> None:
        a, b = (
            DeltaLake(FolderStore(tmp_path / "lake"), create=True),
            DeltaLake(FolderStore(tmp_path / "lake")),
        )
        for n in range(9):
            a.commit(change(a.snapshot(), [], app=f"load:{n}"))
        side, write = a._sides["operations"], a._sides["operations"]._write
        calls = []

        def overtaken(*args):
            calls.append(args)
            if len(calls) == 1:
                assert b.gather(0) == 9
            return write(*args)

        side._write = overtaken
        assert a.gather(0) == 0
        assert sorted(a.records("operations")["version"].to_pylist()) == list(range(1, 10))

    def test_what_was_read_of_side_tables_is_kept_within_a_budget(self, tmp_path: Path) -> None:
        lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
        for n in range(6):
            lake.commit(change(lake.snapshot(), [], app=f"load:{n}"))
        cache = lake._sides["operations"]._cache
        cache.budget = 1
        assert len(lake.records("operations")) == 6
        assert len(cache._files) == 1
