"""The kernel for files with a row per reading: bytes to strips in one pass.

A row extends the strip of the row before it where it is of the same meter and the same words and starts
where that one ended; a line in between that gave no reading ends the strip, so slot k of a strip stands
on line ``line + k``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from meterlake.formats.categories import (
    FACTS,
    INTERVAL,
    MULTIPLIER,
    NEW,
    NUMBER,
    POWER,
    REASON,
    TOO_LONG,
    WRONG_UNIT,
    Words,
    day_key,
    look_up,
)
from meterlake.formats.decimals import FAILED, amount_of
from meterlake.formats.fields import WHOLE, same, split
from meterlake.formats.lines import R_COUNT, R_LINE, R_REASON, R_START, R_STOP
from meterlake.formats.localtime import clock_of, first_utc, is_skipped, local_of, stretch_of
from meterlake.formats.pointer import pointer
from meterlake.formats.stamps import ABSOLUTE, BAD, FRACTION, Script, stamp_of
from meterlake.intervals import DAY_S, LOCAL_DAYS_S
from meterlake.readings import REASON_CODES

FIXED_DAYS: Final = 0
"""A day's length is stated by its row, its phase is not known."""
PHASED_DAYS: Final = 1
"""A day has the stated length; its phase is its local time of day."""
CLOCK_DAYS: Final = 2
"""A day is as long as the clock of its zone makes it."""

METER_MAX: Final = 128
"""Bytes of the longest meter id."""

S_METER, S_LENGTH, S_NUMBER, S_KEY, S_START, S_LINE, S_COUNT = range(7)
"""Columns of a strip: bytes of its meter id, number and key of its kind, first slot, line, slots."""
U_AMOUNT, U_START, U_STOP = 6, 7, 8
"""Columns of an unsettled reading: those of a strip up to the line, its amount, the text of its line."""

(
    POSITION, LINE, STRIPS, SLOTS, REJECTS, UNSETTLED, KNOWN, LAST, STRETCH, NAIVE,
    METER, METER_LENGTH, KIND, KEY, NEXT, LINES,
) = range(16)  # fmt: skip
"""Columns of the state that a kernel stops and goes on with."""

DONE: Final = 0
LEARN: Final = 1
"""The kernel met new words: they are those of the line at ``POSITION``."""

_MALFORMED: Final = REASON_CODES["malformed_line"]
_BAD_TIME: Final = REASON_CODES["bad_time"]
_NONEXISTENT: Final = REASON_CODES["nonexistent_local_time"]
_NO_INTERVAL: Final = REASON_CODES["unsupported_interval"]
_OFF_GRID: Final = REASON_CODES["off_grid"]
_NO_CHANNEL: Final = REASON_CODES["unsupported_channel"]
_NO_VALUE: Final = REASON_CODES["missing_value"]
_BAD_NUMBER: Final = REASON_CODES["bad_number"]
_UNIT: Final = REASON_CODES["unit_mismatch"]
_FUTURE: Final = REASON_CODES["future"]
_SHORT_DAY: Final = LOCAL_DAYS_S[0]
_LONG_DAY: Final = LOCAL_DAYS_S[2]


class Layout(NamedTuple):
    """How a row is written: columns by index (``meter`` -1: none), the forms of numbers and stamps.

    Only numbers: an array in here would be counted as used, atomically, at every look.
    """

    delimiter: int
    mark: int
    mode: int
    width: int
    """Columns of a row."""
    needed: int
    """Columns that it cannot do without."""
    meter: int
    time: int
    value: int
    ends: bool
    """Whether a stamp names the end."""
    days: int
    zoned: bool
    """Whether the zone was declared."""
    future_s: int
    """Readings that start later are refused."""


@njit(nogil=True, cache=True, error_model="numpy")
def overfull(data: Any, start: int, stop: int, delimiter: int) -> bool:  # pragma: no cover - compiled
    """Whether anything but blanks and delimiters stands in ``data[start:stop]``."""
    for i in range(start, stop):
        c = data[i]
        if c != delimiter and c != 32 and c != 13 and c != 9 and c != 34:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _moment(  # noqa: PLR0913
    data: Any, a: int, b: int, layout: Any, script: Any, clock: Any, interval: int, state: Any
) -> tuple[int, int, int, int, bool]:  # pragma: no cover - compiled
    """Reason, start (UTC s), length, key and whether the local time exists twice (then start is local)."""
    status, seconds, shift = stamp_of(data, a, b, script)
    if status & BAD:
        return _BAD_TIME, 0, 0, 0, False
    is_day = layout.days != FIXED_DAYS and (
        interval == DAY_S or interval == _SHORT_DAY or interval == _LONG_DAY
    )
    local = seconds
    doubled = False
    if status & ABSOLUTE:
        utc = seconds
        if is_day:
            local = local_of(clock, utc) if layout.zoned else utc + shift
    else:
        state[NAIVE] += 1
        stretch = stretch_of(clock, local, state[STRETCH])
        state[STRETCH] = stretch
        utc = first_utc(clock, local, stretch)
        if stretch % 2 == 1 and not is_day:
            if is_skipped(clock, stretch):
                return _NONEXISTENT, 0, 0, 0, False
            doubled = True
    reason = _OFF_GRID if status & FRACTION else 0
    if not is_day:
        if doubled:
            return reason, local, interval, 0, True
        return reason, (utc - interval if layout.ends else utc), interval, 0, False
    begin = local - DAY_S if layout.ends else local
    start = utc - interval if layout.ends else utc
    length = interval
    if layout.days == CLOCK_DAYS and interval == DAY_S:
        other = begin if layout.ends else local + DAY_S
        bound = first_utc(clock, other, stretch_of(clock, other, state[STRETCH]))
        start, length = (bound, utc - bound) if layout.ends else (utc, bound - utc)
        if length != DAY_S and length != _SHORT_DAY and length != _LONG_DAY:
            return _NO_INTERVAL, 0, 0, 0, False
    return reason, start, length, day_key(length, begin % DAY_S), False


