"""What the simulator writes, read back by a slow and obvious reader: files, registry, faults and the truth."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest

from meterlake.errors import Invalid
from meterlake.readings import MILLI
from meterlake.simulate import FORMATS, Simulated, SimulateOptions, amounts, plan, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Reading = tuple[str, str, datetime, int | None]
"""Meter, channel, start, amount in milli units or None for a blank."""

AEST = timezone(timedelta(hours=10))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _milli(text: str) -> int | None:
    text = text.strip()
    return None if text in {"", "Null"} else int(Decimal(text) * MILLI)


def _wide(path: Path) -> Iterator[Reading]:
    rows = csv.reader(_lines(path))
    times = next(rows)
    assert times[:3] == ["meter", "channel", "date"]
    for meter, channel, day, *values in rows:
        assert len(values) == len(times) - 3
        for time, value in zip(times[3:], values, strict=True):
            yield meter, channel, datetime.fromisoformat(f"{day}T{time}+00:00"), _milli(value)


def _long(path: Path) -> Iterator[Reading]:
    for row in csv.DictReader(_lines(path)):
        yield row["meter"], row["channel"], datetime.fromisoformat(row["start"]), _milli(row["value"])


def _lcl(path: Path) -> Iterator[Reading]:
    for row in csv.DictReader(_lines(path)):
        start = datetime.fromisoformat(row["tstp"]).replace(tzinfo=UTC)
        yield row["LCLid"], "electricity.import", start, _milli(row["energy(kWh/hh)"])


def _lcl_raw(path: Path) -> Iterator[Reading]:
    text = path.read_bytes().decode()
    assert text.count("\n") == text.count("\r\n")
    for row in csv.DictReader(text.splitlines()):
        assert row["stdorToU"] in {"Std", "ToU"}
        assert row["DateTime"].endswith(".0000000")
        start = datetime.fromisoformat(row["DateTime"][:19]).replace(tzinfo=UTC)
        yield row["LCLid"], "electricity.import", start, _milli(row["KWH/hh (per half hour) "])


def _energyiot(path: Path, zone: ZoneInfo) -> Iterator[Reading]:
    for meter, time, unit, value in csv.reader(_lines(path)):
        assert unit == "KWH"
        start = datetime.fromisoformat(time).replace(tzinfo=zone).astimezone(UTC)
        yield meter, "electricity.import", start, _milli(value)


def _nem12(path: Path) -> Iterator[Reading]:
    rows = [row.split(",") for row in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0][:2] == ["100", "NEM12"]
    assert rows[-1] == ["900"]
    meter, channel, step, day = "", "", 0, list[Reading]()
    for row in [*rows[1:-1], ["900"]]:
        if row[0] != "400":
            yield from day
            day = []
        if row[0] == "200":
            meter, step = row[1], int(row[8])
            channel = {"E1": "electricity.import", "B1": "electricity.export"}[row[4]]
            assert row[7] == "kWh"
        if row[0] == "300":
            count = 1440 // step
            begin = datetime.strptime(row[1], "%Y%m%d").replace(tzinfo=AEST)
            starts = [begin + timedelta(minutes=step * slot) for slot in range(count)]
            day = [
                (meter, channel, start, _milli(value))
                for start, value in zip(starts, row[2 : 2 + count], strict=True)
            ]
            assert row[2 + count] in {"A", "V"}
        if row[0] == "400" and row[3] == "N":
            for slot in range(int(row[1]) - 1, int(row[2])):
                assert day[slot][3] == 0
                day[slot] = (*day[slot][:3], None)


def _parquet(path: Path) -> Iterator[Reading]:
    for row in pq.read_table(path).to_pylist():
        assert row["quality"] == 4
        yield row["meter_id"], row["channel"], row["interval_start"], row["amount"]


def _blocks(path: Path) -> Iterator[Reading]:
    for row in pq.read_table(path).to_pylist():
        values = row["values"] or row["wide_values"]
        for slot, value in enumerate(values):
            start = row["start"] + timedelta(seconds=row["interval_s"] * slot)
            yield (
                row["meter_id"],
                row["channel"],
                start,
                None if value is None else value * 10 ** row["scale"],
            )


def read(paths: Iterable[Path], form: str, zone: ZoneInfo) -> list[Reading]:
    """All readings of ``paths``, blanks and repeats included, in the order of the files."""
    readers = {"wide": _wide, "csv": _long, "lcl": _lcl, "lcl-raw": _lcl_raw, "nem12": _nem12,
               "parquet": _parquet, "blocks": _blocks}  # fmt: skip
    if form == "energyiot":
        return [reading for path in paths for reading in _energyiot(path, zone)]
    return [reading for path in paths for reading in readers[form](path)]


EVERY_FAULT = {
    "missing": 0.05, "late": 0.1, "duplicate": 0.05, "reordered": 0.1,
    "spikes": 0.01, "stuck": 0.02, "outages": 0.05, "theft": 0.2,
}  # fmt: skip
ZONE = ZoneInfo("Europe/London")
ELECTRIC = {"lcl", "lcl-raw", "energyiot"}


def options(**changes: Any) -> SimulateOptions:
    return replace(SimulateOptions(points=30, days=3, seed=11, files=3, start=date(2026, 3, 27)), **changes)


def written(folder: Path) -> dict[str, bytes]:
    """Every byte below ``folder`` by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def summary(made: Simulated) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((made.folder / "truth" / "totals.json").read_text())
    return text


