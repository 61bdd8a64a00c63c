"""The kernel for NEM12: records in, one strip for each run of one quality in a 300 record.

A 200 record names meter, register, unit and length; each 300 record after it is a day of values with one
quality, or with the qualities of ranges in the 400 records that follow it.
"""

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
    S_LENGTH,
    S_LINE,
    S_METER,
    S_NUMBER,
    S_START,
    SLOTS,
    STRETCH,
    STRIPS,
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

_NMI: Final = 1
_HEAD_FIELDS: Final = 9
_MALFORMED: Final = REASON_CODES["malformed_line"]
_NO_INTERVAL: Final = REASON_CODES["unsupported_interval"]
_NO_VALUE: Final = REASON_CODES["missing_value"]
_ACTUAL: Final = int(Quality.ACTUAL)
_EDITED: Final = int(Quality.EDITED)
_ESTIMATED: Final = int(Quality.ESTIMATED)
_BY_RANGE: Final = -1
_NONE: Final = -2


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
def _day(  # noqa: PLR0913
    data: Any, starts: Any, stops: Any, count: int, end: int, interval: int, clock: Any
) -> Any:  # pragma: no cover - compiled
    """Head and tail of a 300 record of intervals of ``interval`` seconds."""
    n = DAY_S // interval
    if count < n + 3 or stops[1] - starts[1] != 8:
        return Day(0, 0, 0, 0)
    quality = _quality(data, starts[n + 2], stops[n + 2])
    local = _date(data, starts[1])
    stamp = _updated(data, starts[n + 5], stops[n + 5], clock) if count > n + 5 else -1
    extra = count > n + 7 and overfull(data, stops[n + 6], end, COMMA)
    if quality == _NONE or local < 0 or stamp == -2 or extra:
        return Day(0, 0, 0, 0)
    return Day(n, local, quality, stamp)


