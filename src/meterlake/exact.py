"""Exact numbers in text: amounts are printed digit by digit from integers, never through a float."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake.readings import MILLI

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGITS: Final = 6
"""Decimals of an amount: one milli base unit is 10**-6 kWh or m³."""

VALUE_TYPE: Final = pa.decimal128(38, DIGITS)


def decimal_text(amount_milli: int) -> str:
    """Write ``amount_milli`` milli base units in base units, without trailing zeros.

    >>> decimal_text(10_420_123_000), decimal_text(-5), decimal_text(2_000_000)
    ('10420.123', '-0.000005', '2')
    """
    whole, rest = divmod(abs(amount_milli), MILLI)
    sign = "-" if amount_milli < 0 else ""
    return f"{sign}{whole}.{rest:0{DIGITS}d}".rstrip("0") if rest else f"{sign}{whole}"


class Exact(int):
    """An amount in milli base units that `dumps` prints as a decimal number of base units."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the decimal text."""
        return decimal_text(int(self))

    def __repr__(self) -> str:
        """Return the decimal text."""
        return decimal_text(int(self))


def dumps(obj: Any) -> str:
    """Return ``obj`` (dicts, lists, text, numbers, `Exact`, None) as one line of JSON."""
    return "".join(_pieces(obj))


def _pieces(obj: Any) -> Iterator[str]:
    if isinstance(obj, Exact):
        yield str(obj)
    elif isinstance(obj, dict):
        yield "{"
        for i, (key, value) in enumerate(obj.items()):
            yield f"{', ' if i else ''}{json.dumps(key, ensure_ascii=False)}: "
            yield from _pieces(value)
        yield "}"
    elif isinstance(obj, list | tuple):
        yield "["
        for i, value in enumerate(obj):
            if i:
                yield ", "
            yield from _pieces(value)
        yield "]"
    else:
        yield json.dumps(obj, ensure_ascii=False)


def decimals(amounts: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return milli base units as Arrow decimals of base units; null where not ``valid``."""
    words = np.empty((len(amounts), 2), np.int64)
    words[:, 0] = amounts
    words[:, 1] = amounts >> 63
    return column(VALUE_TYPE, words, valid)


def column(kind: pa.DataType, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return an Arrow column of fixed width over ``data`` as it is; null where not ``valid``."""
    bits = None
    if valid is not None and not valid.all():
        bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [bits, pa.py_buffer(np.ascontiguousarray(data))])
