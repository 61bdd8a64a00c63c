"""Questions about all meters, held to the answers about each and to sums over readings."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterlake.query import Questions
from meterlake.query.sums import codes_of
from meterlake.testing.handmade import Reading, lake_of

DAY = 86_400
START = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
ZONES = ("UTC", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata")
COMMON = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def fleets(draw):
    """Readings of a few meters, some with two channels or two lengths, some silent for a time."""
    readings = []
    for number in range(draw(st.integers(1, 4))):
        for channel, lengths in (("electricity.import", (900, 1800, 3600)), ("gas.import", (3600,))):
            for interval in draw(st.sets(st.sampled_from(lengths), max_size=2)):
                days = draw(st.integers(1, 3))
                holes = draw(st.sets(st.integers(1, days * DAY // interval - 1), max_size=20))
                first = START + draw(st.integers(0, 1)) * DAY
                quality = draw(st.sampled_from([4, 7]))
                readings += [
                    Reading(f"m{number}", channel, interval, first + k * interval, 10 * k - 5 * number, quality if k % 9 else 4)
                    for k in range(days * DAY // interval) if k not in holes
                ]  # fmt: skip
    return readings or [Reading("m0", "gas.import", 3600, START, 7)]


def moment(second):
    return datetime.fromtimestamp(second, UTC)


def sums_of(questions, meters, low, high, step, zone):
    """Sum of the histories of all meters by channel and step."""
    amount, filled, expected = Counter(), Counter(), Counter()
    for meter in meters:
        for listing in questions.history(meter, moment(low), moment(high), step=step, zone=zone).listings:
            for at, a, f, e in zip(
                *(c.tolist() for c in (listing.start, listing.amount, listing.filled, listing.expected)),
                strict=True,
            ):
                amount[listing.channel, at] += a
                filled[listing.channel, at] += f
                expected[listing.channel, at] += e
    return {key: (amount[key], filled[key], expected[key]) for key in expected if expected[key]}


@COMMON
@given(st.data(), fleets(), st.sampled_from(ZONES), st.sampled_from(["hour", "day", "month"]))
def test_the_fleet_is_the_sum_of_all_histories(data, readings, zone, step):
    cuts = data.draw(st.sampled_from([(), (START + DAY, START + 2 * DAY)]))
    questions = Questions(lake_of(readings, cuts))
    whole = data.draw(st.booleans())
    low, high = START - DAY, START + 4 * DAY
    if not whole:
        low += data.draw(st.integers(0, 2 * DAY))
        high = low + data.draw(st.integers(1, 3 * DAY))
    answer = questions.fleet(moment(low), moment(high), step=step, zone=zone).to_arrow()
    found = {
        (row["channel"], int(row["start"].timestamp())): (row["amount"] or 0, row["filled"], row["expected"])
        for row in answer.to_pylist()
    }
    meters = {r.meter for r in readings}
    wanted = sums_of(questions, meters, low, high, step, zone)
    assert {k: v[:2] for k, v in found.items() if v[1]} == {k: v[:2] for k, v in wanted.items() if v[1]}
    if whole and not cuts:
        assert found == wanted


@COMMON
@given(fleets())
def test_the_load_curve_is_the_sum_of_slots(readings):
    questions = Questions(lake_of(readings, (START + DAY,)))
    one_length = {(r.meter, r.channel) for r in readings}
    lengths = Counter((m, c) for m, c, _ in {(r.meter, r.channel, r.interval) for r in readings})
    readings = [r for r in readings if lengths[r.meter, r.channel] == 1]
    wanted, count = Counter(), Counter()
    for r in readings:
        wanted[r.channel, r.interval, r.start] += r.amount
        count[r.channel, r.interval, r.start] += 1
    if all(lengths[key] == 1 for key in one_length):
        rows = questions.fleet(moment(START), moment(START + 5 * DAY)).to_arrow().to_pylist()
        keys = {(r["channel"], r["seconds"], int(r["start"].timestamp())): r for r in rows if r["filled"]}
        assert {k: (r["amount"], r["filled"]) for k, r in keys.items()} == {
            k: (wanted[k], count[k]) for k in count
        }


@COMMON
@given(st.data(), fleets(), st.sampled_from(ZONES))
def test_the_top_of_all_is_every_meters_total(data, readings, zone):
    questions = Questions(lake_of(readings, data.draw(st.sampled_from([(), (START + DAY,)]))))
    low = START + data.draw(st.integers(-DAY, DAY))
    high = low + data.draw(st.integers(1, 3 * DAY))
    rows = questions.top(moment(low), moment(high), None, zone=zone).to_arrow().to_pylist()
    wanted = {}
    for meter in {r.meter for r in readings}:
        for listing in questions.history(meter, moment(low), moment(high), step="month", zone=zone).listings:
            if listing.filled.sum():
                wanted[meter, listing.channel] = (int(listing.amount.sum()), int(listing.filled.sum()))
    assert {(r["meter"], r["channel"]): (r["amount"], r["filled"]) for r in rows} == wanted
    for channel in {r["channel"] for r in rows}:
        amounts = [r["amount"] for r in rows if r["channel"] == channel]
        assert amounts == sorted(amounts, reverse=True)
    few = questions.top(moment(low), moment(high), 1, zone=zone).to_arrow().to_pylist()
    assert len(few) == len({r["channel"] for r in rows})


@COMMON
@given(st.data(), fleets())
def test_a_snapshot_holds_the_slot_of_the_moment(data, readings):
    questions = Questions(lake_of(readings, (START + DAY,)))
    at = data.draw(st.integers(START, START + 3 * DAY))
    rows = questions.snapshot(moment(at)).to_arrow().to_pylist()
    wanted = {}
    for r in sorted(readings, key=lambda r: r.interval):
        if r.start <= at < r.start + r.interval:
            wanted[r.meter, r.channel] = (r.start, r.interval, r.amount, r.quality)
    found = {}
    for row in rows:
        if row["value"] is not None:
            quality = {"actual": 4, "estimated": 7}[row["quality"]]
            found[row["meter"], row["channel"]] = (
                int(row["start"].timestamp()), row["seconds"], row["amount"], quality
            )  # fmt: skip
    assert found == wanted


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([900, 3600, 86_400]), st.integers(-(2**40), 2**40)),
        max_size=30,
    ),
    st.sampled_from([1, 2**20, 2**38]),
)
def test_distinct_rows_are_numbered_in_their_order(rows, coarse):
    rows = [(a, b, c // coarse) for a, b, c in rows]
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(3)]
    code, first = codes_of(*columns)
    distinct = sorted(set(rows))
    assert code.tolist() == [distinct.index(row) for row in rows]
    assert first.tolist() == [rows.index(row) for row in distinct]
