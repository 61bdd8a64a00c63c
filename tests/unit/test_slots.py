"""Decoded rows hold what the blocks hold, whatever the way a block is stored."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.blocks import flat_amounts, flat_traits
from meterlake.errors import Damaged
from meterlake.ids import MeterIds
from meterlake.intervals import block_slots, is_supported
from meterlake.partition import partition_of
from meterlake.slots import (
    PAGE_COLUMNS,
    RARE_COLUMNS,
    Channels,
    even_run,
    id_bytes,
    page_of,
    qualities_of,
    slots_of,
    width,
)
from meterlake.strips import MISSING
from meterlake.testing.handmade import Reading, block_table

DAY = 86_400
COLUMNS = [*PAGE_COLUMNS, *RARE_COLUMNS]


@st.composite
def tables(draw):
    """Some blocks of a few meters, channels and lengths, narrow and wide, even and mixed, whole and with gaps."""
    readings = []
    for meter in draw(st.sets(st.sampled_from(["a", "bb", "c-ü"]), min_size=1)):
        for channel in draw(st.sets(st.sampled_from(["gas.import", "electricity.import"]), min_size=1)):
            interval = draw(st.sampled_from([5, 900, 3600, DAY, 90_000]))
            size = draw(st.sampled_from([1, 100, 10**12]))
            quality = draw(st.sampled_from([(4,), (4, 7), (1, 5)]))
            slots = draw(st.sets(st.integers(0, 2 * block_slots(interval) - 1), min_size=1, max_size=60))
            readings += [
                Reading(
                    meter,
                    channel,
                    interval,
                    k * interval,
                    (k - 3) * size,
                    quality[k % len(quality)],
                    1 + k % 2,
                )
                for k in slots
            ]
    return block_table(readings)


@settings(max_examples=60, deadline=None)
@given(tables(), st.data())
def test_a_page_holds_the_slots_of_its_blocks(table, data):
    low = data.draw(st.integers(0, len(table) - 1))
    table = table.slice(low, data.draw(st.integers(1, len(table) - low)))  # offsets within the Arrow buffers
    page = page_of(table.select(COLUMNS), Channels())
    amounts, borders = flat_amounts(table)
    quality = np.where(amounts != MISSING, flat_traits(table, borders)[0], 0)
    rows = np.arange(len(table))
    slots = slots_of(page, rows)
    assert page.borders.tolist() == borders.tolist()
    assert np.where(slots.filled, slots.amount, MISSING).tolist() == amounts.tolist()
    assert qualities_of(page, rows, slots).tolist() == quality.tolist()
    assert page.sheet.rows["total"].tolist() == table["total"].to_pylist()
    assert page.sheet.rows["edited"].tolist() == [
        int((quality[a:b] == 5).sum()) for a, b in itertools.pairwise(borders)
    ]
    assert page.sheet.rows["estimated"].tolist() == [
        int((quality[a:b] > 5).sum()) for a, b in itertools.pairwise(borders)
    ]
    ids = table["meter_id"].to_pylist()
    for name in {*ids, "nobody"}:
        first, last = page.sheet.run(name.encode())
        assert ids[first:last] == [name] * ids.count(name)


@settings(max_examples=60, deadline=None)
@given(tables(), st.data())
def test_rows_that_are_alike_have_the_slots_that_any_rows_have(table, data):
    page = page_of(table, Channels())
    low = data.draw(st.integers(0, len(table) - 1))
    high = data.draw(st.integers(low + 1, len(table)))
    even, at = even_run(page, low, high), np.arange(low, high)
    rows = page.sheet.rows[low:high]
    alike = all(
        len(set(column.tolist())) == 1 for column in (rows["interval"], rows["quality"], page.power[at])
    )
    assert (even is not None) == (alike and rows["quality"][0] >= 0)
    if even is not None:
        slots = slots_of(page, at)
        start = (rows["start"] + rows["offset"])[slots.row] + slots.slot * even.interval_s
        assert even.start.tolist() == start.tolist()
        assert even.amount.tolist() == slots.amount.tolist()
        assert even.filled.tolist() == slots.filled.tolist()
        assert even.quality.tolist() == qualities_of(page, at, slots).tolist()


def test_a_block_without_a_value_for_each_slot_is_damaged():
    table = block_table([Reading("a", "gas.import", 3600, 0, 1)])
    short = table.set_column(6, "values", pa.array([[1, 2]], pa.list_(pa.int32())))
    with pytest.raises(Damaged, match="meterlake check"):
        page_of(short.select(COLUMNS), Channels())


def test_the_width_of_a_block_is_its_number_of_slots():
    lengths = [s for s in range(1, 90_001) if is_supported(s)]
    assert width(np.array(lengths)).tolist() == [block_slots(s) for s in lengths]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1).filter(lambda s: "\0" not in s), min_size=1))
def test_the_partition_of_an_id_is_that_of_the_writer(names):
    ids = MeterIds()
    codes = ids.codes_of(pa.array(names))
    assert ids.partitions(codes).tolist() == [partition_of(name) for name in names]
    assert [name.decode() for name in id_bytes(pa.array(names)).tolist()] == names
