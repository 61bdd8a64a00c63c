"""Eight bytes at once: text is passed over and compared by whole words of the machine."""

# ruff: noqa: ARG001
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, and intrinsics have fixed signatures.

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic

PAD: Final = 8
"""Bytes that must follow what is read by `octet` and its callers."""

_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_SLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_BLANKS: Final = np.uint64(0x2020202020202020)


@intrinsic
def octet(_context: Any, data: Any, i: Any) -> Any:
    """Eight bytes from ``data[i]`` on, the first one lowest; ``data`` is a `pointer` to bytes."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base, index = arguments
        word = context.get_value_type(types.uint64)
        place = builder.bitcast(builder.gep(base, [index]), word.as_pointer())
        return builder.load(place, align=1)

    return types.uint64(data, types.int64), codegen


@intrinsic
def first_byte(_context: Any, marks: Any) -> Any:
    """Index of the lowest byte of ``marks`` that is not zero; ``marks`` is not zero."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.cttz(arguments[0], context.get_constant(types.boolean, True))
        return builder.lshr(zeros, context.get_constant(types.uint64, 3))

    return types.int64(types.uint64), codegen


@njit(nogil=True, cache=True, error_model="numpy")
def plain_text(data: Any, i: int) -> int:  # pragma: no cover - compiled
    """Position of the first quote, backslash or control character from ``i`` on; there must be one."""
    while True:
        word = octet(data, i)
        quote, slash = word ^ _QUOTES, word ^ _SLASHES
        marks = ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _BLANKS) & ~word)
        marks &= _HIGH
        if marks:
            return i + first_byte(marks)
        i += 8


@njit(nogil=True, cache=True, error_model="numpy")
def alike(data: Any, a: int, other: Any, c: int, n: int) -> bool:  # pragma: no cover - compiled
    """Whether ``n`` bytes from ``data[a]`` and from ``other[c]`` on are the same."""
    while n >= 8:
        if octet(data, a) != octet(other, c):
            return False
        a += 8
        c += 8
        n -= 8
    if n == 0:
        return True
    return (octet(data, a) ^ octet(other, c)) << np.uint64(64 - 8 * n) == 0
