"""What wide rows and NEM12 days share in the kernels: a day's values, and where its slots lie in UTC.

A day whose clock is changed has fewer or more slots than others. A row that has just that many is read by
position. A row with the usual number is read by its clock: values in a skipped hour cannot exist, values
in a doubled hour could be either.
"""

# ruff: noqa: FBT001, PLR0913, PLR1714, SIM110
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from meterlake.formats.decimals import FAILED, amount_of
from meterlake.formats.lines import R_COUNT, R_LINE, R_REASON, R_START, R_STOP, REJECT
from meterlake.formats.localtime import first_utc, is_skipped, stretch_of
from meterlake.intervals import DAY_S
from meterlake.readings import REASON_CODES, REASONS

TALLY: Final = len(REASONS) + 1
"""Length of a tally: how many slots of a row are refused, by reason code."""

_NONEXISTENT: Final = REASON_CODES["nonexistent_local_time"]
_AMBIGUOUS: Final = REASON_CODES["ambiguous_local_time"]
_NO_VALUE: Final = REASON_CODES["missing_value"]
_BAD_NUMBER: Final = REASON_CODES["bad_number"]
_UNIT: Final = REASON_CODES["unit_mismatch"]
_FUTURE: Final = REASON_CODES["future"]


@njit(nogil=True, cache=True, error_model="numpy")
def read_values(
    data: Any, starts: Any, stops: Any, first: int, n: int, mark: int, multiplier: int, power: int,
    wrong_unit: bool, amounts: Any, at: int, tally: Any,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Amounts of fields ``first`` to ``first + n`` into ``amounts[at:]``; `FAILED` where refused, and tallied."""
    for k in range(n):
        amount = amount_of(data, starts[first + k], stops[first + k], mark, multiplier, power)
        if amount < FAILED + 256:
            reason = amount - FAILED
            if wrong_unit and reason != _NO_VALUE and reason != _BAD_NUMBER:
                reason = _UNIT
            tally[reason] += 1
            amount = FAILED
        elif wrong_unit:
            tally[_UNIT] += 1
            amount = FAILED
        amounts[at + k] = amount


@njit(nogil=True, cache=True, error_model="numpy")
def day_span(clock: Any, local: int, hint: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """First UTC second of the 24 hours of the clock from ``local`` on, their true length, and the stretch."""
    stretch = stretch_of(clock, local, hint)
    start = first_utc(clock, local, stretch)
    end = local + DAY_S
    if stretch % 2 == 0 and end < clock.bounds[stretch + 1]:
        return start, DAY_S, stretch
    return start, first_utc(clock, end, stretch_of(clock, end, stretch)) - start, stretch


@njit(nogil=True, cache=True, error_model="numpy")
def place_by_clock(
    clock: Any, local: int, start: int, length: int, interval: int, n: int,
    amounts: Any, at: int, qualities: Any, coded: bool, tally: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Move ``n`` values read by their clock from ``local`` on to their UTC slots after ``start``; return those.

    Where they are ``coded``, ``qualities`` (a code a value, with room for a day's slots) move along.
    """
    slots = length // interval
    values, codes = np.empty(n, np.int64), np.zeros(n, np.int8)
    for k in range(n):
        values[k] = amounts[at + k]
        codes[k] = qualities[k] if coded else 0
    for k in range(slots):
        amounts[at + k] = FAILED
    for k in range(n):
        if values[k] == FAILED:
            continue
        shown = local + k * interval
        stretch = stretch_of(clock, shown, 0)
        if stretch % 2 == 1:
            tally[_NONEXISTENT if is_skipped(clock, stretch) else _AMBIGUOUS] += 1
            continue
        slot = (shown - clock.offsets[stretch // 2] - start) // interval
        if 0 <= slot < slots:
            amounts[at + slot] = values[k]
            if coded:
                qualities[slot] = codes[k]
        else:
            tally[_NONEXISTENT] += 1
    return slots


@njit(nogil=True, cache=True, error_model="numpy")
def refuse_future(
    start: int, interval: int, n: int, limit: int, amounts: Any, at: int, tally: Any
) -> None:  # pragma: no cover - compiled
    """Refuse the slots that start after ``limit``."""
    if start + (n - 1) * interval <= limit:
        return
    for k in range(max((limit - start) // interval + 1, 0), n):
        if amounts[at + k] != FAILED:
            amounts[at + k] = FAILED
            tally[_FUTURE] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def write_tally(
    tally: Any, rejects: Any, n: int, line: int, start: int, stop: int
) -> int:  # pragma: no cover - compiled
    """Write the reasons of a row to ``rejects`` from entry ``n`` on and clear the tally; entries now."""
    for reason in range(1, TALLY):
        if tally[reason]:
            at = n * REJECT
            rejects[at + R_LINE], rejects[at + R_START], rejects[at + R_STOP] = line, start, stop
            rejects[at + R_REASON], rejects[at + R_COUNT] = reason, tally[reason]
            tally[reason] = 0
            n += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def filled(amounts: Any, at: int, n: int) -> bool:  # pragma: no cover - compiled
    """Whether any of ``n`` slots from ``at`` on has a value."""
    for k in range(n):
        if amounts[at + k] != FAILED:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def blank(starts: Any, stops: Any, first: int, last: int) -> bool:  # pragma: no cover - compiled
    """Whether the fields from ``first`` to before ``last`` are all blank."""
    for k in range(first, last):
        if starts[k] != stops[k]:
            return False
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def slots_stated(
    starts: Any, stops: Any, first: int, present: int, usual: int, slots: int
) -> int:  # pragma: no cover - compiled
    """How many slots a row of ``present`` values states, on a day of ``slots`` where days have ``usual``.

    All of them, less blank ones at the end that this day does not have; 0 where the number fits neither the
    day nor the clock.
    """
    if present in (slots, usual):
        return present
    if present > slots and present > usual and blank(starts, stops, first + slots, first + present):
        return slots
    if present > usual and blank(starts, stops, first + usual, first + present):
        return usual
    return 0