@njit(nogil=True, cache=True, error_model="numpy")
def _range(  # noqa: PLR0913
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
def _write_runs(  # noqa: PLR0913
    strips: Any,
    n: int,
    amounts: Any,
    at: int,
    qualities: Any,
    coded: bool,
    slots: int,
    interval: int,
    key: int,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Turn the row that ``strips[n]`` describes into a strip for each run of one quality; strips and slots now.

    ``key`` is the row's key with quality 0, or its whole key where it is not ``coded``.
    """
    start, first, to = strips[n, S_START], 0, at
    while first < slots:
        last = first + 1
        while last < slots and (not coded or qualities[last] == qualities[first]):
            last += 1
        if filled(amounts, at + first, last - first):
            for column in range(S_COUNT):
                strips[n + 1, column] = strips[n, column]
            strips[n, S_START], strips[n, S_COUNT] = start + first * interval, last - first
            strips[n, S_KEY] = key + (qualities[first] if coded else 0)
            for k in range(last - first):
                amounts[to + k] = amounts[at + first + k]
            to += last - first
            n += 1
        first = last
    return n, to


@njit(nogil=True, cache=True, error_model="numpy")
def scan_records(  # noqa: PLR0912, PLR0913, PLR0915, C901
    data: Any, future_s: int, words: Any, zone: Any, table: Any, fields: Any, tallied: Any, codes: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read records from ``state[POSITION]``, a 200 or 100, on until the end (`DONE`) or new words (`LEARN`).

    ``tallied`` (`TALLY` zeros) and ``codes`` (twice `CAPACITY`) are room to work in.
    """
    size, text = len(data), pointer(data)
    starts, stops, capacity = pointer(fields[0]), pointer(fields[1]), fields.shape[1]
    clock = clock_of(zone)
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    facts, refused, values = pointer(table.facts), pointer(rejects), pointer(amounts)
    tally, qualities = pointer(tallied), pointer(codes)
    i, line, at = state[POSITION], state[LINE], state[SLOTS]
    slot, nmi, nmi_length, passed = -1, 0, 0, False
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, COMMA, starts, stops, capacity)
        row, row_end, row_line = i, end, line
        if count == 1 and starts[0] == stops[0] and flaw == WHOLE:
            i, line = end + 1, line + 1
            continue
        record = number(text, starts[0], 3) if stops[0] - starts[0] == 3 else -1
        if flaw != WHOLE:
            record = -1
        if record == 200:
            slot, passed = -1, False
            nmi, nmi_length = starts[_NMI], stops[_NMI] - starts[_NMI]
            if count < _HEAD_FIELDS or nmi_length < 1 or nmi_length > METER_MAX:
                tally[_MALFORMED] = 1
            else:
                found = look_up(text, starts, stops, known, state[KNOWN], state[LAST])
                if found == NEW:
                    answer = LEARN
                    break
                if found == TOO_LONG or facts[found * FACTS + REASON] == _MALFORMED:
                    tally[_MALFORMED] = 1
                else:
                    slot = found
                    state[LAST] = found
        elif record == 300:
            day = Day(0, 0, 0, 0)
            interval = DAY_S
            if slot >= 0:
                interval = facts[slot * FACTS + INTERVAL]
                day = _day(text, starts, stops, count, end, interval, clock)
            passed = day.slots == 0
            if passed:
                tally[_MALFORMED] = 1
            else:
                start, length, state[STRETCH] = day_span(clock, day.local, state[STRETCH])
                own = facts[slot * FACTS + REASON]
                if length % interval or length > DAY_S + HOUR_S:
                    own = _NO_INTERVAL
                if own == 0:
                    read_values(
                        text, starts, stops, 2, day.slots, 46, facts[slot * FACTS + MULTIPLIER],
                        facts[slot * FACTS + POWER], facts[slot * FACTS + WRONG_UNIT] != 0, values, at, tally,
                    )  # fmt: skip
                following, coded, wrong_line, wrong, wrong_end = 1, False, line, i, end
                while end + 4 < size and number(text, end + 1, 3) == 400 and text[end + 4] == COMMA:
                    i, line, coded = end + 1, line + 1, True
                    count, end, flaw = split(text, i, COMMA, starts, stops, capacity)
                    if following > 0:
                        following = 0 if flaw != WHOLE else _range(
                            text, starts, stops, count, following, day.slots, qualities
                        )  # fmt: skip
                        if following == 0:
                            wrong_line, wrong, wrong_end = line, i, end
                if (coded or day.quality == _BY_RANGE) and following != day.slots + 1:
                    for reason in range(TALLY):
                        tally[reason] = 0
                    tally[_MALFORMED] = day.slots
                    state[REJECTS] = write_tally(tally, refused, state[REJECTS], wrong_line, wrong, wrong_end)
                elif own:
                    tally[own] = day.slots
                else:
                    for k in range(day.slots):
                        if (qualities[k] if coded else day.quality) == 0 and values[at + k] != FAILED:
                            values[at + k] = FAILED
                            tally[_NO_VALUE] += 1
                    n = day.slots
                    if length != DAY_S:
                        n = place_by_clock(
                            clock, day.local, start, length, interval, n, values, at, qualities, coded, tally
                        )
                    refuse_future(start, interval, n, future_s, values, at, tally)
                    s = state[STRIPS]
                    strips[s, S_METER], strips[s, S_LENGTH], strips[s, S_START] = nmi, nmi_length, start
                    strips[s, S_NUMBER], strips[s, S_LINE] = facts[slot * FACTS + NUMBER], row_line
                    key = (day.stamp + 1) * KEY_BASE + (0 if coded else day.quality)
                    state[STRIPS], at = _write_runs(strips, s, values, at, qualities, coded, n, interval, key)
        elif record == 250:
            tally[_NO_INTERVAL] = 1
        elif record == 100 or record == 900:
            slot, passed = -1, False
        elif not (record == 500 or record == 550 or (record == 400 and passed)):
            tally[_MALFORMED] = 1
        state[REJECTS] = write_tally(tally, refused, state[REJECTS], row_line, row, row_end)
        i, line = end + 1, line + 1
    state[POSITION], state[LINE], state[SLOTS] = i, line, at
    return answer
