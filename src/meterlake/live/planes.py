"""Planes: the meters that send one channel at one interval length, each with a row of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from meterlake.intervals import HOUR_S, block_slots, block_span_s, is_supported
from meterlake.live.growing import Growing
from meterlake.live.kernel import ROW, overlapping, register

if TYPE_CHECKING:
    from meterlake.strips import Codes, Ints

Array = npt.NDArray[Any]


def has_plane(interval_s: int) -> bool:
    """Whether blocks of this length are kept open; all others wait for a seal as they came."""
    return 0 < interval_s <= HOUR_S and is_supported(interval_s)


class Plane:
    """Rows of one (channel, interval): dense numbers in the order in which meters were met."""

    def __init__(self, channel: str, interval_s: int) -> None:
        """Start with no rows."""
        self.channel, self.interval_s = channel, interval_s
        self.span_s, self.width = block_span_s(interval_s), block_slots(interval_s)
        self.rows = Growing(ROW)
        self.meters = Growing(np.int32)
        """Meter code by row."""
        self.row_of = np.full(1024, -1, np.int32)
        """Row by meter code."""
        self.day_s = 0
        """UTC day whose sealed hours are added up in ``day_total`` and ``day_filled``, by row."""
        self.day_total: Ints = np.zeros(0, np.int64)
        self.day_filled: Ints = np.zeros(0, np.int64)
        self._order: Ints = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def reach(self, codes: int) -> None:
        """Make room for meter codes below ``codes``."""
        if codes > len(self.row_of):
            wider = np.full(max(codes, 2 * len(self.row_of)), -1, np.int32)
            wider[: len(self.row_of)] = self.row_of
            self.row_of = wider

    def register(
        self, meter: Codes, start: Ints, count: Codes, places: Codes, epoch: int, most: int
    ) -> tuple[Codes, Codes, tuple[int, int], bool, bool]:
        """Rows of strips, -1 for none; their place codes; first and last block touched; whether some have none, may overlap.

        A strip has no row where it lies beside the phase of its meter's, or where ``most`` rows are there already.
        ``places`` are place codes by meter code, ``epoch`` is that of this batch alone.
        """
        self.reach(len(places))
        row, where = np.empty(len(meter), np.int32), np.empty(len(meter), np.int32)
        blocks = np.empty(2, np.int64)
        n, beside, overlap = register(
            meter, start, count, self.interval_s, self.span_s, epoch,
            self.row_of, self.rows.room(len(meter)), self.meters.room(len(meter)), len(self.rows),
            most, places, row, where, blocks,
        )  # fmt: skip
        self.rows.n = self.meters.n = n
        if overlap:
            overlap = overlapping(row, start, count, self.interval_s, np.zeros(n, np.int64))
        return row, where, (int(blocks[0]), int(blocks[1])), beside > 0, overlap

    def adopt(self, codes: Codes, phase: Array, epoch: int, reach: int) -> None:
        """Add rows of a checkpoint, in their order; all meter codes are below ``reach``."""
        self.reach(reach)
        rows = np.zeros(len(codes), ROW)
        rows["phase"], rows["touched"] = phase, epoch
        self.row_of[codes] = np.arange(len(self), len(self) + len(codes))
        self.rows.append(rows)
        self.meters.append(codes)

    def odd(self) -> Codes:
        """Rows of meters whose phase is not 0."""
        rows = np.flatnonzero(self.rows.view()["phase"]).astype(np.int32)
        current: Codes = rows[self.row_of[self.meters.view()[rows]] == rows]
        return current

    def forget(self, rows: Codes) -> None:
        """Let the meters of ``rows`` begin again in new rows, with the phase that they have then."""
        self.row_of[self.meters.view()[rows]] = -1

    def row(self, code: int) -> int:
        """Row of a meter code, -1 where it has none."""
        return int(self.row_of[code]) if 0 <= code < len(self.row_of) else -1

    def rows_of(self, codes: Codes) -> Codes:
        """Rows of meter codes, -1 where they have none."""
        known = codes < len(self.row_of)
        return np.where(known, self.row_of[np.where(known, codes, 0)], np.int32(-1))

    def order(self, texts: Any, n: int) -> Ints:
        """Return the first ``n`` rows in the order of their meters' ids; ``texts`` are all ids by code."""
        known = self._order
        if len(known) != n:
            known = pc.sort_indices(texts.take(self.meters.data[:n])).to_numpy().astype(np.int64)
            self._order = known
        return known

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and of the table that finds them."""
        return self.rows.nbytes + self.meters.nbytes + self.row_of.nbytes + 2 * self.day_total.nbytes
