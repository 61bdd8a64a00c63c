"""Every lake adapter keeps the lake contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.errors import Damaged, NotFound
from meterlake.testing.lake_contract import WHOLE, LakeContract, change, everything, plain_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.ports import Lake


class TestMemoryLake(LakeContract):
    """The oracle."""

    @pytest.fixture
    def lake(self) -> Lake:
        return MemoryLake()


class TestDeltaLake(LakeContract):
    """The folder of Delta tables."""

    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        return DeltaLake(tmp_path / "lake", create=True)

    def test_a_second_handle_sees_the_commit(self, tmp_path: Path) -> None:
        a = DeltaLake(tmp_path / "lake", create=True)
        b = DeltaLake(tmp_path / "lake")
        a.commit(change(a.snapshot(), [a.put(plain_blocks(["m1"]), WHOLE)]))
        assert everything(b).equals(everything(a))
        assert b.records("operations").equals(a.records("operations"))

    def test_records_of_an_attempt_that_did_not_land_do_not_count(self, tmp_path: Path) -> None:
        lake = DeltaLake(tmp_path / "lake", create=True)
        planned = change(lake.snapshot(), [], app="load:lost", number=7)
        lake._append("operations", planned.records["operations"], planned)
        assert len(lake.records("operations")) == 0

    def test_a_flipped_bit_is_found_when_read(self, tmp_path: Path) -> None:
        lake = DeltaLake(tmp_path / "lake", create=True)
        file = lake.put(plain_blocks([f"m{i}" for i in range(500)]), WHOLE)
        path = tmp_path / "lake" / "interval_blocks" / file.path
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
        with pytest.raises(Damaged, match=file.path):
            lake.blocks(file)

    def test_other_engines_read_the_same_truth(self, tmp_path: Path) -> None:
        polars = pytest.importorskip("polars")
        lake = DeltaLake(tmp_path / "lake", create=True)
        lake.commit(change(lake.snapshot(), [lake.put(plain_blocks(["m1", "m2"]), WHOLE)]))
        seen = polars.read_delta(str(tmp_path / "lake" / "interval_blocks"))
        assert seen["total"].to_list() == everything(lake)["total"].to_pylist()

    def test_a_folder_without_a_lake_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="meterlake init"):
            DeltaLake(tmp_path)

    def test_sweeping_takes_only_old_files_that_no_commit_names(self, tmp_path: Path) -> None:
        lake = DeltaLake(tmp_path / "lake", create=True)
        kept = lake.put(plain_blocks(["m1"]), WHOLE)
        lake.commit(change(lake.snapshot(), [kept]))
        after = lake.put(plain_blocks(["m1"], delivery=2), WHOLE)
        lake.commit(change(lake.snapshot(), [after], [kept], app="load:b"))
        orphan = lake.put(plain_blocks(["m2"]), WHOLE)
        assert lake.sweep() == []
        assert lake.sweep(now_s=time.time() + 2 * 86_400) == [orphan.path]
        assert everything(lake, 1)["delivery"].to_pylist() == [1]
        assert everything(lake)["delivery"].to_pylist() == [2]
