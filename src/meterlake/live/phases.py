"""Where the grid of a series lies: readings beside the phase of their meter's row are not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterlake.live import kernel
from meterlake.merge import Pile
from meterlake.strips import Kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.live.live import Live
    from meterlake.merge import Bools
    from meterlake.strips import Kind, Strips


def clash(live: Live, strips: Strips, kinds: Sequence[Kind]) -> Bools:
    """Which strips lie beside the phase of their row; of unknown rows, beside that of most of these strips."""
    clash, known = np.zeros(len(strips), bool), np.zeros(len(strips), bool)
    if not len(strips):
        return clash
    odd = False
    with live.lock:
        plane = np.array([live.plane_of.get((kind.channel, kind.interval_s), -1) for kind in kinds], np.int64)
        mine = plane[strips.kind]
        for p in np.unique(mine).tolist():
            if p >= 0:
                one = live.planes[p]
                odd |= kernel.clashes(
                    strips.meter, strips.start, mine == p, one.interval_s,
                    one.row_of, one.rows.data, clash, known,
                )  # fmt: skip
    if not odd and (mine >= 0).all():
        return clash
    numbered = Kinds()
    numbered.table.extend(kinds)
    beside = Pile(strips, numbered, live.ids.texts(), frozenset()).off_grid()
    return np.where(known, clash, beside)
