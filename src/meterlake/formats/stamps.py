"""Stamps to seconds: ISO 8601 by a fast path, any strptime format by a small program run in the kernel."""

# ruff: noqa: C901, PLR0911, PLR0912
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numba import njit

from meterlake.errors import Invalid

if TYPE_CHECKING:
    from meterlake.strips import Ints

BAD: Final = 1
"""Status bit: the text is no stamp of this form."""
ABSOLUTE: Final = 2
"""Status bit: the text says its offset from UTC, or counts from 1970."""
FRACTION: Final = 4
"""Status bit: a fraction of a second that is not zero."""

NO_STAMP: Final = -1
BAD_STAMP: Final = -2
"""What `sent_of` says of no text, and of text that is no stamp with an offset."""

ISO: Final = 0
EPOCH_S: Final = 1
EPOCH_MS: Final = 2
PROGRAM: Final = 3
ROOM: Final = 14
"""Numbers that a program collects, by directive."""

_DIRECTIVES: Final = "YymdHIpMSfbzj"
_WIDTHS: Final = np.array([0, 0, 2, 2, 2, 2, 0, 2, 2, 0, 0, 0, 3])
_MOST: Final = np.array([0, 0, 12, 31, 23, 12, 0, 59, 59, 0, 0, 0, 366])
"""Digits and largest value of directives that are small numbers, in the order of ``_DIRECTIVES``."""
_BLANK: Final = 255
_FIRST_OP: Final = 256
"""Codes from here on are directives, in the order of ``_DIRECTIVES``; below are literal bytes."""
_MONTHS: Final = np.frombuffer(b"janfebmaraprmayjunjulaugsepoctnovdec", np.uint8)
_LENGTHS: Final = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_SECONDS_END: Final = len("2026-01-01T00:00:00")
_EPOCH_MAX: Final = 10**12
_PIVOT: Final = 69
"""Two-digit years from here on are of the last century, as POSIX has it."""


class Form(NamedTuple):
    """How stamps are written: a mode, and for `PROGRAM` its steps (literal bytes and directive codes)."""

    mode: int
    program: Ints


class Script(NamedTuple):
    """A `Form` as the kernels take it, with room for `ROOM` numbers."""

    mode: int
    program: Any
    steps: int
    room: Any


def form_of(time_format: str | None) -> Form:
    """Compile ``iso``, ``epoch_s``, ``epoch_ms`` or a strptime format.

    Raises:
        Invalid: the format holds a directive that is not supported.

    """
    modes = {None: ISO, "iso": ISO, "epoch_s": EPOCH_S, "epoch_ms": EPOCH_MS}
    if time_format in modes:
        return Form(modes[time_format], np.empty(0, np.int64))
    steps: list[int] = []
    letters = iter((time_format or "").strip().encode())
    for byte in letters:
        if byte in b" \t":
            if steps[-1:] != [_BLANK]:
                steps.append(_BLANK)
        elif byte != ord("%"):
            steps.append(byte)
        else:
            letter = chr(next(letters, 0))
            if letter == "%":
                steps.append(byte)
            elif letter in _DIRECTIVES:
                steps.append(_FIRST_OP + _DIRECTIVES.index(letter))
            else:
                known = " ".join(f"%{known}" for known in _DIRECTIVES)
                raise Invalid(f"--time-format {time_format}: %{letter} is not supported; use {known} %%")
    return Form(PROGRAM, np.array(steps, np.int64))


@njit(nogil=True, cache=True, error_model="numpy")
def days_of(year: int, month: int, day: int) -> int:  # pragma: no cover - compiled
    """Days from 1970-01-01 to a date of the Gregorian calendar.

    Formula: days_from_civil of H. Hinnant, "chrono-compatible low-level date algorithms".
    """
    if month <= 2:
        year -= 1
        month += 12
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@njit(nogil=True, cache=True, error_model="numpy")
def is_date(year: int, month: int, day: int) -> bool:  # pragma: no cover - compiled
    """Whether there is such a date."""
    if year < 1 or month < 1 or month > 12 or day < 1:
        return False
    if day <= 28:
        return True
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= (29 if month == 2 and leap else _LENGTHS[month - 1])


@njit(nogil=True, cache=True, error_model="numpy")
def number(data: Any, i: int, width: int) -> int:  # pragma: no cover - compiled
    """Number of exactly ``width`` digits at ``i``; negative where one of them is no digit."""
    value, wrong = 0, 0
    for k in range(width):
        digit = np.int64(data[i + k]) - 48
        wrong |= digit | (9 - digit)
        value = value * 10 + digit
    return value if wrong >= 0 else -1


