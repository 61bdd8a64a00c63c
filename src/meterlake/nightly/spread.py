"""Tables cut by the partition of their meters, so that each bucket of a job takes its own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from meterlake.ids import PARTITIONS, MeterIds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.strips import Ints


class Spread:
    """Rows with a ``meter_id``, ordered by its partition; within one they keep their order."""

    def __init__(self, rows: pa.Table) -> None:
        """Take ``rows`` in any order."""
        ids = MeterIds()
        place = ids.partitions(ids.codes_of(rows["meter_id"]))
        order = np.argsort(place, kind="stable")
        self._rows = rows.take(pa.array(order)) if len(rows) else rows
        self.borders: Ints = np.searchsorted(place[order], np.arange(PARTITIONS + 1))

    def of(self, low: int, high: int) -> pa.Table:
        """Rows of the partitions from ``low`` to before ``high``."""
        first, last = int(self.borders[low]), int(self.borders[high])
        return self._rows.slice(first, last - first)

    def pieces(self, low: int, high: int, weight: Ints, most: int) -> Iterator[tuple[int, int]]:
        """Cut partitions into runs whose ``weight`` (one a row of `of` the whole, in its order) is at most ``most``.

        A single partition may weigh more.
        """
        sums = np.append(0, np.cumsum(weight))[self.borders]
        first = low
        for border in range(low + 1, high + 1):
            if border == high or sums[border + 1] - sums[first] > most:
                yield first, border
                first = border

    def all(self) -> pa.Table:
        """All rows in this order."""
        return self._rows
