"""Rows of small numbers, big ones and negative ones are numbered as a sort would number them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meterlake.formats.categories import distinct

NUMBERS = st.integers(0, 3) | st.integers(-(2**63), 2**63 - 1) | st.just(70_000)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=12))
def test_distinct_rows_are_those_of_a_sort(rows):
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    found, index = distinct(*columns)
    assert [tuple(row) for row in found.tolist()] == sorted(set(rows))
    assert [tuple(found[at].tolist()) for at in index.tolist()] == rows
