"""The kernel for files with a JSON object per reading: bytes to strips in one pass, like `rows.scan_rows`.

Only where a member's value stands is decided here; numbers, stamps and words are understood by what reads csv
rows too, so a value means the same in both. JSON is taken strictly (RFC 8259): a line that is not exactly one
object is refused. Of a member said twice the last counts.
"""

# ruff: noqa: C901, PLR0911, PLR0912, PLR0913, PLR1714
# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any

from numba import njit

from meterlake.formats.categories import NEW, TOO_LONG, Words
from meterlake.formats.fields import same
from meterlake.formats.json_text import BROKEN, blank, past, plain, scalar, string
from meterlake.formats.localtime import clock_of
from meterlake.formats.octets import alike
from meterlake.formats.pointer import pointer
from meterlake.formats.rows import (
    DONE,
    LEARN,
    LINE,
    MALFORMED,
    METER_LENGTH,
    POSITION,
    Out,
    Row,
    head,
    put,
    refuse,
)
from meterlake.formats.stamps import Script


@njit(nogil=True, cache=True, error_model="numpy")
def _member(
    data: Any, i: int, names: Any, borders: Any, n: int, guess: int
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Field that the name behind the quote at ``i - 1`` stands for (-1: none), and position of its last quote."""
    if guess >= 0:
        stop = i + borders[guess + 1] - borders[guess]
        if data[stop] == 34 and alike(data, i, names, borders[guess], stop - i):
            return guess, stop
    stop, escaped = string(data, i)
    if stop < 0:
        return -1, BROKEN
    end = plain(data, i, stop) if escaped else stop
    for k in range(n):
        if same(data, i, end, names, borders[k], borders[k + 1]):
            return k, stop
    return -1, stop


@njit(nogil=True, cache=True, error_model="numpy")
def _object(
    data: Any, i: int, layout: Any, names: Any, borders: Any, n: int, starts: Any, stops: Any, order: Any
) -> int:  # pragma: no cover - compiled
    """Find the fields of the object at ``i``: position of the newline behind it, or `BROKEN`.

    ``order`` holds which field stood where in the line before.
    """
    for k in range(n):
        starts[k] = stops[k] = i
    if data[i] != 123:
        return BROKEN
    i = blank(data, i + 1)
    if data[i] == 125:
        i = blank(data, i + 1)
        return i if data[i] == 10 else BROKEN
    place = 0
    while True:
        if data[i] != 34:
            return BROKEN
        field, i = _member(data, i + 1, names, borders, n, order[place] if place < n else -1)
        if i < 0:
            return BROKEN
        if place < n:
            order[place] = field
        place += 1
        i = blank(data, i + 1)
        if data[i] != 58:
            return BROKEN
        i = blank(data, i + 1)
        if field < 0:
            i = past(data, i)
        elif data[i] == 34:
            a = i + 1
            i, escaped = string(data, a)
            if i < 0:
                return BROKEN
            b = plain(data, a, i) if escaped else i
            if b < 0:
                return BROKEN
            while b > a and data[b - 1] == 32:
                b -= 1
            while a < b and data[a] == 32:
                a += 1
            starts[field], stops[field] = a, b
            i += 1
        else:
            a, c = i, data[i]
            i = scalar(data, a)
            if field == layout.meter and (c == 116 or c == 102):
                return BROKEN
            starts[field], stops[field] = a, a if c == 110 else i
        if i < 0:
            return BROKEN
        i = blank(data, i)
        if data[i] == 125:
            i = blank(data, i + 1)
            return i if data[i] == 10 else BROKEN
        if data[i] != 44:
            return BROKEN
        i = blank(data, i + 1)


@njit(nogil=True, cache=True, error_model="numpy")
def scan_objects(
    names: Any, borders: Any,
    data: Any, layout: Any, program: Any, words: Any, zone: Any, table: Any, fields: Any, room: Any,
    state: Any, strips: Any, amounts: Any, rejects: Any, unsettled: Any, stamps: Any,
) -> int:  # fmt: skip  # pragma: no cover - compiled
    """Read lines from ``state[POSITION]`` on until the end (`DONE`) or new words (`LEARN`).

    ``names[borders[k]:borders[k + 1]]`` is the name of the member that is field k. Escapes are undone in
    ``data`` itself. The third row of ``fields`` is for the kernel: the order of the members, and last where
    the line ends that was cut into fields when new words stopped it.
    """
    size, text, memory = len(data), pointer(data), pointer(state)
    starts, stops, order = pointer(fields[0]), pointer(fields[1]), pointer(fields[2])
    n, held = len(borders) - 1, fields.shape[1] - 1
    known_names, known_borders = pointer(names), pointer(borders)
    clock = clock_of(zone)
    script = Script(layout.mode, pointer(program), len(program), pointer(room))
    known = Words(pointer(words), len(words), pointer(table.tokens), pointer(table.lengths))
    facts, late, sent = pointer(table.facts), pointer(unsettled), pointer(stamps)
    out = Out(pointer(strips), pointer(amounts), pointer(rejects))
    i = memory[POSITION]
    answer = DONE
    while i < size:
        end = order[held]
        order[held] = 0
        if end == 0:
            first = blank(text, i)
            if text[first] == 10:
                memory[METER_LENGTH] = -1
                memory[LINE] += 1
                i = first + 1
                continue
            end = _object(text, first, layout, known_names, known_borders, n, starts, stops, order)
        slot = TOO_LONG
        if end >= 0 and end - i <= layout.longest:
            slot = head(text, layout, Row(starts, stops, end), known, facts, memory)
        if slot == NEW:
            order[held] = end
            answer = LEARN
            break
        if slot == TOO_LONG:
            end = max(i, end)
            while text[end] != 10:
                end += 1
            refuse(out, memory, i, end, MALFORMED)
        else:
            put(text, layout, Row(starts, stops, end), script, clock, facts, slot, memory, out, late, sent, i)
        memory[LINE] += 1
        i = end + 1
    memory[POSITION] = i
    return answer
