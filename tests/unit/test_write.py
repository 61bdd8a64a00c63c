"""The fast writers against a slow and obvious reader: what they write reads back exactly."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.formats.write import (
    Series,
    blocks_table,
    equal_texts,
    long_rows,
    readings_table,
    text_rows,
    texts,
    wide_rows,
)
from meterlake.readings import AMOUNT_MAX, MILLI, READING_SCHEMA
from meterlake.strips import MISSING

Ints = npt.NDArray[np.int64]

AMOUNTS = st.one_of(
    st.just(0),
    st.just(MISSING),
    st.integers(0, 5_000).map(lambda wh: wh * 1000),
    st.integers(-AMOUNT_MAX, AMOUNT_MAX),
    st.sampled_from([1, -1, 999, 1000, 999_999, MILLI, 10 * MILLI, 10 * MILLI - 1, AMOUNT_MAX, -AMOUNT_MAX]),
)
SETTINGS = settings(max_examples=60, deadline=None)


def matrix(rows: int, columns: int) -> st.SearchStrategy[Ints]:
    cells = st.lists(AMOUNTS, min_size=rows * columns, max_size=rows * columns)
    return cells.map(lambda values: np.array(values, np.int64).reshape(rows, columns))


def milli(text: str) -> int:
    """Amount of a decimal text, or MISSING for a blank."""
    text = text.strip()
    if text in {"", "Null"}:
        return MISSING
    amount = Decimal(text) * MILLI
    assert amount == int(amount)
    return int(amount)


@SETTINGS
@given(amounts=matrix(6, 4), order=st.lists(st.integers(0, 5)))
def test_wide_rows_read_back_exactly_in_the_order_asked_for(amounts: Ints, order: list[int]) -> None:
    heads, days = ["E1,electricity.import,", "Zähler,gas.import,"], ["2026-01-01", "2026-01-02", "2026-01-03"]
    text = wide_rows(texts(heads), texts(days), amounts, np.array(order, np.int64)).tobytes().decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert [[*row[:3]] for row in rows] == [[*heads[r // 3].split(",")[:2], days[r % 3]] for r in order]
    assert [[milli(cell) for cell in row[3:]] for row in rows] == [amounts[r].tolist() for r in order]


@SETTINGS
@given(amounts=matrix(2, 5), order=st.lists(st.integers(0, 9)))
def test_long_rows_read_back_exactly_in_the_order_asked_for(amounts: Ints, order: list[int]) -> None:
    stamps = [f"2026-01-01 00:0{minute}:00.0000000," for minute in range(5)]
    text = long_rows(
        texts(["A,Std,", "Bb,ToU,"]), equal_texts(np.array(stamps, "S")), amounts,
        np.array(order, np.int64), before=b" ", after=b" \r\n",
    ).tobytes().decode()  # fmt: skip
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in rows] == [("A", "Bb")[r // 5] for r in order]
    assert [row[2] + "," for row in rows] == [stamps[r % 5] for r in order]
    assert [milli(row[3]) for row in rows] == [int(amounts.reshape(-1)[r]) for r in order]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (123_000, "0.123"), (120_000, "0.120"), (123_456, "0.123456"), (1, "0.000001"),
     (MILLI, "1.000"), (-1500, "-0.001500"), (12_345_678_901, "12345.678901"), (AMOUNT_MAX, "10000000.000")],
)  # fmt: skip
def test_a_value_has_three_decimals_and_six_only_where_they_are_needed(amount: int, text: str) -> None:
    written = wide_rows(texts([""]), texts([""]), np.array([[amount]], np.int64), np.array([0]))
    assert written.tobytes().decode() == f",{text}\n"


def test_each_record_ends_as_its_tail_says() -> None:
    amounts = np.array([[1000], [MISSING], [3000]], np.int64)
    text = text_rows(
        texts(["300,"]), texts(["d1", "d2", "d3"]), amounts, np.array([0, 1, 2, 1]),
        tails=texts([",A\n", ",V\n400\n"]), tail_of=np.array([0, 1, 0], np.int32), empty=b"0",
    )  # fmt: skip
    assert text.tobytes().decode() == (
        "300,d1,0.001,A\n300,d2,0,V\n400\n300,d3,0.003,A\n300,d2,0,V\n400\n"
    )  # fmt: skip


@SETTINGS
@given(amounts=matrix(2, 3), order=st.lists(st.integers(0, 5)))
def test_a_readings_table_holds_the_slots_asked_for(amounts: Ints, order: list[int]) -> None:
    series = Series(["E1", "G1"], ["electricity.import", "gas.import"], 900, 1_767_225_600)
    stamps = np.array([7, 8, 9], np.int64)
    table = readings_table(series, amounts, np.array(order, np.int64), stamps)
    assert table.schema == READING_SCHEMA
    assert table["meter_id"].to_pylist() == [series.meters[r // 3] for r in order]
    assert table["channel"].to_pylist() == [series.channels[r // 3] for r in order]
    assert table["amount"].to_pylist() == [int(amounts[r // 3, r % 3]) for r in order]
    starts = table["interval_start"].cast(pa.int64()).to_pylist()
    assert starts == [(1_767_225_600 + r % 3 * 900) * 1_000_000 for r in order]
    assert table["stamp"].cast(pa.int64()).to_pylist() == [7 + r % 3 for r in order]


@SETTINGS
@given(amounts=matrix(4, 24), order=st.lists(st.integers(0, 3)))
def test_blocks_give_back_their_amounts_at_the_largest_scale_that_divides_them(
    amounts: Ints, order: list[int]
) -> None:
    series = Series(["E1", "G1"], ["electricity.import", "gas.import"], 3600, 1_767_225_600)
    table = blocks_table(series, amounts, np.array(order, np.int64), np.arange(4) + 5)
    assert table.schema == BLOCK_SCHEMA
    for row, r in zip(table.to_pylist(), order, strict=True):
        values = row["values"] if row["values"] is not None else row["wide_values"]
        assert (row["values"] is None) != (row["wide_values"] is None)
        power = 10 ** row["scale"]
        assert [MISSING if v is None else v * power for v in values] == amounts[r].tolist()
        known = [int(v) for v in amounts[r] if v != MISSING]
        assert (row["filled"], row["total"]) == (len(known), sum(known))
        assert row["scale"] in {0, 9} or any(v % (power * 10) for v in known)
        assert row["meter_id"] == series.meters[r // 2]
        assert row["start"].day == 1 + r % 2


def test_blocks_of_another_width_are_refused() -> None:
    series = Series(["E1"], ["electricity.import"], 3600, 0)
    with pytest.raises(ValueError, match="24 slots, not 23"):
        blocks_table(series, np.zeros((1, 23), np.int64), np.array([0]), np.array([0]))
