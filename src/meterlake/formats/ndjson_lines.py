"""The kernel for NDJSON: each line's members become the fields of a delimited line, which `rows` then reads.

Only where things stand is decided here. Numbers, stamps and words are understood by the same kernels that read
csv files, so a value means the same in both.
"""

# ruff: noqa: PLR0911, PLR1714
# mypy: disable-error-code="no-any-return"
# Compiled by Numba: see rows.py.

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

FIELDS: Final = ("meter", "channel", "start", "seconds", "value", "unit", "quality")
"""Members of a reading, in the order of the fields that they become."""

MARK: Final = 0x1F
"""Between two fields; JSON text cannot hold it."""

NAMES: Final = np.frombuffer("".join(FIELDS).encode(), np.uint8)
STARTS: Final = np.cumsum([0, *(len(name) for name in FIELDS)]).astype(np.int64)

BROKEN: Final = -1
"""A line that is no plain JSON object."""
DEEP: Final = -2
"""A line with escapes or nested values: it must be written plainly first."""


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _blank(data: Any, i: int, end: int) -> int:  # pragma: no cover - compiled
    while i < end and (data[i] == 32 or data[i] == 9 or data[i] == 13):
        i += 1
    return i


@njit(nogil=True, cache=True, error_model="numpy")
def _string(data: Any, i: int, end: int) -> int:  # pragma: no cover - compiled
    """Return where the string ends that begins behind a quote at ``i - 1``; `BROKEN` or `DEEP`."""
    while i < end:
        c = data[i]
        if c == 34:
            return i
        if c == 92:
            return DEEP
        if c < 32:
            return BROKEN
        i += 1
    return BROKEN


@njit(nogil=True, cache=True, error_model="numpy")
def _member(data: Any, a: int, b: int, names: Any, starts: Any) -> int:  # pragma: no cover - compiled
    """Index of the field that ``data[a:b]`` names, -1 for none."""
    for k in range(len(starts) - 1):
        if starts[k + 1] - starts[k] == b - a:
            alike = True
            for j in range(b - a):
                if data[a + j] != names[starts[k] + j]:
                    alike = False
                    break
            if alike:
                return k
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def _value(data: Any, i: int, end: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Begin and end of the value at ``i``, and where to go on; the first is `BROKEN` or `DEEP` for no plain value."""
    if i >= end:
        return BROKEN, 0, 0
    c = data[i]
    if c == 34:
        stop = _string(data, i + 1, end)
        return (i + 1, stop, stop + 1) if stop >= 0 else (stop, 0, 0)
    if c == 123 or c == 91:
        return DEEP, 0, 0
    a = i
    while i < end and data[i] != 44 and data[i] != 125 and data[i] > 32:
        if data[i] == 34 or data[i] == 58 or data[i] == 123 or data[i] == 91:
            return BROKEN, 0, 0
        i += 1
    if i == a:
        return BROKEN, 0, 0
    if i - a == 4 and data[a] == 110 and data[a + 1] == 117:  # null
        return a, a, i
    return a, i, i


@njit(nogil=True, cache=True, error_model="numpy")
def _object(
    data: Any, i: int, end: int, names: Any, starts: Any, spans: Any
) -> int:  # pragma: no cover - compiled
    """Find the members of one line; 0, `BROKEN` or `DEEP`. Of a member said twice the last counts."""
    spans[:] = 0
    i = _blank(data, i, end)
    if i >= end or data[i] != 123:
        return BROKEN
    i = _blank(data, i + 1, end)
    while True:
        if i >= end or data[i] != 34:
            return BROKEN
        stop = _string(data, i + 1, end)
        if stop < 0:
            return stop
        field = _member(data, i + 1, stop, names, starts)
        i = _blank(data, stop + 1, end)
        if i >= end or data[i] != 58:
            return BROKEN
        a, b, i = _value(data, _blank(data, i + 1, end), end)
        if a < 0:
            return a
        if field >= 0:
            spans[field, 0], spans[field, 1] = a, b
        i = _blank(data, i, end)
        if i < end and data[i] == 44:
            i = _blank(data, i + 1, end)
            continue
        if i < end and data[i] == 125:
            return 0 if _blank(data, i + 1, end) == end else BROKEN
        return BROKEN


@njit(nogil=True, cache=True, error_model="numpy")
def flatten(
    data: Any, names: Any, starts: Any, line_max: int, out: Any, deep: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Write the fields of every line to ``out``; return the bytes written and the lines that are deep.

    ``data`` ends in a newline. A broken line becomes one of no fields, a blank one stays blank. ``deep`` gets the
    numbers (from 0) of the lines that hold escapes or nested values; they are broken too.
    """
    spans = np.zeros((len(starts) - 1, 2), np.int64)
    at, written, line, late = 0, 0, 0, 0
    while at < len(data):
        end = at
        while data[end] != 10:
            end += 1
        if _blank(data, at, end) < end:
            state = BROKEN
            if end - at <= line_max:
                state = _object(data, at, end, names, starts, spans)
            if state == DEEP:
                deep[late] = line
                late += 1
            if state == 0:
                for k in range(len(spans)):
                    for j in range(spans[k, 0], spans[k, 1]):
                        out[written] = data[j]
                        written += 1
                    out[written] = 31
                    written += 1
            else:
                out[written] = 33
                written += 1
        out[written] = 10
        written += 1
        line += 1
        at = end + 1
    return written, late
