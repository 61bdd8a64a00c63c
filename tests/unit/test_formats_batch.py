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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.formats.batch import ARROW, CSV, JSON, NDJSON, parse_body
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.ids import MeterIds
from meterlake.readings import READING_SCHEMA, REASONS
from meterlake.strips import MISSING, Kinds

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
NAMES = ("meter", "channel", "start", "seconds", "value", "unit", "quality")
LINE = (
    '{"meter":"E1","channel":"electricity.import","start":"2026-01-01T00:00:00Z","seconds":900,"value":0.25,'
    '"unit":"kWh","quality":"actual"}'
)


def parsed(body, media, **options):
    ids, kinds = MeterIds(), Kinds()
    origin = Origin("s", 1, NOW * 1_000_000, NOW)
    found = parse_body(body, media, ReadOptions(**options), origin, ids, kinds)
    return found, ids, kinds


def slots(body, media, **options):
    """Every reading as (meter, channel, seconds, quality, start, amount), and the reasons by line."""
    found, ids, kinds = parsed(body, media, **options)
    names, at, rows = ids.texts().to_pylist(), found.strips.offsets(), []
    for i in range(len(found.strips)):
        kind = kinds.table[found.strips.kind[i]]
        for k, amount in enumerate(found.strips.amounts[at[i] : at[i + 1]].tolist()):
            start = int(found.strips.start[i]) + k * kind.interval_s
            rows.append(
                (names[found.strips.meter[i]], kind.channel, kind.interval_s, kind.quality, start, amount)
            )
    rejects = found.rejects
    reasons = [
        (int(n), REASONS[r - 1])
        for n, r, c in zip(rejects.line, rejects.reason, rejects.count, strict=True)
        for _ in range(c)
    ]
    filled = int((found.strips.amounts != MISSING).sum())
    assert found.received == filled + int(rejects.count.sum())
    assert found.unsettled is None
    return sorted(rows), sorted(reasons)


reading = st.fixed_dictionaries({
    "meter": st.sampled_from(["E1", "E2", "Zähler 7", "m,1"]),
    "channel": st.sampled_from(["electricity.import", "gas.import", "nonsense"]),
    "start": st.integers(NOW - 10**7, NOW + 10_000).map(lambda s: s // 300 * 300),
    "seconds": st.sampled_from([300, 900, 1800, 86_400, 7]),
    "value": st.one_of(st.none(), st.decimals(-100, 10_000, places=6)),
    "unit": st.sampled_from(["kWh", "Wh", "m3"]),
    "quality": st.sampled_from(["actual", "estimated", "odd"]),
})  # fmt: skip


def iso(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def told(one):
    value = None if one["value"] is None else f"{one['value']:f}"
    return one | {"start": iso(one["start"]), "value": value}


def as_ndjson(readings):
    return "\n".join(json.dumps(told(one), ensure_ascii=False) for one in readings).encode()


def as_csv(readings):
    rows = [
        ",".join(f'"{told(one)[name] or ""}"' if one[name] is not None else "" for name in NAMES)
        for one in readings
    ]
    return "\n".join([",".join(NAMES), *rows]).encode()


def as_arrow(readings):
    columns = {name: [told(one)[name] for one in readings] for name in NAMES}
    columns["start"] = pa.array([one["start"] * 1_000_000 for one in readings], pa.timestamp("us", "UTC"))
    columns["value"] = pa.array([one["value"] for one in readings], pa.decimal128(18, 6))
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@settings(max_examples=60)
@given(st.lists(reading, min_size=1, max_size=8))
def test_the_same_readings_mean_the_same_in_every_form(readings):
    rows, reasons = slots(as_ndjson(readings), NDJSON)
    as_list = b"[" + b",\n".join(as_ndjson([one]) for one in readings) + b"]"
    assert slots(as_list, JSON) == (rows, reasons)
    assert slots(b'{"readings": ' + as_list + b"}", JSON) == (rows, reasons)
    assert slots(as_arrow(readings), ARROW) == (rows, reasons)
    assert slots(as_csv(readings), CSV) == (rows, [(line + 1, reason) for line, reason in reasons])


@settings(max_examples=150)
@given(st.sampled_from([NDJSON, JSON, CSV, ARROW]), st.data())
@example(NDJSON, None)
def test_no_body_stops_more_than_itself(media, data):
    if data is None:
        return
    good = {NDJSON: LINE.encode(), JSON: LINE.encode(), CSV: as_csv([]) + b"\nE1,,2026-01-01T00:00:00Z,900,1,,", ARROW: as_arrow([{
        "meter": "E1", "channel": "gas.import", "start": NOW - 900, "seconds": 900, "value": Decimal(1), "unit": "m3", "quality": "actual",
    }])}[media]  # fmt: skip
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not body:
            break
    with suppress(Invalid):
        slots(bytes(body), media)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "malformed_line"),
        ("{}", "malformed_line"),
        ("[1]", "malformed_line"),
        (LINE + "}", "malformed_line"),
        (LINE[:-1], "malformed_line"),
        (LINE.replace('"E1"', '""'), "malformed_line"),
        (LINE.replace("2026-01-01T00:00:00Z", "yesterday"), "bad_time"),
        (LINE.replace(":900", ":7"), "unsupported_interval"),
        (LINE.replace('"seconds":900,', ""), "unsupported_interval"),
        (LINE.replace("electricity.import", "steam"), "unsupported_channel"),
        (LINE.replace("0.25", "null"), "missing_value"),
        (LINE.replace("0.25", "true"), "bad_number"),
        (LINE.replace("0.25", "NaN"), "bad_number"),
        (LINE.replace("0.25", '"0,25"'), "bad_number"),
        (LINE.replace("0.25", "1e308"), "out_of_range"),
        (LINE.replace("0.25", "9" * 40), "out_of_range"),
        (LINE.replace("kWh", "m3"), "unit_mismatch"),
        (LINE.replace("2026-01-01", "2027-01-01"), "future"),
        (LINE.replace("E1", "a" * 200), "malformed_line"),
        ("{" * 5000, "malformed_line"),
    ],
)
def test_a_refused_line_has_its_number_reason_and_text_and_stops_nothing(line, reason):
    body = "\n".join([LINE, "", line, LINE.replace("E1", "E2")]).encode()
    found, _, _ = parsed(body, NDJSON)
    assert (found.received, len(found.strips)) == (3, 2)
    assert [REASONS[r - 1] for r in found.rejects.reason] == [reason]
    assert found.rejects.line.tolist() == [3]
    assert found.rejects.text[0] == line[:1024]


