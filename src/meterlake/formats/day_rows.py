"""The kernel for files with a row per meter and day: one strip a row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from meterlake.formats.categories import MULTIPLIER, NEW, NUMBER, POWER, REASON, TOO_LONG, WRONG_UNIT, look_up
from meterlake.formats.days import (
    day_span,
    filled,
    new_tally,
    place_by_clock,
    read_values,
    refuse_future,
    slots_stated,
    write_tally,
)
from meterlake.formats.fields import WHOLE, split
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
from meterlake.formats.stamps import stamp_of
from meterlake.intervals import DAY_S
from meterlake.readings import REASON_CODES
from meterlake.strips import Ints

_MALFORMED = REASON_CODES["malformed_line"]
_NO_INTERVAL = REASON_CODES["unsupported_interval"]


class DayLayout(NamedTuple):
    """How a row is written; the fields of `rows.Layout`, and where its values are."""

    delimiter: int
    mark: int
    mode: int
    program: Ints
    width: int
    meter: int
    time: int
    words: Ints
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
    data: Any, layout: Any, starts: Any, stops: Any, table: Any, state: Any, room: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Slot of the row's words (`NEW`; `TOO_LONG` where the row cannot be read), and its date in local seconds."""
    if layout.meter >= 0:
        length = stops[layout.meter] - starts[layout.meter]
        if length == 0 or length > METER_MAX:
            return TOO_LONG, 0
    status, local, _ = stamp_of(data, starts[layout.time], stops[layout.time], layout.mode, layout.program, room)
    if status or local % DAY_S:
        return TOO_LONG, 0
    slot = look_up(data, starts, stops, layout.words, table, state[KNOWN], state[LAST])
    if slot >= 0 and table.facts[slot, REASON] == _MALFORMED:
        return TOO_LONG, 0
    return slot, local


@njit(nogil=True, cache=True, error_model="numpy")
def scan_days(  # noqa: PLR0913, PLR0915
    data: Any, layout: Any, zone: Any, table: Any, fields: Any, room: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read rows from ``state[POSITION]`` on until the end (`DONE`) or new words (`LEARN`)."""
    starts, stops = fields[0], fields[1]
    tally, codes = new_tally(), np.empty(0, np.int8)
    facts = table.facts
    i, line, at = state[POSITION], state[LINE], state[SLOTS]
    answer = DONE
    while i < len(data):
        count, end, flaw = split(data, i, layout.delimiter, starts, stops)
        if count == 1 and starts[0] == stops[0] and flaw == WHOLE:
            i, line = end + 1, line + 1
            continue
        present = min(count - layout.first, layout.values)
        needed = max(max(layout.meter, layout.time), layout.first)
        for k in range(len(layout.words)):
            needed = max(needed, layout.words[k])
        slot, local, stated, start, length = TOO_LONG, 0, 0, 0, DAY_S
        whole = flaw == WHOLE and count > needed and present > 0
        if whole and not (count > layout.width and overfull(data, stops[layout.width - 1], end, layout.delimiter)):
            slot, local = _head(data, layout, starts, stops, table, state, room)
            if slot == NEW:
                answer = LEARN
                break
        if slot >= 0:
            state[LAST] = slot
            start, length, state[STRETCH] = day_span(zone, local + layout.lead, state[STRETCH])
            stated = slots_stated(starts, stops, layout.first, present, layout.usual, length // layout.interval)
        if stated == 0:
            tally[_MALFORMED] = 1
        elif length % layout.interval:
            tally[_NO_INTERVAL] = stated
        elif facts[slot, REASON]:
            tally[facts[slot, REASON]] = stated
        else:
            read_values(
                data, starts, stops, layout.first, stated, layout.mark, facts[slot, MULTIPLIER],
                facts[slot, POWER], facts[slot, WRONG_UNIT] != 0, amounts, at, tally,
            )  # fmt: skip
            n = stated
            if stated * layout.interval != length:
                n = place_by_clock(
                    zone, local + layout.lead, start, length, layout.interval, stated, amounts, at, codes, tally
                )
            refuse_future(start, layout.interval, n, layout.future_s, amounts, at, tally)
            if filled(amounts, at, n):
                row = strips[state[STRIPS]]
                row[S_METER], row[S_LENGTH] = 0, 0
                if layout.meter >= 0:
                    row[S_METER] = starts[layout.meter]
                    row[S_LENGTH] = stops[layout.meter] - starts[layout.meter]
                row[S_NUMBER], row[S_KEY] = facts[slot, NUMBER], 0
                row[S_START], row[S_LINE], row[S_COUNT] = start, line, n
                state[STRIPS] += 1
                at += n
        if stated:
            state[NAIVE] += 1
        state[REJECTS] = write_tally(tally, rejects, state[REJECTS], line, i, end)
        i, line = end + 1, line + 1
    state[POSITION], state[LINE], state[SLOTS] = i, line, at
    return answer
