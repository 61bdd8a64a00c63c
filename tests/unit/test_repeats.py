"""A reading that a batch holds twice counts once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meterlake.repeats import drop_repeats
from meterlake.strips import MISSING, Kind, Strips

KINDS = [Kind("electricity.import", s, q, 3, 0, False, "x", 1) for s, q in ((900, 4), (900, 7), (1800, 4))]
strip = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 4),
    st.lists(st.sampled_from([MISSING, 1, 2]), min_size=1, max_size=4),
)


def slots(strips):
    at = strips.offsets()
    return [
        (
            int(strips.meter[i]),
            int(strips.kind[i]),
            int(strips.start[i]) + k * KINDS[strips.kind[i]].interval_s,
            int(amount),
        )
        for i in range(len(strips))
        for k, amount in enumerate(strips.amounts[at[i] : at[i + 1]])
        if amount != MISSING
    ]


@given(st.lists(strip, max_size=12))
def test_what_is_left_is_the_distinct_readings_and_the_rest_is_counted(drawn):
    strips = Strips(
        np.array([m for m, *_ in drawn], np.int32),
        np.array([k for _, k, *_ in drawn], np.int32),
        np.array([s * 900 for *_, s, _ in drawn], np.int64),
        np.array([len(a) for *_, a in drawn], np.int32),
        np.zeros(len(drawn), np.int64),
        np.array([x for *_, a in drawn for x in a], np.int64),
    )
    before = slots(strips)
    left, repeated = drop_repeats(strips, KINDS)
    after = slots(left)
    assert len(after) == len(set(after)) == len(set(before))
    assert set(after) == set(before)
    assert repeated == len(before) - len(after)
