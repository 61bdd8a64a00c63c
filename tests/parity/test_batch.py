"""The nightly batch against the plain law: it equals the lake, its adjustments add up, and a second run changes nothing."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
from hypothesis import given, settings

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.store_folder import FolderStore
from meterlake.check import check
from meterlake.errors import NotFound
from meterlake.ledger import Delivered
from meterlake.nightly.batch import batch
from meterlake.nightly.history import runs
from meterlake.record import as_of
from meterlake.undo import undo
from tests.unit.test_seal import BASE_S, DAY_S, WIDTH_S, Reading, World, play, slots_of, steps

DAYS = 3
FIRST = date(2026, 1, 1)
SLOTS = DAY_S // WIDTH_S


def sums_of(slots: dict, day: int) -> dict[str, tuple[int, int]]:
    """Amount and number of filled slots of each meter on a day."""
    found = defaultdict(lambda: (0, 0))
    for (meter, slot), (amount, *_) in slots.items():
        if slot // SLOTS == day:
            found[meter] = found[meter][0] + amount, found[meter][1] + 1
    return dict(found)


def night(world: World) -> list:
    """Run the batch of every day that has any reading; what it says of each."""
    told = []
    for day in range(DAYS):
        try:
            told.append(batch(world.lake, world.registry, FIRST + timedelta(days=day)))
        except NotFound:
            assert day not in {slot // SLOTS for _, slot in world.stored()}
    return told


def settle(world: World) -> None:
    world.seal(BASE_S + 100 * DAY_S)


def play_on(world: World, plan: list) -> None:
    """Play more steps; what was undone before is not undone again."""
    for step in plan:
        if step[0] == "undo":
            operations = world.lake.records("operations")
            gone = operations.filter(pc.equal(operations["operation"], "undo"))["load_id"].to_pylist()
            loads = dict.fromkeys(world.lake.records("deliveries")["load_id"].to_pylist())
            left = [load_id for load_id in loads if load_id not in gone]
            if step[1] < len(left):
                undo(world.lake, left[step[1]])
        else:
            play(world, [step])


def verify_ledger(world: World) -> None:
    """What was published first and all differences since are what stands."""
    rows = world.lake.records("adjustments").to_pylist()
    assert all(row["difference"] == row["amount"] - row["published"] for row in rows)
    for day in range(DAYS):
        name = FIRST + timedelta(days=day)
        mine = [
            run
            for run in reversed(runs(world.lake))
            if run["day"] == name.isoformat() and run["published"] is not None
        ]
        if not mine:
            continue
        total = defaultdict(int)
        for meter, (amount, _) in sums_of(slots_of(as_of(world.lake, mine[0]["published"])), day).items():
            total[meter] += amount
        for row in rows:
            if row["day"] == name:
                total[row["meter_id"]] += row["difference"]
        now = {meter: amount for meter, (amount, _) in sums_of(world.expected(), day).items()}
        assert {meter: amount for meter, amount in total.items() if amount} == {
            meter: amount for meter, amount in now.items() if amount
        }


def verify_totals(world: World) -> None:
    rows = world.lake.records("daily_totals").sort_by("version").to_pylist()
    newest = {(row["day"], row["meter_id"]): row for row in rows}
    for day in range(DAYS):
        for meter, (amount, filled) in sums_of(world.expected(), day).items():
            row = newest[FIRST + timedelta(days=day), meter]
            assert (row["amount"], row["filled"], row["expected"]) == (amount, filled, SLOTS)


def verify(world: World, plan: list, more: list) -> None:
    play(world, plan)
    settle(world)
    for receipt in night(world):
        assert receipt.repaired == 0
    assert world.stored() == world.expected()
    verify_ledger(world)
    play_on(world, more)
    settle(world)
    for receipt in night(world):
        assert receipt.repaired == 0
        rows = receipt.regions
        assert (
            receipt.readings
            == sum(row["received"] for row in rows)
            == sum(r["received"] for r in receipt.sources)
        )
        assert sum(row["late"] for row in rows) == sum(row["late"] for row in receipt.sources)
    assert world.stored() == world.expected()
    verify_ledger(world)
    verify_totals(world)
    for receipt in night(world):
        assert (receipt.repaired, receipt.adjustments, receipt.completeness["late"]) == (0, 0, 0)
    verify_ledger(world)
    assert check(world.lake).problems == []


@settings(max_examples=8, deadline=None)
@given(steps, steps)
def test_any_split_over_files_batches_and_late_data_ends_as_recomputed(plan: list, more: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        verify(World(MemoryLake(), Path(folder)), plan, more)


@settings(max_examples=1, deadline=None)
@given(steps, steps)
def test_the_same_in_a_folder(plan: list, more: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        verify(World(DeltaLake(FolderStore(Path(folder) / "lake"), create=True), Path(folder)), plan, more)


def test_a_withdrawn_delivery_is_taken_off_again(tmp_path: Path) -> None:
    world = World(MemoryLake(), tmp_path)
    world.load([Reading("m1", 0, 1000)])
    world.batch([Reading("m1", 0, 5000), Reading("m1", 1, 2000)])
    settle(world)
    first = batch(world.lake, world.registry, FIRST)
    assert first.channels[0]["amount"] == "0.007"
    play_on(world, [("undo", 1)])
    second = batch(world.lake, world.registry, FIRST)
    told = second.channels[0]
    assert (told["published"], told["amount"], told["difference"], told["adjusted"]) == (
        "0.007",
        "0.001",
        "-0.006",
        1,
    )
    row = world.lake.records("adjustments").to_pylist()[-1]
    assert (row["published_filled"], row["filled"], row["difference"]) == (2, 1, -6000)
    verify_ledger(world)


def test_a_block_that_is_not_what_the_record_says_is_replaced(tmp_path: Path) -> None:
    """The lake is harmed by hand: the winner's reading goes into the record, the loser's block into a file."""
    from meterlake.ledger import superseded
    from meterlake.ports import Change
    from meterlake.record import Candidates, lost_strips

    world = World(MemoryLake(), tmp_path)
    world.load([Reading("m1", 0, 1000), Reading("m2", 0, 1000)])
    earlier = world.lake.snapshot()
    blocks = world.lake.blocks(earlier.files[0])
    world.load([Reading("m1", 0, 9000)])
    base = world.lake.snapshot()
    winner = Candidates(
        Delivered.read(world.lake),
        world.lake.blocks(base.files[0]),
        world.lake.records("superseded").slice(0, 0),
    )
    lost = lost_strips(winner.current, winner.ids, winner.kinds)
    lost = lost.filter(pc.equal(lost["meter_id"], "m1"))
    harmed = world.lake.put(blocks, (0, 1024))
    world.lake.commit(
        Change(base, [harmed], base.files, "harm", 1, {"superseded": superseded(lost, base.version + 1)})
    )
    assert world.stored() != world.expected()
    receipt = batch(world.lake, world.registry, FIRST)
    assert receipt.repaired == 1
    assert world.stored() == world.expected()
    assert "repair" in world.lake.records("operations")["operation"].to_pylist()
    assert batch(world.lake, world.registry, FIRST).repaired == 0
    assert check(world.lake).problems == []


def test_a_day_that_is_open_still_is_counted_and_not_published(tmp_path: Path) -> None:
    world = World(MemoryLake(), tmp_path)
    world.batch([Reading("m1", 0, 1000), Reading("m1", SLOTS + 2, 7000)])
    world.seal(BASE_S + DAY_S)
    world.load([Reading("m1", SLOTS, 3000)])
    early = batch(world.lake, world.registry, FIRST + timedelta(days=1))
    assert (early.published, early.readings, early.adjustments) == (None, 1, 0)
    settle(world)
    receipt = batch(world.lake, world.registry, FIRST + timedelta(days=1))
    assert (receipt.readings, receipt.adjustments) == (2, 0)
    assert receipt.published is not None
    assert receipt.completeness["late"] == 0
    verify_ledger(world)


def test_blocks_of_some_partitions_are_found_wherever_they_lie(tmp_path: Path, monkeypatch) -> None:
    """Small buckets and pieces give what one large bucket gives."""
    from meterlake.nightly import bucket

    world = World(MemoryLake(), tmp_path)
    world.load([Reading(f"m{i}", i % 40, i * 1000) for i in range(300)])
    world.load([Reading(f"m{i}", 40 + i % 40, i * 1000) for i in range(0, 300, 3)])
    whole = batch(world.lake, world.registry, FIRST)
    monkeypatch.setattr(bucket, "BUCKET_SLOTS", 1_000)
    monkeypatch.setattr(bucket, "PIECE_SLOTS", 300)
    cut = batch(world.lake, world.registry, FIRST)
    assert cut.buckets > whole.buckets == 1
    for name in ("blocks", "readings", "daily_totals"):
        assert getattr(cut, name) == getattr(whole, name)
    places = [[row | {"late": 0} for row in receipt.regions] for receipt in (whole, cut)]
    assert places[0] == places[1]
    assert [row["amount"] for row in cut.channels] == [row["amount"] for row in whole.channels]
    totals = world.lake.records("daily_totals")
    sides = [
        totals.filter(pc.equal(totals["version"], v)).drop_columns("version").sort_by("meter_id")
        for v in (whole.version, cut.version)
    ]
    assert sides[0].equals(sides[1])