def test_members_come_in_any_order_with_blanks_and_others_between():
    odd = '\t{ "x": 1, "value" : "0.25" , "quality":"actual","start":"2026-01-01T00:00:00+00:00" ,"unit":"kWh","meter":"E1","seconds":900 }  \r'
    assert slots(odd.encode(), NDJSON) == slots(LINE.encode(), NDJSON)


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace('"E1"', '"\\u0045\\u0031"'),
        LINE.replace('"E1"', '"E1","more":{"a":[1,2,{"b":"}"}]}'),
        LINE.replace('"E1"', '"E0","meter":"E1"'),
        LINE.replace('"quality":"actual"', '"#7":[1]'),
        LINE.replace("0.25", "2.5e-1"),
        LINE.replace("0.25", '"2.5E-1"'),
        LINE.replace("kWh", "Wh").replace("0.25", "250"),
    ],
)
def test_escapes_nested_members_and_exponents_are_understood(line):
    assert slots(line.encode(), NDJSON) == slots(LINE.encode(), NDJSON)


def test_values_are_exact_to_the_last_digit():
    rows, _ = slots(LINE.replace("0.25", "123456.7890125").encode(), NDJSON)
    assert rows[0][-1] == 123_456_789_012


def test_what_a_batch_says_at_its_top_counts_for_readings_that_do_not():
    body = {
        "defaults": {"channel": "gas.import", "seconds": 1800, "unit": "m3", "quality": "estimated"},
        "readings": [{"meter": "g", "start": "2026-01-01T00:00:00Z", "value": 2}],
    }
    rows, _ = slots(json.dumps(body, indent=2).encode(), JSON)
    assert [row[:4] for row in rows] == [("g", "gas.import", 1800, 7)]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1", b'{"readings": 5}', b'{"defaults": {"meter": 1}, "readings": []}', b"\xff"]
)
def test_a_document_that_is_none_is_refused_whole(body):
    with pytest.raises(Invalid):
        parsed(body, JSON)


@pytest.mark.parametrize(
    ("body", "media"),
    [(b"junk", ARROW), (b"\xff\xd8", CSV), (b"a,b\n1,2\n", CSV), (LINE.encode(), "text/plain")],
)
def test_a_body_that_is_not_what_it_says_is_refused_with_a_remedy(body, media):
    with pytest.raises(Invalid, match=r"send|expected|declare|no Arrow|column"):
        parsed(body, media)


def test_arrow_takes_the_schema_of_readings_with_stamps_and_integers():
    row = {
        "meter_id": "E1", "channel": "electricity.import", "interval_start": datetime(2026, 1, 1, tzinfo=UTC), "interval_s": 900,
        "amount": 250_000, "quality": 4, "stamp": datetime(2026, 1, 2, tzinfo=UTC), "delivery": 1,
    }  # fmt: skip
    table = pa.Table.from_pylist([row], schema=READING_SCHEMA)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found, _, kinds = parsed(sink.getvalue(), ARROW)
    assert found.strips.amounts.tolist() == [250_000]
    assert kinds.table[0].sender_stamp
    assert kinds.table[0].stamp_us == int(row["stamp"].timestamp()) * 1_000_000


def test_a_longer_line_than_the_limit_is_one_malformed_line():
    origin = Origin("s", 1, NOW * 1_000_000, NOW)
    body = (LINE + "\n" + " " * 500 + LINE).encode()
    found = parse_body(body, NDJSON, ReadOptions(), origin, MeterIds(), Kinds(), line_max=400)
    assert (found.received, len(found.strips), len(found.rejects)) == (2, 1, 1)
    assert np.array_equal(found.rejects.line, [2])
