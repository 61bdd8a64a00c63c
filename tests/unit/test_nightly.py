"""What a nightly run counts: completeness by place and sender, totals of local days, publication, days that are due."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import Invalid, NotFound
from meterlake.ledger import operation_row
from meterlake.nightly.batch import BatchReceipt, batch
from meterlake.nightly.days import day_of, ending_within, start_of
from meterlake.nightly.history import due_days, is_open, published_at, runs
from meterlake.nightly.outcome import Outcome, Sums
from meterlake.ports import Change
from meterlake.query import Questions
from meterlake.registry import SHAPES
from meterlake.testing.handmade import Reading, lake_of

DAY_S = 86_400
DAY = date(2024, 3, 31)
"""The day on which London and Berlin move their clocks."""
START = start_of(DAY)
CHANNEL = "electricity.import"


def rows(name, *given):
    return pa.Table.from_pylist(list(given), schema=pa.schema(list(SHAPES[name].columns.items())))


def moment(second):
    return datetime.fromtimestamp(second, UTC)


def registered(**meters):
    """A registry of meters, each at a place of its own: geohash and zone, and columns of the meter."""
    registry = SqlRegistry("sqlite://", create=True)
    places, installed = [], []
    for meter, (geohash, zone, told) in meters.items():
        places.append({"service_point_id": f"at-{meter}", "geohash": geohash, "zone": zone})
        installed.append({"meter_id": meter, "service_point_id": f"at-{meter}"} | told)
    registry.import_tables(
        {"service_points": rows("service_points", *places), "meters": rows("meters", *installed)}
    )
    return registry


def beats(meter, interval, start, stop, delivery=1):
    return [Reading(meter, CHANNEL, interval, t, 1000, 4, delivery) for t in range(start, stop, interval)]


def test_completeness_knows_places_lengths_and_times_of_installation():
    registry = registered(
        full=("gcpuvpk44", "UTC", {"interval_s": 1800}),
        half=("gcpuvpk45", "UTC", {"interval_s": 1800, "from": moment(START + DAY_S // 2)}),
        silent=("u33dc0000", "UTC", {"interval_s": 900, "channels": "electricity.import;gas.import"}),
        gone=("u33dc0000", "UTC", {"interval_s": 900, "channels": "gas.import", "to": moment(START)}),
        other=("u33dc0000", "UTC", {"interval_s": 900}),
    )
    lake = lake_of(
        [
            *beats("full", 1800, START, START + DAY_S - 1800),
            *beats("half", 1800, START + DAY_S // 2, START + DAY_S, delivery=2),
            *beats("other", 3600, START, START + 6 * 3600),
            *beats("loose", 3600, START, START + 12 * 3600, delivery=3),
            *beats("stopped", 3600, START - 7200, START),
            *beats("long-gone", 3600, START - 3 * DAY_S, START - 2 * DAY_S),
        ]
    )
    receipt = batch(lake, registry, DAY)
    counted = {
        (row["region"], row["channel"]): (row["expected"], row["received"], row["missing"])
        for row in receipt.regions
    }
    assert counted == {
        ("gcpuv", CHANNEL): (48 + 24, 47 + 24, 1),
        ("u33dc", CHANNEL): (96 + 24, 6, 96 + 18),
        ("u33dc", "gas.import"): (96, 0, 96),
        (None, CHANNEL): (24 + 24, 12, 12 + 24),
    }
    assert receipt.completeness == {"expected": 336, "received": 89, "late": 0, "missing": 247}
    assert sum(row["received"] for row in receipt.sources) == 89
    table = lake.records("completeness").to_pylist()
    assert {(r["by"], r["name"], r["channel"]) for r in table if r["by"] == "region"} == {
        ("region", *k) for k in counted
    }
    assert all(r["expected"] is None and r["missing"] is None for r in table if r["by"] == "source")


series = st.lists(
    st.tuples(
        st.sampled_from(["london", "berlin", "sydney", "kolkata", "azores", "loose"]),
        st.sampled_from([900, 1800, 3600, 21_600]),
        st.integers(-30, 30),
        st.integers(1, 120),
    ),
    min_size=1,
    max_size=6,
)
ZONES = {
    "london": "Europe/London", "berlin": "Europe/Berlin", "sydney": "Australia/Sydney", "kolkata": "Asia/Kolkata",
    "azores": "Atlantic/Azores", "loose": "UTC",
}  # fmt: skip


@pytest.fixture(scope="module")
def zoned():
    return registered(**{name: ("gcpuvpk44", zone, {}) for name, zone in ZONES.items() if name != "loose"})


@settings(max_examples=25, deadline=None)
@given(series)
def test_totals_of_local_days_are_what_a_question_answers(zoned, drawn):
    """Also on days of 23 hours, and where series of several lengths overlap."""
    slots = {}
    for n, (meter, interval, first, count) in enumerate(drawn):
        begin = START + first * 3600 // interval * interval
        for k in range(count):
            slots[meter, interval, begin + k * interval] = Reading(
                meter, CHANNEL, interval, begin + k * interval, 7 * n + k
            )
    lake = lake_of(list(slots.values()))
    asked = Questions(lake, zoned)
    for day in (DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)):
        try:
            batch(lake, zoned, day)
        except NotFound:
            continue
    told = lake.records("daily_totals").to_pylist()
    assert len({(row["day"], row["meter_id"]) for row in told}) == len(told)
    found = {(row["day"], row["meter_id"]): (row["amount"], row["filled"]) for row in told if row["filled"]}
    for meter in {meter for meter, *_ in slots}:
        zone = ZONES[meter]
        assert {row["zone"] for row in told if row["meter_id"] == meter} <= {zone}
        for back in (1, 0):
            day = DAY - timedelta(days=back)
            (answer,) = asked.history(
                meter,
                day.isoformat(),
                (day + timedelta(days=1)).isoformat(),
                step="day",
                zone=zone,
                kind="meter",
            ).listings
            filled = int(answer.filled.sum())
            assert found.get((day, meter), (0, 0)) == (
                (int(answer.amount.sum()), filled) if filled else (0, 0)
            )


def test_every_local_day_ends_within_one_utc_day():
    for zone in (
        "UTC",
        "Europe/London",
        "Atlantic/Azores",
        "Pacific/Apia",
        "America/New_York",
        "Asia/Kathmandu",
    ):
        first = start_of(date(2011, 1, 1))
        days = [day for k in range(5 * 365) for day in ending_within(zone, first + k * DAY_S)]
        assert all(a.stop_s == b.start_s for a, b in pairwise(days))
        assert len({day.number for day in days}) == len(days)
    assert len(ending_within("Atlantic/Azores", START)) == 2


def committed(lake, operation, landed_s, receipt):
    version = lake.snapshot().version + 1
    row = operation_row(operation, "x", version, landed_s * 1_000_000, receipt)
    return lake.commit(Change(lake.snapshot(), [], [], f"{operation}{version}", 1, {"operations": row}))


def test_a_day_is_published_by_the_seal_that_closed_its_last_block():
    lake = MemoryLake()
    one, two = (CHANNEL, 900, START), ("gas.import", 3600, START)
    floors = {"86400": START + DAY_S, "3600": START + DAY_S}
    committed(
        lake,
        "seal",
        START,
        {"floors": {"86400": START, "3600": START}, "sets": [(CHANNEL, 900, START - DAY_S)]},
    )
    assert is_open(lake, START, 1)
    assert not is_open(lake, START - DAY_S, 1)
    assert published_at(lake, START, 1) is None
    committed(lake, "seal", START + DAY_S, {"floors": floors, "sets": [one]})
    committed(lake, "seal", START + DAY_S + 60, {"floors": floors, "sets": [one, two]})
    committed(lake, "seal", START + 2 * DAY_S, {"floors": floors, "sets": [one]})
    assert published_at(lake, START, 4) == 3


def test_a_day_of_files_is_published_six_hours_after_its_end():
    lake = MemoryLake()
    for hours in (20, 29, 31, 40):
        committed(lake, "load", START + hours * 3600, {})
    assert published_at(lake, START, 4) == 3
    assert published_at(lake, START, 2) == 2


def test_days_are_due_once_they_ended_and_hold_blocks():
    lake = lake_of(
        [*beats("m", 3600, START - DAY_S, START), *beats("m", 3600, START + DAY_S, START + 2 * DAY_S)],
        (START,),
    )
    assert due_days(lake, moment(START + 9 * DAY_S), 3600) == []
    committed(lake, "load", START - DAY_S + 7, {})
    registry = SqlRegistry("sqlite://", create=True)
    before, after = DAY - timedelta(days=1), DAY + timedelta(days=1)
    assert due_days(lake, moment(START + 9 * DAY_S), 3600) == [before, after]
    assert due_days(lake, moment(START + 9 * DAY_S), 3600, after) == [after]
    assert due_days(lake, moment(START + 2 * DAY_S + 3599), 3600) == [before]
    batch(lake, registry, before)
    assert due_days(lake, moment(START + 9 * DAY_S), 3600) == [after]
    floors = {"86400": START + DAY_S, "3600": START + DAY_S}
    committed(lake, "seal", START, {"floors": floors, "sets": []})
    assert due_days(lake, moment(START + 9 * DAY_S), 3600) == []


def test_receipts_are_told_newest_first_and_read_back():
    lake = lake_of([*beats("m", 3600, START, START + 2 * DAY_S)], (START + DAY_S,))
    registry = SqlRegistry("sqlite://", create=True)
    told = [
        batch(lake, registry, DAY),
        batch(lake, registry, DAY + timedelta(days=1)),
        batch(lake, registry, DAY),
    ]
    assert [run["run_id"] for run in runs(lake)] == [receipt.run_id for receipt in reversed(told)]
    assert BatchReceipt.from_json(json.loads(json.dumps(runs(lake)[0]))) == told[2]
    assert told[2].published == told[0].cut


def test_a_run_that_was_cut_off_goes_on_at_its_cut(tmp_path, monkeypatch):
    from meterlake.nightly import bucket

    monkeypatch.setattr(bucket, "BUCKET_SLOTS", 300)
    lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    made = lake_of([reading for i in range(40) for reading in beats(f"m{i}", 3600, START, START + DAY_S)])
    file = made.snapshot().files[0]
    version = lake.commit(
        Change(
            lake.snapshot(),
            [lake.put(made.blocks(file), (0, 1024))],
            [],
            "made",
            1,
            {"deliveries": made.records("deliveries")},
        )
    )
    registry = SqlRegistry("sqlite://", create=True)
    write, left = FolderStore.write, [2]

    def full_disk(self, name, data, *, new=False):
        if name.startswith("batch/"):
            if not left[0]:
                raise OSError(28, "no space left on the device")
            left[0] -= 1
        write(self, name, data, new=new)

    monkeypatch.setattr(FolderStore, "write", full_disk)
    with pytest.raises(OSError, match="no space"):
        batch(lake, registry, DAY)
    assert len(list((tmp_path / "lake" / "batch" / f"{DAY}-{version}").glob("*.arrow"))) == 2
    committed(lake, "load", START + DAY_S, {})
    monkeypatch.setattr(FolderStore, "write", write)
    seen = []
    receipt = batch(lake, registry, DAY, lambda done, total: seen.append((done, total)))
    assert (receipt.cut, receipt.resumed, receipt.blocks) == (version, 2, 40)
    assert seen == [(n, receipt.buckets) for n in range(1, receipt.buckets + 1)]
    assert lake.store.list("batch/") == []


def test_what_a_bucket_found_is_read_back_or_made_again():
    found = Outcome(blocks=3, readings=7)
    found.channels[CHANNEL, 900] = Sums(5, 1 << 70, 1)
    found.regions[None, CHANNEL] = (4, 3, 2, 1)
    kept = found.to_bytes().to_pybytes()
    again = Outcome.of(kept)
    assert (again.channels, again.regions, again.blocks, again.readings) == (
        found.channels,
        found.regions,
        3,
        7,
    )
    assert Outcome.of(kept[:100]) is None


def test_days_that_are_none_are_refused():
    with pytest.raises(Invalid, match="no date"):
        day_of("yesterday")
    with pytest.raises(Invalid, match="outside the years"):
        batch(MemoryLake(), SqlRegistry("sqlite://", create=True), date(1700, 1, 1))
    with pytest.raises(NotFound, match="nothing"):
        batch(MemoryLake(), SqlRegistry("sqlite://", create=True), DAY)
