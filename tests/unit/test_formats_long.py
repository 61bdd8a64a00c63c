"""A row per reading: London's layouts, csv with any columns, clocks, words, cuts and garbage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import BadFile, Invalid
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.testing.parsing import NOW_S, ORIGIN, read_text

SHARED = Path(__file__).parents[3] / "shared" / "data"
LONDON = sorted((SHARED / "lcl_london").glob("*/MAC*.csv"))
HALF = 1800
T0 = 1_356_998_400  # 2013-01-01


def iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def long_csv(*rows: str, header: str = "meter,time,value") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def rows(n: int, meter: str = "m", step: int = HALF) -> list[str]:
    return [f"{meter},{iso(T0 + k * step)},{k}" for k in range(n)]


@pytest.mark.skipif(not LONDON, reason="no shared London files")
def test_real_london_files_give_their_rows_and_exact_sums():
    facts = json.loads((SHARED / "facts.json").read_text())
    for path in LONDON:
        fact = facts[str(path.relative_to(SHARED))]
        found = read_text(path.read_bytes())
        assert (found.name, found.received, found.refused) == ("lcl", fact["rows"], [])
        assert [round(sum(found.amounts()) / 1e6, 3)] == [fact["sum_kwh"]]
        assert iso(min(found.starts())) == fact["first"]
        assert iso(max(found.starts())) == fact["last"]


def test_the_raw_london_layout_with_its_quirks():
    found = read_text(
        b"LCLid,stdorToU,DateTime,KWH/hh (per half hour) \r\n"
        b"MAC000002,Std,2012-10-12 00:30:00.0000000, 0 \r\n"
        b"MAC000002,Std,2012-10-12 01:00:00.0000000,Null\r\n"
        b"MAC000002,Std,2012-10-12 01:30:00.0000000, 1.9220001 \r\n"
        b"MAC000002,Std,2012-10-12 01:30:00.0000000, 1.9220001 \r\n"
        b"MAC000002,Std,2012-10-12 02:00:00.5000000, 3 \r\n"
        b"MAC000002,Std,2012-10-12 12:00:01.0000000, 4 \r\n"
    )
    assert found.name == "lcl"
    assert found.amounts() == [0, 1_922_000, 1_922_000, 4_000_000]
    assert [(r.line, r.reason) for r in found.refused] == [(3, "missing_value"), (6, "off_grid")]
    assert found.slots[0].start == 1_350_001_800
    assert found.assumed["zone"] == "UTC"
    assert found.assumed["interval"] == "30min"
    assert found.adds_up()


def test_a_meter_that_runs_on_is_one_strip_and_lines_are_known():
    found = read_text(long_csv(*rows(5), *rows(3, "n")))
    assert found.strips == 2
    assert [slot.line for slot in found.slots] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert found.assumed["interval"] == "30min"
    assert found.assumed["map"] == "meter=meter,time=time,value=value"


@pytest.mark.parametrize("between", ["", "rubbish", f"m,{iso(T0 + HALF)},x", "m,yesterday,1"])
def test_a_line_without_a_reading_ends_the_strip(between):
    found = read_text(long_csv(rows(1)[0], between, rows(2)[1]), ReadOptions(interval_s=HALF))
    assert (found.strips, [slot.line for slot in found.slots]) == (2, [2, 4])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("m", "malformed_line"),
        (f",{iso(T0)},1", "malformed_line"),
        (f"m,{iso(T0)},1,extra", "malformed_line"),
        (f'm,{iso(T0)},"1', "malformed_line"),
        (f'"m""1",{iso(T0)},1', "malformed_line"),
        (f"{'m' * 200},{iso(T0)},1", "malformed_line"),
        ("m,2013-02-30 00:00:00,1", "bad_time"),
        (f"m,{iso(T0)}.001,1", "off_grid"),
        (f"m,{iso(T0)},", "missing_value"),
        (f"m,{iso(T0)},NULL", "missing_value"),
        (f"m,{iso(T0)},NaN", "bad_number"),
        (f"m,{iso(T0)},1e30", "out_of_range"),
        (f"m,{iso(NOW_S + 901)},1", "future"),
    ],
)
def test_each_fault_has_its_reason_line_and_text(row, reason):
    found = read_text(long_csv(*rows(2), row))
    assert [(r.line, r.reason, r.count, r.text) for r in found.refused] == [(4, reason, 1, row)]
    assert found.adds_up()


def test_a_reading_of_the_next_quarter_hour_is_not_yet_future():
    assert read_text(long_csv(*rows(2), f"m,{iso(NOW_S + 900)},1")).refused == []


def test_columns_by_name_number_and_without_header():
    declared = ReadOptions(map={"meter": "who", "time": "when", "value": "how much"})
    named = long_csv(f"{iso(T0)};m;5", f"{iso(T0 + HALF)};m;6", header="When;Who;How much")
    assert read_text(named, declared).amounts() == [5_000_000, 6_000_000]
    numbered = ReadOptions(map={"meter": "2", "time": "1", "value": "3"})
    assert read_text(named, numbered).amounts() == [5_000_000, 6_000_000]
    bare = b"dev1, 2016-03-01 00:15:00, KWH, 1.234\ndev1, 2016-03-01 00:30:00, KWH, 2\n"
    found = read_text(bare, ReadOptions(zone="Europe/Berlin"))
    assert found.amounts() == [1_234_000, 2_000_000]
    assert found.assumed["map"] == "meter=1,time=2,value=4,unit=3"
    assert iso(found.slots[0].start) == "2016-02-29 23:15:00"


def test_a_header_without_known_names_is_refused_with_what_was_seen():
    with pytest.raises(BadFile, match=r"test\.csv: no column is known for meter.*header 'alpha,beta'.*--map"):
        read_text(b"alpha,beta\nx,y\n")
    with pytest.raises(BadFile, match="no column 'nope' for meter"):
        read_text(long_csv(*rows(2)), ReadOptions(map={"meter": "nope"}))
    with pytest.raises(Invalid, match="roles"):
        read_text(long_csv(*rows(2)), ReadOptions(map={"colour": "1"}))


def test_a_file_of_one_meter_is_told_its_name():
    data = b"time,kwh\n2013-01-01 00:00,1\n2013-01-01 00:30,2\n"
    with pytest.raises(BadFile, match="--meter ID"):
        read_text(data)
    assert {slot.meter for slot in read_text(data, ReadOptions(meter="home")).slots} == {"home"}


def test_words_by_row_make_kinds():
    header = "meter,time,value,unit,channel,quality,interval"
    found = read_text(long_csv(
        f"m,{iso(T0)},1,Wh,import,actual,30min",
        f"m,{iso(T0)},2,m3,gas,estimated,3600",
        f"m,{iso(T0)},3,kWh,gas.import,A,PT15M",
        f"m,{iso(T0)},4,,,,",
        f"m,{iso(T0)},5,kWh,water,actual,1h",
        f"m,{iso(T0)},6,kWh,steam,actual,1h",
        f"m,{iso(T0)},7,kWh,import,splendid,1h",
        f"m,{iso(T0)},8,kWh,import,missing,1h",
        f"m,{iso(T0)},9,kWh,import,actual,7min",
        f"m,{iso(T0)},Null,kWh,water,actual,1h",
        header=header,
    ), ReadOptions(interval_s=HALF))  # fmt: skip
    kinds = [(s.kind.channel, s.kind.interval_s, s.kind.quality, s.amount) for s in found.slots]
    assert kinds == [
        ("electricity.import", 1800, 4, 1000), ("gas.import", 3600, 7, 2_000_000),
        ("gas.import.energy", 900, 4, 3_000_000), ("electricity.import", 1800, 4, 4_000_000),
    ]  # fmt: skip
    assert [r.reason for r in found.refused] == [
        "unit_mismatch", "unsupported_channel", "malformed_line", "missing_value", "unsupported_interval",
        "missing_value",
    ]  # fmt: skip
    assert found.adds_up()


def test_more_words_than_a_kernel_remembers_are_all_understood():
    text = [f"m{k},{iso(T0)},1,{k}s" for k in range(1, 700)]
    found = read_text(long_csv(*text, header="meter,time,value,interval"))
    assert {s.kind.interval_s for s in found.slots} == {k for k in range(1, 700) if 3600 % k == 0}
    assert found.adds_up()


def test_quality_is_no_better_than_the_source_may_claim():
    origin = Origin("s", 1, 0, NOW_S, quality_best=5, precedence=3)
    (kind,) = {s.kind for s in read_text(long_csv(*rows(2)), origin=origin).slots}
    assert (kind.quality, kind.precedence, kind.per_line, kind.sender_stamp) == (5, 3, True, False)


def test_a_decimal_comma_is_told_or_seen():
    data = b"meter;time;value\nm;2013-01-01 00:00;1,5\nm;2013-01-01 00:30;2,25\n"
    assert (
        read_text(data).amounts()
        == read_text(data, ReadOptions(decimal=",")).amounts()
        == [1_500_000, 2_250_000]
    )
    assert read_text(data).assumed["decimal"] == ","


def test_the_unit_may_stand_in_the_header():
    found = read_text(long_csv(*rows(2), header="meter,time,energy (Wh)"))
    assert found.amounts() == [0, 1000]
    assert found.assumed["unit"] == "Wh"


def test_stamps_that_name_the_end():
    found = read_text(long_csv(*rows(2)), ReadOptions(stamp="end"))
    assert found.starts() == [T0 - HALF, T0]
    by_header = read_text(long_csv(*rows(2), header="meter,end_time,value"))
    assert (by_header.starts(), by_header.assumed["stamp"]) == ([T0 - HALF, T0], "end")


def test_counts_since_1970_are_seen():
    found = read_text(long_csv(f"m,{T0},1", f"m,{T0 + 900},2"))
    assert (found.starts(), found.assumed["time_format"]) == ([T0, T0 + 900], "epoch_s")
    assert "zone" not in found.assumed


def test_stamps_of_an_unknown_form_ask_for_the_format():
    data = long_csv("m,01/02/2013 00:00,1", "m,01/02/2013 00:30,2")
    with pytest.raises(BadFile, match="--time-format"):
        read_text(data)
    assert read_text(data, ReadOptions(time_format="%d/%m/%Y %H:%M")).starts()[0] == 1_359_676_800


@pytest.mark.parametrize(
    ("step", "text"), [(5, "5s"), (900, "15min"), (3600, "1h"), (86_400, "1d"), (82_800, "1d")]
)
def test_the_interval_is_the_commonest_step(step, text):
    assert read_text(long_csv(*rows(4, step=step))).assumed["interval"] == text


def test_the_interval_of_a_snapshot_is_the_smallest_step():
    data = long_csv(f"a,{iso(T0)},1", f"b,{iso(T0)},1", f"c,{iso(T0 + 900)},1")
    assert read_text(data).assumed["interval"] == "15min"


def test_an_interval_that_cannot_be_told_must_be_declared():
    with pytest.raises(BadFile, match="--interval"):
        read_text(long_csv(rows(1)[0]))
    assert len(read_text(long_csv(rows(1)[0]), ReadOptions(interval_s=900)).slots) == 1


def test_monthly_reads_are_unsupported_intervals():
    data = long_csv("m,2013-01-01,1", "m,2013-02-01,1", "m,2013-03-04,1")
    assert read_text(data).reasons() == {"unsupported_interval": 3}


def test_local_days_have_their_true_length_and_phase():
    days = ["2013-03-30", "2013-03-31", "2013-04-01", "2013-10-27"]
    data = long_csv(*[f"m,{day},1" for day in days])
    found = read_text(data, ReadOptions(zone="Europe/London"))
    assert [(iso(s.start), s.kind.interval_s // 3600, s.kind.phase) for s in found.slots] == [
        ("2013-03-30 00:00:00", 24, 0), ("2013-03-31 00:00:00", 23, 0), ("2013-03-31 23:00:00", 24, 0),
        ("2013-10-26 23:00:00", 25, 0),
    ]  # fmt: skip
    ends = read_text(data, ReadOptions(zone="Europe/London", stamp="end"))
    assert [(iso(s.start), s.kind.interval_s // 3600) for s in ends.slots][2] == ("2013-03-31 00:00:00", 23)
    gas = read_text(
        long_csv("m,2013-03-30 06:00,1", "m,2013-03-31 06:00,1"), ReadOptions(zone="Europe/London")
    )
    assert [(s.kind.interval_s // 3600, s.kind.phase) for s in gas.slots] == [(23, 21_600), (24, 21_600)]


def test_a_skipped_hour_does_not_exist_and_a_doubled_one_is_settled_by_order():
    zone = ReadOptions(zone="Europe/London", interval_s=HALF)
    spring = read_text(long_csv("m,2013-03-31 00:30,1", "m,2013-03-31 01:00,2", "m,2013-03-31 02:00,3"), zone)
    assert spring.reasons() == {"nonexistent_local_time": 1}
    hours = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    autumn = read_text(long_csv(*[f"m,2013-10-27 {hour},{k}" for k, hour in enumerate(hours)]), zone)
    first = 1_382_830_200  # 2013-10-26 23:30 UTC
    assert {s.start: s.amount // 10**6 for s in autumn.slots} == {first + k * HALF: k for k in range(6)}
    assert autumn.adds_up()


def test_a_null_in_the_doubled_hour_keeps_its_place_in_the_order():
    zone = ReadOptions(zone="Europe/London", interval_s=HALF)
    values = ["1", "Null", "3", "x"]
    text = [f"m,2013-10-27 {hour},{v}" for hour, v in zip(["01:00", "01:30"] * 2, values, strict=True)]
    found = read_text(long_csv(*text), zone)
    assert [iso(s.start)[11:16] for s in found.slots] == ["00:00", "01:00"]
    assert found.reasons() == {"missing_value": 1, "bad_number": 1}
    lonely = read_text(long_csv("m,2013-10-27 01:00,1", "m,2013-10-27 01:30,2"), zone)
    assert lonely.reasons() == {"ambiguous_local_time": 2}


def test_a_cut_last_line_is_truncated_where_the_others_end_alike():
    data = b"LCLid,tstp,energy(kWh/hh)\nM,2013-01-01 00:00:00, 0.5 \nM,2013-01-01 00:30:00, 0.4"
    assert read_text(data).reasons() == {"truncated": 1}
    assert read_text(long_csv(*rows(3))[:-5]).reasons() == {"truncated": 1}


def test_a_last_line_without_newline_is_taken_and_named_where_nothing_is_lacking():
    found = read_text(long_csv(*rows(3))[:-1])
    assert len(found.slots) == 3
    assert found.assumed["last_line"] == "taken although it lacks its newline"


def test_blank_lines_quotes_blanks_and_carriage_returns_change_nothing():
    plain = read_text(long_csv(*rows(3)))
    dressed = long_csv(
        *[f'"m" , "{iso(T0 + k * HALF)}"\t, {k} \r' for k in range(3)], header="\r\n meter ,time, value\r"
    )
    found = read_text(dressed.replace(b"\n", b"\n\n"))
    assert [s[:3] for s in found.slots] == [s[:3] for s in plain.slots]
    assert [s.line for s in found.slots] == [5, 7, 9]


DAY = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 60), st.sampled_from(["1", "2.5", "Null", "x", ""])
        ).map(lambda t: f"{t[0]},{iso(1_382_824_800 + t[1] * HALF)},{t[2]}"),
        st.sampled_from(["", "junk", ",,", '"', "a,2013-10-27 01:00:00,7"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(DAY, st.lists(st.integers(0, 1500), max_size=6))
def test_any_cut_gives_the_same_readings_and_rejects(lines, cuts):
    options = ReadOptions(zone="Europe/London", interval_s=HALF)
    data = long_csv(*lines)
    whole, parts = read_text(data, options), read_text(data, options, cuts)
    assert sorted(parts.slots) == sorted(whole.slots)
    assert sorted(parts.refused) == sorted(whole.refused)
    assert parts.received == whole.received
    assert whole.adds_up()


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300).map(lambda b: b.replace(b"\0", b"").decode("latin-1").encode()), st.booleans())
def test_garbage_never_crashes_and_always_adds_up(garbage, newline):
    data = long_csv(*rows(2)) + garbage + (b"\n" if newline else b"")
    assert read_text(data, ReadOptions(interval_s=HALF, delimiter=",")).adds_up()


def test_a_million_columns_and_a_lone_quote_are_malformed_lines():
    data = long_csv(*rows(2), "," * 10**6, '"' + "x" * 10**5)
    found = read_text(data)
    assert found.reasons() == {"malformed_line": 2}
    assert max(len(r.text) for r in found.refused) <= 1024


def test_the_origin_marks_every_kind():
    (kind,) = {s.kind for s in read_text(long_csv(*rows(2))).slots}
    assert (kind.source, kind.delivery, kind.stamp_us) == (ORIGIN.source, ORIGIN.delivery, ORIGIN.received_us)
