"""A row per meter and day: how the value columns are found, and what a day of 23 or 25 hours does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import BadFile
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.testing.parsing import NOW_S, read_text

SCHOOLS = Path(__file__).parents[3] / "shared" / "data" / "uk_amr_energy_sparks"
LABELS = ",".join(f"{h:02d}:{m:02d}" for h in range(24) for m in (0, 30))
LONDON = ReadOptions(zone="Europe/London")
SPRING, AUTUMN = "2013-03-31", "2013-10-27"


def wide(*rows: str, header: str = f"meter,channel,date,{LABELS}") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def day(date: str, values: list[str], meter: str = "m", channel: str = "electricity.import") -> str:
    return ",".join([meter, channel, date, *values])


def numbers(n: int) -> list[str]:
    return [str(k) for k in range(n)]


def hour(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%m-%d %H:%M")


def test_a_row_is_one_strip_of_a_day():
    found = read_text(wide(day("2013-01-01", numbers(48)), day("2013-01-01", numbers(48), "n", "gas.import")))
    assert (found.name, found.strips, found.received) == ("wide", 2, 96)
    assert found.amounts()[:48] == [k * 10**6 for k in range(48)]
    assert {s.line for s in found.slots} == {2, 3}
    assert {(s.kind.channel, s.kind.interval_s, s.kind.per_line) for s in found.slots} == {
        ("electricity.import", 1800, False), ("gas.import", 1800, False),
    }  # fmt: skip
    assert found.assumed["columns"] == "4..51"


@pytest.mark.parametrize(("count", "seconds"), [(24, 3600), (48, 1800), (96, 900), (288, 300)])
def test_the_number_of_columns_is_the_length(count, seconds):
    header = "id,date," + ",".join(f"h{k}" for k in range(1, count + 1))
    found = read_text(wide("m,2013-01-01," + ",".join(numbers(count)), header=header))
    assert {s.kind.interval_s for s in found.slots} == {seconds}
    assert len(found.slots) == count


def test_faults_are_counted_by_reason_and_blank_slots_count():
    values = [*numbers(43), "", "Null", "x", "1e20", "2"]
    found = read_text(wide(day("2013-01-01", values)))
    assert [(r.line, r.reason, r.count) for r in found.refused] == [
        (2, "missing_value", 2), (2, "bad_number", 1), (2, "out_of_range", 1),
    ]  # fmt: skip
    assert (found.received, len(found.slots), found.strips) == (48, 44, 1)
    assert found.adds_up()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(day("2013-01-01", numbers(47)), id="a value too few"),
        pytest.param(day("2013-01-01", numbers(49)), id="a value too many"),
        pytest.param(day("2013-02-30", numbers(48)), id="no date"),
        pytest.param(day("2013-01-01 00:30", numbers(48)), id="not midnight"),
        pytest.param(day("2013-01-01", numbers(48), ""), id="no meter"),
        pytest.param("m", id="one field"),
        pytest.param(day("2013-01-01", ['"1', *numbers(47)]), id="open quote"),
    ],
)
def test_a_row_that_cannot_be_read_counts_one(row):
    found = read_text(wide(day("2013-01-01", numbers(48)), row))
    assert [(r.line, r.reason, r.count) for r in found.refused] == [(3, "malformed_line", 1)]
    assert found.adds_up()


def test_an_unsupported_channel_refuses_all_slots_at_once():
    found = read_text(wide(day("2013-01-01", numbers(48), channel="steam")))
    assert [(r.reason, r.count) for r in found.refused] == [("unsupported_channel", 48)]


def test_slots_of_the_future_are_refused_one_by_one():
    found = read_text(wide(day("2013-01-01", numbers(48))), origin=Origin("s", 1, 0, 1_357_041_600))
    assert (len(found.slots), found.reasons()) == (25, {"future": 23})


def test_a_day_of_46_or_50_values_is_read_by_position():
    header = f"meter,channel,date,{LABELS},24:00,24:30"
    data = wide(
        day(SPRING, [*numbers(46), "", "", "", ""]), day(AUTUMN, numbers(50)), day("2013-06-01", [*numbers(48), "", ""]),
        header=header,
    )  # fmt: skip
    found = read_text(data, LONDON)
    by_line = {line: [s for s in found.slots if s.line == line] for line in (2, 3, 4)}
    assert [len(slots) for slots in by_line.values()] == [46, 50, 48]
    assert [hour(slots[0].start) for slots in by_line.values()] == [
        "03-31 00:00",
        "10-26 23:00",
        "05-31 23:00",
    ]
    assert [s.amount // 10**6 for s in by_line[3]] == list(range(50))
    assert (found.received, found.refused) == (144, [])


def test_rows_may_be_shorter_than_the_file_is_wide():
    header = f"meter,channel,date,{LABELS},24:00,24:30"
    found = read_text(wide(day(SPRING, numbers(46)), day("2013-06-01", numbers(46)), header=header), LONDON)
    assert len(found.slots) == 46
    assert found.reasons() == {"malformed_line": 1}


def test_48_columns_on_a_day_of_25_hours_lose_the_doubled_hour():
    found = read_text(wide(day(AUTUMN, numbers(48))), LONDON)
    assert found.reasons() == {"ambiguous_local_time": 2}
    taken = {hour(s.start): s.amount // 10**6 for s in found.slots}
    assert not taken.keys() & {"10-27 00:00", "10-27 00:30", "10-27 01:00", "10-27 01:30"}
    assert [taken[k] for k in ("10-26 23:00", "10-26 23:30", "10-27 02:00", "10-27 23:30")] == [0, 1, 4, 47]
    assert (found.received, found.strips) == (48, 1)


def test_48_columns_on_a_day_of_23_hours_have_a_skipped_hour():
    values = numbers(48)
    values[3] = ""
    found = read_text(wide(day(SPRING, values)), LONDON)
    assert found.reasons() == {"nonexistent_local_time": 1, "missing_value": 1}
    taken = {hour(s.start): s.amount // 10**6 for s in found.slots}
    assert [taken[k] for k in ("03-31 00:30", "03-31 01:00", "03-31 22:30")] == [1, 4, 47]
    assert found.received == 48


def test_labels_that_name_the_end_are_seen_and_can_be_declared():
    ends = ",".join([*LABELS.split(",")[1:], "24:00"])
    found = read_text(wide(day("2013-01-01", numbers(48)), header=f"meter,channel,date,{ends}"))
    assert (found.assumed["stamp"], hour(found.slots[0].start)) == ("end", "01-01 00:00")
    told = read_text(wide(day("2013-01-01", numbers(48))), ReadOptions(stamp="end"))
    assert hour(told.slots[0].start) == "12-31 23:30"


def test_a_unit_in_the_names_of_the_columns():
    header = "mpan,date," + ",".join([*(f"kVArh_{k}" for k in range(1, 49))])
    data = wide("m,2013-01-01," + ",".join(numbers(48)), header=header)
    assert read_text(data).reasons() == {"unit_mismatch": 48}
    assert len(read_text(data, ReadOptions(channel="electricity.reactive.import")).slots) == 48


def test_columns_can_be_declared_and_must_make_a_day():
    data = wide("x,m,2013-01-01," + ",".join(numbers(96)), header="a,meter,date," + "v," * 95 + "v")
    options = ReadOptions(columns=(3, 51))
    assert len(read_text(data, options).slots) == 48
    with pytest.raises(BadFile, match="a day has"):
        read_text(data, ReadOptions(columns=(3, 50)))
    with pytest.raises(BadFile, match="--columns"):
        read_text(b"a,b\n1,2\n", ReadOptions(format="wide"))


def test_a_wide_file_without_header_is_told_by_its_shape():
    found = read_text(("m,2013-01-01," + ",".join(numbers(48)) + "\n").encode())
    assert (found.name, len(found.slots), found.assumed["map"]) == ("wide", 48, "meter=1,time=2")


@pytest.mark.skipif(not SCHOOLS.exists(), reason="no shared school files")
def test_real_school_files_with_declared_columns():
    folder = next(SCHOOLS.glob("*/fixtures/amr_data/row-per-day"))
    options = ReadOptions(
        map={"meter": "2", "time": "3"}, columns=(3, 51), time_format="%d/%m/%y", zone="Europe/London"
    )
    counts = {
        path.stem: (found.received, len(found.slots), found.reasons())
        for path in folder.glob("*.csv")
        for found in [read_text(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), options)]
    }
    assert counts == {
        "valid": (48, 48, {}), "valid-no-header": (48, 48, {}), "empty": (0, 0, {}), "empty-msft": (0, 0, {}),
        "empty-with-header": (0, 0, {}), "no-readings": (48, 0, {"missing_value": 48}),
        "all-missing-readings": (48, 28, {"missing_value": 20}),
        "some-missing-readings": (144, 124, {"missing_value": 20}),
    }  # fmt: skip


CELLS = st.text("1.x- ", max_size=3)
ROWS = st.lists(
    st.one_of(
        st.builds(
            lambda date, cells, n: day(date, (cells * 60)[:n]),
            st.sampled_from([SPRING, AUTUMN, "2013-01-01", "bad"]),
            st.lists(CELLS, min_size=1, max_size=5),
            st.integers(45, 51),
        ),
        st.sampled_from(["", ",", '"', "m"]),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(ROWS, st.lists(st.integers(0, 2000), max_size=5), st.booleans())
def test_any_cut_gives_the_same_and_all_adds_up(rows, cuts, newline):
    data = wide(day("2013-01-02", ["1"] * 48), *rows)[: None if newline else -1]
    whole, parts = read_text(data, LONDON), read_text(data, LONDON, cuts)
    assert sorted(parts.slots) == sorted(whole.slots)
    assert sorted(parts.refused) == sorted(whole.refused)
    assert whole.adds_up()


def test_a_file_beyond_now_is_all_future():
    late = datetime.fromtimestamp(NOW_S + 5 * 86_400, UTC).strftime("%Y-%m-%d")
    assert read_text(wide(day(late, numbers(48)))).reasons() == {"future": 48}
