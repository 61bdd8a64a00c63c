"""An array that grows at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Growing:
    """Records of one dtype; ``data`` has room, the first ``n`` of it count. What was appended never changes place."""

    def __init__(self, dtype: np.dtype[Any] | type[np.generic], room: int = 64) -> None:
        """Start with none."""
        self.data: Array = np.zeros(room, dtype)
        self.n = 0

    def __len__(self) -> int:
        """Return how many records count."""
        return self.n

    def room(self, more: int) -> Array:
        """Return the array with room for ``more`` records after the first ``n``; earlier views stay as they were."""
        if self.n + more > len(self.data):
            data = np.zeros(max(self.n + more, 2 * len(self.data)), self.data.dtype)
            data[: self.n] = self.data[: self.n]
            self.data = data
        return self.data

    def append(self, records: Array) -> None:
        """Add ``records``."""
        self.room(len(records))[self.n : self.n + len(records)] = records
        self.n += len(records)

    def view(self, first: int = 0) -> Array:
        """Records from ``first`` on."""
        return self.data[first : self.n]

    @property
    def nbytes(self) -> int:
        """Bytes of the records that count."""
        return self.n * self.data.dtype.itemsize
