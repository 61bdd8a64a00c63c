"""Amounts of a column of numbers: whole columns at once where that is exact, by their digits where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.formats.decimals import FAILED, amounts_of
from meterlake.readings import AMOUNT_MAX, REASON_CODES

if TYPE_CHECKING:
    from meterlake.formats.categories import Meaning
    from meterlake.strips import Ints

_MOST_PLACES: Final = 13
_SURE: Final = 1e15
"""A decimal of at most 15 digits is the only one of its length that its float stands for."""

Bools = npt.NDArray[np.bool_]


def column_amounts(column: dict[str, pa.Array], word: Ints, meanings: list[Meaning]) -> Ints:
    """Milli units of each row; ``FAILED`` plus a reason's code where it has none."""
    if "amount" in column:
        given = pc.fill_null(column["amount"].cast(pa.int64()), FAILED)
        amounts: Ints = given.to_numpy(zero_copy_only=False).copy()
        out = (amounts > AMOUNT_MAX) | (amounts < -AMOUNT_MAX)
        out &= amounts != FAILED
        amounts[amounts == FAILED] = FAILED + REASON_CODES["missing_value"]
        amounts[out] = FAILED + REASON_CODES["out_of_range"]
        return amounts
    values = column["value"]
    multiplier = np.array([m.unit.multiplier for m in meanings], np.int64)[word]
    power = np.array([m.unit.power for m in meanings], np.int64)[word]
    amounts, sure = _whole(values, multiplier, power)
    if not sure.all():
        rest = np.flatnonzero(~sure)
        amounts[rest] = _from_text(values.take(pa.array(rest)), multiplier[rest], power[rest])
    wrong_unit = np.array([m.wrong_unit for m in meanings], bool)
    if wrong_unit.any():
        readable = (amounts >= FAILED + 256) | (amounts == FAILED + REASON_CODES["out_of_range"])
        amounts[wrong_unit[word] & readable] = FAILED + REASON_CODES["unit_mismatch"]
    return amounts


def _from_text(values: pa.Array, multiplier: Ints, power: Ints) -> Ints:
    """Amounts of ``values`` by way of their decimal digits."""
    text = pc.fill_null(values.cast(pa.large_string()), "")
    _, offsets, data = text.buffers()
    borders = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    content = np.frombuffer(data, np.uint8) if data and data.size else np.frombuffer(b"\n", np.uint8)
    amounts = np.empty(len(text), np.int64)
    amounts_of(content, borders, ord("."), multiplier, power, amounts)
    return amounts


def _whole(values: pa.Array, multiplier: Ints, power: Ints) -> tuple[Ints, Bools]:
    """Amounts of numbers that are whole ones by some decimal places, and for which rows that is sure."""
    kind, n = values.type, len(values)
    places, whole, sure = 0, np.zeros(n, np.int64), np.zeros(n, bool)
    if pa.types.is_float64(kind):
        places = 6
        floats = values.to_numpy(zero_copy_only=False)
        with np.errstate(all="ignore"):
            near = np.rint(floats * 1e6)
            sure = (np.abs(near) < _SURE) & (near / 1e6 == floats)
        whole = np.where(sure, near, 0).astype(np.int64)
    elif pa.types.is_decimal128(kind) and n:
        places = kind.scale
        halves = np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)[
            values.offset : values.offset + n
        ]
        whole, sure = halves[:, 0], halves[:, 1] == halves[:, 0] >> 63
    elif pa.types.is_integer(kind) and kind != pa.uint64():
        whole = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        sure = np.ones(n, bool)
    up = power - places
    factor = 10 ** np.clip(up, 0, _MOST_PLACES)
    most = AMOUNT_MAX // factor
    sure = sure & (multiplier == 1) & (up >= 0) & (up <= _MOST_PLACES) & (whole <= most) & (whole >= -most)
    if values.null_count:
        sure &= values.is_valid().to_numpy(zero_copy_only=False)
    return np.where(sure, whole * factor, 0), sure
