"""The kernel for NEM12: records in, one strip for each run of one quality in a 300 record.

A 200 record names meter, register, unit and length; each 300 record after it is a day of values with one
quality, or with the qualities of ranges in the 400 records that follow it.
"""

# ruff: noqa: FBT001, PLR0913, PLR1714
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

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
    look_up,
)
from meterlake.formats.days import (
    TALLY,
    day_span,
    filled,
    place_by_clock,
    read_values,
    refuse_future,
    write_tally,
)
from meterlake.formats.decimals import FAILED
from meterlake.formats.fields import WHOLE, split
from meterlake.formats.localtime import clock_of, first_utc, stretch_of
from meterlake.formats.pointer import pointer
from meterlake.formats.rows import (
    DONE,
    KNOWN,
    LAST,
    LEARN,
    LINE,
    METER_MAX,
    POSITION,
    REJECTS,
    S_COUNT,
    S_KEY,
    S_START,
    SLOTS,
    STATE,
    STRETCH,
    STRIP,
    STRIPS,
    Out,
    Row,
    describe,
    overfull,
)
from meterlake.formats.stamps import days_of, is_date, number
from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S
from meterlake.readings import REASON_CODES, Quality

CAPACITY: Final = DAY_S // MINUTE_S + 8
"""Fields of the longest record: a day of minutes."""
COMMA: Final = 44
KEY_BASE: Final = 16
"""A strip's key is its update time (UTC s, -1: none) plus 1, times this, plus its quality."""

WORD_COLUMNS: Final = (4, 7, 8)
"""Register suffix, unit and length (minutes) of a 200 record."""

_HEAD_FIELDS: Final = 9
_MALFORMED: Final = REASON_CODES["malformed_line"]
_NO_INTERVAL: Final = REASON_CODES["unsupported_interval"]
_NO_VALUE: Final = REASON_CODES["missing_value"]
_ACTUAL: Final = int(Quality.ACTUAL)
_EDITED: Final = int(Quality.EDITED)
_ESTIMATED: Final = int(Quality.ESTIMATED)
_BY_RANGE: Final = -1
_NONE: Final = -2


NMI, NMI_STOP, PASSED = range(STATE, STATE + 3)
"""Further columns of the state: bytes of the meter of the last 200 record, 400 records just passed."""
STATE_WIDTH: Final = STATE + 3


class Head(NamedTuple):
    """What a strip needs to know of its 200 record, and the line of its 300 record."""

    nmi: int
    nmi_stop: int
    number: int
    line: int


class Day(NamedTuple):
    """What the head of a 300 record says; ``slots`` 0: it cannot be read."""

    slots: int
    local: int
    quality: int
    stamp: int


@njit(nogil=True, cache=True, error_model="numpy")
def _quality(data: Any, a: int, b: int) -> int:  # pragma: no cover - compiled
    """Quality code of a quality method such as ``A`` or ``F14``; `_BY_RANGE` for V, `_NONE` if it is none.

    S and E are estimates, F is a final substitute and counts as edited (vee: one internal scale).
    """
    if b - a < 1 or b - a > 3 or (b - a > 1 and number(data, a + 1, b - a - 1) < 0):
        return _NONE
    c = data[a]
    if c == 65:
        return _ACTUAL
    if c == 83 or c == 69:
        return _ESTIMATED
    if c == 70:
        return _EDITED
    if c == 78:
        return 0
    return _BY_RANGE if c == 86 else _NONE


@njit(nogil=True, cache=True, error_model="numpy")
def _date(data: Any, a: int) -> int:  # pragma: no cover - compiled
    """Local seconds of ``YYYYMMDD``; -1 where it is no date."""
    year, month, day = number(data, a, 4), number(data, a + 4, 2), number(data, a + 6, 2)
    return days_of(year, month, day) * DAY_S if year >= 1970 and is_date(year, month, day) else -1


@njit(nogil=True, cache=True, error_model="numpy")
def _updated(data: Any, a: int, b: int, clock: Any) -> int:  # pragma: no cover - compiled
    """UTC seconds of ``YYYYMMDDhhmmss``, -1 where it is blank, -2 where it is no time."""
    if a == b:
        return -1
    if b - a != 14:
        return -2
    date = _date(data, a)
    hour, minute, second = number(data, a + 8, 2), number(data, a + 10, 2), number(data, a + 12, 2)
    if date < 0 or (hour | minute | second) < 0 or hour > 23 or minute > 59 or second > 59:
        return -2
    local = date + hour * HOUR_S + minute * MINUTE_S + second
    return max(first_utc(clock, local, stretch_of(clock, local, 0)), 0)


