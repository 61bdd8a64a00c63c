"""Calendars, passports and exact numbers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.exact import Exact, decimal_text, decimals, dumps
from meterlake.moments import back, borders, seconds_of, text_of
from meterlake.usage import NO_PASSPORT, Passport, Units, checked_sum, counted_once, empties, prefix

ZONES = (
    "UTC",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Sao_Paulo",
)
AMOUNTS = st.integers(-(2**63) + 1, 2**63 - 1)


@given(AMOUNTS)
def test_an_amount_is_printed_digit_by_digit(amount):
    text = decimal_text(amount)
    assert Decimal(text) == Decimal(amount).scaleb(-6)
    assert "." not in text or not text.endswith("0")
    assert json.loads(dumps({"value": [Exact(amount), None, "x"]}), parse_float=Decimal)["value"][
        0
    ] == Decimal(text)


@given(st.lists(st.tuples(AMOUNTS, st.booleans())))
def test_decimals_are_the_amounts_and_null_where_empty(pairs):
    amounts = np.array([a for a, _ in pairs], np.int64)
    valid = np.array([v for _, v in pairs], bool)
    column = decimals(amounts, valid)
    column.validate(full=True)
    assert column.to_pylist() == [Decimal(a).scaleb(-6) if v else None for a, v in pairs]


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.integers(1, 40))
def test_days_start_where_the_local_date_changes(zone, first, count):
    start, stop = seconds_of(first, zone, "from"), seconds_of(first + timedelta(days=count), zone, "to")
    marks = borders(zone, "day", start, stop).tolist()
    assert len(marks) == count + 1
    for number, second in enumerate(marks):
        assert datetime.fromtimestamp(second, ZoneInfo(zone)).date() == first + timedelta(days=number)
        assert datetime.fromtimestamp(second - 1, ZoneInfo(zone)).date() == first + timedelta(days=number - 1)


@pytest.mark.parametrize(
    ("day", "kind", "before"),
    [
        pytest.param("2026-03-31", "1m", "2026-02-28", id="clipped"),
        pytest.param("2024-03-31", "1m", "2024-02-29", id="leap"),
        pytest.param("2024-02-29", "1y", "2023-02-28", id="leap-year"),
        pytest.param("2026-01-31", "3m", "2025-10-31", id="over-new-year"),
        pytest.param("2026-12-31", "1m", "2026-11-30", id="december"),
        pytest.param("2026-01-03", "1w", "2025-12-27", id="week"),
        pytest.param("2026-01-03", "10d", "2025-12-24", id="days"),
    ],
)
def test_a_range_goes_back_by_the_calendar(day, kind, before):
    assert back(date.fromisoformat(day), kind) == date.fromisoformat(before)


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", "0001-01-01", "2026-01-01T25:00"])
def test_what_is_no_moment_is_refused_with_a_remedy(moment):
    with pytest.raises(Invalid, match=r"from .*(write|years)"):
        seconds_of(moment, "UTC", "from")


def test_a_local_time_is_read_in_its_zone():
    assert text_of(seconds_of("2026-07-01", "Europe/London", "from"), "UTC") == "2026-06-30T23:00:00Z"
    assert (
        text_of(seconds_of("2026-07-01T06:30", "Asia/Kolkata", "from"), "Asia/Kolkata")
        == "2026-07-01T06:30:00+05:30"
    )
    assert seconds_of(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "UTC", "from") == 1_767_225_601


def test_shares_add_up_to_the_expected():
    passport = Passport(expected=336, filled=330, edited=10, estimated=20, newest_us=None)
    assert passport.shares() == {
        "actual": 0.892857,
        "edited": 0.029762,
        "estimated": 0.059524,
        "missing": 0.017857,
    }
    assert sum(NO_PASSPORT.shares().values()) == 0.0
    assert (passport + passport).filled == 660


@given(st.sets(st.integers(0, 200), min_size=1), st.integers(-50, 250), st.integers(-50, 250))
def test_slots_are_expected_once_each_filled_or_not(filled, low, high):
    low, high = min(low, high) * 900 + 7, max(low, high) * 900 + 7
    first = np.array(sorted(filled)) * 900
    ones = np.ones(len(first), np.int64)
    units = Units(first, ones, ones * 900, np.stack([first, ones, 0 * ones, 0 * ones], 1), ones)
    at = prefix(units, np.array([low, high]))
    grid = [s for s in range(-90_000, 300_000, 900) if low <= s < high]
    starts, lengths = empties(units, low, high)
    assert int(np.diff(at.expected)[0]) == len(grid)
    assert sorted([*starts.tolist(), *(s for s in first.tolist() if low <= s < high)]) == grid
    assert set(lengths.tolist()) <= {900}
    assert np.diff(at.counts, axis=0)[0].tolist()[0] == sum(s for s in first.tolist() if low <= s < high)


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([1, 5, 15])), unique=True))
def test_no_time_is_counted_twice(slots):
    slots = [(k * length, length) for k, length in slots]
    start = np.array([s for s, _ in slots], np.int64)
    length = np.array([n for _, n in slots], np.int64)
    keep = counted_once(start, length, -length)
    minutes = [m for (s, n), k in zip(slots, keep.tolist(), strict=True) if k for m in range(s, s + n)]
    assert len(minutes) == len(set(minutes))
    for (s, n), kept in zip(slots, keep.tolist(), strict=True):
        assert kept or any(
            o < s + n and s < o + m for (o, m), k in zip(slots, keep.tolist(), strict=True) if k and m > n
        )


@given(
    st.integers(-500, 500), st.sampled_from([1, 7, 900]), st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.tuples(st.integers(-9000, 20_000), st.integers(-9000, 20_000)).map(sorted),
)  # fmt: skip
def test_units_without_a_gap_expect_every_slot_of_their_grid_to_start(first, interval, sizes, span):
    slots = np.array(sizes)
    starts = first + (np.cumsum(slots) - slots) * interval
    counts = np.stack([slots, slots, 0 * slots, 0 * slots], axis=1)
    units = Units(starts, slots, np.full(len(slots), interval), counts, slots)
    found = prefix(units, np.array(span))
    low, high = span
    assert (
        found.expected[1] - found.expected[0]
        == (high - first - 1) // interval - (low - first - 1) // interval
    )
    own = range(first, first + int(slots.sum()) * interval, interval)
    held = found.counts[:, 0] + found.within
    assert held.tolist() == [sum(start < border for start in own) for border in span]


def test_a_sum_beyond_int64_is_an_error():
    with pytest.raises(Invalid, match="shorter time"):
        checked_sum(np.full(3, 2**62, np.int64))


def test_json_numbers_never_pass_through_a_float():
    assert (
        dumps({"a": Exact(9_007_199_254_740_993), "é": [True, 1.5]})
        == '{"a": 9007199254.740993, "é": [true, 1.5]}'
    )
