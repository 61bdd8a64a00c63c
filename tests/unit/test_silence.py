"""Which meters are silent: against a plain reckoning, from the lake, live readings and both; a page after the other."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from meterlake.ids import MeterIds
from meterlake.silence import COLUMNS, EVER_S, Asked, Roll, first_of, standing

NOW = 1_800_000_000


def roll_of(*told):
    """A roll of (meter, geohash, since, until, end in the lake), by rising id."""
    ids = MeterIds()
    names = pa.array([one[0] for one in told], pa.string())
    columns = {name: pa.nulls(len(told), pa.string()) for name in COLUMNS}
    columns |= {"meter_id": names, "geohash": pa.array([one[1] for one in told], pa.string())}
    numbers = [np.array([one[i] for one in told], np.int64) for i in (2, 3, 4)]
    return Roll((), pa.table(columns), ids.codes_of(names), *numbers)


def many(seed, n=300):
    rng = random.Random(seed)
    told = []
    for i in range(n):
        since = rng.choice([-EVER_S, NOW - rng.randrange(5000), NOW + 100])
        until = rng.choice([EVER_S, NOW - 5, NOW + 5])
        region = rng.choice([None, "gcpvj", "gcpvh", "gcw2j", "u4pru"])
        told.append((f"m{i:04d}", region, since, until, rng.choice([0, NOW - rng.randrange(0, 6000, 300)])))
    return told, np.array(
        [rng.choice([0, NOW - rng.randrange(0, 6000, 300)]) for _ in range(n - 20)], np.int64
    )


def plainly(told, live, asked):
    """What is silent, reckoned a meter at a time: (quiet since, id)."""
    found = []
    for i, (meter, region, since, until, lake) in enumerate(told):
        newest = max(lake, live[i] if i < len(live) else 0)
        quiet = newest or since
        long = NOW - quiet
        if not since <= NOW < until or not (region or "").startswith(asked.region):
            continue
        if long >= asked.min_s and (asked.max_s is None or long < asked.max_s):
            found.append((quiet, meter))
    return sorted(found)


@pytest.mark.parametrize(
    "asked", [Asked(0), Asked(1800), Asked(600, 3000), Asked(900, None, "gcpv"), Asked(0, 5, "z")]
)
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_together_are_all_that_is_silent_in_order_and_once(asked, limit):
    told, live = many(3)
    now = standing(roll_of(*told), live, NOW)
    expected, found, after = plainly(told, live, asked), [], None
    while True:
        rows, total, more = now.page(asked, after, limit)
        assert total == len(expected)
        for row in rows.to_pylist():
            quiet = -EVER_S if row["silent_s"] is None else NOW - row["silent_s"]
            found.append((quiet, row["meter_id"]))
        assert more == total - len(found)
        if not more:
            break
        after = found[-1]
    assert found == expected


def test_a_reading_to_come_is_no_silence():
    now = standing(roll_of(("m", None, -EVER_S, EVER_S, NOW + 600)), np.zeros(0, np.int64), NOW)
    assert now.page(Asked(0), None, 9)[1] == 0
    assert now.counts([1]) == [0]


def test_what_never_came_is_silent_since_it_was_installed_or_nobody_knows():
    roll = roll_of(("a", None, NOW - 50, EVER_S, 0), ("b", None, -EVER_S, EVER_S, 0))
    now = standing(roll, np.zeros(0, np.int64), NOW)
    rows = now.page(Asked(10), None, 9)[0].to_pylist()
    assert [(row["meter_id"], row["newest"], row["silent_s"]) for row in rows] == [
        ("b", None, None),
        ("a", None, 50),
    ]
    assert (now.never, now.meters, now.counts([10, 60])) == (2, 2, [2, 1])


@pytest.mark.parametrize("digits", [1, 4, 5])
def test_regions_add_up_to_all(digits):
    told, live = many(5)
    now = standing(roll_of(*told), live, NOW)
    asked = Asked(1200)
    rows = now.regions(asked, digits).to_pylist()
    assert sum(row["meters"] for row in rows) == now.meters
    assert sum(row["silent"] for row in rows) == len(plainly(told, live, asked))
    for row in rows:
        if row["region"] is not None:
            assert row["silent"] == len(plainly(told, live, Asked(1200, None, row["region"])))
    inside = now.regions(Asked(1200, None, "gc"), digits)
    assert inside["region"].to_pylist() == [
        row["region"] for row in rows if (row["region"] or "").startswith("g")
    ]


def test_the_first_of_many_are_those_of_a_whole_sort():
    rng = np.random.default_rng(4)
    for limit in (1, 5, 40, 41, 100):
        values = rng.integers(0, 9, 41)
        assert first_of(values, limit).tolist() == np.argsort(values, kind="stable")[:limit].tolist()