@njit(nogil=True, cache=True, error_model="numpy")
def _day(
    data: Any, starts: Any, stops: Any, count: int, end: int, interval: int, clock: Any
) -> Any:  # pragma: no cover - compiled
    """Head and tail of a 300 record of intervals of ``interval`` seconds."""
    n = DAY_S // interval
    if count < n + 3 or stops[1] - starts[1] != 8:
        return Day(0, 0, 0, 0)
    quality = _quality(data, starts[n + 2], stops[n + 2])
    local = _date(data, starts[1])
    stamp = _updated(data, starts[n + 5], stops[n + 5], clock) if count > n + 5 else -1
    extra = count > n + 7 and overfull(data, stops[n + 6], end, np.int64(COMMA))
    if quality == _NONE or local < 0 or stamp == -2 or extra:
        return Day(0, 0, 0, 0)
    return Day(n, local, quality, stamp)


@njit(nogil=True, cache=True, error_model="numpy")
def _range(
    data: Any, starts: Any, stops: Any, count: int, following: int, slots: int, qualities: Any
) -> int:  # pragma: no cover - compiled
    """Take in a 400 record; the interval (from 1) that must follow it, 0 where it does not fit."""
    if count < 4 or stops[1] - starts[1] > 4 or stops[2] - starts[2] > 4 or stops[1] == starts[1]:
        return 0
    first = number(data, starts[1], stops[1] - starts[1])
    last = number(data, starts[2], stops[2] - starts[2])
    quality = _quality(data, starts[3], stops[3])
    if first != following or last < first or last > slots or quality < 0:
        return 0
    for k in range(first - 1, last):
        qualities[k] = quality
    return last + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _write_runs(
    out: Any, memory: Any, at: int, qualities: Any, coded: bool, slots: int, interval: int, key: int
) -> None:  # pragma: no cover - compiled
    """Turn the row that the next strip describes into a strip for each run of one quality.

    ``key`` is the row's key with quality 0, or its whole key where it is not ``coded``.
    """
    strips, amounts = out.strips, out.amounts
    n, first, to = memory[STRIPS] * STRIP, 0, at
    start = strips[n + S_START]
    while first < slots:
        last = first + 1
        while last < slots and (not coded or qualities[last] == qualities[first]):
            last += 1
        if filled(amounts, at + first, last - first):
            for column in range(S_COUNT):
                strips[n + STRIP + column] = strips[n + column]
            strips[n + S_START], strips[n + S_COUNT] = start + first * interval, last - first
            strips[n + S_KEY] = key + (qualities[first] if coded else 0)
            for k in range(last - first):
                amounts[to + k] = amounts[at + first + k]
            to += last - first
            n += STRIP
        first = last
    memory[STRIPS], memory[SLOTS] = n // STRIP, to


@njit(nogil=True, cache=True, error_model="numpy")
def _ranges(
    text: Any, size: int, starts: Any, stops: Any, end: int, slots: int, qualities: Any, memory: Any
) -> tuple[int, int, int, int]:  # pragma: no cover - compiled
    """Take in the 400 records behind the newline at ``end``; their last newline, and how they fit.

    Returns the newline, the interval (from 1) that would follow them (0 where one does not fit), and the
    start and newline of the one that does not. ``memory[LINE]`` is left at the last, or the wrong one's.
    """
    following, wrong, wrong_end = np.int64(1), -1, -1
    comma, capacity, passed = np.int64(COMMA), np.int64(CAPACITY), 0
    while end + 4 < size and number(text, end + 1, 3) == 400 and text[end + 4] == COMMA:
        i = end + 1
        count, end, flaw = split(text, i, comma, starts, stops, capacity)
        passed += 1
        if following > 0:
            memory[LINE] += 1
            following = (
                _range(text, starts, stops, count, following, slots, qualities) if flaw == WHOLE else 0
            )
            if following == 0:
                wrong, wrong_end = i, end
    memory[PASSED] = passed
    return end, following if passed else -1, wrong, wrong_end


