"""The late pile: readings whose block is not open wait, as they came, for the next seal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meterlake.ids import MeterIds
from meterlake.intervals import DAY_S
from meterlake.ledger import LOST_SCHEMA
from meterlake.record import lost_strips
from meterlake.strips import MISSING, Codes, Ints, Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LateBatch:
    """Late readings of one log entry."""

    offset: int
    """Of the entry in the log."""
    number: int
    """Its delivery."""
    strips: Strips
    kinds: tuple[Kind, ...]

    @property
    def slots(self) -> int:
        """Readings, empty slots counted too."""
        return len(self.strips.amounts)


def filled(strips: Strips) -> int:
    """Readings in ``strips``."""
    return int(np.count_nonzero(strips.amounts != MISSING))


def piece(strips: Strips, strip: Ints, start: Ints, count: Codes, at: Ints) -> Strips:
    """Parts of ``strips``: of strip ``strip[i]`` the ``count[i]`` slots from ``start[i]`` s, at ``at[i]`` in its amounts."""
    slots = np.repeat(at - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
    return Strips(
        strips.meter[strip], strips.kind[strip], start, count.astype(np.int32), strips.line[strip],
        strips.amounts[slots],
    )  # fmt: skip


def _joined(batches: Sequence[LateBatch]) -> tuple[Strips, Kinds]:
    kinds, piles = Kinds(), []
    for batch in batches:
        s = batch.strips
        code = np.zeros(len(batch.kinds), np.int32)
        for k in np.flatnonzero(np.bincount(s.kind)).tolist():
            code[k] = kinds.code(batch.kinds[k])
        piles.append(Strips(s.meter, code[s.kind], s.start, s.count, s.line, s.amounts))
    return Strips.concat(piles), kinds


def late_rows(
    batches: Sequence[LateBatch], ids: MeterIds, start_s: int | None = None, stop_s: int | None = None
) -> pa.Table:
    """Rows of LOST_SCHEMA of all readings, or of those in blocks that may hold slots of ``[start_s, stop_s)``."""
    strips, kinds = _joined(batches)
    strips = _within(strips, kinds, start_s, stop_s)
    return lost_strips(strips, ids, kinds) if len(strips) else LOST_SCHEMA.empty_table()


def late_rows_of(
    batches: Sequence[LateBatch], names: pa.Array, codes: Codes, start_s: int, stop_s: int
) -> pa.Table:
    """Like `late_rows`, of some meters alone; ``codes`` are theirs."""
    ids = MeterIds()
    own = ids.codes_of(names)
    order = np.argsort(codes)
    ranked = codes[order]
    found = []
    for batch in batches:
        at = np.minimum(np.searchsorted(ranked, batch.strips.meter), len(ranked) - 1)
        mine = ranked[at] == batch.strips.meter
        if not mine.any():
            continue
        s = batch.strips.where(mine)
        meter = own[order][at[mine]]
        found.append(
            LateBatch(
                batch.offset,
                batch.number,
                Strips(meter, s.kind, s.start, s.count, s.line, s.amounts),
                batch.kinds,
            )
        )
    return late_rows(found, ids, start_s, stop_s)


def _within(strips: Strips, kinds: Kinds, start_s: int | None, stop_s: int | None) -> Strips:
    if not len(strips) or start_s is None or stop_s is None:
        return strips
    interval: Any = np.array([kind.interval_s for kind in kinds.table], np.int64)[strips.kind]
    low, high = start_s // DAY_S * DAY_S, -(-stop_s // DAY_S) * DAY_S
    return strips.where((strips.start < high) & (strips.start + strips.count * interval > low))