def clean(asked: SimulateOptions) -> dict[tuple[str, str, datetime], int]:
    """What the meters read without faults, straight from the kernel."""
    fleet = plan(asked)
    shift = 36_000 if asked.format == "nem12" else 0
    begin = int(datetime.combine(asked.start, datetime.min.time(), UTC).timestamp()) - shift
    slots = asked.days * 86_400 // asked.interval_s
    found = {}
    for channel, letter in (
        ("electricity.import", "E"),
        ("electricity.export", "E"),
        ("gas.import", "G"),
        ("water.import", "W"),
    ):
        if asked.format in ELECTRIC and channel != "electricity.import":
            continue
        if asked.format == "nem12" and letter != "E":
            continue
        matrix = amounts(fleet, channel, begin // asked.interval_s, slots)
        for point, row in enumerate(matrix.tolist()):
            if channel == "electricity.export" and not fleet.solar[point]:
                continue
            for slot, amount in enumerate(row):
                start = datetime.fromtimestamp(begin + slot * asked.interval_s, UTC)
                found[f"{letter}{point + 1:08d}", channel, start] = amount
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reads_back_as_the_kernel_made_it(form: str, tmp_path: Path) -> None:
    asked = options(format=form)
    made = simulate(tmp_path, asked)
    readings = read(made.files, form, ZONE)
    assert {(meter, channel, start): amount for meter, channel, start, amount in readings} == clean(asked)
    assert len(readings) == made.readings
    assert made.bytes == sum(path.stat().st_size for path in made.files)
    totals: Counter[str] = Counter()
    for _, channel, _, amount in readings:
        totals[channel] += amount or 0
    assert totals == made.totals == summary(made)["totals"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_totals_beside_the_files_are_what_is_in_them_after_all_faults(form: str, tmp_path: Path) -> None:
    made = simulate(tmp_path, options(format=form, faults=EVERY_FAULT))
    readings = read(made.files, form, ZONE)
    filled = {
        (meter, channel, start): amount for meter, channel, start, amount in readings if amount is not None
    }
    told = summary(made)
    assert told["received"] == made.readings == len(readings)
    assert told["blank"] == sum(amount is None for *_, amount in readings)
    assert told["filled"] == len(filled)
    assert told["repeated"] == len(readings) - told["blank"] - told["filled"] > 0
    days: dict[str, dict[str, dict[str, int]]] = {channel: {} for channel in told["days"]}
    for (_, channel, start), amount in filled.items():
        day = days[channel].setdefault(start.astimezone(UTC).date().isoformat(), {"count": 0, "total": 0})
        day["count"] += 1
        day["total"] += amount
    assert days == told["days"]
    assert told["totals"] == made.totals == {c: sum(d["total"] for d in days[c].values()) for c in days}
    assert told["counts"] == {c: sum(d["count"] for d in days[c].values()) for c in days}


@pytest.mark.parametrize("form", ["wide", "csv"])
def test_same_options_give_the_same_bytes_whatever_the_number_of_threads(form: str, tmp_path: Path) -> None:
    asked = options(format=form, faults=EVERY_FAULT)
    for threads in (1, 3):
        simulate(tmp_path / str(threads), asked, threads=threads)
    assert written(tmp_path / "1") == written(tmp_path / "3")
    simulate(tmp_path / "other", replace(asked, seed=12))
    assert written(tmp_path / "1") != written(tmp_path / "other")


def test_how_the_work_is_cut_changes_no_value_and_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = EVERY_FAULT | {"reordered": 0.0}
    whole = simulate(tmp_path / "whole", options(faults=values, files=1))
    monkeypatch.setattr("meterlake.simulate.batches.BATCH_VALUES", 60)
    parts = simulate(tmp_path / "parts", options(faults=values, files=7))
    assert sorted(read(whole.files, "wide", ZONE)) == sorted(read(parts.files, "wide", ZONE))
    one, other = (
        pq.read_table(made.folder / "truth" / "faults.parquet").to_pylist() for made in (whole, parts)
    )
    assert Counter(str(row) for row in one) == Counter(str(row) for row in other)


def _by_fault(made: Simulated) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(made.folder / "truth" / "faults.parquet").to_pylist():
        rows.setdefault(row["fault"], []).append(row)
    return rows


def _slots(row: dict[str, Any]) -> Iterator[tuple[str, str, datetime]]:
    start = row["from"]
    while start < row["to"]:
        yield row["meter"], row["channel"], start
        start += timedelta(minutes=30)


def _inject(
    tmp_path: Path, fault: str, share: float, **changes: Any
) -> tuple[Any, Any, list[dict[str, Any]]]:
    """True and faulty amounts by slot, and the truth about the one fault."""
    asked = options(faults={fault: share}, points=120, **changes)
    made = simulate(tmp_path, asked)
    found = {
        (meter, channel, start): amount
        for meter, channel, start, amount in read(made.files, asked.format, ZONE)
    }
    truth = _by_fault(made)
    assert len(truth) == 1
    return clean(asked), found, next(iter(truth.values()))


def test_missing_slots_are_blank_and_named_and_as_many_as_asked_for(tmp_path: Path) -> None:
    true, found, truth = _inject(tmp_path, "missing", 0.05)
    named = {slot for row in truth for slot in _slots(row)}
    assert named == {slot for slot in true if found.get(slot) is None}
    assert len(named) == pytest.approx(0.05 * len(true), rel=0.15)
    assert all(found[slot] == true[slot] for slot in true if slot not in named)


def test_spikes_multiply_and_nothing_else_changes(tmp_path: Path) -> None:
    true, found, truth = _inject(tmp_path, "spikes", 0.02)
    spiked = {slot: row["factor"] for row in truth for slot in _slots(row)}
    assert {slot for slot in true if found[slot] != true[slot]} == set(spiked)
    assert all(found[slot] == true[slot] * factor and factor >= 20 for slot, factor in spiked.items())
    assert len(spiked) == pytest.approx(0.02 * sum(amount > 0 for amount in true.values()), rel=0.15)


def test_a_stuck_meter_repeats_one_value_that_is_not_zero(tmp_path: Path) -> None:
    true, found, truth = _inject(tmp_path, "stuck", 0.05)
    named = [list(_slots(row)) for row in truth]
    assert all(len({found[slot] for slot in run}) == 1 and found[run[0]] > 0 for run in named)
    flat = {slot for run in named for slot in run}
    assert {slot for slot in true if found[slot] != true[slot]} <= flat
    assert len(flat) == pytest.approx(0.05 * len(true), rel=0.25)


def test_an_outage_takes_every_electricity_meter_of_a_transformer(tmp_path: Path) -> None:
    true, found, truth = _inject(tmp_path, "outages", 0.1, days=12)
    fleet = plan(options(points=120))
    for row in truth:
        silent = row["factor"] is None
        assert all(found.get(slot) == (None if silent else 0) for slot in _slots(row))
    assert {row["factor"] for row in truth} == {None, 0.0}
    assert {row["channel"] for row in truth} <= {"electricity.import", "electricity.export"}
    for name in {row["transformer"] for row in truth}:
        fed = np.flatnonzero(fleet.transformer == int(name[-5:]))
        meters = {row["meter"] for row in truth if row["transformer"] == name}
        assert meters == {f"E{point + 1:08d}" for point in fed}
    named = {slot for row in truth for slot in _slots(row)}
    assert {slot for slot in true if found.get(slot) != true[slot]} <= named


def test_a_thief_pays_for_a_part_from_a_day_on_until_the_end(tmp_path: Path) -> None:
    true, found, truth = _inject(tmp_path, "theft", 0.2)
    named = {slot: row["factor"] for row in truth for slot in _slots(row)}
    assert 0.1 * 120 < len(truth) < 0.35 * 120
    assert {row["to"] for row in truth} == {datetime(2026, 3, 30, tzinfo=UTC)}
    assert {row["channel"] for row in truth} == {"electricity.import"}
    for slot, amount in true.items():
        part = named.get(slot, 1.0)
        assert found[slot] == pytest.approx(amount * part, abs=1000)
        assert found[slot] % 1000 == 0


@pytest.mark.parametrize("form", ["wide", "csv", "nem12"])
def test_late_rows_come_in_a_later_file_and_are_named(form: str, tmp_path: Path) -> None:
    asked = options(faults={"late": 0.2}, format=form, points=90, profile="au")
    made = simulate(tmp_path, asked)
    late = [path for path in made.files if path.name.startswith("late-")]
    assert list(made.files) == sorted(made.files)
    assert made.files[-len(late) :] == tuple(late)
    moved = {(meter, channel, start) for meter, channel, start, _ in read(late, form, ZONE)}
    truth = _by_fault(made)["late"]
    assert moved == {slot for row in truth for slot in _slots(row)}
    assert len(moved) == pytest.approx(0.2 * made.readings, rel=0.2)
    assert {reading[:3]: reading[3] for reading in read(made.files, form, ZONE)} == clean(asked)


@pytest.mark.parametrize("form", ["wide", "csv", "nem12"])
def test_repeated_rows_are_repeated_and_named(form: str, tmp_path: Path) -> None:
    made = simulate(tmp_path, options(faults={"duplicate": 0.1}, format=form))
    times = Counter(read(made.files, form, ZONE))
    twice = Counter(slot for row in _by_fault(made)["duplicate"] for slot in _slots(row))
    assert twice == Counter(reading[:3] for reading, count in times.items() if count == 2)
    assert set(times.values()) == {1, 2}
    assert sum(twice.values()) == pytest.approx(0.1 * len(times), rel=0.4)


@pytest.mark.parametrize("form", ["wide", "csv", "nem12"])
def test_reordered_rows_move_within_a_window_and_no_others_do(form: str, tmp_path: Path) -> None:
    asked = options(faults={"reordered": 0.2}, format=form, points=150, files=1, days=10)
    made = simulate(tmp_path / "mixed", asked)
    sorted_ = simulate(tmp_path / "sorted", replace(asked, faults={}))
    row = 48 if form != "csv" else 1
    mixed, right = (read(one.files, form, ZONE)[::row] for one in (made, sorted_))
    place = {reading: at for at, reading in enumerate(right)}
    moved = [reading for at, reading in enumerate(mixed) if place[reading] != at]
    assert all(abs(place[reading] - at) < 16 for at, reading in enumerate(mixed))
    named = Counter((one["meter"], one["channel"], one["from"]) for one in _by_fault(made)["reordered"])
    assert named == Counter(reading[:3] for reading in moved)
    assert len(moved) == pytest.approx(0.2 * len(right), rel=0.4)


def _registry(made: Simulated, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_lines(made.folder / "registry" / f"{name}.csv")))


def test_the_registry_knows_every_meter_that_reads_and_only_those(tmp_path: Path) -> None:
    made = simulate(tmp_path, options(profile="us", points=100))
    customers, points, meters = (_registry(made, name) for name in ("customers", "service_points", "meters"))
    assert list(customers[0]) == ["customer_id", "name", "email", "locale"]
    assert ",".join(points[0]) == (
        "service_point_id,customer_id,from,to,latitude,longitude,class,zone,tariff,feeder,transformer"
    )
    assert ",".join(meters[0]) == "meter_id,service_point_id,from,to,channels,interval_s,multiplier"
    assert (len(points), len(meters)) == (100, 300)
    known = {customer["customer_id"] for customer in customers}
    assert known == {point["customer_id"] for point in points}
    assert len({customer["email"] for customer in customers}) == len(customers) == len(known)
    assert all(customer["email"].endswith("@example.com") for customer in customers)
    assert {meter["service_point_id"] for meter in meters} == {point["service_point_id"] for point in points}
    assert {point["zone"] for point in points} == {"America/New_York"}
    assert {meter["from"] for meter in meters} == {"2026-03-27T00:00:00Z"}
    channels = {(meter["meter_id"], channel) for meter in meters for channel in meter["channels"].split(";")}
    assert channels == {(meter, channel) for meter, channel, *_ in read(made.files, "wide", ZONE)}
    assert sum(point["class"] == "business" for point in points) == pytest.approx(6, abs=2)


def test_utilities_and_intervals_are_those_asked_for(tmp_path: Path) -> None:
    made = simulate(
        tmp_path, options(utilities=("water",), interval_s=5, format="blocks", points=2, files=None)
    )
    blocks = [row for path in made.files for row in pq.read_table(path).to_pylist()]
    assert {(row["channel"], row["interval_s"], len(row["values"])) for row in blocks} == {
        ("water.import", 5, 720)
    }
    assert len(blocks) == 2 * 3 * 24
    assert made.readings == 2 * 3 * 17_280


def test_progress_ends_at_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = simulate(tmp_path, options(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (made.readings, made.readings)
    assert all(early[0] < late[0] for early, late in pairwise(seen))


def test_a_folder_that_holds_a_simulation_is_left_alone(tmp_path: Path) -> None:
    simulate(tmp_path, options(points=2, files=1))
    before = written(tmp_path)
    with pytest.raises(Invalid, match="already holds files"):
        simulate(tmp_path, options(points=2, files=1, seed=5))
    assert written(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "xls"}, "format 'xls' is unknown"),
        ({"format": "lcl", "interval_s": 900}, "lcl has intervals of 1800 s, not 900"),
        ({"format": "nem12", "interval_s": 60}, "300 or 900 or 1800 s, not 60"),
        ({"format": "wide", "interval_s": 5}, "too wide"),
        ({"format": "lcl", "utilities": ("gas",)}, "electricity only"),
    ],
)
def test_a_format_that_cannot_hold_it_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match=message):
        simulate(tmp_path / "out", options(**changes))
    assert not (tmp_path / "out").exists()
