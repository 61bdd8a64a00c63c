"""Local time: every moment there and back, doubled and skipped hours, and local days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.moments import day_start
from meterlake.readings import MILLI, REASONS
from meterlake.strips import Kind, Kinds, Strips
from meterlake.zones import (
    AMBIGUOUS,
    NONEXISTENT,
    OK,
    local_to_utc,
    settle,
    utc_to_local,
    zone_table,
)

ZONES = [
    "Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
    "America/Sao_Paulo", "Pacific/Apia", "UTC", "UTC+10:00",
]  # fmt: skip
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - clocks of walls are meant
MOMENTS = st.integers(0, 4_102_444_800)


def local(text: str) -> int:
    return int((datetime.fromisoformat(text) - EPOCH).total_seconds())


@given(st.sampled_from(ZONES[:-1]), st.lists(MOMENTS, min_size=1, max_size=20))
def test_local_time_is_what_the_zone_database_says(zone, seconds):
    expected = [
        int((datetime.fromtimestamp(s, ZoneInfo(zone)).replace(tzinfo=None) - EPOCH).total_seconds())
        for s in seconds
    ]
    assert utc_to_local(zone, np.array(seconds)).tolist() == expected


@given(st.sampled_from(ZONES), st.lists(MOMENTS, min_size=1, max_size=20))
def test_every_moment_is_one_of_the_answers_for_its_local_time(zone, seconds):
    utc = np.array(seconds)
    first, second, status = local_to_utc(zone, utc_to_local(zone, utc))
    assert ((first == utc) | (second == utc)).all()
    assert (status != NONEXISTENT).all()
    assert ((first == second) == (status == OK)).all()


@given(st.sampled_from(ZONES[:-1]), MOMENTS)
def test_doubled_and_skipped_times_are_those_of_the_zone_database(zone, second):
    table = zone_table(zone)
    change = int(table.changes[second % len(table.changes)]) if len(table.changes) else second
    shown = int(utc_to_local(zone, np.array([change]))[0]) + second % 14_400 - 7200
    wall = EPOCH + timedelta(seconds=shown)
    answers = {
        moment
        for fold in (0, 1)
        for moment in [wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)]
        if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall
    }
    first, later, status = (column[0] for column in local_to_utc(zone, np.array([shown])))
    assert int(status) == (NONEXISTENT, OK, AMBIGUOUS)[len(answers)]
    if answers:
        assert [first, later] == [min(answers).timestamp(), max(answers).timestamp()]


def test_morocco_changes_its_clock_twice_a_month_apart():
    changes = zone_table("Africa/Casablanca").changes
    assert 0 < np.diff(changes).min() < 40 * 86_400


def test_an_unknown_zone_is_refused_with_the_remedy():
    with pytest.raises(Invalid, match="IANA name"):
        zone_table("Mars/Olympus")


def test_local_days_have_23_24_and_25_hours():
    spring = np.diff([day_start("Europe/London", date(2013, 3, 30) + timedelta(days=n)) for n in range(4)])
    autumn = np.diff([day_start("Europe/London", date(2013, 10, 26) + timedelta(days=n)) for n in range(4)])
    assert (spring // 3600).tolist() == [24, 23, 24]
    assert (autumn // 3600).tolist() == [24, 25, 24]


def test_a_day_whose_midnight_is_skipped_begins_at_the_change():
    start = day_start("America/Sao_Paulo", date(2013, 10, 20))
    assert (
        datetime.fromtimestamp(start, ZoneInfo("America/Sao_Paulo")).isoformat()
        == "2013-10-20T01:00:00-02:00"
    )


def settled(stamps: list[str], *, stamp: str = "start", meters: list[int] | None = None) -> tuple[list, list]:
    kinds = Kinds()
    code = kinds.code(Kind("electricity.import", 1800, 4, 3, 0, sender_stamp=False, source="", delivery=1))
    n = len(stamps)
    strips = Strips(
        np.array(meters or [0] * n, np.int32), np.full(n, code, np.int32), np.array([local(s) for s in stamps]),
        np.ones(n, np.int32), np.arange(n), np.arange(n) * MILLI,
    )  # fmt: skip
    strips, rejects = settle(
        strips, [f"row {i}" for i in range(n)], kinds, "Europe/London", stamp, 2_000_000_000
    )
    hours = [datetime.fromtimestamp(s, UTC).strftime("%H:%M") for s in strips.start.tolist()]
    return hours, [REASONS[r - 1] for r in rejects.reason.tolist()]


def test_two_rising_runs_are_summer_time_and_then_winter_time():
    run = ["2013-10-27T01:00", "2013-10-27T01:30"]
    assert settled(run + run) == (["00:00", "00:30", "01:00", "01:30"], [])
    assert settled(run + run, stamp="end") == (["23:30", "00:00", "00:30", "01:00"], [])


def test_each_meter_is_settled_by_itself():
    assert settled(["2013-10-27T01:00"] * 4, meters=[0, 1, 0, 1])[0] == ["00:00", "00:00", "01:00", "01:00"]


@pytest.mark.parametrize(
    "hours",
    [
        pytest.param(["01:00"], id="once"),
        pytest.param(["01:00", "01:00", "01:00"], id="three times"),
        pytest.param(["01:00", "01:00", "01:30", "01:30"], id="interleaved"),
        pytest.param(["01:30", "01:00", "01:30", "01:00"], id="falling"),
        pytest.param(["01:00", "01:30", "01:00", "01:15"], id="different"),
    ],
)
def test_anything_else_stays_ambiguous(hours):
    taken, refused = settled([f"2013-10-27T{hour}" for hour in hours])
    assert taken == []
    assert refused == ["ambiguous_local_time"] * len(hours)


def test_settling_nothing_gives_nothing():
    strips, rejects = settle(Strips.empty(), [], Kinds(), "UTC", "start", 0)
    assert len(strips) == len(rejects) == 0
