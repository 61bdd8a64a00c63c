"""Blocks that wait beside the files count for every question, check and job as if they were in the files."""

from __future__ import annotations

import pyarrow as pa
import pytest

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.store_folder import FolderStore
from meterlake.blocks import BLOCK_SCHEMA, sort_blocks
from meterlake.check import check
from meterlake.compact import compact
from meterlake.errors import ConcurrentCommit
from meterlake.ids import PARTITIONS
from meterlake.ledger import DELIVERY_SCHEMA, PENDING_SCHEMA
from meterlake.pending import current, fold, folded, pending
from meterlake.ports import Change
from meterlake.record import as_of
from meterlake.series import recount
from meterlake.sql import run
from meterlake.testing.lake_contract import change, plain_blocks

WHOLE = (0, PARTITIONS)


def delivered(*numbers: int) -> pa.Table:
    rows = [
        {
            "number": n,
            "load_id": f"l{n}",
            "path": "x",
            "source": "a",
            "version": 1,
            "received_at": 10**15,
            "landed_at": n,
        }
        for n in numbers
    ]
    return pa.Table.from_pylist(rows, schema=DELIVERY_SCHEMA)


def wait(lake, blocks: pa.Table) -> int:
    """Lay ``blocks`` over the files as a seal does."""
    base = lake.snapshot()
    rows = pa.table([*blocks.columns, pa.array([base.version + 1] * len(blocks))], schema=PENDING_SCHEMA)
    return lake.commit(Change(base, [], [], f"seal:{base.version}", 1, {"pending_blocks": rows}))


def everything(lake) -> pa.Table:
    return sort_blocks(pa.concat_tables(current(lake, lake.snapshot())))


@pytest.fixture(params=["memory", "folder"])
def lake(request, tmp_path):
    """Files of two days of five meters, of which two wait again, one twice, and one meter that is new."""
    made = (
        MemoryLake() if request.param == "memory" else DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    )
    names = [f"m{n}" for n in range(5)]
    files = [made.put(plain_blocks(names, day), WHOLE) for day in (0, 40)]
    first = change(made.snapshot(), files)
    made.commit(
        Change(first.base, files, [], "load:a", 1, {**first.records, "deliveries": delivered(1, 2, 3)})
    )
    wait(made, plain_blocks(["m1", "m3"], 40, delivery=2))
    wait(made, plain_blocks(["m3", "new"], 40, delivery=3))
    return made


def test_of_one_key_the_newest_stands_over_the_files(lake) -> None:
    rows = pending(lake, lake.snapshot())
    assert rows.schema.equals(BLOCK_SCHEMA)
    assert dict(zip(rows["meter_id"].to_pylist(), rows["delivery"].to_pylist(), strict=True)) == {
        "m1": 2,
        "m3": 3,
        "new": 3,
    }
    assert len(everything(lake)) == 11
    assert len(pending(lake, lake.snapshot(1))) == 0


def test_a_fold_puts_them_into_files_and_changes_no_answer(lake) -> None:
    before, asked = everything(lake), run(lake, None, "SELECT * FROM days ORDER BY ALL")
    counted = recount(lake, lake.snapshot())
    version = fold(lake)
    assert version == lake.snapshot().version == 4
    assert len(pending(lake, lake.snapshot())) == 0
    files = pa.concat_tables([lake.blocks(file) for file in lake.snapshot().files])
    assert sort_blocks(files).equals(before)
    assert run(lake, None, "SELECT * FROM days ORDER BY ALL").equals(asked)
    assert sorted(recount(lake, lake.snapshot()).to_pylist(), key=str) == sorted(counted.to_pylist(), key=str)
    assert fold(lake) == version


def test_sql_sees_each_key_once(lake) -> None:
    rows = run(lake, None, "SELECT meter_id, delivery FROM blocks ORDER BY ALL")
    assert len(rows) == 11
    assert rows["delivery"].to_pylist().count(3) == 2


def test_as_of_now_is_what_is_seen(lake) -> None:
    for meters in (None, ("m3", "m3"), ("m2", "new")):
        seen = everything(lake)
        ids = seen["meter_id"].to_pylist()
        mine = seen.filter(pa.array([meters is None or meters[0] <= one <= meters[1] for one in ids]))
        columns = ["meter_id", "start", "values", "total"]
        assert as_of(lake, lake.snapshot().version, meters).select(columns).equals(mine.select(columns))


def test_a_check_counts_them_in_place_of_the_rows_they_stand_for(lake) -> None:
    report = check(lake)
    assert report.problems == []
    assert (report.blocks, report.readings) == (11, 11 * 48)
    broken = plain_blocks(["m2"], 40, delivery=3)
    wait(lake, broken.set_column(14, BLOCK_SCHEMA.field("total"), pa.array([1])))
    assert [(p["file"], p["meter"]) for p in check(lake).problems] == [("pending_blocks", "m2")]


def test_a_compaction_folds_first(lake) -> None:
    before = everything(lake)
    receipt = compact(lake)
    assert receipt.version == lake.snapshot().version
    assert len(pending(lake, lake.snapshot())) == 0
    assert everything(lake).equals(before)


def test_a_fold_is_planned_again_where_a_file_of_its_was_rewritten(lake, monkeypatch) -> None:
    before, commit, first = everything(lake), lake.commit, [True]

    def overtaken(planned):
        if first:
            first.clear()
            base = lake.snapshot()
            again = [lake.put(lake.blocks(file), file.partitions) for file in base.files]
            commit(change(base, again, list(base.files), app="load:b"))
        return commit(planned)

    monkeypatch.setattr(lake, "commit", overtaken)
    folded(lake)
    assert everything(lake).equals(before)
    assert check(lake).problems == []


def test_what_comes_to_wait_while_a_fold_is_planned_waits_on(lake, monkeypatch) -> None:
    commit, first = lake.commit, [True]

    def overtaken(planned):
        if first:
            first.clear()
            rows = plain_blocks(["m4", "new"], 40, delivery=2)
            base = lake.snapshot()
            rows = pa.table([*rows.columns, pa.array([base.version + 1] * 2)], schema=PENDING_SCHEMA)
            row = change(base, []).records["operations"]
            row = row.set_column(0, "operation", pa.array(["seal"]))
            commit(Change(base, [], [], "seal:9", 1, {"pending_blocks": rows, "operations": row}))
        return commit(planned)

    monkeypatch.setattr(lake, "commit", overtaken)
    version = fold(lake)
    rows = pending(lake, lake.snapshot(version))
    assert rows["meter_id"].to_pylist() == ["m4", "new"]
    assert check(lake).problems == []
    assert len(everything(lake)) == 11


def test_a_planned_change_is_refused_over_blocks_that_came_to_wait(lake) -> None:
    base = lake.snapshot()
    wait(lake, plain_blocks(["m2"], 40, delivery=3))
    with pytest.raises(ConcurrentCommit):
        lake.commit(change(base, [lake.put(plain_blocks(["m2"], 41), WHOLE)], app="load:c"))


def test_a_lake_that_was_made_before_blocks_could_wait_opens(tmp_path) -> None:
    import shutil

    DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    shutil.rmtree(tmp_path / "lake" / "pending_blocks")
    lake = DeltaLake(FolderStore(tmp_path / "lake"))
    assert len(lake.records("pending_blocks")) == 0
    wait(lake, plain_blocks(["m1"]))
    assert len(pending(lake, lake.snapshot())) == 1
