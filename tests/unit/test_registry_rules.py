"""Geohashes, and how the rows of one id follow one another."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.adapters.registry import SqlRegistry
from meterlake.registry import SHAPES, geohash, successions, valid_at

DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("latitude", "longitude", "text"),
    [
        pytest.param(57.64911, 10.40744, "u4pruydqqvj", id="the example of its inventor"),
        pytest.param(42.6, -5.6, "ezs42", id="the textbook's"),
        pytest.param(0.0, 0.0, "s00000000", id="where the axes cross"),
        pytest.param(90.0, 180.0, "zzzzzzzzz", id="the last corner"),
        pytest.param(-90.0, -180.0, "000000000", id="the first corner"),
    ],
)
def test_geohash_of_known_places(latitude, longitude, text):
    assert geohash(np.array([latitude]), np.array([longitude]), len(text)).to_pylist() == [text]


def test_geohash_is_null_where_a_coordinate_is_missing():
    nan = float("nan")
    assert geohash(np.array([nan, 1.0, 2.0]), np.array([1.0, nan, 2.0])).null_count == 2


@given(
    st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20), st.integers(1, 12)
)
def test_a_geohash_names_the_cell_that_holds_its_place(places, digits):
    latitude, longitude = (np.array(column) for column in zip(*places, strict=True))
    for text, place in zip(geohash(latitude, longitude, digits).to_pylist(), places, strict=True):
        cell = cell_of(text)
        for degrees, (low, high) in zip(place, cell, strict=True):
            assert low - 1e-12 <= degrees <= high + 1e-12  # a border is as exact as a float
        assert text.startswith(geohash(np.array([place[0]]), np.array([place[1]]), 1)[0].as_py())


def cell_of(text):
    """Bounds of a geohash by halving, the definition."""
    spans = [[-180.0, 180.0], [-90.0, 90.0]]
    bits = "".join(f"{'0123456789bcdefghjkmnpqrstuvwxyz'.index(letter):05b}" for letter in text)
    for place, bit in enumerate(bits):
        span = spans[place % 2]
        span[bit == "0"] = sum(span) / 2
    return spans[1], spans[0]


@st.composite
def told(draw):
    """Rows of some meters at some points with any periods, one an id and beginning."""
    rows = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(["m1", "m2"]), st.one_of(st.none(), st.integers(0, 9))),
            st.tuples(st.sampled_from(["P1", "P2", None]), st.one_of(st.none(), st.integers(0, 12))),
            max_size=8,
        )
    )
    return [
        (meter, point, start, end)
        for (meter, start), (point, end) in rows.items()
        if start is None or end is None or start <= end
    ]


def as_table(rows):
    named = [
        {
            "meter_id": m,
            "service_point_id": p,
            "from": moment(a),
            "to": moment(b),
            "channels": None,
            "multiplier": None,
        }
        for m, p, a, b in rows
    ]
    return pa.Table.from_pylist(named, schema=SHAPES["meters"].schema)


def moment(day):
    return None if day is None else datetime.fromtimestamp(day * 86_400, UTC)


def place_on(rows, meter, day):
    """Where a meter is on a day: as the row says that begins last, if it is not over."""
    began = [
        r for r in rows if r[0] == meter and (r[2] is None or r[2] <= day) and (r[2] is None or r[2] != r[3])
    ]
    if not began:
        return None
    last = max(began, key=lambda r: -1 if r[2] is None else r[2])
    return last if last[3] is None or day < last[3] else None


@given(told())
def test_at_any_moment_the_row_that_began_last_holds(rows):
    followed = successions("meters", as_table(rows))
    for day in range(-1, 14):
        holding = valid_at("meters", followed, day * DAY_US).to_pylist()
        expected = [place for meter in ("m1", "m2") if (place := place_on(rows, meter, day))]
        assert [(r["meter_id"], r["service_point_id"]) for r in holding] == [(p[0], p[1]) for p in expected]


@given(told())
def test_the_short_way_to_stays_equals_the_whole_table(rows):
    registry = SqlRegistry("sqlite://", create=True)
    registry.import_tables({"meters": as_table(rows)})
    columns = list(SHAPES["meters"].columns)
    whole = registry.table("meters").select(columns).to_pylist()
    for name in ("m1", "m2", "P1", "P2"):
        mine = [row for row in whole if name in {row["meter_id"], row["service_point_id"]}]
        begin = datetime(1, 1, 1, tzinfo=UTC)
        mine.sort(key=lambda row: (row["from"] or begin, row["meter_id"]))
        assert registry.installations(name).select(columns).to_pylist() == mine
