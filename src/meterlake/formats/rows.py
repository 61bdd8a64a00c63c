"""The kernel for files with a row per reading: bytes to strips in one pass.

A row extends the strip of the row before it where it is of the same meter and the same words and starts
where that one ended; a line in between that gave no reading ends the strip, so slot k of a strip stands
on line ``line + k``.
"""

# ruff: noqa: PLR0913, PLR1714, SIM109
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any, Final, NamedTuple

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
from meterlake.formats.lines import R_COUNT, R_LINE, R_REASON, R_START, R_STOP, REJECT
from meterlake.formats.localtime import clock_of, first_utc, is_skipped, local_of, stretch_of
from meterlake.formats.pointer import pointer
from meterlake.formats.stamps import ABSOLUTE, BAD, BAD_STAMP, FRACTION, NO_STAMP, Script, sent_of, stamp_of
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

STRIP: Final = 7
S_METER, S_LENGTH, S_NUMBER, S_KEY, S_START, S_LINE, S_COUNT = range(STRIP)
"""Columns of a strip: bytes of its meter id, number and key of its kind, first slot, line, slots."""
U_WIDTH: Final = 10
U_AMOUNT, U_START, U_STOP, U_STAMP = 6, 7, 8, 9
"""Columns of an unsettled reading: those of a strip up to the line, its amount, the text of its line, its stamp."""

STATE: Final = 16
(
    POSITION, LINE, STRIPS, SLOTS, REJECTS, UNSETTLED, KNOWN, LAST, STRETCH, NAIVE,
    METER, METER_LENGTH, KIND, KEY, NEXT, STAMP,
) = range(STATE)  # fmt: skip
"""Columns of the state that a kernel stops and goes on with."""

DONE: Final = 0
LEARN: Final = 1
"""The kernel met new words: they are those of the line at ``POSITION``."""

MALFORMED: Final = REASON_CODES["malformed_line"]
_BAD_TIME: Final = REASON_CODES["bad_time"]
_NONEXISTENT: Final = REASON_CODES["nonexistent_local_time"]
_NO_INTERVAL: Final = REASON_CODES["unsupported_interval"]
_OFF_GRID: Final = REASON_CODES["off_grid"]
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
    stamp: int
    """Column of the sender's stamp; -1: none, and then strips have none."""
    longest: int
    """Bytes of the longest line that is read."""


class Row(NamedTuple):
    """The fields of a row, and where its newline is."""

    starts: Any
    stops: Any
    end: int


class Out(NamedTuple):
    """The tables that a kernel fills, flat."""

    strips: Any
    amounts: Any
    rejects: Any


