"""Which deliveries the readings came in that stand for a meter now."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.query.view import View


def winners(view: View, meters: Sequence[str], start: int, stop: int) -> Counter[int]:
    """Count the filled slots of whole blocks in and around ``[start, stop)`` (s) by the delivery that they are of."""
    counts: Counter[int] = Counter()
    for meter in meters:
        held = view.held(meter, start, stop, values=False)
        near = (held.rows["start"] < stop) & (held.rows["start"] > start - 86_400)
        rows, parts, at = held.rows[near], held.part[near], held.at[near]
        own = rows["delivery"] >= 0
        for number, filled in zip(rows["delivery"][own].tolist(), rows["filled"][own].tolist(), strict=True):
            counts[number] += filled
        for part, row in zip(parts[~own].tolist(), at[~own].tolist(), strict=True):
            runs: Any = held.parts[part].sheet.origins.of(int(row))
            for number in np.unique(runs["delivery"]).tolist():
                counts[number] += int(runs["count"][runs["delivery"] == number].sum())
    return +counts
