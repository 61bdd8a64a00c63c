"""JSON written a column at a time is the JSON that the command line writes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake import exact
from meterlake.api.json_text import dumps, pieces
from meterlake.api.listing_text import rows_text
from meterlake.api.live import shown, told
from meterlake.api.negotiate import ARROW, CSV, JSON, rendered
from meterlake.exact import Exact, decimals
from meterlake.live.views import METER_SCHEMA
from meterlake.query.answers import Figure, History, Listing, Rows, Usage
from meterlake.usage import NO_PASSPORT, Passport

AMOUNTS = st.integers(-(10**15), 10**15)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | AMOUNTS.map(Exact) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(VALUES)
def test_text_is_that_of_the_plain_writer(value):
    assert dumps(value) == exact.dumps(value)


def listing(amounts, filled, quality):
    n = len(amounts)
    return Listing(
        channel="gas.import", start=np.arange(n) * 1800 + 1_761_400_000, seconds=np.full(n, 1800), amount=np.array(amounts, np.int64),
        filled=np.array(filled, np.int64), expected=np.ones(n, np.int64),
        quality=np.full(n, 4, np.uint8) if quality else None, passport=NO_PASSPORT,
        estimated=None if quality else np.array(filled, np.int64),
    )  # fmt: skip


@given(st.lists(st.tuples(AMOUNTS, st.integers(0, 1)), max_size=4), st.booleans(), st.sampled_from(["UTC", "Europe/London"]),
       st.integers(0, 2), st.text(max_size=5))  # fmt: skip
def test_a_history_is_that_of_the_plain_writer(rows, quality, zone, channels, name):
    amounts, filled = [a for a, _ in rows], [f for _, f in rows]
    answer = History(
        id=name, zone=zone, step="interval" if quality else "hour", start=0, stop=1, version=1,
        listings=(listing(amounts, filled, quality),) * channels,
    )  # fmt: skip
    assert "".join(pieces(answer)) == exact.dumps(answer.to_json()) + "\n"


MOMENTS = st.integers(-2_177_452_800, 7_258_118_399)
"""Seconds of the years that a question may name."""
CELLS = st.tuples(MOMENTS, st.integers(0, 10**6), AMOUNTS | st.integers(-(2**62), 2**62), st.integers(0, 99), st.integers(0, 10**6), st.integers(0, 8))  # fmt: skip


@given(
    st.lists(CELLS, max_size=5),
    st.booleans(),
    st.sampled_from(["UTC", "Europe/London", "Asia/Kolkata", "America/St_Johns"]),
)
def test_rows_of_a_listing_are_those_of_the_plain_writer(rows, quality, zone):
    start, seconds, amount, filled, expected, codes = np.array(rows, np.int64).reshape(-1, 6).T
    made = Listing(
        channel="gas.import", start=start, seconds=seconds, amount=amount, filled=filled, expected=expected,
        quality=codes.astype(np.uint8) if quality else None, passport=NO_PASSPORT,
        estimated=None if quality else codes,
    )  # fmt: skip
    answer = History(id="m", zone=zone, step="interval", start=0, stop=1, version=1, listings=(made,))
    assert f"[{rows_text(made, zone).decode()}]" == exact.dumps(answer.to_json()["values"])


FIGURES = st.builds(
    lambda start, stop, amount, counts, newest: Figure(
        start=start, stop=stop, amount=amount,
        passport=Passport(expected=sum(counts), filled=counts[0], edited=min(counts), estimated=0, newest_us=newest),
    ),
    MOMENTS, MOMENTS, AMOUNTS, st.lists(st.integers(0, 9), min_size=2, max_size=2), st.none() | MOMENTS.map(lambda s: s * 10**6),
)  # fmt: skip
USED = st.dictionaries(st.sampled_from(["1w", "1y"]), st.tuples(FIGURES, FIGURES))


@given(
    st.text(max_size=4),
    st.dictionaries(st.sampled_from(["gas.import", "water.import"]), USED),
    st.sampled_from(["UTC", "Asia/Kolkata"]),
)
def test_usage_is_that_of_the_plain_writer(name, channels, zone):
    answer = Usage(id=name, zone=zone, until=86_400, version=3, channels=channels)
    assert "".join(pieces(answer)) == exact.dumps(answer.to_json()) + "\n"


@given(st.lists(st.tuples(st.none() | st.text(max_size=4), AMOUNTS, st.booleans()), max_size=4))
def test_a_table_is_that_of_the_plain_writer(rows):
    amounts = np.array([a for _, a, _ in rows], np.int64)
    valid = np.array([v for *_, v in rows], bool)
    names = pa.array([n for n, *_ in rows], pa.string())
    table = pa.table({
        "meter": names, "kind": names.dictionary_encode(), "start": pa.array(np.arange(len(rows)) * 10**6, pa.timestamp("us", "UTC")),
        "value": decimals(amounts, valid), "amount": pa.array(amounts, mask=~valid), "filled": pa.array(amounts, mask=~valid),
    })  # fmt: skip
    answer = Rows(table=table, zone="Europe/London", head={"at": "x", "unit": None})
    assert "".join(pieces(answer)) == exact.dumps(answer.to_json()) + "\n"


def streamed(response):
    async def whole():
        return b"".join([piece async for piece in response.body_iterator])

    import asyncio

    return asyncio.run(whole())


@pytest.mark.parametrize("form", [JSON, CSV, ARROW])
def test_a_long_answer_goes_out_piece_by_piece(form):
    n = 200_000
    rows = pa.table(
        {
            "meter": pa.array([f"m{i}" for i in range(n)]),
            "value": decimals(np.arange(n)),
            "amount": pa.array(np.arange(n)),
        }
    )
    response = rendered(Rows(table=rows, zone="UTC", head={"at": "x"}), form, {})
    assert not hasattr(response, "body")
    body = streamed(response)
    if form == JSON:
        values = json.loads(body)["values"]
        assert (len(values), values[-1]) == (n, {"meter": "m199999", "value": 0.199999})
    elif form == CSV:
        lines = body.split(b"\n")
        assert (len(lines), lines[0], lines[-2]) == (n + 2, b"meter,value", b"m199999,0.199999")
    else:
        assert pa.ipc.open_stream(body).read_all().equals(rows)


@given(st.data())
def test_few_rows_of_the_live_side_are_told_as_its_tables_are_shown(data):
    n = data.draw(st.integers(0, 4))
    columns = {}
    for field in METER_SCHEMA:
        low, high = (0, 8) if field.name == "quality" else (0, 2_000_000_000)
        cells = [data.draw(st.integers(low, high)) for _ in range(n)]
        if field.name == "channel":
            cells = [data.draw(st.sampled_from(["electricity.import", "gas.import"])) for _ in range(n)]
        columns[field.name] = pa.array(cells, field.type)
    table = pa.table(columns, METER_SCHEMA)
    rows = json.loads("".join(pieces(Rows(table=shown(table), zone="UTC", head={}))))["values"]
    assert json.loads(dumps(told(table))) == rows
