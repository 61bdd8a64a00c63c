"""Retention: what goes is what is older than its age, and coarser figures are there before finer ones go."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from meterlake.accounts import Entry
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_people import SqlPeople
from meterlake.adapters.store_folder import FolderStore
from meterlake.app import Meterlake, store_at
from meterlake.archive import ARCHIVE_SCHEMA
from meterlake.blocks import flat_amounts
from meterlake.check import check
from meterlake.errors import Invalid
from meterlake.intake import LoadOptions
from meterlake.nightly.batch import batch
from meterlake.nightly.history import changed_days, dropped_before, due_days
from meterlake.pending import current
from meterlake.record import as_of
from meterlake.retain import borders, read_ages, retain

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD = datetime(2026, 1, 1, tzinfo=UTC)
NEW = datetime(2026, 2, 27, tzinfo=UTC)
CHANNEL = "electricity.import"
BEAT_S = 300 // 6


@pytest.fixture
def lake(tmp_path):
    return Meterlake(MemoryLake(), SqlRegistry("sqlite://", create=True))


def load(lake, folder, *readings):
    """Load (meter, seconds, start, amount, quality) readings as one file."""
    rows = [
        {"meter": m, "channel": CHANNEL, "seconds": s, "unit": "kWh", "quality": q, "start": at, "value": Decimal(a).scaleb(-6)}
        for m, s, at, a, q in readings
    ]  # fmt: skip
    kinds = [
        pa.string(),
        pa.string(),
        pa.int32(),
        pa.string(),
        pa.string(),
        pa.timestamp("us", "UTC"),
        pa.decimal128(20, 6),
    ]
    schema = pa.schema(
        list(zip(("meter", "channel", "seconds", "unit", "quality", "start", "value"), kinds, strict=True))
    )
    path = folder / f"{len(list(folder.glob('*.parquet')))}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return lake.load([path], LoadOptions(source="feed"))


def run_of(meter, seconds, start, count, amount=1000, quality="actual"):
    return [
        (meter, seconds, start + timedelta(seconds=seconds * k), amount + k, quality) for k in range(count)
    ]


def slots(lake):
    """(meter, seconds, start) -> (amount, quality) of every filled slot."""
    blocks = pa.concat_tables(current(lake.lake, lake.lake.snapshot()))
    amounts, borders_ = flat_amounts(blocks)
    found = {}
    for i, row in enumerate(blocks.to_pylist()):
        for k, amount in enumerate(amounts[borders_[i] : borders_[i + 1]].tolist()):
            if amount >= 0:
                at = row["start"] + timedelta(seconds=row["offset_s"] + k * row["interval_s"])
                quality = row["quality"] or row["qualities"][k]
                found[row["meter_id"], row["interval_s"], at] = amount, quality
    return found


def quarter(start, number):
    return start + timedelta(seconds=900 * number)


def test_complete_quarters_of_beats_stay_and_beats_go(lake, tmp_path):
    beats = run_of("a", BEAT_S, OLD, 18 * 5)
    broken = [one for k, one in enumerate(run_of("b", BEAT_S, OLD, 18 * 2)) if k != 3]
    fresh = run_of("a", BEAT_S, NEW, 18)
    actual = [("a", 900, quarter(OLD, 1), 777, "actual"), ("a", 900, quarter(OLD, 2), 555, "estimated")]
    load(lake, tmp_path, *beats, *broken, *fresh, *actual)
    load(lake, tmp_path, *[(*one[:3], one[3] + 5, one[4]) for one in beats[:4]])
    beats[:4] = [(*one[:3], one[3] + 5, one[4]) for one in beats[:4]]
    sums = [sum(one[3] for one in beats[18 * q : 18 * q + 18]) for q in range(5)]
    receipt = lake.retain(now=NOW, beats="30d")
    found = slots(lake)
    expected = {("a", 900, quarter(OLD, q)): (sums[q], 6) for q in (0, 2, 3, 4)}
    expected["a", 900, quarter(OLD, 1)] = 777, 4
    expected["b", 900, quarter(OLD, 1)] = sum(one[3] for one in broken[17:]), 6
    expected |= {(m, s, at): (a, 4) for m, s, at, a, _ in fresh}
    assert found == expected
    assert receipt.rolled_up == 6
    assert receipt.computed == ["2026-01-01"]
    assert receipt.forgotten == 1
    told = receipt.tiers[0]
    assert (told["tier"], told["blocks"], told["readings"]) == ("beats", 3, 90 + 35)
    assert told["first"] == told["last"] == "2026-01-01"
    assert check(lake.lake).problems == []
    assert as_of(lake.lake, lake.lake.snapshot().version).num_rows == len(
        pa.concat_tables(current(lake.lake, lake.lake.snapshot()))
    )
    assert lake.registry.series_version() == lake.lake.snapshot().version


def test_totals_are_there_before_intervals_go_and_are_not_counted_again(lake, tmp_path):
    zone = {"service_point_id": "p", "zone": "Europe/Berlin"}
    from meterlake.registry import SHAPES

    def rows(name, row):
        return pa.Table.from_pylist([row], schema=pa.schema(list(SHAPES[name].columns.items())))

    lake.registry.import_tables(
        {
            "service_points": rows("service_points", zone),
            "meters": rows("meters", {"meter_id": "a", "service_point_id": "p"}),
        }
    )
    load(lake, tmp_path, *run_of("a", 3600, OLD, 24 * 70, 1_000_000), *run_of("b", 3600, OLD, 24 * 3))
    border = date(2026, 1, 30)
    version = lake.lake.snapshot().version
    planned = lake.retain(now=NOW, intervals="30d", dry_run=True)
    assert lake.lake.snapshot().version == version
    receipt = lake.retain(now=NOW, intervals="30d")
    assert planned.tiers == receipt.tiers
    assert (receipt.tiers[0]["blocks"], receipt.tiers[0]["first"], receipt.tiers[0]["last"]) == (
        32,
        "2026-01-01",
        "2026-01-29",
    )
    assert min(at.date() for *_, at in slots(lake)) == border
    totals = lake.lake.records("daily_totals").to_pylist()
    mine = {row["day"]: row for row in totals if row["meter_id"] == "a"}
    assert [row["filled"] for row in mine.values()] == [23] + [24] * 29
    assert mine[border]["amount"] == sum(1_000_000 + k for k in range(29 * 24 - 1, 30 * 24 - 1))
    assert [row["filled"] for row in totals if row["meter_id"] == "b"] == [24, 24, 24, 0, 0]
    batch(lake.lake, lake.registry, border)
    again = [row for row in lake.lake.records("daily_totals").to_pylist() if row["day"] == border]
    assert len([row for row in again if row["meter_id"] == "a"]) == 1
    with pytest.raises(Invalid, match="retention has dropped the intervals before 2026-01-30"):
        batch(lake.lake, lake.registry, border - timedelta(days=1))
    assert dropped_before(lake.lake).keys() == {"intervals"}
    assert border - timedelta(days=1) not in due_days(lake.lake, NOW, 0, date(2026, 1, 1))
    assert check(lake.lake).problems == []
    version = lake.lake.snapshot().version
    assert lake.retain(now=NOW, intervals="30d").version == version == lake.lake.snapshot().version


def test_daily_totals_go_at_their_age(lake, tmp_path):
    load(lake, tmp_path, *run_of("a", 3600, OLD, 24 * 40))
    receipt = lake.retain(now=NOW, intervals="30d", days="40d")
    assert [tier["tier"] for tier in receipt.tiers] == ["intervals", "days"]
    days = lake.lake.records("daily_totals")["day"].to_pylist()
    assert min(days) == date(2026, 1, 20)


def test_days_changed_since_their_run_are_computed_again(lake, tmp_path):
    load(lake, tmp_path, *run_of("a", 3600, OLD, 48))
    for day in (1, 2):
        batch(lake.lake, lake.registry, date(2026, 1, day))
    assert changed_days(lake.lake, lake.lake.snapshot(), (0, 1 << 40)) == []
    load(lake, tmp_path, *run_of("b", 3600, OLD, 2))
    assert changed_days(lake.lake, lake.lake.snapshot(), (0, 1 << 40)) == [date(2026, 1, 1)]
    assert lake.retain(now=NOW, intervals="30d").computed == ["2026-01-01"]
    assert slots(lake) == {}
    assert (
        pc.sum(lake.lake.records("daily_totals").filter(pc.field("meter_id") == "b")["filled"]).as_py() == 2
    )


def test_archive_files_go_but_for_the_newest(tmp_path):
    lake = MemoryLake(str(tmp_path))
    lake.store = FolderStore(tmp_path)
    (tmp_path / "archive").mkdir()
    for number, day in enumerate((1, 2, 40)):
        row = {"received_at": OLD + timedelta(days=day), "meter_id": "a"}
        path = tmp_path / "archive" / f"{number:016d}-{number:016d}.parquet"
        pq.write_table(pa.Table.from_pylist([row], schema=ARCHIVE_SCHEMA), path)
    registry = SqlRegistry("sqlite://", create=True)
    told = retain(lake, registry, {"archive": "30d"}, NOW, dry_run=True).tiers[0]
    assert (told["blocks"], told["first"], told["last"]) == (2, "2026-01-02", "2026-01-03")
    retain(lake, registry, {"archive": "30d"}, NOW)
    assert [path.stem for path in (tmp_path / "archive").iterdir()] == [f"{2:016d}-{2:016d}"]
    retain(lake, registry, {"archive": "1d"}, NOW + timedelta(days=900))
    assert len(list((tmp_path / "archive").iterdir())) == 1


def test_ages_are_read_from_the_lake_and_refused_with_a_remedy(tmp_path, lake):
    assert borders({"beats": "90d", "days": "2y", "intervals": "13m"}, date(2026, 3, 31)) == {
        "beats": date(2025, 12, 31), "days": date(2024, 3, 31), "intervals": date(2025, 2, 28),
    }  # fmt: skip
    with pytest.raises(Invalid, match="is no tier"):
        borders({"beat": "90d"}, date(2026, 3, 31))
    with pytest.raises(Invalid, match="is no age"):
        borders({"beats": "ninety days"}, date(2026, 3, 31))
    assert read_ages(FolderStore(tmp_path)) == {}
    (tmp_path / "retention.toml").write_text('beats = "90d"\n')
    assert read_ages(FolderStore(tmp_path)) == read_ages(store_at(f"file://{tmp_path}")) == {"beats": "90d"}
    for text in ("beats = 90\n", 'days = "old"\n', "beats\n"):
        (tmp_path / "retention.toml").write_text(text)
        with pytest.raises(Invalid, match=r"retention\.toml"):
            read_ages(FolderStore(tmp_path))
    assert lake.retain(now=NOW).tiers == []
    assert lake.lake.snapshot().version == 0


def test_lines_of_the_trail_go_at_their_age_and_that_is_written_down(lake):
    people = SqlPeople(lake.registry)
    people.note([Entry(at=NOW - timedelta(days=days), what=f"{days} days ago") for days in (400, 300, 1)])
    tried = retain(lake.lake, lake.registry, {"trail": "13m"}, NOW, trail=people, dry_run=True)
    assert [(tier["tier"], tier["blocks"]) for tier in tried.tiers] == [("trail", 1)]
    retain(lake.lake, lake.registry, {"trail": "13m"}, NOW, trail=people)
    told = [line.what for line in people.entries(account=None, subject=None, before=None, limit=9)]
    border = borders({"trail": "13m"}, NOW.date())["trail"]
    assert told == [f"1 lines before {border} dropped", "1 days ago", "300 days ago"]
