"""The compiled loops under `merge`: number the blocks, fold the candidates, judge the losers, pack.

All arrays are flat and typed; ``cells`` are block-major: cell = (block - low) * width + slot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

STORED, REPLACED, DUPLICATE, SUPERSEDED, CONFLICT = range(5)
"""Columns of the counts that `judge` fills; a replaced reading is counted as stored too."""

SCALE_MAX = 9
INT32_MAX = 2**31 - 1


@njit(nogil=True, cache=True)
def extents(  # noqa: PLR0913  # pragma: no cover - compiled
    series: Array, start: Array, count: Array, interval_s: int, span_s: int, first: Array, last: Array
) -> None:
    """Widen ``first`` and ``last`` (block number since 1970 by series) to hold every strip."""
    for j in range(len(series)):
        s = series[j]
        low = start[j] // span_s
        high = (start[j] + (count[j] - 1) * interval_s) // span_s
        first[s] = min(first[s], low)
        last[s] = max(last[s], high)


@njit(nogil=True, cache=True)
def mark(  # noqa: PLR0913  # pragma: no cover - compiled
    series: Array, start: Array, count: Array, interval_s: int, span_s: int,
    first: Array, base: Array, number: Array,
) -> None:  # fmt: skip
    """Set ``number[base[series] + day - first[series]]`` to 1 for every block that a strip touches."""
    for j in range(len(series)):
        s = series[j]
        low = start[j] // span_s
        high = (start[j] + (count[j] - 1) * interval_s) // span_s
        for day in range(low, high + 1):
            number[base[s] + day - first[s]] = 1


@njit(nogil=True, cache=True)
def _settle(  # noqa: PLR0913  # pragma: no cover - compiled
    c: int, winner: Array, amount: Array, late: Array, late_amount: Array,
    kind: Array, rank: Array, quality: Array, sender: Array, delivery: Array,
) -> None:  # fmt: skip
    """Let the greatest of the class just read (``late``) meet the winner of the classes before."""
    j, w = late[c], winner[c]
    if w < 0:
        winner[c], amount[c] = j, late_amount[c]
        return
    kj, kw = kind[j], kind[w]
    if rank[kj] > rank[kw]:
        same = late_amount[c] == amount[c] and quality[kj] == quality[kw]
        if same and not sender[kj]:
            return
    elif (
        rank[kj] < rank[kw]
        or late_amount[c] < amount[c]
        or (late_amount[c] == amount[c] and delivery[kj] >= delivery[kw])
    ):
        return
    winner[c], amount[c] = j, late_amount[c]


@njit(nogil=True, cache=True)
def fold(  # noqa: PLR0913, C901, PLR0912  # pragma: no cover - compiled
    order: Array, series: Array, kind: Array, start: Array, count: Array, at: Array, amounts: Array,
    interval_s: int, span_s: int, width: int, missing: int, low: int, high: int,
    first: Array, base: Array, number: Array,
    turn: Array, rank: Array, quality: Array, sender: Array, delivery: Array,
    winner: Array, amount: Array, late: Array, late_amount: Array,
) -> int:  # fmt: skip
    """Fold the strips, in ``order``, into the cells of blocks ``low`` to ``high``; return the repeats.

    ``turn`` numbers the classes of equal landing and version by kind, ``rank`` the versions alone.
    ``winner`` (-1 at first) ends as the strip that holds each cell, ``amount`` as its amount. Most often
    no two classes meet in a cell: with ``late`` and ``late_amount`` empty the maximum is kept at once, and -1
    is returned where they do meet; then all must be done again with these as long as ``winner``.
    Of equal candidates the one of the lowest ``delivery`` stays, whatever the order of their coming.
    """
    many = len(late) > 0
    holder = late if many else winner
    held = late_amount if many else amount
    repeats = 0
    for i in range(len(series)):
        j = order[i] if len(order) > 0 else i
        s, k, t, end = series[j], at[j], start[j], at[j] + count[j]
        while k < end:
            day = t // span_s
            slot = min((t - day * span_s) // interval_s, width - 1)
            n = min(width - slot, end - k)
            block = number[base[s] + day - first[s]]
            c = (block - low) * width + slot
            t += n * interval_s
            k += n
            if block < low or block >= high:
                continue
            for value in amounts[k - n : k]:
                w = holder[c]
                if value == missing:
                    pass
                elif w < 0:
                    holder[c], held[c] = j, value
                else:
                    repeats += 1
                    if turn[kind[w]] != turn[kind[j]]:
                        if not many:
                            return -1
                        _settle(c, winner, amount, late, late_amount, kind, rank, quality, sender, delivery)
                        holder[c], held[c] = j, value
                    elif value > held[c] or (value == held[c] and delivery[kind[j]] < delivery[kind[w]]):
                        holder[c], held[c] = j, value
                c += 1
    if many:
        for c in range(len(late)):
            if late[c] >= 0:
                _settle(c, winner, amount, late, late_amount, kind, rank, quality, sender, delivery)
    return repeats


@njit(nogil=True, cache=True)
def judge(  # noqa: PLR0913, C901, PLR0912  # pragma: no cover - compiled
    series: Array, kind: Array, start: Array, count: Array, at: Array, amounts: Array,
    interval_s: int, span_s: int, width: int, missing: int, low: int, high: int,
    first: Array, base: Array, number: Array,
    rank: Array, quality: Array, delivery: Array, new: Array,
    winner: Array, amount: Array, lake: Array, lake_amount: Array,
    counts: Array, loser_cell: Array, loser_strip: Array, loser_amount: Array,
) -> int:  # fmt: skip
    """Count what became of every new candidate by delivery, and list the losers worth keeping.

    ``lake`` and ``lake_amount`` hold by cell the strip and amount that the lake had (-1: none). A loser
    whose amount is the winner's is listed with ``missing`` for its amount. Return the number listed; the
    loser arrays are filled as far as they reach, so a first call may pass empty ones and only count
    (``counts`` then counts too: pass a copy).
    """
    found = 0
    for j in range(len(series)):
        s, k, t, end, kj = series[j], at[j], start[j], at[j] + count[j], kind[j]
        tally = counts[delivery[kj]]
        while k < end:
            day = t // span_s
            slot = min((t - day * span_s) // interval_s, width - 1)
            n = min(width - slot, end - k)
            block = number[base[s] + day - first[s]]
            c = (block - low) * width + slot - 1
            t += n * interval_s
            k += n
            if block < low or block >= high:
                continue
            for value in amounts[k - n : k]:
                c += 1
                if value == missing:
                    continue
                w = winner[c]
                if w == j:
                    if new[kj]:
                        had = len(lake) > 0 and lake[c] >= 0
                        if had and lake_amount[c] == value and quality[kj] >= quality[kind[lake[c]]]:
                            tally[DUPLICATE] += 1
                        else:
                            tally[STORED] += 1
                            tally[REPLACED] += had
                    continue
                same = value == amount[c]
                if new[kj]:
                    if same:
                        tally[DUPLICATE] += 1
                    elif rank[kj] == rank[kind[w]]:
                        tally[CONFLICT] += 1
                    else:
                        tally[SUPERSEDED] += 1
                    kw = kind[w]
                    if same and delivery[kj] == delivery[kw] and quality[kj] == quality[kw]:
                        continue
                if found < len(loser_cell):
                    loser_cell[found], loser_strip[found] = c, j
                    loser_amount[found] = missing if same and new[kj] else value
                found += 1
    return found


@njit(nogil=True, cache=True)
def pack(  # noqa: PLR0913  # pragma: no cover - compiled
    winner: Array, amount: Array, width: int, kind: Array, trait: Array, quality: Array,
    values: Array, valid: Array, filled: Array, total: Array, scale: Array,
    block_trait: Array, block_quality: Array, fits: Array, ends: Array, held: Array,
) -> None:  # fmt: skip
    """Turn the cells of each block into its row.

    ``values`` (int32) gets the amounts divided by 10**scale and 0 where empty or too large (``fits``
    then is False); ``block_trait`` the delivery-and-stamp code and ``block_quality`` the quality that
    all filled slots share, -1 where they differ; ``ends`` (n, 2) its first and last filled slot;
    ``held`` counts the slots by kind.
    """
    for b in range(len(filled)):
        low = b * width
        n, s, e, power = 0, 0, SCALE_MAX, 10**SCALE_MAX
        part = 1.0 / power
        largest = 0
        same_trait, same_quality = -2, -2
        for c in range(low, low + width):
            w = winner[c]
            if w < 0:
                valid[c] = False
                continue
            valid[c] = True
            v = amount[c]
            if n == 0:
                ends[b, 0] = c - low
            ends[b, 1] = c - low
            n += 1
            s += v
            largest = max(largest, abs(v))
            # An amount is below 2**53, so the rounded quotient is exact wherever the division is.
            while e > 0 and np.int64(np.floor(v * part + 0.5)) * power != v:
                e -= 1
                power //= 10
                part = 1.0 / power
            k = kind[w]
            held[k] += 1
            if same_trait != trait[k]:
                same_trait = trait[k] if same_trait == -2 else -1
            if same_quality != quality[k]:
                same_quality = quality[k] if same_quality == -2 else -1
        if largest == 0:
            e, power = 0, 1
        filled[b], total[b], scale[b] = n, s, e
        block_trait[b], block_quality[b] = same_trait, same_quality
        fits[b] = largest // power <= INT32_MAX
        part = 1.0 / power
        for c in range(low, low + width):
            keep = fits[b] and winner[c] >= 0
            values[c] = np.int64(np.floor(amount[c] * part + 0.5)) if keep else 0


@njit(nogil=True, cache=True)
def offsets(  # noqa: PLR0913  # pragma: no cover - compiled
    series: Array, start: Array, count: Array, interval_s: int, span_s: int, width: int,
    first: Array, base: Array, number: Array, offset: Array, clash: Array,
) -> None:  # fmt: skip
    """Give every block the offset of the first strip that touches it; flag strips that have another."""
    for j in range(len(series)):
        s = series[j]
        low = start[j] // span_s
        high = (start[j] + (count[j] - 1) * interval_s) // span_s
        phase = start[j] - low * span_s if width == 1 else start[j] % interval_s
        for day in range(low, high + 1):
            block = number[base[s] + day - first[s]]
            if offset[block] < 0:
                offset[block] = phase
            elif offset[block] != phase:
                clash[j] = True


@njit(nogil=True, cache=True)
def holders(  # noqa: PLR0913  # pragma: no cover - compiled
    chosen: Array, series: Array, start: Array, count: Array, at: Array, amounts: Array,
    interval_s: int, span_s: int, width: int, missing: int, low: int, high: int,
    first: Array, base: Array, number: Array, holder: Array, held: Array,
) -> None:  # fmt: skip
    """Note in ``holder`` and ``held``, by cell, the one chosen strip that fills it and its amount."""
    for j in range(len(series)):
        if not chosen[j]:
            continue
        s, k, t, end = series[j], at[j], start[j], at[j] + count[j]
        while k < end:
            day = t // span_s
            slot = min((t - day * span_s) // interval_s, width - 1)
            n = min(width - slot, end - k)
            block = number[base[s] + day - first[s]]
            c = (block - low) * width + slot
            t += n * interval_s
            k += n
            if block < low or block >= high:
                continue
            for value in amounts[k - n : k]:
                if value != missing:
                    holder[c], held[c] = j, value
                c += 1
