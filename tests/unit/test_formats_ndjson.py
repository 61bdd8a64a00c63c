"""NDJSON: a line is a reading or a reject, as strict as JSON and as exact as CSV, however it is cut."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterlake.app import open_lake
from meterlake.errors import BadFile, Invalid
from meterlake.formats.categories import quality_of
from meterlake.formats.codec import ReadOptions
from meterlake.testing.parsing import read_text

T0 = 1_767_225_600  # 2026-01-01
LINE = (
    '{"meter":"E1","channel":"electricity.import","start":"2026-01-01T00:00:00Z","seconds":900,"value":0.25,'
    '"unit":"kWh","quality":"actual"}'
)
READ = ReadOptions(format="ndjson")
WORDS = ("meter", "channel", "start", "seconds", "value", "unit", "quality", "stamp")


def iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(**members: object) -> str:
    return json.dumps(json.loads(LINE) | members)


def read(*lines: str, options: ReadOptions = READ, cuts: tuple[int, ...] = ()):
    return read_text("".join(f"{one}\n" for one in lines).encode(), options, cuts)


def told(found):
    """What was taken, without the lines, and the reasons."""
    return [(s.meter, s.start, s.amount, s.kind) for s in found.slots], [r.reason for r in found.refused]


def test_a_meter_that_runs_on_is_one_strip_and_lines_are_known():
    found = read(*(line(start=iso(T0 + 900 * k), value=k) for k in range(4)), "", line(meter="E2"))
    assert (found.name, found.received, found.strips) == ("ndjson", 5, 2)
    assert [slot.line for slot in found.slots] == [1, 2, 3, 4, 6]
    assert found.amounts() == [0, 1_000_000, 2_000_000, 3_000_000, 250_000]


def test_a_file_is_recognised_loaded_and_declared(tmp_path):
    lake = open_lake(str(tmp_path / "lake"))
    (tmp_path / "a.ndjson").write_text(LINE + "\n" + line(value="x") + "\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line(meter="E2").encode() + b"\n"))
    receipt = lake.load([tmp_path / "a.ndjson", tmp_path / "b.jsonl.gz"])
    assert [file.format for file in receipt.files] == ["ndjson", "ndjson"]
    assert [receipt.count(name) for name in ("received", "stored", "rejected")] == [3, 2, 1]
    assert read(LINE, options=ReadOptions()).name == "ndjson"
    with pytest.raises(BadFile):
        read('{"a": 1}', options=ReadOptions())


def test_members_may_have_other_names_and_a_file_may_be_of_one_meter():
    names = ReadOptions(
        map={"meter": "id", "time": "at", "value": "v"}, interval_s=1800, time_format="epoch_s"
    )
    found = read(f'{{"id": 77, "at": {T0}, "v": 1, "value": 9}}', options=names)
    assert [(s.meter, s.start, s.amount, s.kind.interval_s) for s in found.slots] == [
        ("77", T0, 1_000_000, 1800)
    ]
    own = ReadOptions(format="ndjson", meter="M")
    assert [s.meter for s in read(LINE, options=own).slots] == ["M"]
    with pytest.raises(Invalid, match="roles"):
        read(LINE, options=ReadOptions(format="ndjson", map={"colour": "x"}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "malformed_line"),
        ("{}", "malformed_line"),
        ("[1]", "malformed_line"),
        ('"text"', "malformed_line"),
        (LINE + "}", "malformed_line"),
        (LINE[:-1], "malformed_line"),
        (LINE[:-1] + ",}", "malformed_line"),
        (LINE.replace('"E1"', '""'), "malformed_line"),
        (LINE.replace('"E1"', "null"), "malformed_line"),
        (LINE.replace('"E1"', "true"), "malformed_line"),
        (LINE.replace('"E1"', '["E1"]'), "malformed_line"),
        (LINE.replace("E1", "a" * 200), "malformed_line"),
        (LINE.replace("E1", "\\u0000"), "malformed_line"),
        (LINE.replace("E1", "\\ud800"), "malformed_line"),
        (LINE.replace("E1", "\\x41"), "malformed_line"),
        (LINE.replace("actual", "odd"), "malformed_line"),
        (LINE.replace("0.25", "NaN"), "malformed_line"),
        (LINE.replace("0.25", "-Infinity"), "malformed_line"),
        (LINE.replace("0.25", "01"), "malformed_line"),
        (LINE.replace("0.25", ".5"), "malformed_line"),
        (LINE.replace("0.25", '{"a":1}'), "malformed_line"),
        ("{" * 5000, "malformed_line"),
        ('{"x":' * 5000, "malformed_line"),
        (LINE[:-1] + ',"x":' + "[" * 5000 + "]" * 5000 + "}", "malformed_line"),
        (LINE.replace("2026-01-01T00:00:00Z", "yesterday"), "bad_time"),
        (LINE.replace('"2026-01-01T00:00:00Z"', "1767225600"), "bad_time"),
        (LINE.replace('"2026-01-01T00:00:00Z"', "null"), "bad_time"),
        (LINE[:-1] + ',"stamp":"soon"}', "bad_time"),
        (LINE[:-1] + ',"stamp":"2026-01-01T00:00:00"}', "bad_time"),
        (LINE.replace(":900", ":7"), "unsupported_interval"),
        (LINE.replace(":900", ":9223372036854775808"), "unsupported_interval"),
        (LINE.replace("900", '"9999999999999999999d"'), "unsupported_interval"),
        (LINE.replace('"seconds":900,', ""), "unsupported_interval"),
        (LINE.replace("00:00:00Z", "00:00:00.5Z"), "off_grid"),
        (LINE.replace("electricity.import", "steam"), "unsupported_channel"),
        (LINE.replace("0.25", "null"), "missing_value"),
        (LINE.replace("0.25", '""'), "missing_value"),
        (LINE.replace('"value":0.25,', ""), "missing_value"),
        (LINE.replace("0.25", "true"), "bad_number"),
        (LINE.replace("0.25", '"NaN"'), "bad_number"),
        (LINE.replace("0.25", '"0,25"'), "bad_number"),
        (LINE.replace("kWh", "m3"), "unit_mismatch"),
        (LINE.replace("0.25", "1e308"), "out_of_range"),
        (LINE.replace("0.25", "-1e99999999999999999999"), "out_of_range"),
        (LINE.replace("0.25", "9" * 5000), "out_of_range"),
        (LINE.replace("2026-", "2034-"), "future"),
    ],
)
def test_a_refused_line_has_its_number_reason_and_text_and_stops_nothing(text, reason):
    found = read(LINE, "", text, line(meter="E2"))
    assert [slot.meter for slot in found.slots] == ["E1", "E2"]
    assert [(r.line, r.reason, r.count) for r in found.refused] == [(3, reason, 1)]
    assert found.refused[0].text == text[:1024]
    assert found.adds_up()


@pytest.mark.parametrize(
    "text",
    [
        '\t{ "x": 1, "value" : "0.25" , "quality":"actual","start":"2026-01-01T01:00:00+01:00" ,"unit":"kWh","meter":" E1 ","seconds":900 }  \r',
        LINE.replace('"E1"', '"\\u0045\\u0031"'),
        LINE.replace('"meter"', '"m\\u0065ter"'),
        LINE.replace("kWh", "\\u006bWh"),
        LINE.replace('"E1"', '"E1","more":{"a":[1,2,{"b":"}\\""}],"c":{},"d":[[]]},"s":"\\ud800"'),
        LINE.replace('"E1"', '"E0","meter":"E1"'),
        LINE.replace("0.25", "2.5e-1"),
        LINE.replace("0.25", '"2.5E-1"'),
        LINE.replace("0.25", "0.25" + "0" * 3000),
        LINE.replace("kWh", "Wh").replace("0.25", "250"),
        LINE.replace('"kWh"', "null").replace('"actual"', "null"),
        LINE.replace('"channel":"electricity.import",', ""),
        LINE.replace(":900", ':"15min"'),
        LINE[:-1] + ',"' + "name" * 50 + '":0}',
        LINE[:-1] + "," + ",".join(f'"{k}":{k}' for k in range(300)) + "}",
    ],
)
def test_the_same_reading_may_be_written_in_many_ways(text):
    assert told(read(text)) == told(read(LINE))


def test_values_are_exact_to_the_last_digit():
    found = read(line(), LINE.replace("0.25", "123456.7890125"), LINE.replace("0.25", '"-0.0000015"'))
    assert found.amounts() == [250_000, 123_456_789_012, -2]


def test_a_stamp_is_the_version_and_keeps_its_microseconds():
    stamps = ["2026-01-02T00:00:00.123456789Z", "2026-01-02T01:00:00+01:00", "2099-01-01T00:00:00Z", None]
    found = read(*(line(start=iso(T0 + 900 * k), stamp=stamp) for k, stamp in enumerate(stamps)))
    kinds = [slot.kind for slot in found.slots]
    second = 1_767_312_000_000_000
    assert [kind.stamp_us for kind in kinds] == [
        second + 123_456, second, 2_000_000_000_000_000, 1_900_000_000_000_000,
    ]  # fmt: skip
    assert [kind.sender_stamp for kind in kinds] == [True, True, True, False]


def test_readings_of_one_stamp_stay_one_strip():
    same = [line(start=iso(T0 + 900 * k), stamp="2026-01-02T00:00:00Z") for k in range(5)]
    assert read(*same).strips == 1


def test_a_line_longer_than_a_record_is_refused_and_passed_over():
    long = LINE[:-1] + ',"x":"' + "y" * (1 << 20) + '"}'
    found = read(LINE, long, LINE)
    assert [(r.line, r.reason, len(r.text)) for r in found.refused] == [(2, "malformed_line", 1024)]
    assert len(found.slots) == 2


def test_a_last_line_that_was_cut_off_is_truncated():
    found = read_text((LINE + "\n" + LINE[:-9]).encode(), READ)
    assert [(r.line, r.reason) for r in found.refused] == [(2, "truncated")]
    assert len(read_text((LINE + "\n" + LINE).encode(), READ).slots) == 2


def test_local_times_that_exist_twice_are_settled_by_their_order():
    clock = ReadOptions(format="ndjson", zone="Europe/London", interval_s=1800)
    hours = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    lines = [f'{{"meter":"E1","start":"2025-10-26T{hour}","value":{k}}}' for k, hour in enumerate(hours)]
    found = read(*lines, options=clock)
    first = 1_761_435_000  # 2025-10-25T23:30Z
    assert sorted(found.starts()) == [first + 1800 * k for k in range(6)]
    odd = read(*lines[:3], *lines[4:], options=clock)
    assert odd.reasons() == {"ambiguous_local_time": 3}
    assert odd.adds_up()


members = st.fixed_dictionaries({}, optional={
    "meter": st.one_of(st.sampled_from(["E1", "E2", " E1", "\\", '"', "ü/\U0001f600"]), st.integers(0, 9), st.none()),
    "channel": st.sampled_from(["electricity.import", "gas", "gas.import.energy", "steam", None]),
    "start": st.one_of(st.integers(0, 20).map(lambda k: iso(T0 + k * 900)), st.sampled_from(["", "x", 5])),
    "seconds": st.sampled_from([900, 1800, "900", 7, None]),
    "value": st.one_of(st.integers(-10, 10**6), st.decimals(-9, 9, places=7).map(str), st.sampled_from([True, None, "", "x", "NaN", "1e3"])),
    "unit": st.sampled_from(["kWh", "m³", "Wh", "miles", None]),
    "quality": st.sampled_from(["actual", "A", 7, "missing", "odd", None]),
    "stamp": st.sampled_from(["2026-01-02T00:00:00Z", "2026-01-03T00:00:00.5Z", None]),
    "more": st.recursive(st.one_of(st.text(max_size=3), st.booleans(), st.none()), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5),
})  # fmt: skip


@settings(max_examples=80)
@given(
    st.lists(members, max_size=12), st.booleans(), st.lists(st.integers(0, 1500), max_size=4), st.randoms()
)
def test_any_order_any_cut_and_any_escapes_give_the_same_and_all_adds_up(rows, ascii_only, cuts, random):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    mixed = [
        json.dumps(dict(random.sample(list(row.items()), len(row))), ensure_ascii=ascii_only) for row in rows
    ]
    whole, other = read(*lines), read(*mixed, cuts=tuple(cuts))
    assert whole.received == len(rows)
    assert whole.adds_up()
    assert other.adds_up()
    assert sorted(whole.slots) == sorted(other.slots)
    assert [(r.line, r.reason) for r in whole.refused] == sorted((r.line, r.reason) for r in other.refused)


def is_reading(text: str) -> bool:
    """Whether Python's own parser takes a line for an object that can be a reading."""

    def refuse(_: str) -> None:
        raise ValueError("no JSON")

    try:
        row = json.loads(text, parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    known = [row.get(name) for name in WORDS] if isinstance(row, dict) else [[]]
    texts = [word for word in known if isinstance(word, str)]
    if any(isinstance(word, (list, dict)) for word in known) or any(
        ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for word in texts for c in word
    ):
        return False
    meter, quality = row.get("meter"), row.get("quality")
    if not isinstance(meter, str) or not meter.strip(" ") or len(meter.strip(" ").encode()) > 128:
        return False
    plain = str(quality).lower() if isinstance(quality, bool) else (quality or "").strip(" ")
    return (not plain or quality_of(plain) is not None) and all(len(word.encode()) <= 64 for word in texts)


@settings(max_examples=300)
@example([(2, 5, '\\"')])
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(LINE)),
            st.integers(0, 6),
            st.text(st.sampled_from('{}[]",:\\/u0158aeE+-. \t\rnul\x01é'), max_size=6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_line_is_taken_for_json_where_others_take_it_for_json(edits):
    text = LINE
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    found = read(text)
    assert found.adds_up()
    if text.strip(" \t\r"):
        assert (found.reasons().get("malformed_line", 0) == 0) == is_reading(text)