@njit(nogil=True, cache=True, error_model="numpy")
def overfull(data: Any, start: int, stop: int, delimiter: int) -> bool:  # pragma: no cover - compiled
    """Whether anything but blanks and delimiters stands in ``data[start:stop]``."""
    for i in range(start, stop):
        c = data[i]
        if c != delimiter and c != 32 and c != 13 and c != 9 and c != 34:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _moment(
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
def head(
    text: Any, layout: Any, row: Any, known: Any, facts: Any, memory: Any
) -> int:  # pragma: no cover - compiled
    """Slot of the row's words; `NEW`, or `TOO_LONG` where the row cannot be read."""
    if layout.meter >= 0:
        length = row.stops[layout.meter] - row.starts[layout.meter]
        if length == 0 or length > METER_MAX:
            return TOO_LONG
    slot = look_up(text, row.starts, row.stops, known, memory[KNOWN], memory[LAST])
    if slot >= 0:
        memory[LAST] = slot
        if facts[slot * FACTS + REASON] == MALFORMED:
            return TOO_LONG
    return slot


@njit(nogil=True, cache=True, error_model="numpy")
def _reading(
    text: Any, layout: Any, row: Any, script: Any, clock: Any, facts: Any, slot: int, memory: Any
) -> tuple[int, int, int, int, bool, int]:  # pragma: no cover - compiled
    """What `_moment` says of the row, with the reason that comes first, and its amount."""
    at = slot * FACTS
    reason, start, length, code, doubled = _moment(
        text,
        row.starts[layout.time],
        row.stops[layout.time],
        layout,
        script,
        clock,
        facts[at + INTERVAL],
        memory,
    )
    amount = 0
    if reason == 0 or reason >= _NO_INTERVAL:
        amount = amount_of(
            text, row.starts[layout.value], row.stops[layout.value], layout.mark,
            facts[at + MULTIPLIER], facts[at + POWER],
        )  # fmt: skip
        reason = _judge(facts, slot, reason, amount)
        if reason == 0 and not doubled and start > layout.future_s:
            reason = _FUTURE
    return reason, start, length, code, doubled, amount


@njit(nogil=True, cache=True, error_model="numpy")
def describe(
    table: Any, at: int, a: int, b: int, number: int, code: int, start: int, line: int
) -> None:  # pragma: no cover - compiled
    """Write what strips and unsettled readings have in common to ``table[at:]``."""
    table[at + S_METER], table[at + S_LENGTH], table[at + S_NUMBER] = a, b - a, number
    table[at + S_KEY], table[at + S_START], table[at + S_LINE] = code, start, line


@njit(nogil=True, cache=True, error_model="numpy")
def _take(
    text: Any,
    out: Any,
    memory: Any,
    a: int,
    b: int,
    number: int,
    code: int,
    start: int,
    length: int,
    amount: int,
    column: int,
    stamp: int,
    stamps: Any,
) -> None:  # pragma: no cover - compiled
    """Lengthen the last strip by a reading, or begin another."""
    n = memory[STRIPS]
    if not (
        start == memory[NEXT] and memory[METER_LENGTH] == b - a and number == memory[KIND] and code == memory[KEY]
        and stamp == memory[STAMP] and same(text, a, b, text, memory[METER], memory[METER] + (b - a))
    ):  # fmt: skip
        describe(out.strips, n * STRIP, a, b, number, code, start, memory[LINE])
        out.strips[n * STRIP + S_COUNT] = 0
        if column >= 0:
            stamps[n] = stamp
        n += 1
        memory[STRIPS] = n
        memory[METER_LENGTH], memory[KIND], memory[KEY], memory[STAMP] = b - a, number, code, stamp
    memory[METER] = a
    memory[NEXT] = start + length
    out.strips[(n - 1) * STRIP + S_COUNT] += 1
    out.amounts[memory[SLOTS]] = amount
    memory[SLOTS] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def refuse(out: Any, memory: Any, i: int, end: int, reason: int) -> None:  # pragma: no cover - compiled
    """Write a reject; it ends the strip."""
    at = memory[REJECTS] * REJECT
    out.rejects[at + R_LINE], out.rejects[at + R_START], out.rejects[at + R_STOP] = memory[LINE], i, end
    out.rejects[at + R_REASON], out.rejects[at + R_COUNT] = reason, 1
    memory[REJECTS] += 1
    memory[METER_LENGTH] = -1


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def put(
    text: Any, layout: Any, row: Any, script: Any, clock: Any, facts: Any, slot: int, memory: Any, out: Any,
    late: Any, stamps: Any, i: int,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Read the row that begins at ``i`` and has the words of ``slot``, and write what it is."""
    reason, start, length, code, doubled, amount = _reading(
        text, layout, row, script, clock, facts, slot, memory
    )
    stamp = NO_STAMP
    if layout.stamp >= 0:
        stamp = sent_of(text, row.starts[layout.stamp], row.stops[layout.stamp])
        if stamp == BAD_STAMP:
            reason = _BAD_TIME
    a = row.starts[layout.meter] if layout.meter >= 0 else 0
    b = row.stops[layout.meter] if layout.meter >= 0 else 0
    number = facts[slot * FACTS + NUMBER]
    if doubled and (reason == 0 or reason >= _NO_VALUE):
        at = memory[UNSETTLED] * U_WIDTH
        describe(late, at, a, b, number, code, start, memory[LINE])
        late[at + U_AMOUNT] = FAILED + reason if reason else amount
        late[at + U_STAMP] = stamp
        late[at + U_START], late[at + U_STOP] = i, row.end
        memory[UNSETTLED] += 1
        memory[METER_LENGTH] = -1
    elif reason:
        refuse(out, memory, i, row.end, reason)
    else:
        _take(text, out, memory, a, b, number, code, start, length, amount, layout.stamp, stamp, stamps)


@njit(nogil=True, cache=True, error_model="numpy")
def scan_rows(
    data: Any, layout: Any, program: Any, words: Any, zone: Any, table: Any, fields: Any, room: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any, unsettled: Any, stamps: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read rows from ``state[POSITION]`` on until the end (`DONE`) or new words (`LEARN`)."""
    size, text, memory = len(data), pointer(data), pointer(state)
    starts, stops, capacity = pointer(fields[0]), pointer(fields[1]), fields.shape[1]
    clock = clock_of(zone)
    script = Script(layout.mode, pointer(program), len(program), pointer(room))
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    facts, late, sent = pointer(table.facts), pointer(unsettled), pointer(stamps)
    out = Out(pointer(strips), pointer(amounts), pointer(rejects))
    i = memory[POSITION]
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, layout.delimiter, starts, stops, capacity)
        if count == 1 and starts[0] == stops[0] and flaw == WHOLE:
            memory[METER_LENGTH] = -1
            memory[LINE] += 1
            i = end + 1
            continue
        row = Row(starts, stops, end)
        slot = TOO_LONG
        if not (
            flaw != WHOLE
            or count < layout.needed
            or end - i > layout.longest
            or (count > layout.width and overfull(text, stops[layout.width - 1], end, layout.delimiter))
        ):
            slot = head(text, layout, row, known, facts, memory)
        if slot == NEW:
            answer = LEARN
            break
        if slot == TOO_LONG:
            refuse(out, memory, i, end, MALFORMED)
        else:
            put(text, layout, row, script, clock, facts, slot, memory, out, late, sent, i)
        memory[LINE] += 1
        i = end + 1
    memory[POSITION] = i
    return answer
