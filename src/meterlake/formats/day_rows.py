"""The kernel for files with a row per meter and day: one strip a row."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from numba import njit

from meterlake.formats.categories import (
    FACTS,
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
    day_span,
    filled,
    place_by_clock,
    read_values,
    refuse_future,
    slots_stated,
    write_tally,
)
from meterlake.formats.fields import WHOLE, split
from meterlake.formats.localtime import clock_of
from meterlake.formats.pointer import pointer
from meterlake.formats.rows import (
    DONE,
    KNOWN,
    LAST,
    LEARN,
    LINE,
    METER_MAX,
    NAIVE,
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
from meterlake.formats.stamps import Script, stamp_of
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.readings import REASON_CODES

_MALFORMED: Final = REASON_CODES["malformed_line"]
_NO_INTERVAL: Final = REASON_CODES["unsupported_interval"]
_LONGEST_S: Final = DAY_S + HOUR_S


class DayLayout(NamedTuple):
    """How a row is written: numbers only, as in `rows.Layout`, and where its values are."""

    delimiter: int
    mark: int
    mode: int
    width: int
    needed: int
    meter: int
    time: int
    future_s: int
    first: int
    """Column of the first value."""
    values: int
    """Columns of values."""
    usual: int
    """Slots of a day of 24 hours."""
    interval: int
    lead: int
    """Seconds after midnight at which the first slot starts; negative where the first stamp ends it."""


@njit(nogil=True, cache=True, error_model="numpy")
def _head(  # noqa: PLR0913
    data: Any, layout: Any, starts: Any, stops: Any, known: Any, facts: Any, state: Any, script: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Slot of the row's words (`NEW`; `TOO_LONG` where the row cannot be read), and its date in local seconds."""
    if layout.meter >= 0:
        length = stops[layout.meter] - starts[layout.meter]
        if length == 0 or length > METER_MAX:
            return TOO_LONG, 0
    status, local, _ = stamp_of(data, starts[layout.time], stops[layout.time], script)
    if status or local % DAY_S:
        return TOO_LONG, 0
    slot = look_up(data, starts, stops, known, state[KNOWN], state[LAST])
    if slot >= 0 and facts[slot * FACTS + REASON] == _MALFORMED:
        return TOO_LONG, 0
    return slot, local


@njit(nogil=True, cache=True, error_model="numpy")
def scan_days(  # noqa: PLR0913, PLR0915
    data: Any, layout: Any, program: Any, words: Any, zone: Any, table: Any, fields: Any, room: Any,
    tallied: Any, state: Any, strips: Any, amounts: Any, rejects: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read rows from ``state[POSITION]`` on until the end (`DONE`) or new words (`LEARN`).

    ``tallied`` (`days.TALLY` zeros) is room to work in.
    """
    size, text, memory = len(data), pointer(data), pointer(state)
    starts, stops, capacity = pointer(fields[0]), pointer(fields[1]), fields.shape[1]
    clock = clock_of(zone)
    script = Script(layout.mode, pointer(program), len(program), pointer(room))
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    facts, refused, values = pointer(table.facts), pointer(rejects), pointer(amounts)
    tally = pointer(tallied)
    i, line, at = state[POSITION], state[LINE], state[SLOTS]
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, layout.delimiter, starts, stops, capacity)
        if count == 1 and starts[0] == stops[0] and flaw == WHOLE:
            i, line = end + 1, line + 1
            continue
        slot, local, stated, start, length = TOO_LONG, 0, 0, 0, DAY_S
        present = min(count - layout.first, layout.values)
        whole = flaw == WHOLE and count >= layout.needed and present > 0
        if whole and not (
            count > layout.width and overfull(text, stops[layout.width - 1], end, layout.delimiter)
        ):
            slot, local = _head(text, layout, starts, stops, known, facts, memory, script)
            if slot == NEW:
                answer = LEARN
                break
        if slot >= 0:
            state[LAST] = slot
            start, length, state[STRETCH] = day_span(clock, local + layout.lead, state[STRETCH])
            stated = slots_stated(
                starts, stops, layout.first, present, layout.usual, length // layout.interval
            )
        own = facts[max(slot, 0) * FACTS + REASON]
        if stated == 0:
            tally[_MALFORMED] = 1
        elif length % layout.interval or length > _LONGEST_S:
            tally[_NO_INTERVAL] = stated
        elif own:
            tally[own] = stated
        else:
            read_values(
                text, starts, stops, layout.first, stated, layout.mark, facts[slot * FACTS + MULTIPLIER],
                facts[slot * FACTS + POWER], facts[slot * FACTS + WRONG_UNIT] != 0, values, at, tally,
            )  # fmt: skip
            n = stated
            if stated * layout.interval != length:
                n = place_by_clock(
                    clock,
                    local + layout.lead,
                    start,
                    length,
                    layout.interval,
                    stated,
                    values,
                    at,
                    values,
                    False,
                    tally,
                )
            refuse_future(start, layout.interval, n, layout.future_s, values, at, tally)
            if filled(values, at, n):
                s = state[STRIPS]
                strips[s, S_METER], strips[s, S_LENGTH] = 0, 0
                if layout.meter >= 0:
                    strips[s, S_METER] = starts[layout.meter]
                    strips[s, S_LENGTH] = stops[layout.meter] - starts[layout.meter]
                strips[s, S_NUMBER], strips[s, S_KEY] = facts[slot * FACTS + NUMBER], 0
                strips[s, S_START], strips[s, S_LINE], strips[s, S_COUNT] = start, line, n
                state[STRIPS] += 1
                at += n
        if stated:
            state[NAIVE] += 1
        state[REJECTS] = write_tally(tally, refused, state[REJECTS], line, i, end)
        i, line = end + 1, line + 1
    state[POSITION], state[LINE], state[SLOTS] = i, line, at
    return answer