@njit(nogil=True, cache=True, error_model="numpy")
def _offset(data: Any, i: int, stop: int) -> tuple[int, int]:  # pragma: no cover - compiled
    """``Z``, ``±hh``, ``±hhmm`` or ``±hh:mm`` that fills ``data[i:stop]``: seconds, and 1 if it is none."""
    n = stop - i
    if n == 1 and (data[i] == 90 or data[i] == 122):
        return 0, 0
    if n < 3 or (data[i] != 43 and data[i] != 45):
        return 0, 1
    hours, minutes = number(data, i + 1, 2), 0
    if n == 5:
        minutes = number(data, i + 3, 2)
    elif n == 6 and data[i + 3] == 58:
        minutes = number(data, i + 4, 2)
    elif n != 3:
        return 0, 1
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return 0, 1
    seconds = hours * 3600 + minutes * 60
    return (-seconds if data[i] == 45 else seconds), 0


@njit(nogil=True, cache=True, error_model="numpy")
def _fraction(data: Any, i: int, stop: int) -> tuple[int, bool]:  # pragma: no cover - compiled
    """Digits from ``i`` on: position after them, and whether one is not zero."""
    some = False
    while i < stop and 48 <= data[i] <= 57:
        some |= data[i] != 48
        i += 1
    return i, some


