"""The compiled loops under `live`: number the rows, fold readings into cells, read cells out again.

Cells of an open set lie in *columns* of `CHUNK` rows: column ``place[slot, row // CHUNK]``, -1 where none
was touched yet. A cell is a pair (amount, version); version 0 is an empty cell.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from meterlake.fold import CONFLICT, DUPLICATE, REPLACED, STORED, SUPERSEDED
from meterlake.strips import MISSING

Array = npt.NDArray[Any]

SHIFT: Final = 12
CHUNK: Final = 1 << SHIFT
"""Rows of one column of cells."""

ROW: Final = np.dtype([("touched", "i8"), ("place", "i4"), ("phase", "i2")], align=True)
"""One meter of a plane: epoch of its last change, place code, phase (s)."""

VERSION: Final = np.dtype(
    [
        ("key", "i8"), ("stamp", "i8"), ("delivery", "i4"), ("trait", "i4"), ("source", "i4"),
        ("quality", "i1"), ("sender", "?"),
    ],
    align=True,
)  # fmt: skip
"""One version of a set: ``key`` orders by precedence, stamp and quality rank, then the rank of ``source`` counts;
``trait`` is the first version of the same delivery and stamp."""

LOSER: Final = np.dtype(
    [("amount", "i8"), ("row", "i4"), ("version", "i4"), ("slot", "i4"), ("next", "i4")], align=True
)
"""One reading of a set that does not hold its slot; ``next`` - 1 is the one before of the same row, 0 ends them."""

READING: Final = np.dtype(
    [("cell", "i8"), ("amount", "i8"), ("row", "i4"), ("slot", "i4"), ("version", "i4"), ("turn", "i4")]
)
"""One reading of a batch whose slots repeat; ``turn`` is the order of its version among those of the batch."""


@njit(nogil=True, cache=True, error_model="numpy")
def register(  # noqa: PLR0913  # pragma: no cover - compiled
    meter: Array, start: Array, count: Array, interval_s: int, span_s: int, epoch: int,
    row_of: Array, rows: Array, meters: Array, n: int, most: int, place_of: Array, row: Array, where: Array,
    blocks: Array,
) -> tuple[int, int, bool]:  # fmt: skip
    """Give every strip its ``row`` and ``where``, its place code; -1 where it lies beside the phase of its row.

    Where ``most`` rows are there, strips of new meters get none either. New rows get the phase of their first strip. ``blocks`` becomes the first and last block touched. Returns how
    many rows there are now, how many strips lie beside, and whether strips of one row may overlap.
    """
    for i in range(len(meter)):  # A loop of its own: the reads of memory far apart then wait together.
        row[i] = row_of[meter[i]]
    beside, overlap = 0, False
    low, high = np.int64(2**62), np.int64(-(2**62))
    s, phase, before, until = np.int64(-1), np.int64(interval_s - 1), -1, np.int64(0)
    for i in range(len(meter)):
        if start[i] != s:
            s = start[i]
            phase = s % interval_s
        r = row[i]
        if r < 0:
            r = row_of[meter[i]]
            if r < 0 and n >= most:
                beside += 1
                continue
            if r < 0:
                r = n
                n += 1
                row_of[meter[i]] = r
                meters[r] = meter[i]
                rows[r].phase, rows[r].place, rows[r].touched = phase, place_of[meter[i]], 0
        seen = rows[r].touched == epoch
        rows[r].touched = epoch
        if rows[r].phase != phase:
            row[i] = -1
            beside += 1
            continue
        row[i] = r
        where[i] = rows[r].place
        end = s + count[i] * interval_s
        if seen:
            overlap = bool(overlap or r != before or s < until)
        before, until = r, end
        low, high = min(low, s), max(high, end - interval_s)
    blocks[0], blocks[1] = low // span_s, high // span_s
    return n, beside, overlap


@njit(nogil=True, cache=True, error_model="numpy")
def overlapping(  # pragma: no cover - compiled
    row: Array, start: Array, count: Array, interval_s: int, until: Array
) -> bool:
    """Whether a strip begins before an earlier one of its row ends; ``until`` is 0 by row."""
    for i in range(len(row)):
        if row[i] >= 0:
            if start[i] < until[row[i]]:
                return True
            until[row[i]] = start[i] + count[i] * interval_s
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def clashes(  # noqa: PLR0913  # pragma: no cover - compiled
    meter: Array, start: Array, chosen: Array, interval_s: int, row_of: Array, rows: Array,
    clash: Array, known: Array,
) -> bool:  # fmt: skip
    """Flag the ``chosen`` strips whose row is ``known`` and has another phase; return whether one has a phase but 0."""
    odd = False
    for i in range(len(meter)):
        if not chosen[i]:
            continue
        phase = start[i] % interval_s
        odd |= phase != 0
        m = meter[i]
        if m < len(row_of) and row_of[m] >= 0:
            known[i] = True
            clash[i] = rows[row_of[m]].phase != phase
    return odd


@njit(nogil=True, cache=True, error_model="numpy")
def cut(  # noqa: PLR0913  # pragma: no cover - compiled
    start: Array, count: Array, at: Array, interval_s: int, span_s: int,
    strip: Array, piece_start: Array, piece_count: Array, piece_at: Array, block: Array,
) -> int:  # fmt: skip
    """Cut strips at the borders of blocks; return the pieces, which are written as far as there is room."""
    n = 0
    for i in range(len(start)):
        s, k, end = start[i], at[i], at[i] + count[i]
        while k < end:
            b = s // span_s
            here = min(end - k, ((b + 1) * span_s - s + interval_s - 1) // interval_s)
            if n < len(strip):
                strip[n], piece_start[n], piece_count[n], piece_at[n], block[n] = i, s, here, k, b
            n += 1
            s += here * interval_s
            k += here
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def touch(  # noqa: PLR0913  # pragma: no cover - compiled
    row: Array, start: Array, count: Array, at: Array, amounts: Array, interval_s: int, set_s: int,
    place: Array, used: int, columns: Array,
) -> tuple[int, Any, Any]:  # fmt: skip
    """Number the columns that readings need: writes them to ``columns``, flagged by slot and chunk.

    Returns how many columns are in use now, and the least and greatest amount.
    """
    low, high = np.int64(0), np.int64(0)
    s, first = np.int64(-1), np.int64(0)
    for i in range(len(row)):
        if start[i] != s:
            s = start[i]
            first = (s - set_s) // interval_s
        chunk, slot = row[i] >> SHIFT, first
        for k in range(at[i], at[i] + count[i]):
            value = amounts[k]
            if value != MISSING:
                low, high = min(low, value), max(high, value)
                if place[slot, chunk] < 0:
                    place[slot, chunk] = used
                    used += 1
                columns[slot, chunk] = True
            slot += 1
    return used, low, high


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _order(versions: Array, ranks: Array, a: int, b: int) -> int:  # pragma: no cover - compiled
    """1 where version ``a`` is the later one, -1 where ``b`` is, 0 where neither."""
    if versions[a].key != versions[b].key:
        return 1 if versions[a].key > versions[b].key else -1
    x, y = ranks[versions[a].source], ranks[versions[b].source]
    return 1 if x > y else (-1 if x < y else 0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _wins(order: int, same_amount: bool, more: bool, versions: Array, a: int, b: int) -> bool:  # noqa: FBT001  # pragma: no cover - compiled
    """Whether a candidate of version ``a`` takes the place of a holder of version ``b``."""
    if order > 0:
        same = same_amount and versions[a].quality == versions[b].quality
        return not same or versions[a].sender
    return order == 0 and more


@njit(nogil=True, cache=True, error_model="numpy")
def fold_each(  # noqa: PLR0913  # pragma: no cover - compiled
    row: Array, where: Array, code: Array, start: Array, count: Array, at: Array, amounts: Array,
    interval_s: int, set_s: int, place: Array, cells: Array, versions: Array, ranks: Array,
    sums: Array, filled: Array, counts: Array, losers: Array, found: int, last: Array,
) -> int:  # fmt: skip
    """Fold readings none of which share a slot; return the losers there are.

    ``code`` is the version of each strip, ``where`` its place code.
    """
    stored, replaced, duplicate, superseded, conflict = 0, 0, 0, 0, 0
    s, first = np.int64(-1), np.int64(0)
    for i in range(len(row)):
        if start[i] != s:
            s = start[i]
            first = (s - set_s) // interval_s
        r, v, p, slot = row[i], code[i], where[i], first
        chunk, within = r >> SHIFT, r & (CHUNK - 1)
        for k in range(at[i], at[i] + count[i]):
            value = amounts[k]
            if value == MISSING:
                slot += 1
                continue
            c = np.int64(place[slot, chunk]) * CHUNK + within
            h = cells[c, 1]
            if h == 0:
                stored += 1
                sums[slot, p] += value
                filled[slot, p] += 1
                cells[c, 0], cells[c, 1] = value, v
            else:
                held = np.int64(cells[c, 0])
                order = _order(versions, ranks, v, h)
                same = value == held
                losers[found].row, losers[found].slot, losers[found].next = r, slot, last[r]
                if _wins(order, same, value > held, versions, v, h):
                    losers[found].version, losers[found].amount = h, held
                    sums[slot, p] += value - held
                    cells[c, 0], cells[c, 1] = value, v
                    if same and versions[v].quality >= versions[h].quality:
                        duplicate += 1
                    else:
                        stored += 1
                        replaced += 1
                else:
                    losers[found].version, losers[found].amount = v, value
                    duplicate += same
                    conflict += order == 0 and not same
                    superseded += order != 0 and not same
                found += 1
                last[r] = found
            slot += 1
    counts[STORED] += stored
    counts[REPLACED] += replaced
    counts[DUPLICATE] += duplicate
    counts[SUPERSEDED] += superseded
    counts[CONFLICT] += conflict
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def explode(  # noqa: PLR0913  # pragma: no cover - compiled
    row: Array, code: Array, start: Array, count: Array, at: Array, amounts: Array, turn: Array,
    interval_s: int, set_s: int, place: Array, readings: Array,
) -> int:  # fmt: skip
    """Write every reading of the strips into ``readings``; ``turn`` is by strip. Returns how many."""
    n = 0
    for i in range(len(row)):
        slot = (start[i] - set_s) // interval_s
        for k in range(at[i], at[i] + count[i]):
            value = amounts[k]
            if value != MISSING:
                one = readings[n]
                n += 1
                one.cell = np.int64(place[slot, row[i] >> SHIFT]) * CHUNK + (row[i] & (CHUNK - 1))
                one.amount, one.row, one.slot = value, row[i], slot
                one.version, one.turn = code[i], turn[i]
            slot += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _judge(  # noqa: PLR0913  # pragma: no cover - compiled
    readings: Array, first: int, stop: int, winner: int, before: int, before_amount: int,
    version: int, amount: int, versions: Array, ranks: Array, counts: Array, losers: Array, found: int, last: Array,
) -> int:  # fmt: skip
    """Count what became of the readings of one cell, and list the losers; return the losers there are."""
    for i in range(first, stop):
        one = readings[i]
        same = one.amount == amount
        if i == winner:
            quality = versions[one.version].quality
            if before > 0 and before_amount == amount and quality >= versions[before].quality:
                counts[DUPLICATE] += 1
            else:
                counts[STORED] += 1
                counts[REPLACED] += before > 0
            continue
        if same:
            counts[DUPLICATE] += 1
        elif _order(versions, ranks, one.version, version) == 0:
            counts[CONFLICT] += 1
        else:
            counts[SUPERSEDED] += 1
        if same and one.version == version:
            continue
        lost = losers[found]
        found += 1
        lost.row, lost.slot, lost.version, lost.amount = one.row, one.slot, one.version, one.amount
        lost.next, last[one.row] = last[one.row], found
    if winner >= 0 and before > 0:
        lost = losers[found]
        found += 1
        lost.row, lost.slot, lost.version, lost.amount = (
            readings[first].row, readings[first].slot, before, before_amount,
        )  # fmt: skip
        lost.next, last[lost.row] = last[lost.row], found
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def fold_sorted(  # noqa: PLR0913  # pragma: no cover - compiled
    readings: Array, cells: Array,
    versions: Array, ranks: Array, rows: Array,
    sums: Array, filled: Array, counts: Array, losers: Array, found: int, last: Array,
) -> int:  # fmt: skip
    """Fold readings that may share slots, sorted by cell, turn and falling amount; return the losers there are."""
    i = 0
    while i < len(readings):
        first, c = i, readings[i].cell
        before_amount, before = cells[c, 0], cells[c, 1]
        amount, version, winner = before_amount, before, -1
        while i < len(readings) and readings[i].cell == c:
            one = readings[i]
            if version == 0 or _wins(
                _order(versions, ranks, one.version, version), one.amount == amount, one.amount > amount,
                versions, one.version, version,
            ):  # fmt: skip
                amount, version, winner = one.amount, one.version, i
            turn = one.turn
            while i < len(readings) and readings[i].cell == c and readings[i].turn == turn:
                i += 1
        found = _judge(
            readings, first, i, winner, before, before_amount, version, amount,
            versions, ranks, counts, losers, found, last,
        )  # fmt: skip
        if winner < 0:
            continue
        slot, p = readings[first].slot, rows[readings[first].row].place
        cells[c, 0], cells[c, 1] = amount, version
        sums[slot, p] += amount - (before_amount if before > 0 else 0)
        filled[slot, p] += before == 0
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def gather(
    cells: Array, place: Array, row: Array, winner: Array, amount: Array
) -> None:  # pragma: no cover - compiled
    """Read the cells of some rows: ``winner`` (n, slots) gets versions, -1 where empty, ``amount`` their amounts."""
    for slot in range(place.shape[0]):
        for i in range(len(row)):
            column = place[slot, row[i] >> SHIFT]
            version = 0
            if column >= 0:
                c = np.int64(column) * CHUNK + (row[i] & (CHUNK - 1))
                version, amount[i, slot] = cells[c, 1], cells[c, 0]
            winner[i, slot] = version if version > 0 else -1


@njit(nogil=True, cache=True, error_model="numpy")
def recount(  # pragma: no cover - compiled
    cells: Array, place: Array, n: int, rows: Array, sums: Array, filled: Array
) -> None:
    """Add the cells of the first ``n`` rows to the sums by slot and place."""
    for slot in range(place.shape[0]):
        for chunk in range(place.shape[1]):
            column = place[slot, chunk]
            if column < 0:
                continue
            for r in range(chunk << SHIFT, min(n, (chunk + 1) << SHIFT)):
                c = np.int64(column) * CHUNK + (r & (CHUNK - 1))
                if cells[c, 1] > 0:
                    p = rows[r].place
                    sums[slot, p] += cells[c, 0]
                    filled[slot, p] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def newest(  # noqa: PLR0913  # pragma: no cover - compiled
    cells: Array, place: Array, low: int, n: int, interval_s: int, set_s: int, rows: Array,
    start: Array, amount: Array,
) -> None:  # fmt: skip
    """Find the latest slot, from slot ``low`` on, of those of the first ``n`` rows whose ``start`` is 0 yet."""
    for chunk in range(place.shape[1]):
        first, stop = chunk << SHIFT, min(n, (chunk + 1) << SHIFT)
        waiting = 0
        for r in range(first, stop):
            waiting += start[r] == 0
        for slot in range(place.shape[0] - 1, low - 1, -1):
            column = place[slot, chunk]
            if column < 0 or waiting == 0:
                continue
            for r in range(first, stop):
                c = np.int64(column) * CHUNK + (r - first)
                if start[r] == 0 and cells[c, 1] > 0:
                    start[r], amount[r] = set_s + rows[r].phase + slot * interval_s, cells[c, 0]
                    waiting -= 1


@njit(nogil=True, cache=True, error_model="numpy")
def row_sums(
    cells: Array, place: Array, n: int, total: Array, filled: Array
) -> None:  # pragma: no cover - compiled
    """Add to ``total`` and ``filled`` what each of the first ``n`` rows holds."""
    for slot in range(place.shape[0]):
        for chunk in range(place.shape[1]):
            column = place[slot, chunk]
            if column < 0:
                continue
            for r in range(chunk << SHIFT, min(n, (chunk + 1) << SHIFT)):
                c = np.int64(column) * CHUNK + (r & (CHUNK - 1))
                if cells[c, 1] > 0:
                    total[r] += cells[c, 0]
                    filled[r] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def chain(losers: Array, last: Array, from_: int) -> None:  # pragma: no cover - compiled
    """Link the losers of each row from ``from_`` on."""
    for i in range(from_, len(losers)):
        r = losers[i].row
        losers[i].next, last[r] = last[r], i + 1


@njit(nogil=True, cache=True, error_model="numpy")
def chained(losers: Array, last: Array, row: Array, out: Array) -> int:  # pragma: no cover - compiled
    """Return how many losers some rows have; the first of them are written to ``out``."""
    n = 0
    for r in row:
        at = last[r] if r < len(last) else 0
        while at > 0:
            if n < len(out):
                out[n] = at - 1
            n += 1
            at = losers[at - 1].next
    return n
