"""Many meter-channels of several lengths at once are held to one after the other."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.query import Questions, mixed
from meterlake.query.meters import Group, stack_members, stacks
from meterlake.query.mixed import Grids, Mixed, mixed_of
from meterlake.query.places import NOWHERE
from meterlake.query.series import Cells
from meterlake.query.states import States
from meterlake.testing.handmade import Reading, lake_of
from meterlake.usage import Units, counted_once, empties, prefix, ranks

DAY = 86_400
START = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
COMMON = settings(max_examples=60, deadline=None)


@st.composite
def series(draw):
    """Slots of one meter-channel in up to three lengths, days of 23 to 25 hours among them."""
    slots = {}
    for length in draw(st.sets(st.sampled_from([60, 900, 1800, 3600, DAY]), min_size=1, max_size=3)):
        first, count = draw(st.integers(-3, 3)), draw(st.integers(1, 40 if length < DAY else 3))
        holes = draw(st.sets(st.integers(0, count - 1), max_size=10))
        at = START + first * 7200
        for k in range(count):
            own = draw(st.sampled_from([DAY - 3600, DAY, DAY + 3600])) if length == DAY else length
            if k not in holes:
                slots[at, own] = None
            at += own
    return sorted(slots)


def together(each):
    """The series as `mixed_of` gives them."""
    of = np.concatenate([np.full(len(one), n) for n, one in enumerate(each)]).astype(np.int64)
    start, interval = (np.array([slot[i] for one in each for slot in one], np.int64) for i in (0, 1))
    amount = np.arange(len(start))
    cells = Cells(
        start, interval, amount, np.ones(len(start), bool), np.full(len(start), 4, np.uint8), amount
    )
    groups = [Group(f"m{n}", 0) for n in range(len(each))]
    return mixed._settled((groups, of, cells), NOWHERE)


def units_of(one):
    start, interval = (np.array([slot[i] for slot in one], np.int64) for i in (0, 1))
    keep = counted_once(start, interval, ranks(interval, None))
    ones = np.ones(int(keep.sum()), np.int64)
    return keep, Units(start[keep], ones, interval[keep], np.zeros((len(ones), 4), np.int64), ones)


@COMMON
@given(st.lists(series().filter(len), min_size=1, max_size=4), st.data())
def test_series_side_by_side_are_as_each_alone(each, data):
    low = START + data.draw(st.integers(-2 * DAY, DAY))
    span = low, low + data.draw(st.integers(1, 3 * DAY))
    borders = np.sort(np.array(data.draw(st.lists(st.integers(*span), min_size=2, max_size=5))))
    found = together(each)
    grids = Grids(found, span)
    of, start, length = grids.slots()
    for n, one in enumerate(each):
        keep, units = units_of(one)
        assert found.counted[found.of == n].tolist() == keep.tolist()
        expected = grids.before(np.array([n]), borders[None, :])[0]
        assert np.diff(expected).tolist() == np.diff(prefix(units, borders).expected).tolist()
        own = (units.first >= span[0]) & (units.first < span[1])
        holes, lengths = empties(units, *span)
        wanted = sorted(
            zip(
                np.append(units.first[own], holes).tolist(),
                np.append(units.interval[own], lengths).tolist(),
                strict=True,
            )
        )
        assert sorted(zip(start[of == n].tolist(), length[of == n].tolist(), strict=True)) == wanted


def test_a_few_slots_at_a_time_are_all_of_them(monkeypatch):
    readings = [
        Reading(f"m{m}", "electricity.import", interval, START + k * interval, 10 * k + m)
        for m in range(7)
        for interval in (900, 1800)
        for k in range(2 * DAY // interval)
        if (k + m) % 5
    ]
    lake = lake_of(readings, (START + DAY,))
    view = States(lake).files()
    span = (START, START + 2 * DAY)
    (stack,) = stacks(view.files_between(*span))
    groups = stack_members(view, stack).mixed
    assert len(groups) == 7
    (whole,) = mixed_of(view, stack, groups, span, NOWHERE)
    before = Questions(lake).fleet(*(datetime.fromtimestamp(s, UTC) for s in span), step="hour").to_arrow()
    monkeypatch.setattr(mixed, "SLOTS_AT_ONCE", 300)
    parts: list[Mixed] = list(mixed_of(view, stack, groups, span, NOWHERE))
    assert len(parts) > 2
    for column, pieces in zip(whole.cells, zip(*(part.cells for part in parts), strict=True), strict=True):
        assert column.tolist() == np.concatenate(pieces).tolist()
    after = Questions(lake).fleet(*(datetime.fromtimestamp(s, UTC) for s in span), step="hour").to_arrow()
    assert after.equals(before)
