"""Readings out, fast: text rows by a compiled loop, and tables of readings and blocks for Parquet.

Text is made from three sets of ready pieces (what a row begins with, what names its day or moment, how it
ends) and a matrix of amounts, in the order that the caller lists: leaving a row out, repeating and moving
it are all the same thing, another list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from meterlake.blocks import BLOCK_SCHEMA, ORIGIN_RUN
from meterlake.intervals import block_slots, block_span_s
from meterlake.readings import READING_SCHEMA, Quality
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

US: Final = 1_000_000
SCALE_MAX: Final = 9
_INT32_MAX: Final = 2**31 - 1
_VALUE_MAX: Final = 21
"""Bytes of the longest int64 amount as text: a sign, thirteen digits, a point and six more."""


class Texts(NamedTuple):
    """Pieces of text in one buffer: piece i is ``data[at[i]:at[i + 1]]``."""

    data: Bytes
    at: Ints


def texts(pieces: Iterable[str | bytes]) -> Texts:
    """Pack ``pieces``, in UTF-8."""
    encoded = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    at = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(piece) for piece in encoded], out=at[1:])
    # A copy, because a buffer that cannot be written to would be another type to the compiler.
    return Texts(np.frombuffer(b"".join(encoded), np.uint8).copy(), at)


def equal_texts(pieces: npt.NDArray[np.bytes_]) -> Texts:
    """Pack an array of byte strings that all have the array's full width, such as time stamps."""
    pieces = np.ascontiguousarray(pieces)
    width = pieces.dtype.itemsize
    return Texts(pieces.view(np.uint8), np.arange(len(pieces) + 1, dtype=np.int64) * width)


def _digits() -> Bytes:
    ascii_digits = "".join(f"{number:03d}" for number in range(1000)).encode()
    return np.frombuffer(ascii_digits, np.uint8).reshape(1000, 3)


_DIGITS: Final = _digits()


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _put(out: Bytes, n: int, data: Bytes, start: int, stop: int) -> int:  # pragma: no cover - compiled
    # Unsigned indexes: there is then no test for indexes counted from the end, and half the time is saved.
    for i in range(np.uint64(start), np.uint64(stop)):
        out[np.uint64(n)] = data[i]
        n += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _put_value(out: Bytes, n: int, amount: int, digits: Bytes) -> int:  # pragma: no cover - compiled
    """Write ``amount`` / 10**6 as decimal text: 0, else three decimals, else six where they are needed."""
    if amount == 0:
        out[n] = 48
        return n + 1
    size = np.uint64(amount)
    if amount < 0:
        out[n] = 45
        n += 1
        size = np.uint64(-amount)
    thousands, rest = size // np.uint64(1000), size % np.uint64(1000)
    whole, part = thousands // np.uint64(1000), thousands % np.uint64(1000)
    if whole < np.uint64(10):
        out[n] = np.uint8(48 + whole)
        n += 1
    else:
        width, left = 0, whole
        while left > np.uint64(0):
            left //= np.uint64(10)
            width += 1
        for i in range(width - 1, -1, -1):
            out[n + i] = np.uint8(48 + whole % np.uint64(10))
            whole //= np.uint64(10)
        n += width
    out[n] = 46
    for i in range(3):
        out[n + 1 + i] = digits[part, i]
    n += 4
    if rest > np.uint64(0):
        for i in range(3):
            out[n + i] = digits[rest, i]
        n += 3
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _rows(  # noqa: PLR0913  # pragma: no cover - compiled
    heads: Texts, mids: Texts, tails: Texts, tail_of: Numbers, amounts: Ints, order: Ints,
    before: Bytes, empty: Bytes, row_max: int, value_max: int, digits: Bytes,
) -> Bytes:  # fmt: skip
    names, width = len(mids.at) - 1, amounts.shape[1]
    room = len(order) * (row_max + width * (len(before) + value_max))
    if len(tail_of):
        for record in order:
            room += tails.at[tail_of[record] + 1] - tails.at[tail_of[record]]
    out = np.empty(room, np.uint8)
    n = 0
    for record in order:
        head = record // names
        mid, tail = record - head * names, tail_of[record] if len(tail_of) else 0
        n = _put(out, n, heads.data, heads.at[head], heads.at[head + 1])
        n = _put(out, n, mids.data, mids.at[mid], mids.at[mid + 1])
        for slot in range(width):
            n = _put(out, n, before, 0, len(before))
            amount = amounts[record, slot]
            if amount == MISSING:
                n = _put(out, n, empty, 0, len(empty))
            else:
                n = _put_value(out, n, amount, digits)
        n = _put(out, n, tails.data, tails.at[tail], tails.at[tail + 1])
    return out[:n]


def _longest(pieces: Texts) -> int:
    return int(np.diff(pieces.at).max(initial=0))


def text_rows(  # noqa: PLR0913 - the parts of a row
    heads: Texts,
    mids: Texts,
    amounts: Ints,
    order: Ints,
    *,
    tails: Texts,
    tail_of: Numbers | None = None,
    before: bytes = b",",
    empty: bytes = b"",
) -> Bytes:
    """Write rows of text.

    A *record* r is row r of ``amounts`` (records x values of a record, int64 milli units, `MISSING` where
    empty); it begins with ``heads[r // len(mids)]`` and ``mids[r % len(mids)]``, then has each value as exact
    decimal text in base units after ``before``, and ends with ``tails[tail_of[r]]`` (``tails[0]`` without
    ``tail_of``). ``order`` lists the records to write. Returns the text as bytes (uint8).
    """
    piece, blank = np.frombuffer(before, np.uint8), np.frombuffer(empty, np.uint8)
    ends = np.empty(0, np.int32) if tail_of is None else tail_of
    row_max = _longest(heads) + _longest(mids) + (_longest(tails) if tail_of is None else 0)
    value_max = max(_VALUE_MAX, len(empty))
    parts = heads, mids, tails, ends, amounts, order, piece, blank
    return np.asarray(_rows(*parts, row_max, value_max, _DIGITS))


