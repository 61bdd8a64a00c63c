"""Readings that a batch holds twice: the same slot, written alike and of one amount, counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from meterlake.strips import MISSING, Strips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.strips import Kind


@njit(nogil=True, cache=True, error_model="numpy")
def _mark(  # noqa: PLR0913  # pragma: no cover - compiled
    meter: Any, kind: Any, start: Any, count: Any, interval: Any, amounts: Any, missing: int,
    table: Any, owners: Any, within: Any,
) -> int:  # fmt: skip
    """Set ``owners`` to -1 at every slot that an earlier one equals; ``table`` is the hash table, ``within`` its strips' slots."""
    mask = np.uint64(len(table) - 1)
    at, found = 0, 0
    for i in range(len(meter)):
        for k in range(count[i]):
            amount = amounts[at]
            if amount != missing:
                moment = start[i] + k * interval[kind[i]]
                h = np.uint64(moment) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(amount)
                h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) ^ np.uint64(meter[i])
                h = (h ^ (h >> np.uint64(32))) * np.uint64(0x94D049BB133111EB) ^ np.uint64(kind[i])
                place = (h ^ (h >> np.uint64(31))) & mask
                while True:
                    held = table[place]
                    if held < 0:
                        table[place], owners[at] = at, i
                        break
                    j = owners[held]
                    if meter[j] == meter[i] and kind[j] == kind[i] and amounts[held] == amount:
                        other = start[j] + within[held] * interval[kind[j]]
                        if other == moment:
                            owners[at] = -1
                            found += 1
                            break
                    place = (place + np.uint64(1)) & mask
            within[at] = k
            at += 1
    return found


def drop_repeats(strips: Strips, kinds: Sequence[Kind]) -> tuple[Strips, int]:
    """Return ``strips`` without readings that repeat an earlier one in everything, and how many those were."""
    n = len(strips.amounts)
    if n < 2:
        return strips, 0
    table = np.full(1 << (2 * n - 1).bit_length(), -1, np.int32)
    owners, within = np.zeros(n, np.int32), np.zeros(n, np.int32)
    interval = np.array([kind.interval_s for kind in kinds], np.int64)
    found = _mark(
        strips.meter, strips.kind, strips.start, strips.count, interval, strips.amounts, MISSING,
        table, owners, within,
    )  # fmt: skip
    if not found:
        return strips, 0
    amounts = np.where(owners < 0, MISSING, strips.amounts)
    left = Strips(strips.meter, strips.kind, strips.start, strips.count, strips.line, amounts)
    filled = np.add.reduceat(amounts != MISSING, strips.offsets()[:-1]) > 0
    return left.where(filled), int(found)