@njit(nogil=True, cache=True, error_model="numpy")
def _judge(facts: Any, slot: int, reason: int, amount: int) -> int:  # pragma: no cover - compiled
    """Reason or 0 of a reading whose time is known: the first of the interval's, grid's, channel's, value's."""
    own = facts[slot * FACTS + REASON]
    if own == _NO_INTERVAL or reason == _NO_INTERVAL:
        return _NO_INTERVAL
    if reason:
        return reason
    if own:
        return own
    if amount < FAILED + 256:
        found = amount - FAILED
        if facts[slot * FACTS + WRONG_UNIT] and found != _NO_VALUE and found != _BAD_NUMBER:
            return _UNIT
        return found
    return _UNIT if facts[slot * FACTS + WRONG_UNIT] else 0


@njit(nogil=True, cache=True, error_model="numpy")
def scan_rows(  # noqa: PLR0913, PLR0915, C901
    data: Any, layout: Any, program: Any, words: Any, zone: Any, table: Any, fields: Any, room: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any, unsettled: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read rows from ``state[POSITION]`` on until the end (`DONE`) or new words (`LEARN`)."""
    size, text = len(data), pointer(data)
    starts, stops, capacity = pointer(fields[0]), pointer(fields[1]), fields.shape[1]
    clock = clock_of(zone)
    script = Script(layout.mode, pointer(program), len(program), pointer(room))
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    facts, memory = pointer(table.facts), pointer(state)
    i, line = state[POSITION], state[LINE]
    n, k = state[STRIPS], state[SLOTS]
    meter, meter_length, kind, key, following = (
        state[METER],
        state[METER_LENGTH],
        state[KIND],
        state[KEY],
        state[NEXT],
    )
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, layout.delimiter, starts, stops, capacity)
        if count == 1 and starts[0] == stops[0] and flaw == WHOLE:
            meter_length = -1
            i = end + 1
            line += 1
            continue
        reason, amount, start, length, slot, code, doubled = 0, 0, 0, 0, 0, 0, False
        a = b = 0
        if flaw != WHOLE or count < layout.needed:
            reason = _MALFORMED
        elif count > layout.width and overfull(text, stops[layout.width - 1], end, layout.delimiter):
            reason = _MALFORMED
        else:
            if layout.meter >= 0:
                a, b = starts[layout.meter], stops[layout.meter]
                if a == b or b - a > METER_MAX:
                    reason = _MALFORMED
            slot = look_up(text, starts, stops, known, state[KNOWN], state[LAST])
            if slot == TOO_LONG:
                reason = _MALFORMED
            elif slot == NEW:
                answer = LEARN
                break
            elif facts[slot * FACTS + REASON] == _MALFORMED:
                reason = _MALFORMED
            state[LAST] = max(slot, 0)
        if reason == 0:
            reason, start, length, code, doubled = _moment(
                text, starts[layout.time], stops[layout.time], layout, script, clock,
                facts[slot * FACTS + INTERVAL], memory,
            )  # fmt: skip
            if reason == 0 or reason >= _NO_INTERVAL:
                amount = amount_of(
                    text, starts[layout.value], stops[layout.value], layout.mark,
                    facts[slot * FACTS + MULTIPLIER], facts[slot * FACTS + POWER],
                )  # fmt: skip
                reason = _judge(facts, slot, reason, amount)
                if reason == 0 and not doubled and start > layout.future_s:
                    reason = _FUTURE
            if doubled and (reason == 0 or reason >= _NO_VALUE):
                u = state[UNSETTLED]
                unsettled[u, S_METER], unsettled[u, S_LENGTH] = a, b - a
                unsettled[u, S_NUMBER], unsettled[u, S_KEY] = facts[slot * FACTS + NUMBER], code
                unsettled[u, S_START], unsettled[u, S_LINE] = start, line
                unsettled[u, U_AMOUNT] = FAILED + reason if reason else amount
                unsettled[u, U_START], unsettled[u, U_STOP] = i, end
                state[UNSETTLED] += 1
                reason = -1
        if reason:
            if reason > 0:
                r = state[REJECTS]
                rejects[r, R_LINE], rejects[r, R_START], rejects[r, R_STOP] = line, i, end
                rejects[r, R_REASON], rejects[r, R_COUNT] = reason, 1
                state[REJECTS] += 1
            meter_length = -1
        else:
            number = facts[slot * FACTS + NUMBER]
            if not (
                start == following and meter_length == b - a and number == kind and code == key
                and same(text, a, b, text, meter, meter + meter_length)
            ):  # fmt: skip
                strips[n, S_METER], strips[n, S_LENGTH], strips[n, S_NUMBER] = a, b - a, number
                strips[n, S_KEY], strips[n, S_START], strips[n, S_LINE] = code, start, line
                strips[n, S_COUNT] = 0
                n += 1
                meter_length, kind, key = b - a, number, code
            meter = a
            strips[n - 1, S_COUNT] += 1
            amounts[k] = amount
            k += 1
            following = start + length
        i = end + 1
        line += 1
    state[POSITION], state[LINE] = i, line
    state[STRIPS], state[SLOTS] = n, k
    state[METER], state[METER_LENGTH], state[KIND], state[KEY], state[NEXT] = (
        meter,
        meter_length,
        kind,
        key,
        following,
    )
    return answer
