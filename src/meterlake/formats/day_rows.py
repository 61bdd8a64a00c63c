"""The kernel for files with a row per meter and day: one strip a row."""

# ruff: noqa: PLR0913
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

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
    POSITION,
    REJECTS,
    S_COUNT,
    SLOTS,
    STRETCH,
    STRIP,
    STRIPS,
    Out,
    Row,
    describe,
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
def _head(
    text: Any, layout: Any, row: Any, count: int, flaw: int, known: Any, facts: Any, memory: Any, script: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Slot of the row's words (`NEW`; `TOO_LONG` where the row cannot be read), and its date in local seconds."""
    if flaw != WHOLE or count < layout.needed:
        return TOO_LONG, 0
    if count > layout.width and overfull(text, row.stops[layout.width - 1], row.end, layout.delimiter):
        return TOO_LONG, 0
    if layout.meter >= 0:
        length = row.stops[layout.meter] - row.starts[layout.meter]
        if length == 0 or length > METER_MAX:
            return TOO_LONG, 0
    status, local, _ = stamp_of(text, row.starts[layout.time], row.stops[layout.time], script)
    if status or local % DAY_S:
        return TOO_LONG, 0
    slot = look_up(text, row.starts, row.stops, known, memory[KNOWN], memory[LAST])
    if slot >= 0:
        memory[LAST] = slot
        if facts[slot * FACTS + REASON] == _MALFORMED:
            return TOO_LONG, 0
    return slot, local


@njit(nogil=True, cache=True, error_model="numpy")
def _take(
    text: Any, layout: Any, row: Any, clock: Any, facts: Any, slot: int, local: int, present: int,
    out: Any, memory: Any, tally: Any,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Read the values of a row and write its strip; refused slots are tallied."""
    start, length, memory[STRETCH] = day_span(clock, local + layout.lead, memory[STRETCH])
    n = slots_stated(row.starts, row.stops, layout.first, present, layout.usual, length // layout.interval)
    fact, at = slot * FACTS, memory[SLOTS]
    own = facts[fact + REASON]
    if n == 0:
        tally[_MALFORMED] = 1
    elif length % layout.interval or length > _LONGEST_S:
        tally[_NO_INTERVAL] = n
    elif own:
        tally[own] = n
    else:
        read_values(
            text, row.starts, row.stops, layout.first, n, layout.mark, facts[fact + MULTIPLIER],
            facts[fact + POWER], facts[fact + WRONG_UNIT] != 0, out.amounts, at, tally,
        )  # fmt: skip
        if n * layout.interval != length:
            n = place_by_clock(
                clock,
                local + layout.lead,
                start,
                length,
                layout.interval,
                n,
                out.amounts,
                at,
                out.amounts,
                False,
                tally,
            )
        refuse_future(start, layout.interval, n, layout.future_s, out.amounts, at, tally)
        if filled(out.amounts, at, n):
            s = memory[STRIPS] * STRIP
            a = row.starts[layout.meter] if layout.meter >= 0 else 0
            b = row.stops[layout.meter] if layout.meter >= 0 else 0
            describe(out.strips, s, a, b, facts[fact + NUMBER], 0, start, memory[LINE])
            out.strips[s + S_COUNT] = n
            memory[STRIPS] += 1
            memory[SLOTS] = at + n


@njit(nogil=True, cache=True, error_model="numpy")
def scan_days(
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
    facts, tally = pointer(table.facts), pointer(tallied)
    out = Out(pointer(strips), pointer(amounts), pointer(rejects))
    i = memory[POSITION]
    answer = DONE
    while i < size:
        count, end, flaw = split(text, i, layout.delimiter, starts, stops, capacity)
        if count > 1 or starts[0] != stops[0] or flaw != WHOLE:
            row = Row(starts, stops, end)
            slot, local = _head(text, layout, row, count, flaw, known, facts, memory, script)
            if slot == NEW:
                answer = LEARN
                break
            if slot == TOO_LONG:
                tally[_MALFORMED] = 1
            else:
                present = min(count - layout.first, layout.values)
                _take(text, layout, row, clock, facts, slot, local, present, out, memory, tally)
            memory[REJECTS] = write_tally(tally, out.rejects, memory[REJECTS], memory[LINE], i, end)
        memory[LINE] += 1
        i = end + 1
    memory[POSITION] = i
    return answer