def wide_rows(heads: Texts, days: Texts, amounts: Ints, order: Ints) -> Bytes:
    """Write a comma-separated row a record, blank where a slot is empty: see `text_rows`."""
    return text_rows(heads, days, amounts, order, tails=texts(["\n"]))


def long_rows(
    heads: Texts, stamps: Texts, amounts: Ints, order: Ints, *, before: bytes, after: bytes
) -> Bytes:
    """Write a row a reading. ``amounts`` (series x slots) is read in row order, ``Null`` where empty."""
    return text_rows(
        heads, stamps, amounts.reshape(-1, 1), order, tails=texts([after]), before=before, empty=b"Null"
    )


class Series(NamedTuple):
    """Whose amounts a matrix holds: meter and channel by row, and where its first slot starts."""

    meters: Sequence[str]
    channels: Sequence[str]
    interval_s: int
    start_s: int
    """Start of the first slot, seconds since 1970 UTC."""


def readings_table(series: Series, amounts: Ints, order: Ints, stamp_us: Ints) -> pa.Table:
    """Readings (READING_SCHEMA) of ``amounts`` (series x slots) at the flat indexes ``order``.

    ``stamp_us`` is the version time of each slot, microseconds since 1970 UTC. Quality is actual, delivery 0.
    """
    slots = amounts.shape[1]
    row, slot = order // slots, order % slots
    names, code = np.unique(np.array(series.channels, object), return_inverse=True)
    channel = pa.DictionaryArray.from_arrays(code.astype(np.int32)[row], pa.array(names, pa.string()))
    count = len(order)
    columns = [
        pa.array(series.meters, pa.string()).take(pa.array(row)),
        channel,
        _moments((series.start_s + slot * series.interval_s) * US),
        np.full(count, series.interval_s, np.int32),
        amounts.reshape(-1)[order],
        np.full(count, Quality.ACTUAL, np.uint8),
        _moments(stamp_us[slot]),
        np.zeros(count, np.int32),
    ]
    return pa.table(columns, schema=READING_SCHEMA)


def _moments(microseconds: Ints) -> pa.Array[Any]:
    return pa.array(microseconds, pa.int64()).cast(BLOCK_SCHEMA.field("start").type)


def _scales(values: Ints) -> npt.NDArray[np.int8]:
    """Decimal exponent of the largest power of ten that divides all values of each row; 0 for all zeros."""
    common = np.gcd.reduce(values, axis=1)
    scale = np.zeros(len(values), np.int8)
    for power in range(1, SCALE_MAX + 1):
        scale[(common != 0) & (common % 10**power == 0)] = power
    return scale


def blocks_table(series: Series, amounts: Ints, order: Ints, stamp_us: Ints) -> pa.Table:
    """Interval blocks (BLOCK_SCHEMA) of ``amounts`` (blocks x slots of one): those that ``order`` lists.

    The blocks of one series stand together; ``start_s`` must be the start of a block. ``stamp_us`` has one
    entry a block. Quality is actual, delivery 0. Raises ValueError where the slots are not a block's.
    """
    span = block_span_s(series.interval_s)
    width = block_slots(series.interval_s)
    if amounts.shape[1] != width:
        raise ValueError(f"blocks of {series.interval_s} s have {width} slots, not {amounts.shape[1]}")
    per_series = len(amounts) // len(series.meters)
    row, block = order // per_series, order % per_series
    chosen = amounts[order]
    filled = chosen != MISSING
    known = np.where(filled, chosen, 0)
    scale = _scales(known)
    values = known // (10 ** scale.astype(np.int64))[:, None]
    fits = np.abs(values).max(1, initial=0) <= _INT32_MAX
    count, nulls = len(order), pa.nulls
    columns = [
        pa.array(series.meters, pa.string()).take(pa.array(row)),
        pa.array(series.channels, pa.string()).take(pa.array(row)),
        np.full(count, series.interval_s, np.int32),
        _moments((series.start_s + block * span) * US),
        np.zeros(count, np.int32),
        scale,
        _lists(values, filled, fits, pa.int32()),
        _lists(values, filled, ~fits, pa.int64()),
        np.full(count, Quality.ACTUAL, np.int8),
        nulls(count, pa.list_(pa.int8())),
        np.zeros(count, np.int32),
        _moments(stamp_us[order]),
        nulls(count, pa.list_(ORIGIN_RUN)),
        filled.sum(1, dtype=np.int32),
        known.sum(1),
    ]
    return pa.table(columns, schema=BLOCK_SCHEMA)


def _lists(
    values: Ints, filled: npt.NDArray[np.bool_], present: npt.NDArray[np.bool_], kind: pa.DataType
) -> pa.Array[Any]:
    """One list a row, null where not ``present``, its items null where not ``filled``."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.where(present, values.shape[1], 0), out=offsets[1:])
    items = pa.array(values[present].reshape(-1), kind, mask=~filled[present].reshape(-1))
    return pa.ListArray.from_arrays(offsets, items, pa.list_(kind), mask=pa.array(~present))