@njit(nogil=True, cache=True, error_model="numpy")
def _take(
    clock: Any, head: Any, day: Any, interval: int, future_s: int, qualities: Any, coded: bool,
    out: Any, memory: Any, tally: Any,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Place the values of a readable day and write its strips."""
    values, at, n = out.amounts, memory[SLOTS], day.slots
    for k in range(n):
        if (qualities[k] if coded else day.quality) == 0 and values[at + k] != FAILED:
            values[at + k] = FAILED
            tally[_NO_VALUE] += 1
    start, length, memory[STRETCH] = day_span(clock, day.local, memory[STRETCH])
    if length != DAY_S:
        n = place_by_clock(clock, day.local, start, length, interval, n, values, at, qualities, coded, tally)
    refuse_future(start, interval, n, future_s, values, at, tally)
    row = memory[STRIPS] * STRIP
    describe(out.strips, row, head.nmi, head.nmi_stop, head.number, 0, start, head.line)
    key = (day.stamp + 1) * KEY_BASE + (0 if coded else day.quality)
    _write_runs(out, memory, at, qualities, coded, n, interval, key)


@njit(nogil=True, cache=True, error_model="numpy")
def _day_record(
    text: Any, size: int, row: Any, count: int, i: int, slot: int, clock: Any, facts: Any, future_s: int,
    qualities: Any, out: Any, memory: Any, tally: Any,
) -> tuple[int, bool]:  # fmt: skip  # pragma: no cover - compiled
    """Read a 300 record and its 400 records: newline of the last of them, and whether it could be read."""
    line, fact, end = memory[LINE], slot * FACTS, row.end
    interval = facts[fact + INTERVAL]
    day = _day(text, row.starts, row.stops, count, end, interval, clock)
    if day.slots == 0:
        tally[_MALFORMED] = 1
        memory[REJECTS] = write_tally(tally, out.rejects, memory[REJECTS], line, i, end)
        return end, False
    own = facts[fact + REASON]
    _, length, memory[STRETCH] = day_span(clock, day.local, memory[STRETCH])
    if length % interval or length > DAY_S + HOUR_S:
        own = _NO_INTERVAL
    if own == 0:
        read_values(
            text, row.starts, row.stops, np.int64(2), day.slots, np.int64(46), facts[fact + MULTIPLIER], facts[fact + POWER],
            facts[fact + WRONG_UNIT] != 0, out.amounts, memory[SLOTS], tally,
        )  # fmt: skip
    last, following, wrong, wrong_end = _ranges(
        text, size, row.starts, row.stops, end, day.slots, qualities, memory
    )
    wrong_line = memory[LINE]
    memory[LINE] = line + memory[PASSED]
    coded = following >= 0
    if (coded or day.quality == _BY_RANGE) and following != day.slots + 1:
        for reason in range(TALLY):
            tally[reason] = 0
        tally[_MALFORMED] = day.slots
        if wrong >= 0:
            memory[REJECTS] = write_tally(tally, out.rejects, memory[REJECTS], wrong_line, wrong, wrong_end)
    elif own:
        tally[own] = day.slots
    else:
        head = Head(memory[NMI], memory[NMI_STOP], facts[fact + NUMBER], line)
        _take(clock, head, day, interval, future_s, qualities, coded, out, memory, tally)
    memory[REJECTS] = write_tally(tally, out.rejects, memory[REJECTS], line, i, end)
    return last, True


@njit(nogil=True, cache=True, error_model="numpy")
def _head(
    text: Any, starts: Any, stops: Any, count: int, known: Any, facts: Any, memory: Any
) -> int:  # pragma: no cover - compiled
    """Slot of the words of a 200 record; `NEW`, or `TOO_LONG` where it cannot be read. Keeps the meter."""
    memory[NMI], memory[NMI_STOP] = starts[1], stops[1]
    length = stops[1] - starts[1]
    if count < _HEAD_FIELDS or length < 1 or length > METER_MAX:
        return TOO_LONG
    slot = look_up(text, starts, stops, known, memory[KNOWN], memory[LAST])
    if slot >= 0:
        memory[LAST] = slot
        if facts[slot * FACTS + REASON] == _MALFORMED:
            return TOO_LONG
    return slot


@njit(nogil=True, cache=True, error_model="numpy")
def scan_records(
    data: Any, future_s: int, words: Any, zone: Any, table: Any, fields: Any, tallied: Any, codes: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read records from ``state[POSITION]``, a 200 or 100, on until the end (`DONE`) or new words (`LEARN`).

    ``tallied`` (`TALLY` zeros) and ``codes`` (twice `CAPACITY`) are room to work in.
    """
    size, text, memory = len(data), pointer(data), pointer(state)
    starts, stops = pointer(fields[0]), pointer(fields[1])
    clock, facts = clock_of(zone), pointer(table.facts)
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    out = Out(pointer(strips), pointer(amounts), pointer(rejects))
    tally, qualities = pointer(tallied), pointer(codes)
    i = memory[POSITION]
    comma, capacity = np.int64(COMMA), np.int64(CAPACITY)
    slot, passed = np.int64(TOO_LONG), False
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, comma, starts, stops, capacity)
        record = number(text, starts[0], 3) if flaw == WHOLE and stops[0] - starts[0] == 3 else 0
        if flaw == WHOLE and count == 1 and starts[0] == stops[0]:
            record = 500
        if record == 200:
            passed = False
            slot = _head(text, starts, stops, count, known, facts, memory)
            if slot == NEW:
                answer = LEARN
                break
            tally[_MALFORMED] = 1 if slot == TOO_LONG else 0
        elif record == 300 and slot != TOO_LONG:
            row = Row(starts, stops, end)
            end, whole = _day_record(
                text, size, row, count, i, slot, clock, facts, future_s, qualities, out, memory, tally
            )
            passed = not whole
        elif record == 250:
            tally[_NO_INTERVAL] = 1
        elif record == 100 or record == 900:
            slot, passed = np.int64(TOO_LONG), False
        elif record != 500 and record != 550 and not (record == 400 and passed):
            tally[_MALFORMED] = 1
            passed = passed or record == 300
        memory[REJECTS] = write_tally(tally, out.rejects, memory[REJECTS], memory[LINE], i, end)
        memory[LINE] += 1
        i = end + 1
    memory[POSITION] = i
    return answer
