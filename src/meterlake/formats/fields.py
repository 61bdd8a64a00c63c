"""Lines to fields, byte by byte: the splitter that all text codecs share.

A line ends at a newline, always; a field may stand in double quotes and may have blanks around it. The
buffer must end with a newline, so that no loop needs to ask for its end.
"""

# ruff: noqa: PLR1714, SIM110
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any, Final

from numba import njit

WHOLE: Final = 0
DOUBLED: Final = 1
"""Some quoted field holds a doubled quote, which is not undone here."""
BROKEN: Final = 2
"""A quote is never closed, or something follows the closing one."""


@njit(nogil=True, cache=True, error_model="numpy")
def split(
    data: Any, i: int, delimiter: int, starts: Any, stops: Any, room: int
) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Split the line at ``i``: (fields, position of its newline, `WHOLE` or what is wrong with it).

    Field k is ``data[starts[k]:stops[k]]`` without quotes and blanks; fields beyond ``room`` are counted only.
    """
    n, flaw = 0, WHOLE
    while True:
        c = data[i]
        while (c == 32 or c == 9) and c != delimiter:
            i += 1
            c = data[i]
        if c == 34:
            start, stop, i, wrong = _quoted(data, i + 1, delimiter)
            flaw = max(flaw, wrong)
            c = data[i]
        else:
            start = i
            while c != delimiter and c != 10:
                i += 1
                c = data[i]
            stop = i
            while stop > start and (data[stop - 1] == 32 or data[stop - 1] == 13 or data[stop - 1] == 9):
                stop -= 1
        if n < room:
            starts[n] = start
            stops[n] = stop
        n += 1
        if c == 10:
            return n, i, flaw
        i += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _quoted(data: Any, i: int, delimiter: int) -> tuple[int, int, int, int]:  # pragma: no cover - compiled
    """Field behind an opening quote: start, stop, position of the delimiter or newline after it, flaw."""
    flaw = WHOLE
    start = i
    while True:
        c = data[i]
        if c == 10:
            return start, i, i, BROKEN
        if c == 34:
            if data[i + 1] != 34:
                break
            flaw = DOUBLED
            i += 1
        i += 1
    stop = i
    i += 1
    while data[i] != delimiter and data[i] != 10:
        if data[i] != 32 and data[i] != 13 and data[i] != 9:
            flaw = BROKEN
        i += 1
    while stop > start and data[stop - 1] == 32:
        stop -= 1
    while start < stop and data[start] == 32:
        start += 1
    return start, stop, i, flaw


@njit(nogil=True, cache=True, error_model="numpy")
def same(data: Any, a: int, b: int, other: Any, c: int, d: int) -> bool:  # pragma: no cover - compiled
    """Whether ``data[a:b]`` and ``other[c:d]`` hold the same bytes."""
    if b - a != d - c:
        return False
    for k in range(b - a):
        if data[a + k] != other[c + k]:
            return False
    return True
