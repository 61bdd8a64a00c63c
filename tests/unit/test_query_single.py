"""History and usage of one meter, held to sums over the readings themselves."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterlake.moments import back
from meterlake.query import Questions
from meterlake.testing.handmade import RECEIVED_S, Reading, lake_of

CHANNEL = "electricity.import"
ZONES = ("UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
DAY = 86_400
SPRING = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
AUTUMN = int(datetime(2024, 10, 4, tzinfo=UTC).timestamp())
COMMON = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def readings_of(draw, interval, start, days, meter="m1", channel=CHANNEL):
    """Readings of one series with gaps, negative and wide values, mixed qualities and deliveries."""
    slots = days * DAY // interval
    holes = draw(st.sets(st.integers(0, slots - 1), max_size=min(slots - 1, 40)))
    size = draw(st.sampled_from([1, 1000, 10**9, 10**13]))
    quality = draw(st.lists(st.sampled_from([1, 4, 5, 7, 8]), min_size=1, max_size=3))
    delivery = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    phase = draw(st.sampled_from([0, 0, interval // 2]))
    factor = draw(st.integers(-7, 7))
    return [
        Reading(
            meter, channel, interval, start + phase + k * interval,
            max(-(10**13), min(10**13, (k % 13 - factor) * size)),
            quality[k // 50 % len(quality)], delivery[k // 70 % len(delivery)],
        )
        for k in range(slots) if k not in holes
    ]  # fmt: skip


def bucket(start, zone, step):
    """What a step is called in local time; a clock change cuts an hour."""
    local = datetime.fromtimestamp(start, ZoneInfo(zone))
    if step in {"15min", "hour"}:
        quarter = local.minute // 15 if step == "15min" else 0
        return (local.date(), local.hour, quarter, local.utcoffset())
    return local.date() if step == "day" else (local.year, local.month)


def naive_steps(readings, zone, step, span):
    """Sum and count by step, by a loop over readings."""
    sums = {}
    for r in readings:
        if span[0] <= r.start < span[1]:
            key = bucket(r.start, zone, step)
            total, count = sums.get(key, (0, 0))
            sums[key] = (total + r.amount, count + 1)
    return sums


@COMMON
@given(st.data(), st.sampled_from(ZONES), st.sampled_from(["15min", "hour", "day", "month"]))
def test_steps_are_the_sums_of_their_readings_in_any_zone(data, zone, step):
    start = data.draw(st.sampled_from([SPRING, AUTUMN]))
    lengths = [300, 900] if step == "15min" else [900, 1800, 3600]
    readings = data.draw(readings_of(data.draw(st.sampled_from(lengths)), start, 5))
    lake = lake_of(readings, data.draw(st.sampled_from([(), (start + DAY, start + 3 * DAY)])))
    low = start + data.draw(st.integers(-DAY, 2 * DAY))
    high = low + data.draw(st.integers(1, 4 * DAY))
    answer = Questions(lake).history(
        "m1", datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC), step=step, zone=zone
    )
    (listing,) = answer.listings
    found = {}
    for at, amount, filled, expected in zip(
        *(c.tolist() for c in (listing.start, listing.amount, listing.filled, listing.expected)), strict=True
    ):
        assert filled <= expected
        if filled:
            found[bucket(at, zone, step)] = (amount, filled)
    assert found == naive_steps(readings, zone, step, (low, high))
    assert listing.start[0] == low
    assert listing.start[-1] + listing.seconds[-1] == high


@COMMON
@given(st.data(), st.sampled_from(ZONES))
def test_a_listing_is_the_readings_themselves_and_gaps_are_null(data, zone):
    readings = data.draw(readings_of(data.draw(st.sampled_from([900, 1800])), SPRING, 3))
    lake = lake_of(readings, data.draw(st.sampled_from([(), (SPRING + DAY,)])))
    low = SPRING + data.draw(st.integers(-DAY, 2 * DAY))
    high = low + data.draw(st.integers(1, 3 * DAY))
    asked = ("m1", datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC))
    questions = Questions(lake)
    inside = [r for r in readings if low <= r.start < high]
    (kept,) = questions.history(*asked, zone=zone, gaps="keep").listings
    (dropped,) = questions.history(*asked, zone=zone).listings
    assert list(
        zip(dropped.start.tolist(), dropped.amount.tolist(), dropped.quality.tolist(), strict=True)
    ) == [(r.start, r.amount, r.quality) for r in inside]
    interval, phase = readings[0].interval, readings[0].start % readings[0].interval
    grid = [s for s in range(low - low % interval - interval + phase, high, interval) if s >= low]
    assert kept.start.tolist() == grid
    assert kept.passport.expected == len(grid)
    assert kept.passport.filled == len(inside) == int(kept.filled.sum())
    newest = max((RECEIVED_S[r.delivery] * 1_000_000 for r in inside), default=None)
    assert kept.passport.newest_us == newest
    assert kept.passport.edited == sum(r.quality == 5 for r in inside)
    assert kept.passport.estimated == sum(r.quality > 5 for r in inside)


@COMMON
@given(st.data(), st.sampled_from(ZONES))
def test_usage_is_the_sum_of_the_readings_of_each_range(data, zone):
    interval = data.draw(st.sampled_from([1800, 3600]))
    start = int(datetime(2023, 12, 20, tzinfo=UTC).timestamp())
    readings = data.draw(readings_of(interval, start, 80))
    cuts = [int(datetime(2024, m, 1, tzinfo=UTC).timestamp()) for m in (1, 2, 3)]
    until = date(2024, 3, 1) - timedelta(days=data.draw(st.integers(0, 10)))
    names = ("1w", "1m", "3m", "10d")
    answer = Questions(lake_of(readings, cuts)).usage("m1", until=until, ranges=names, zone=zone)

    def midnight(day):
        return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp())

    for name in names:
        first = back(until, name)
        spans = ((first, until), (back(first, name), first))
        for figure, (low, high) in zip(answer.channels[CHANNEL][name], spans, strict=True):
            inside = [r for r in readings if midnight(low) <= r.start < midnight(high)]
            assert (figure.start, figure.stop) == (midnight(low), midnight(high))
            assert figure.amount == sum(r.amount for r in inside)
            passport = figure.passport
            assert passport.filled == len(inside)
            assert abs(passport.expected - (figure.stop - figure.start) / interval) < 1
            assert passport.edited == sum(r.quality == 5 for r in inside)
            assert passport.estimated == sum(r.quality > 5 for r in inside)
            assert passport.newest_us == max((RECEIVED_S[r.delivery] * 10**6 for r in inside), default=None)


def counted(readings):
    """Readings that a total counts, longest first: one whose time another one covers does not."""
    held = []
    for r in sorted(readings, key=lambda r: -min(r.interval, DAY)):
        if not any(h.start < r.start + r.interval and r.start < h.start + h.interval for h in held):
            held.append(r)
    return sorted(held, key=lambda r: r.start)


def local_days(zone, first, days, holes=()):
    """Daily reads of local days, of 23, 24 or 25 hours."""
    midnights = [
        int(datetime.combine(first + timedelta(days=k), datetime.min.time(), ZoneInfo(zone)).timestamp())
        for k in range(days + 1)
    ]
    return [
        Reading("m1", CHANNEL, stop - start, start, 1000 + k)
        for k, (start, stop) in enumerate(itertools.pairwise(midnights)) if k not in holes
    ]  # fmt: skip


@COMMON
@given(st.data(), st.sampled_from(ZONES), st.sampled_from([(900, 3600), (300, 900), (1800, 3600)]))
def test_time_that_two_series_cover_is_counted_once(data, zone, lengths):
    fine = data.draw(readings_of(lengths[0], SPRING, 3))
    coarse = data.draw(readings_of(lengths[1], SPRING + data.draw(st.sampled_from([0, DAY])), 2))
    daily = local_days(zone, date(2024, 3, 30), 2, holes=data.draw(st.sets(st.integers(0, 1), max_size=1)))
    readings = fine + coarse + data.draw(st.sampled_from([[], daily]))
    questions = Questions(
        lake_of(readings, data.draw(st.sampled_from([(), (SPRING + DAY, SPRING + 2 * DAY)])))
    )
    low = SPRING + data.draw(st.integers(-DAY, 2 * DAY))
    high = low + data.draw(st.integers(1, 4 * DAY))
    inside = [r for r in counted(readings) if low <= r.start < high]
    asked = ("m1", datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC))
    (days,) = questions.history(*asked, step="day", zone=zone).listings
    (month,) = questions.history(*asked, step="month", zone=zone).listings
    assert int(days.amount.sum()) == int(month.amount.sum()) == sum(r.amount for r in inside)
    assert int(days.filled.sum()) == days.passport.filled == month.passport.filled == len(inside)
    (every,) = questions.history(*asked, zone=zone).listings
    listed = sorted((r.start, r.interval, r.amount) for r in readings if low <= r.start < high)
    assert (
        list(zip(every.start.tolist(), every.seconds.tolist(), every.amount.tolist(), strict=True)) == listed
    )


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Asia/Kolkata"])
def test_daily_reads_of_23_and_25_hours_are_one_a_day(zone):
    for first in (date(2024, 3, 1), date(2024, 10, 1)):
        readings = local_days(zone, first, 50, holes={3, 10})
        questions = Questions(lake_of(readings))
        end = first + timedelta(days=50)
        (days,) = questions.history("m1", first, end, step="day", zone=zone).listings
        assert days.expected.tolist() == [1] * 50
        assert days.filled.tolist() == [0 if k in {3, 10} else 1 for k in range(50)]
        week = questions.usage("m1", until=end, ranges=("1w", "1m"), zone=zone).channels[CHANNEL]
        assert week["1w"][0].passport.expected == week["1w"][0].passport.filled == 7
        assert week["1m"][0].passport.expected == (end - back(end, "1m")).days


def test_beats_within_a_full_quarter_hour_series_change_no_total():
    quarter = [Reading("m1", CHANNEL, 900, SPRING + k * 900, 180) for k in range(2 * 96) if k != 100]
    beats = [Reading("m1", CHANNEL, 5, SPRING + k * 5, 1) for k in range(2 * 17_280)]
    answer = Questions(lake_of(quarter + beats)).usage("m1", until="2024-03-31", ranges=("2d",))
    figure, before = answer.channels[CHANNEL]["2d"]
    assert figure.amount == 2 * 17_280
    assert figure.passport.filled == figure.passport.expected == 2 * 96 - 1 + 180
    assert before.passport.filled == 0


def test_a_quarter_hour_is_the_sum_of_its_beats():
    beats = [Reading("m1", CHANNEL, 5, SPRING + k * 5, k) for k in range(720)]
    questions = Questions(lake_of(beats))
    span = (datetime.fromtimestamp(SPRING, UTC), datetime.fromtimestamp(SPRING + 3600, UTC))
    (listing,) = questions.history("m1", *span, step="15min").listings
    wanted = [sum(range(k * 180, (k + 1) * 180)) for k in range(4)]
    assert (listing.amount.tolist(), listing.filled.tolist()) == (wanted, [180] * 4)
    assert questions.fleet(*span, step="15min").to_arrow()["amount"].to_pylist() == wanted
