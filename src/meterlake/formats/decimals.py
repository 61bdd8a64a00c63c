"""Decimal text to amounts: exact, whatever the unit and however many digits, rounded half to even."""

# ruff: noqa: FBT001
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from meterlake.formats.pointer import pointer
from meterlake.readings import AMOUNT_MAX, REASON_CODES
from meterlake.strips import MISSING

FAILED: Final = int(MISSING)
"""A result below ``FAILED + 256`` is no amount: what lies above ``FAILED`` is the code of the reason."""

_NO_VALUE: Final = FAILED + REASON_CODES["missing_value"]
_NO_NUMBER: Final = FAILED + REASON_CODES["bad_number"]
_TOO_LARGE: Final = FAILED + REASON_CODES["out_of_range"]
_LIMIT: Final = AMOUNT_MAX
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_DIGITS: Final = 18
"""Digits that a 64-bit mantissa surely holds."""
_WHOLE: Final = 14
"""Decimal places in front of the point that an amount within the limit can have."""
_FAR: Final = 10**12
"""Exponents saturate here; no line is long enough for digits to make up for it."""


@njit(nogil=True, cache=True, error_model="numpy")
def _exponent(data: Any, i: int, stop: int) -> tuple[bool, int]:  # pragma: no cover - compiled
    """Read ``e±digits`` that fills ``data[i:stop]``: whether it is one, and its value."""
    if data[i] != 101 and data[i] != 69:
        return False, 0
    i += 1
    minus = i < stop and data[i] == 45
    if i < stop and (minus or data[i] == 43):
        i += 1
    if i >= stop:
        return False, 0
    value = 0
    while i < stop:
        digit = np.int64(data[i]) - 48
        if digit < 0 or digit > 9:
            return False, 0
        value = min(value * 10 + digit, _FAR)
        i += 1
    return True, -value if minus else value


@njit(nogil=True, cache=True, error_model="numpy")
def _exact(
    data: Any, start: int, stop: int, multiplier: int, power: int, negative: bool
) -> int:  # pragma: no cover - compiled
    """Multiply the digits of ``data[start:stop]`` from the right, as on paper; ``power`` is the last one's.

    Bytes that are no digits (the decimal mark) are passed over. Only the places from 10**13 down to 0, the
    place after the point and whether anything lies below are kept, so any number of digits is exact.
    """
    whole, after, below, over = 0, 0, False, False
    carry = 0
    i = stop - 1
    place = power
    while i >= start or carry:
        if i >= start:
            digit = np.int64(data[i]) - 48
            i -= 1
            if digit < 0 or digit > 9:
                continue
            carry += digit * multiplier
        out = carry % 10
        carry //= 10
        if out:
            if place < -1:
                below = True
            elif place == -1:
                after = out
            elif place < _WHOLE:
                whole += out * _POWERS[place]
            else:
                over = True
        place += 1
    if after > 5 or (after == 5 and (below or whole % 2 == 1)):
        whole += 1
    if over or whole > _LIMIT:
        return _TOO_LARGE
    return -whole if negative else whole


@njit(nogil=True, cache=True, error_model="numpy")
def _scaled(mantissa: int, power: int, negative: bool) -> int:  # pragma: no cover - compiled
    """``mantissa * 10**power`` for a mantissa of at most 18 digits."""
    if mantissa == 0:
        return 0
    if power >= 0:
        if power >= _WHOLE or mantissa > _LIMIT // _POWERS[power]:
            return _TOO_LARGE
        amount = mantissa * _POWERS[power]
    elif power < -_DIGITS:
        return 0
    else:
        unit = _POWERS[-power]
        amount = mantissa // unit
        twice = 2 * (mantissa - amount * unit)
        if twice > unit or (twice == unit and amount % 2 == 1):
            amount += 1
        if amount > _LIMIT:
            return _TOO_LARGE
    return -amount if negative else amount


@njit(nogil=True, cache=True, error_model="numpy")
def _is_absent(data: Any, start: int, stop: int) -> bool:  # pragma: no cover - compiled
    """Whether the text is a word for no value: null, na or n/a in any case."""
    n = stop - start
    a = data[start] | 32
    if n == 4:
        return (
            a == 110 and data[start + 1] | 32 == 117
            and data[start + 2] | 32 == 108 and data[start + 3] | 32 == 108
        )  # fmt: skip
    if n == 2:
        return a == 110 and data[start + 1] | 32 == 97
    return n == 3 and a == 110 and data[start + 1] == 47 and data[start + 2] | 32 == 97


@njit(nogil=True, cache=True, error_model="numpy")
def amount_of(
    data: Any, start: int, stop: int, mark: int, multiplier: int, power: int
) -> int:  # pragma: no cover - compiled
    """Amount that the trimmed text ``data[start:stop]`` states in a unit of ``multiplier * 10**power``.

    ``mark`` is the byte of the decimal mark. Blank and null are `missing_value`, anything that is no
    number `bad_number`, more than the limit `out_of_range`; each is returned as ``FAILED + code``.
    """
    if start >= stop:
        return _NO_VALUE
    i = start
    negative = data[i] == 45
    if negative or data[i] == 43:
        i += 1
    first = i
    mantissa, digits, point = np.int64(0), 0, -1
    while i < stop:
        digit = np.int64(data[i]) - 48
        if 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            digits += 1
        elif data[i] == mark and point < 0:
            point = digits
        else:
            break
        i += 1
    if digits == 0:
        return _NO_VALUE if _is_absent(data, start, stop) else _NO_NUMBER
    last = i
    if i < stop:
        good, exponent = _exponent(data, i, stop)
        if not good:
            return _NO_NUMBER
        power += exponent
    if point >= 0:
        power -= digits - point
    if multiplier == 1 and digits <= _DIGITS:
        return _scaled(mantissa, power, negative)
    return _exact(data, first, last, multiplier, power, negative)


@njit(nogil=True, cache=True, error_model="numpy")
def amounts_of(
    data: Any, borders: Any, mark: int, multipliers: Any, powers: Any, amounts: Any
) -> None:  # pragma: no cover - compiled
    """`amount_of` the texts between consecutive ``borders``, each with its own unit, into ``amounts``."""
    text = pointer(data)
    for i in range(len(amounts)):
        amounts[i] = amount_of(text, borders[i], borders[i + 1], mark, multipliers[i], powers[i])
