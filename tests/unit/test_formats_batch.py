"""A reading means the same in JSON, NDJSON, CSV and Arrow; whatever the bytes, everything is counted."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.formats.batch import ARROW, CSV, JSON, NDJSON, parse_body
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.ids import MeterIds
from meterlake.readings import READING_SCHEMA, REASONS
from meterlake.strips import MISSING, Kinds

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
US = 1_000_000
UTC_US = pa.timestamp("us", "UTC")
NAMES = ("meter", "channel", "start", "seconds", "value", "unit", "quality", "stamp")
LINE = (
    '{"meter":"E1","channel":"electricity.import","start":"2026-01-01T00:00:00Z","seconds":900,"value":0.25,'
    '"unit":"kWh","quality":"actual"}'
)
START = 1_767_225_600


def parsed(body, media, line_max=1 << 20, **options):
    ids, kinds = MeterIds(), Kinds()
    origin = Origin("s", 1, NOW * US, NOW)
    found = parse_body(body, media, ReadOptions(**options), origin, ids, kinds, line_max=line_max)
    filled = int((found.strips.amounts != MISSING).sum())
    assert found.received == filled + int(found.rejects.count.sum())
    assert found.unsettled is None
    return found, ids.texts().to_pylist(), kinds.table


def slots(body, media, **options):
    """Every reading as (meter, kind, start, amount), and the reasons by line."""
    found, names, kinds = parsed(body, media, **options)
    at, rows = found.strips.offsets(), []
    for i in range(len(found.strips)):
        kind = kinds[found.strips.kind[i]]
        for k, amount in enumerate(found.strips.amounts[at[i] : at[i + 1]].tolist()):
            start = int(found.strips.start[i]) + k * kind.interval_s
            rows.append((names[found.strips.meter[i]], kind, start, amount, int(found.strips.line[i]) + k))
    rejects = zip(found.rejects.line.tolist(), found.rejects.reason.tolist(), strict=True)
    return sorted(rows), sorted((line, REASONS[reason - 1]) for line, reason in rejects)


def later(found, by):
    """The same a few lines later."""
    rows, reasons = found
    return [(*row[:-1], row[-1] + by) for row in rows], [(line + by, reason) for line, reason in reasons]


def refused(body, media, **options):
    return [reason for _, reason in slots(body, media, **options)[1]]


reading = st.fixed_dictionaries({
    "meter": st.sampled_from(["E1", "E2", "Zähler 7", "m,1", ""]),
    "channel": st.sampled_from(["electricity.import", "gas.import", "nonsense", None]),
    "start": st.one_of(st.none(), st.integers(-20, 20).map(lambda k: NOW + 300 * k)),
    "seconds": st.sampled_from([300, 900, 1800, 86_400, 7, None]),
    "value": st.one_of(st.none(), st.decimals(-100, 10_000, places=6), st.just(Decimal(10) ** 9)),
    "unit": st.sampled_from(["kWh", "Wh", "m3", None]),
    "quality": st.sampled_from(["actual", "estimated", "odd", None]),
    "stamp": st.one_of(st.none(), st.integers(-5, 5).map(lambda k: (NOW + k) * US + 123_456)),
})  # fmt: skip


def iso(us):
    return None if us is None else datetime.fromtimestamp(us / US, UTC).isoformat().replace("+00:00", "Z")


def told(one):
    start = None if one["start"] is None else one["start"] * US
    value = None if one["value"] is None else f"{one['value']:f}"
    return one | {"start": iso(start), "value": value, "stamp": iso(one["stamp"])}


def as_ndjson(readings):
    return "\n".join(json.dumps(told(one), ensure_ascii=False) for one in readings).encode()


def as_csv(readings):
    rows = [
        ",".join("" if word is None else f'"{word}"' for word in (told(one)[name] for name in NAMES)) for one in readings
    ]  # fmt: skip
    return "\n".join([",".join(NAMES), *rows]).encode()


def stream(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue()


def as_arrow(readings):
    columns = {
        name: pa.array([one[name] for one in readings], pa.string())
        for name in NAMES
        if name in {"channel", "unit", "quality"}
    }
    columns["meter"] = pa.array([one["meter"] for one in readings]).dictionary_encode()
    columns["seconds"] = pa.array([one["seconds"] for one in readings], pa.int32())
    columns["start"] = pa.array([one["start"] for one in readings], pa.timestamp("s", "UTC"))
    columns["value"] = pa.array([one["value"] for one in readings], pa.decimal128(20, 6))
    columns["stamp"] = pa.array([one["stamp"] for one in readings], UTC_US)
    return stream(pa.table(columns))


@settings(max_examples=80)
@given(st.lists(reading, min_size=1, max_size=12))
def test_the_same_readings_mean_the_same_in_every_form(readings):
    found = slots(as_ndjson(readings), NDJSON)
    as_list = b"[" + b",\n".join(as_ndjson([one]).replace(b", ", b",\r\n ") for one in readings) + b"]"
    assert slots(as_list, JSON) == found
    assert slots(b'{"readings": ' + as_list + b"\n}", JSON) == found
    assert slots(as_csv(readings), CSV) == later(found, 1)
    assert slots(as_arrow(readings), ARROW) == found


def good(media):
    readings = [
        {"meter": "E1", "channel": "gas.import", "start": NOW - 900 * k, "seconds": 900, "value": Decimal(k), "unit": "m3", "quality": "actual", "stamp": NOW * US}
        for k in (3, 2, 1)
    ]  # fmt: skip
    lines = as_ndjson(readings)
    listed = b'{"defaults": {"unit": "m3"}, "readings": [' + lines.replace(b"\n", b",") + b"]}"
    return {NDJSON: lines, JSON: listed, CSV: as_csv(readings), ARROW: as_arrow(readings)}[media]


@settings(max_examples=250)
@given(
    st.sampled_from([NDJSON, JSON, CSV, ARROW]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_no_body_stops_more_than_itself(media, edits):
    body = bytearray(good(media))
    for place, length, new in edits:
        at = int(place * len(body))
        body[at : at + length] = new
    with suppress(Invalid):
        slots(bytes(body), media)


@settings(max_examples=60)
@given(st.sampled_from([NDJSON, JSON, CSV, ARROW]), st.binary(max_size=60))
def test_no_bytes_stop_more_than_themselves(media, body):
    with suppress(Invalid):
        slots(body, media)


@pytest.mark.parametrize("media", [NDJSON, CSV, JSON])
@pytest.mark.parametrize("size", [1, 30_000])
def test_a_body_is_read_to_its_end_however_long(media, size):
    lines = [LINE.replace("E1", f"E{k}") for k in range(size)]
    body = {
        NDJSON: "\n".join(lines),
        CSV: "start,meter,value,seconds\n" + "\n".join(f"2026-01-01T00:00:00Z,E{k},0.25,900" for k in range(size)),
        JSON: "[" + ",".join(lines) + "]",
    }[media].encode()  # fmt: skip
    found, names, _ = parsed(body, media)
    assert (found.received, len(names), found.strips.amounts.sum()) == (size, size, 250_000 * size)
    first = 2 if media == CSV else 1
    assert np.array_equal(found.strips.line, np.arange(first, first + size))
    assert slots(b"\xef\xbb\xbf" + body, media) == slots(body, media)
    if media != JSON:
        assert slots(body.replace(b"\n", b"\r\n") + b"\r\n", media) == slots(body, media)


def test_values_keep_every_digit_and_nested_members_are_passed_over():
    other = '[{"x": [{"meter": "no"}, "\\"}]"]}, {"a": 1}]'
    exact = LINE.replace("0.25", "123456.7890125")
    rows, _ = slots(f'[{exact}, {LINE[:-1]}, "x": {other}}}]'.encode(), JSON)
    assert sorted(row[3] for row in rows) == [250_000, 123_456_789_012]


def test_what_a_batch_says_at_its_top_counts_for_readings_that_do_not():
    body = {
        "defaults": {"channel": "gas.import", "seconds": 1800, "unit": "m3", "quality": "estimated"},
        "readings": [{"meter": "g", "start": "2026-01-01T00:00:00Z", "value": 2}, {"meter": "h", "start": "2026-01-01T00:00:00Z", "value": 2, "seconds": 900}],
    }  # fmt: skip
    rows, _ = slots(json.dumps(body, indent=2).encode(), JSON)
    assert [(m, kind.channel, kind.interval_s, kind.quality) for m, kind, *_ in rows] == [
        ("g", "gas.import", 1800, 7), ("h", "gas.import", 900, 7),
    ]  # fmt: skip
    alone = b"meter,start,value\nE1,2026-01-01T00:00:00Z,1\n"
    assert refused(alone, CSV) == ["unsupported_interval"]
    assert refused(alone, CSV, interval_s=900) == []


@pytest.mark.parametrize(
    "body", [LINE, f"[{LINE}]", f'{{"readings":[{LINE}]}}', json.dumps(json.loads(LINE), indent=1)]
)
def test_a_document_is_a_reading_a_list_or_has_one(body):
    assert slots(body.encode(), JSON) == slots(LINE.encode(), NDJSON)


def test_items_of_a_list_that_are_no_readings_are_refused_by_their_place():
    body = f'[{LINE}, 5, "a\\n", null, [], {{}},\n{LINE.replace("E1", "E2")}]'
    rows, reasons = slots(body.encode(), JSON)
    assert [(row[0], row[-1]) for row in rows] == [("E1", 1), ("E2", 7)]
    assert reasons == [(line, "malformed_line") for line in range(2, 7)]
    assert slots(b" [ ]\n", JSON) == ([], [])
    assert slots(b'{"readings": []}', JSON) == ([], [])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated.*1 bytes"),
        (b"[" + LINE.encode() + b",", "truncated"),
        (b"[1 2]", "byte 3"),
        (b"[NaN]", "byte 1"),
        (b"[1]x", "byte 4"),
        (b'["a\nb"]', "byte 3"),
        (b'["a\0"]', "byte 3"),
        (b"5", "neither"),
        (b"[" * 100_000, "deeper"),
        (b"[" * 200 + b"]" * 200, "deeper"),
        (b'{"readings": 5}', "no list"),
        (b'{"defaults": {"meter": 1}, "readings": []}', "meter"),
        (b'{"defaults": {"seconds": 1.5}, "readings": []}', "int"),
        (b'{"defaults": {"channel": "steam"}, "readings": []}', "steam"),
        (b'{"meter": "\xff"}', "byte 11"),
    ],
)
def test_a_document_that_is_none_is_refused_whole_and_says_where(body, why):
    with pytest.raises(Invalid, match=why):
        parsed(body, JSON)


@pytest.mark.parametrize(
    ("body", "media", "why"),
    [
        (b"junk", ARROW, "IPC stream"),
        (b"", ARROW, "IPC stream"),
        (stream(pa.table({"a": [1]})), ARROW, "expected"),
        (stream(pa.table({"meter": ["m"], "start": ["2026"], "value": [1]})), ARROW, "timestamps"),
        (b"\xff\xd8", CSV, "byte 0"),
        (b"", CSV, "names the columns: meter"),
        (b"a,b\n1,2\n", CSV, "no column meter, start, value"),
        (b"E1,2026-01-01T00:00:00Z,1\n", CSV, "first line names"),
        (b'{"meter":"\xe9"}', NDJSON, "byte 10"),
        (LINE.encode(), "text/plain", "application/json, application/x-ndjson, text/csv"),
        (LINE.encode(), "", "send one of"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused_with_a_remedy(body, media, why):
    with pytest.raises(Invalid, match=why):
        parsed(body, media)


def row(**columns):
    us = {name: pa.array([value], UTC_US) for name, value in columns.items() if name in {"start", "stamp"}}
    plain = {"meter": ["m"], "start": pa.array([START * US], UTC_US), "seconds": [900], "value": [0.25]}
    return stream(
        pa.table(plain | {k: v if isinstance(v, pa.Array) else [v] for k, v in columns.items()} | us)
    )


def test_arrow_takes_the_schema_of_readings_with_stamps_and_integers():
    reading = {
        "meter_id": "E1", "channel": "electricity.import", "interval_start": datetime(2026, 1, 1, tzinfo=UTC), "interval_s": 900,
        "amount": 250_000, "quality": 4, "stamp": datetime(2026, 1, 2, 0, 0, 0, 5, tzinfo=UTC), "delivery": 1,
    }  # fmt: skip
    n = 3
    table = pa.Table.from_pylist(
        [reading | {"interval_start": datetime(2026, 1, 1, 0, 15 * k, tzinfo=UTC)} for k in range(n)],
        schema=READING_SCHEMA,
    )
    found, _, kinds = parsed(stream(table), ARROW)
    assert (found.strips.amounts.tolist(), found.strips.count.tolist()) == ([250_000] * n, [n])
    assert (kinds[0].sender_stamp, kinds[0].stamp_us) == (True, 1_767_312_000_000_005)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms", "Europe/London"), pa.timestamp("ns", "UTC")]
)
@pytest.mark.parametrize(
    "value", [pa.array([1]), pa.array(["1.0"]), pa.array([Decimal("1.00")]), pa.array([1.0], pa.float32())]
)
def test_arrow_takes_any_timestamp_and_any_number(kind, value):
    start = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], UTC_US).cast(pa.timestamp("s")).cast(kind)
    if kind.tz is not None:
        start = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], kind)
    table = pa.table(
        {
            "meter": pa.array(["m"]).dictionary_encode(),
            "start": start,
            "seconds": [900.0],
            "value": value,
            "quality": pa.array([7], pa.int8()),
        }
    )
    rows, _ = slots(stream(table), ARROW)
    assert [(r[0], r[1].quality, r[2], r[3]) for r in rows] == [("m", 7, START, 1_000_000)]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"value": float("nan")}, "bad_number"),
        ({"value": float("inf")}, "bad_number"),
        ({"value": 1e308}, "out_of_range"),
        ({"value": -1e308}, "out_of_range"),
        ({"value": 2**63 - 1}, "out_of_range"),
        ({"value": pa.array([2**64 - 1], pa.uint64())}, "out_of_range"),
        ({"value": None}, "missing_value"),
        ({"amount": 10**13 + 1}, "out_of_range"),
        ({"amount": pa.array([None], pa.int64())}, "missing_value"),
        ({"meter": ""}, "malformed_line"),
        ({"meter": pa.array([None], pa.string())}, "malformed_line"),
        ({"meter": "m" * 129}, "malformed_line"),
        ({"start": None}, "bad_time"),
        ({"start": -(2**63)}, "bad_time"),
        ({"start": 2**63 - 1}, "off_grid"),
        ({"start": START * US * 2}, "future"),
        ({"start": START * US + 1}, "off_grid"),
        ({"seconds": None}, "unsupported_interval"),
        ({"seconds": -(2**63)}, "unsupported_interval"),
        ({"quality": 200}, "malformed_line"),
        ({"unit": "miles"}, "unit_mismatch"),
    ],
)
def test_a_refused_row_of_arrow_has_its_reason_and_text(columns, reason):
    found, _, _ = parsed(row(**columns), ARROW)
    assert [REASONS[code - 1] for code in found.rejects.reason] == [reason]
    assert "value=" in found.rejects.text[0]


def test_rows_of_arrow_that_do_not_say_their_length_are_refused_and_not_guessed():
    table = pa.table(
        {"meter": ["m"] * 3, "start": pa.array(np.arange(3) * 900 * US).cast(UTC_US), "value": [1.0] * 3}
    )
    assert refused(stream(table), ARROW) == ["unsupported_interval"] * 3
    assert refused(stream(table), ARROW, interval_s=900) == []


@pytest.mark.parametrize("media", [NDJSON, CSV, JSON, ARROW])
def test_local_times_that_exist_twice_are_settled_within_the_body(media):
    hours = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    stamps = [f"2025-10-26T{hour}" for hour in hours]
    lines = [f'{{"meter":"E1","start":"{stamp}","value":1,"seconds":1800}}' for stamp in stamps]
    naive = pa.array([datetime.fromisoformat(stamp) for stamp in stamps], pa.timestamp("us"))
    body = {
        NDJSON: "\n".join(lines).encode(),
        JSON: f"[{','.join(lines)}]".encode(),
        CSV: "\n".join(["meter,start,value,seconds", *(f"E1,{stamp},1,1800" for stamp in stamps)]).encode(),
        ARROW: stream(
            pa.table({"meter": ["E1"] * 6, "start": naive, "value": [1] * 6, "seconds": [1800] * 6})
        ),
    }[media]
    rows, reasons = slots(body, media, zone="Europe/London")
    assert [r[2] for r in rows] == [1_761_435_000 + 1800 * k for k in range(6)]
    assert reasons == []


def test_a_line_that_is_too_long_is_one_malformed_line():
    long = LINE[:-1] + ' ,"x":"' + "y" * 10_000_000 + '"}'
    for body in (f"{LINE}\n{long}\n{LINE}", f"{LINE}\n{' ' * 500}{LINE}\n{LINE}"):
        found, _, _ = parsed(body.encode(), NDJSON, line_max=400)
        assert found.rejects.line.tolist() == [2]
        assert len(found.rejects.text[0]) <= 1024
    wide = f"meter,start,value\nE1,2026-01-01T00:00:00Z,{'1' * 500}\n".encode()
    assert refused(wide, CSV, line_max=400) == ["malformed_line"]
    assert refused(f"[{LINE},{long}]".encode(), JSON, line_max=400) == ["malformed_line"]


def test_a_nul_byte_is_no_text_of_a_reading():
    assert refused(LINE.replace("E1", "E\0").encode(), NDJSON) == ["malformed_line"]
    assert refused(b"meter,start,value,seconds\nE1,2026-01-01T00:00:00Z,1\0,900\n", CSV) == ["bad_number"]


@pytest.mark.parametrize("media", [NDJSON, CSV])
def test_a_refused_line_keeps_its_text(media):
    body = {NDJSON: f"{LINE}\n\nnonsense", CSV: "meter,start,value\nnonsense\n"}[media]
    found, _, _ = parsed(body.encode(), media)
    assert (found.rejects.line.tolist()[-1], found.rejects.text) == (
        3 if media == NDJSON else 2,
        ["nonsense"],
    )


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.integers(-(10**15), 10**15).map(lambda n: n / 10**6),
    st.integers(-(10**9), 10**9).map(float),
)


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=30), st.sampled_from(["kWh", "Wh", "MWh"]))
def test_a_float_is_the_shortest_decimal_that_stands_for_it(values, unit):
    n = len(values)
    start = pa.array([START * US] * n, UTC_US)
    text = [
        f'{{"meter":"m","start":"2026-01-01T00:00:00Z","seconds":900,"unit":"{unit}","value":{v!r}}}'
        for v in values
    ]
    table = pa.table(
        {"meter": ["m"] * n, "start": start, "seconds": [900] * n, "value": values, "unit": [unit] * n}
    )
    assert slots(stream(table), ARROW) == slots("\n".join(text).encode(), NDJSON)


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.integers(-(10**20), 10**20)), min_size=1, max_size=30),
    st.integers(-3, 12),
    st.sampled_from(["kWh", "Wh"]),
)
def test_a_decimal_has_all_its_digits(digits, scale, unit):
    n = len(digits)
    values = [None if d is None else Decimal(d).scaleb(-scale) for d in digits]
    start = pa.array([START * US] * n, UTC_US)
    text = [
        json.dumps({"meter": "m", "start": "2026-01-01T00:00:00Z", "seconds": 900, "unit": unit, "value": v if v is None else str(v)})
        for v in values
    ]  # fmt: skip
    column = pa.array(values, pa.decimal128(38, scale))
    table = pa.table(
        {"meter": ["m"] * n, "start": start, "seconds": [900] * n, "value": column, "unit": [unit] * n}
    )
    assert slots(stream(table), ARROW) == slots("\n".join(text).encode(), NDJSON)
