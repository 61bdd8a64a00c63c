"""Batches sealed at any moment between loads: the lake ends as if all readings had been folded as they landed."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake import pending as waiting
from meterlake import seal as seals
from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.store_folder import FolderStore
from meterlake.blocks import BLOCK_SCHEMA
from meterlake.check import check
from meterlake.compact import compact
from meterlake.intake import LoadOptions
from meterlake.lay import lay
from meterlake.ledger import RECORD_SCHEMAS, Delivered
from meterlake.live.cut import Cut
from meterlake.live.part import Part
from meterlake.load import Load
from meterlake.pending import current, fold, pending
from meterlake.record import as_of
from meterlake.seal import seal, sealed
from meterlake.series import recount
from meterlake.testing.plain_live import (
    BASE_S,
    CHANNEL,
    DAY_S,
    WIDTH_S,
    Batch,
    Candidate,
    PlainLive,
    Reading,
    plain_fold,
    slots_of,
)  # fmt: skip
from meterlake.undo import undo

QUALITY = {4: "actual", 7: "estimated", 2: "verified"}


def csv_of(path: Path, readings: list[Reading]) -> Path:
    rows = [
        {
            "meter": r.meter, "channel": CHANNEL, "seconds": WIDTH_S, "unit": "kWh", "quality": QUALITY[r.quality],
            "start": datetime.fromtimestamp(BASE_S, UTC) + timedelta(seconds=r.slot * WIDTH_S),
            "value": Decimal(r.amount).scaleb(-6),
        }
        for r in readings
    ]  # fmt: skip
    schema = [
        ("meter", pa.string()),
        ("channel", pa.string()),
        ("seconds", pa.int32()),
        ("unit", pa.string()),
    ]
    more = [("quality", pa.string()), ("start", pa.timestamp("us", "UTC")), ("value", pa.decimal128(20, 6))]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(schema + more)), path)
    return path


class World:
    """A lake with loads and a log, and what was delivered to it."""

    def __init__(self, lake, folder: Path) -> None:
        self.lake, self.folder = lake, folder
        self.registry = SqlRegistry("sqlite://", create=True)
        self.live = PlainLive()
        self.files: dict[str, list[Reading]] = {}
        self.last_us = 0

    def batch(self, readings: list[Reading], ahead_us: int = 0) -> Batch:
        self.last_us = max(self.last_us + 1, time.time_ns() // 1000 + ahead_us)
        batch = Batch(self.lake.reserve(1), self.last_us, readings)
        self.live.apply(batch)
        return batch

    def load(self, readings: list[Reading]) -> str:
        path = csv_of(self.folder / f"{len(self.files)}.parquet", readings)
        load_id = Load(self.lake, self.registry, LoadOptions(source="feed")).run([str(path)]).load_id
        self.files.setdefault(load_id, readings)
        return load_id

    def seal(self, floor_s: int = 0) -> seals.SealReceipt:
        receipt = seal(self.lake, self.registry, self.live.cut(floor_s))
        self.live.release()
        return receipt

    def landings(self) -> list[tuple[int, int | None, list[Candidate]]]:
        """Landed, withdrawn (µs) and readings of all deliveries, in the order of landing."""
        operations = self.lake.records("operations").to_pylist()
        undone = {o["load_id"]: us_of(o["landed_at"]) for o in operations if o["operation"] == "undo"}
        found = [((b.received_us, 1), undone.get(f"b{b.number}"), b.candidates) for b in self.live.batches]
        for row in self.lake.records("deliveries").to_pylist():
            if row["path"]:
                received = us_of(row["received_at"])
                own = [
                    Candidate(r, received, False, "feed", row["number"]) for r in self.files[row["load_id"]]
                ]
                found.append(((us_of(row["landed_at"]), 0), undone.get(row["load_id"]), own))
        return [(landed[0], gone, own) for landed, gone, own in sorted(found, key=lambda f: f[0])]

    def expected(self, at_us: int = 1 << 60) -> dict:
        return plain_fold(
            [
                own
                for landed, gone, own in self.landings()
                if landed <= at_us and (gone is None or gone > at_us)
            ]
        )

    def stored(self) -> dict:
        return slots_of(pa.concat_tables(current(self.lake, self.lake.snapshot())))

    def seen(self, part: Part) -> dict:
        """What a question sees: ``part`` laid over the lake."""
        snapshot = self.lake.snapshot()
        laid = lay(self.lake, snapshot, Delivered.read(self.lake), part)
        over = waiting.Over(laid.blocks)
        rows = [over.left(blocks) for blocks in current(self.lake, snapshot)]
        return slots_of(pa.concat_tables([*rows, laid.blocks]))


def us_of(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment_of(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def verify(world: World) -> None:
    """Seal all, then hold the lake, its past and what a fold and a compaction make of it to the plain law."""
    lake = world.lake
    assert world.seen(world.live.part) == world.expected()
    world.seal(BASE_S + 100 * DAY_S)
    everything = world.expected()
    assert world.stored() == everything
    assert check(lake).problems == []
    known = world.registry.series().rename_columns({"filled": "gained"}).select(
        ["meter_id", "channel", "interval_s", "gained"]
    )  # fmt: skip
    counted = recount(lake, lake.snapshot()).select(known.column_names).sort_by("meter_id")
    assert (
        known.filter(pa.compute.greater(known["gained"], 0)).sort_by("meter_id").to_pylist()
        == counted.to_pylist()
    )
    moments = {us for landed, gone, _ in world.landings() for us in (landed, gone) if us}
    for us in sorted(moments):
        assert slots_of(as_of(lake, moment_of(us))) == world.expected(us)
    fold(lake)
    assert len(pending(lake, lake.snapshot())) == 0
    assert world.stored() == everything
    compact(lake)
    assert world.stored() == everything
    for us in sorted(moments):
        assert slots_of(as_of(lake, moment_of(us))) == world.expected(us)


readings = st.lists(
    st.builds(
        Reading,
        st.sampled_from(["m1", "m2"]),
        st.sampled_from([0, 1, 47, 48, 49, 95, 96, 97]),
        st.integers(0, 2).map(lambda n: n * 1000),
        st.sampled_from([4, 4, 7, 2]),
        st.sampled_from([0, 0, 0, 1, 10**7]),
    ),
    min_size=1,
    max_size=6,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), readings, st.sampled_from([0, 0, 60_000_000])),
        st.tuples(st.just("load"), readings.map(lambda rs: [r._replace(age=0) for r in rs])),
        st.tuples(st.just("seal"), st.integers(0, 4)),
        st.tuples(st.just("undo"), st.integers(0, 5)),
        st.tuples(st.just("ask")),
        st.tuples(st.just("fold")),
    ),
    min_size=2,
    max_size=9,
)  # fmt: skip


def play(world: World, plan: list) -> None:
    done, before = set(), None
    for kind, *told in plan:
        match kind:
            case "batch":
                world.batch(*told)
            case "load":
                world.load(told[0])
            case "seal":
                before = world.live.part
                world.seal(BASE_S + told[0] * DAY_S)
                assert world.seen(before if before is not None else world.live.part) == (world.expected()), (
                    "a part taken before the seal"
                )
            case "undo":
                rows = world.lake.records("deliveries")["load_id"].to_pylist()
                mine = [one for one in dict.fromkeys(rows) if one not in done]
                if told[0] < len(mine):
                    undo(world.lake, mine[told[0]])
                    done.add(mine[told[0]])
            case "ask":
                assert world.seen(world.live.part) == world.expected()
            case "fold":
                fold(world.lake)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_split_into_batches_files_and_seals_ends_as_folded_in_the_order_of_landing(plan: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(MemoryLake(), Path(folder))
        play(world, plan)
        verify(world)


@settings(max_examples=4, deadline=None)
@given(steps)
def test_the_same_in_a_folder(plan: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(DeltaLake(FolderStore(Path(folder) / "lake"), create=True), Path(folder))
        play(world, plan)
        verify(world)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(MemoryLake(), tmp_path)


def test_a_seal_that_landed_is_not_made_again(world) -> None:
    world.batch([Reading("m1", 0, 5000), Reading("m1", 60, 7000)])
    cut = world.live.cut(BASE_S + 10 * DAY_S)
    first = seal(world.lake, world.registry, cut)
    before = (
        world.lake.snapshot(),
        {name: len(world.lake.records(name)) for name in ("deliveries", "superseded")},
    )
    again = seal(world.lake, world.registry, cut)
    assert (first.replayed, again.replayed, again.version) == (False, True, first.version)
    assert before == (
        world.lake.snapshot(), {name: len(world.lake.records(name)) for name in ("deliveries", "superseded")}
    )  # fmt: skip
    known = sealed(world.lake)
    assert (known.sequence, known.offset, known.number) == (cut.sequence, cut.offset, cut.number)
    assert known.floors == cut.floors


def test_a_batch_is_recorded_by_the_next_seal_also_where_all_of_it_stays_open(world) -> None:
    batch = world.batch([Reading("m1", 60, 7000)])
    receipt = world.seal(BASE_S + DAY_S)
    assert (receipt.batches, receipt.fresh, receipt.pending) == (1, 0, 0)
    row = world.lake.records("deliveries").to_pylist()[0]
    assert (row["number"], row["load_id"], row["path"]) == (batch.number, f"b{batch.number}", "")
    assert us_of(row["landed_at"]) == us_of(row["received_at"]) == batch.received_us
    assert world.stored() == {}


def test_new_blocks_become_files_and_corrections_wait_beside_them(world) -> None:
    world.load([Reading("m1", 0, 1000)])
    world.batch([Reading("m1", 1, 2000), Reading("m2", 50, 3000)])
    receipt = world.seal(BASE_S + 2 * DAY_S)
    assert (receipt.fresh, receipt.pending, receipt.gained) == (1, 1, 2)
    assert len(pending(world.lake, world.lake.snapshot())) == 1
    world.load([Reading("m1", 2, 4000)])
    assert len(pending(world.lake, world.lake.snapshot())) == 0
    assert world.stored() == world.expected()


def test_what_changes_no_block_waits_nowhere(world) -> None:
    world.load([Reading("m1", 0, 1000)])
    world.batch([Reading("m1", 0, 9000, quality=7)])
    receipt = world.seal()
    assert (receipt.pending, receipt.fresh, receipt.lost) == (0, 0, 1)
    assert world.lake.records("superseded")["amounts"].to_pylist() == [[9000]]


def test_readings_beside_the_phase_of_their_block_go_to_quarantine(world) -> None:
    world.load([Reading("m1", 0, 1000)])
    batch = world.batch([Reading("m1", 1, 2000)])
    late = world.live.part.late
    shifted = late.set_column(
        3, late.schema.field("start"), pa.compute.add(late["start"], timedelta(minutes=5))
    )
    part = Part(
        BLOCK_SCHEMA.empty_table(),
        late.slice(0, 0),
        shifted,
        world.live.part.senders,
        world.live.part.landed_us,
    )
    cut = world.live.cut(0)
    receipt = seal(world.lake, world.registry, Cut(cut.number, 1, 1, cut.floors, [], part, cut.entries))
    assert receipt.off_grid == 1
    row = world.lake.records("quarantine").to_pylist()[0]
    assert (row["reason"], row["load_id"], row["count"]) == ("off_grid", f"b{batch.number}", 1)
    assert row["text"].startswith("m1,electricity.import,2026-01-01 00:35:00")
    assert len(world.stored()) == 1


def test_a_batch_undone_while_some_of_it_is_open_holds_no_slot_and_is_remembered(world) -> None:
    world.batch([Reading("m1", 0, 1000), Reading("m1", 60, 1000)])
    wrong = world.batch([Reading("m1", 0, 2000), Reading("m1", 60, 2000), Reading("m1", 61, 2000)])
    world.seal(BASE_S + DAY_S)
    assert {slot: value[0] for slot, value in world.stored().items()} == {("m1", 0): 2000}
    back = undo(world.lake, f"b{wrong.number}")
    assert (back.withdrawn, back.restored) == (1, 1)
    seen = world.seen(world.live.part)
    assert {slot: value[0] for slot, value in seen.items()} == {("m1", 0): 1000, ("m1", 60): 1000}
    verify(world)
    assert ("m1", 61) in slots_of(as_of(world.lake, moment_of(wrong.received_us)))


def test_repeats_in_a_block_that_is_still_open_keep_their_own_amounts(world) -> None:
    batch = world.batch([Reading("m1", 60, 9000)])
    world.seal(BASE_S + DAY_S)
    first = world.load([Reading("m1", 60, 1000, quality=7)])
    world.load([Reading("m1", 60, 1000, quality=7), Reading("m2", 60, 1000)])
    world.seal(BASE_S + 2 * DAY_S)
    assert world.stored()["m1", 60][0] == 9000
    undo(world.lake, f"b{batch.number}")
    undo(world.lake, first)
    assert world.stored()["m1", 60][0] == 1000
    verify(world)


def test_a_load_that_lands_while_a_seal_is_planned_is_planned_upon_again(world, monkeypatch) -> None:
    world.batch([Reading("m1", 0, 2000, quality=7), Reading("m2", 60, 1000)])
    put, late = world.lake.put, [lambda: world.load([Reading("m1", 0, 1000)])]

    def interrupted(*args, **told):
        if late:
            late.pop()()
        return put(*args, **told)

    monkeypatch.setattr(world.lake, "put", interrupted)
    world.seal(BASE_S + 10 * DAY_S)
    assert not late
    verify(world)


def test_a_compaction_that_lands_while_a_seal_is_planned_costs_no_second_plan(world, monkeypatch) -> None:
    world.load([Reading("m1", 0, 1000)])
    world.load([Reading("m2", 0, 1000)])
    world.batch([Reading("m1", 60, 2000)])
    put, calls = world.lake.put, []

    def interrupted(*args, **told):
        calls.append(args)
        if len(calls) == 1:
            compact(world.lake)
        return put(*args, **told)

    monkeypatch.setattr(world.lake, "put", interrupted)
    receipt = world.seal(BASE_S + 10 * DAY_S)
    assert receipt.fresh == 1
    assert sum(len(blocks) for blocks, *_ in calls if blocks["delivery"][0].as_py() == 3) == 1
    verify(world)


def test_more_than_may_wait_is_folded_at_once(world, monkeypatch) -> None:
    monkeypatch.setattr(seals, "PENDING_MAX", 1)
    world.load([Reading("m1", 0, 1000), Reading("m2", 0, 1000)])
    world.batch([Reading("m1", 1, 2000), Reading("m2", 1, 2000)])
    world.seal()
    assert len(pending(world.lake, world.lake.snapshot())) == 0
    verify(world)


def test_runs_of_partitions_make_the_same_lake(world, monkeypatch) -> None:
    monkeypatch.setattr(seals, "BLOCKS_AT_ONCE", 7)
    meters = [f"m{n:02d}" for n in range(40)]
    world.load([Reading(meter, 0, 1000) for meter in meters[::2]])
    world.batch([Reading(meter, 1, 2000) for meter in meters])
    world.batch([Reading(meter, 60, 3000) for meter in meters])
    receipt = world.seal(BASE_S + 2 * DAY_S)
    assert receipt.fresh + receipt.pending == 80
    assert len({file.partitions for file in world.lake.snapshot().files}) > 3
    verify(world)


DYING = """
import sys
sys.path.insert(0, sys.argv[1])
import test_seal
from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.store_folder import FolderStore
from meterlake.testing.faults import DyingLake
lake = DyingLake(DeltaLake(FolderStore(test_seal.Path(sys.argv[2]))), int(sys.argv[3]))
test_seal.seal(lake, test_seal.SqlRegistry("sqlite://", create=True), test_seal.one_cut())
"""


def one_cut() -> Cut:
    """A cut that corrects one block and brings another."""
    live = PlainLive()
    live.apply(
        Batch(1000, 2 * 10**15, [Reading("m1", 1, 2000), Reading("m1", 0, 3000), Reading("m2", 60, 3000)])
    )
    return live.cut(BASE_S + 10 * DAY_S)


@pytest.mark.parametrize("point", [2, 3], ids=["before the commit", "before the registry is told"])
def test_a_seal_that_is_killed_is_absent_or_whole_and_its_retry_completes_it(
    tmp_path: Path, point: int
) -> None:
    lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    world = World(lake, tmp_path)
    world.load([Reading("m1", 0, 1000)])
    before = {name: lake.records(name) for name in RECORD_SCHEMAS}
    command = [sys.executable, "-c", DYING, str(Path(__file__).parent), str(tmp_path / "lake"), str(point)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    landed = lake.snapshot().version == 2
    assert landed == (point == 3)
    if not landed:
        assert all(lake.records(name).equals(rows) for name, rows in before.items())
        assert sealed(lake) is None
    receipt = seal(lake, world.registry, one_cut())
    assert receipt.replayed == landed
    assert {slot: value[0] for slot, value in world.stored().items()} == {
        ("m1", 0): 3000,
        ("m1", 1): 2000,
        ("m2", 60): 3000,
    }
    assert [len(lake.records(name)) for name in ("superseded", "deliveries", "operations")] == [1, 2, 2]
    assert check(lake).problems == []


def test_rows_written_for_a_commit_that_failed_do_not_count_beside_those_of_its_retry(
    tmp_path, monkeypatch
) -> None:
    lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    world = World(lake, tmp_path)
    check_base = lake._check_base

    def fails(change):
        monkeypatch.setattr(lake, "_check_base", check_base)
        raise OSError("the disk is gone")

    monkeypatch.setattr(lake, "_check_base", fails)
    with pytest.raises(OSError, match="disk"):
        seal(lake, world.registry, one_cut())
    seal(lake, world.registry, one_cut())
    assert [len(lake.records(name)) for name in ("deliveries", "operations")] == [1, 1]
    lake.gather(0)
    assert [len(lake.records(name)) for name in ("deliveries", "operations")] == [1, 1]


def test_side_tables_are_gathered_after_many_seals(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(seals, "GATHER_EVERY", 9)
    world = World(DeltaLake(FolderStore(tmp_path / "lake"), create=True), tmp_path)
    for n in range(9):
        world.batch([Reading("m1", n, 1000 + n)])
        world.seal()
    listed = world.lake._sides["deliveries"].listing()[1]
    assert [entry.rows for entry in listed] == [9]
    verify(world)