@njit(nogil=True, cache=True, error_model="numpy")
def _iso(data: Any, a: int, b: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """``YYYY-MM-DD``, then maybe ``[ T]HH:MM[:SS[.f…]]``, then maybe an offset; 24:00 ends a day."""
    n = b - a
    if n < 10 or data[a + 4] != 45 or data[a + 7] != 45:
        return BAD, 0, 0
    year, month, day = number(data, a, 4), number(data, a + 5, 2), number(data, a + 8, 2)
    if not is_date(year, month, day):
        return BAD, 0, 0
    midnight = days_of(year, month, day) * 86_400
    if n == 10:
        return 0, midnight, 0
    if n < 16 or data[a + 13] != 58 or (data[a + 10] != 32 and data[a + 10] | 32 != 116):
        return BAD, 0, 0
    hour, minute, second = number(data, a + 11, 2), number(data, a + 14, 2), 0
    i = a + 16
    some = False
    if i < b and data[i] == 58:
        if b - i < 3:
            return BAD, 0, 0
        second = number(data, i + 1, 2)
        i += 3
        if i < b and (data[i] == 46 or data[i] == 44):
            j, some = _fraction(data, i + 1, b)
            if j == i + 1:
                return BAD, 0, 0
            i = j
    time = hour * 3600 + minute * 60 + second
    if (
        (hour | minute | second) < 0
        or minute > 59
        or second > 59
        or time > 86_400
        or (time == 86_400 and some)
    ):
        return BAD, 0, 0
    status = FRACTION if some else 0
    if i == b:
        return status, midnight + time, 0
    if data[i] == 32:
        i += 1
    shift, wrong = _offset(data, i, b)
    if wrong:
        return BAD, 0, 0
    return status | ABSOLUTE, midnight + time - shift, shift


@njit(nogil=True, cache=True, error_model="numpy")
def _epoch(data: Any, a: int, b: int, per_second: int) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Whole or decimal count of (milli)seconds since 1970."""
    minus = a < b and data[a] == 45
    i = a + 1 if minus else a
    first, value = i, np.int64(0)
    while i < b and 48 <= data[i] <= 57 and i - first < 18:
        value = value * 10 + (np.int64(data[i]) - 48)
        i += 1
    if i == first:
        return BAD, 0, 0
    some = value % per_second != 0
    if i < b and data[i] == 46:
        i, rest = _fraction(data, i + 1, b)
        some |= rest
    seconds = value // per_second
    if i != b or seconds > _EPOCH_MAX:
        return BAD, 0, 0
    return ABSOLUTE | (FRACTION if some else 0), (-seconds if minus else seconds), 0


@njit(nogil=True, cache=True, error_model="numpy")
def _upto(data: Any, i: int, stop: int, width: int, most: int) -> tuple[int, int]:  # pragma: no cover
    """Number of up to ``width`` digits that is at most ``most``, greedy: value (or -1), position after it."""
    value, n = 0, 0
    while n < width and i < stop and 48 <= data[i] <= 57 and value * 10 + (np.int64(data[i]) - 48) <= most:
        value = value * 10 + (np.int64(data[i]) - 48)
        i += 1
        n += 1
    return (value if n else -1), i


@njit(nogil=True, cache=True, error_model="numpy")
def _month(data: Any, i: int, stop: int) -> int:  # pragma: no cover - compiled
    """Month that an English three-letter name at ``i`` stands for; 0 where it is none."""
    if stop - i < 3:
        return 0
    for k in range(12):
        if (
            data[i] | 32 == _MONTHS[3 * k]
            and data[i + 1] | 32 == _MONTHS[3 * k + 1]
            and data[i + 2] | 32 == _MONTHS[3 * k + 2]
        ):
            return k + 1
    return 0


@njit(nogil=True, cache=True, error_model="numpy")
def _run(data: Any, i: int, b: int, script: Any) -> int:  # pragma: no cover - compiled
    """Match ``data[i:b]`` with the script's program. Position after what matches, -1: no match."""
    out = script.room
    for k in range(script.steps):
        step = script.program[k]
        if step == _BLANK:
            first = i
            while i < b and (data[i] == 32 or data[i] == 9):
                i += 1
            if i == first:
                return -1
            continue
        if step < _FIRST_OP:
            if i >= b or data[i] != step:
                return -1
            i += 1
            continue
        op = step - _FIRST_OP
        value = -1
        if _MOST[op] > 0:
            value, i = _upto(data, i, b, _WIDTHS[op], _MOST[op])
        elif op == 0 and b - i >= 4:
            value = number(data, i, 4)
            i += 4
        elif op == 1 and b - i >= 2:
            value = number(data, i, 2)
            value += (1900 if value >= _PIVOT else 2000) if value >= 0 else 0
            i += 2
        elif op == 6 and b - i >= 2 and data[i + 1] | 32 == 109:
            value = 0 if data[i] | 32 == 97 else 1 if data[i] | 32 == 112 else -1
            i += 2
        elif op == 9:
            first = i
            i, some = _fraction(data, i, b)
            value = -1 if i == first else 1 if some else 0
        elif op == 10:
            value = _month(data, i, b)
            value = value or -1
            i += 3
        elif op == 11:
            first = i
            while i < b and data[i] != 32:
                i += 1
            out[11], wrong = _offset(data, first, i)
            value = -1 if wrong else 1
            op = 13
        if value < 0:
            return -1
        out[op] = value
    return i


@njit(nogil=True, cache=True, error_model="numpy")
def _programmed(data: Any, a: int, b: int, script: Any) -> tuple[int, int, int]:  # pragma: no cover
    """Run the program and put its numbers together as strptime does."""
    out = script.room
    for k in range(ROOM):
        out[k] = -1
    out[11] = 0
    if _run(data, a, b, script) != b:
        return BAD, 0, 0
    year = out[0] if out[0] >= 0 else out[1] if out[1] >= 0 else 1900
    month = out[2] if out[2] >= 0 else out[10] if out[10] >= 0 else 1
    day = out[3] if out[3] >= 0 else 1
    hour = max(out[4], 0)
    if out[5] >= 0:
        if out[5] == 0:
            return BAD, 0, 0
        hour = out[5] % 12 + (12 if out[6] == 1 else 0)
    if not is_date(year, month, day):
        return BAD, 0, 0
    days = days_of(year, month, day)
    if out[12] >= 0 and out[2] < 0 and out[10] < 0 and out[3] < 0:
        days += out[12] - 1
        if out[12] == 0 or days >= days_of(year + 1, 1, 1):
            return BAD, 0, 0
    seconds = days * 86_400 + hour * 3600 + max(out[7], 0) * 60 + max(out[8], 0)
    status = (FRACTION if out[9] > 0 else 0) | (ABSOLUTE if out[13] > 0 else 0)
    return status, seconds - out[11], out[11]


@njit(nogil=True, cache=True, error_model="numpy")
def stamp_of(data: Any, a: int, b: int, script: Any) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Status bits, seconds since 1970 and offset (s) of the stamp ``data[a:b]``.

    Seconds are UTC where the status has `ABSOLUTE`, else those of the local clock.
    """
    if script.mode == ISO:
        return _iso(data, a, b)
    if script.mode == PROGRAM:
        return _programmed(data, a, b, script)
    return _epoch(data, a, b, 1 if script.mode == EPOCH_S else 1000)


@njit(nogil=True, cache=True, error_model="numpy")
def sent_of(data: Any, a: int, b: int) -> int:  # pragma: no cover - compiled
    """Microseconds since 1970 UTC of the ISO stamp ``data[a:b]``; digits below them are dropped.

    Nothing is `NO_STAMP`; what is no stamp, says no offset or lies before 1970 is `BAD_STAMP`.
    """
    if a >= b:
        return NO_STAMP
    status, seconds, _ = _iso(data, a, b)
    if status & BAD or not status & ABSOLUTE or seconds < 0:
        return BAD_STAMP
    micro = 0
    if status & FRACTION:
        unit = 100_000
        i = a + _SECONDS_END + 1
        while unit and 48 <= data[i] <= 57:
            micro += (np.int64(data[i]) - 48) * unit
            unit //= 10
            i += 1
    return seconds * 1_000_000 + micro
