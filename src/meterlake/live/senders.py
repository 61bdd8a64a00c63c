"""Who sent the deliveries that live readings name, and when each was acknowledged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from meterlake.blocks import Sender
from meterlake.live.growing import Growing

Array = npt.NDArray[Any]

DELIVERY: Final = np.dtype(
    [("received_us", "i8"), ("number", "i4"), ("source", "i4"), ("precedence", "i1")], align=True
)
"""One delivery; ``precedence`` -1 is that of each quality."""


class Senders(Mapping[int, Sender]):
    """Senders by delivery number, as they were when this was made."""

    def __init__(self, rows: Array, sources: list[str]) -> None:
        """``rows`` are of `DELIVERY`, by rising number; ``sources`` are names by code."""
        self._rows, self._sources = rows, sources

    def row(self, number: int) -> Any:
        """Record of a delivery; KeyError for one that is not known."""
        at = int(np.searchsorted(self._rows["number"], number))
        if at == len(self._rows) or self._rows["number"][at] != number:
            raise KeyError(number)
        return self._rows[at]

    def __getitem__(self, number: int) -> Sender:
        """Return who sent delivery ``number``."""
        row = self.row(number)
        precedence = int(row["precedence"])
        return Sender(
            self._sources[row["source"]], int(row["received_us"]), None if precedence < 0 else precedence
        )

    def __iter__(self) -> Iterator[int]:
        """Iterate over the delivery numbers, rising."""
        return iter(self._rows["number"].tolist())

    def __len__(self) -> int:
        """Return how many deliveries are known."""
        return len(self._rows)


class Landed(Mapping[int, int]):
    """Moments (µs) of acknowledgement by delivery number."""

    def __init__(self, senders: Senders) -> None:
        """Read them from ``senders``."""
        self._senders = senders

    def __getitem__(self, number: int) -> int:
        """Return when delivery ``number`` was acknowledged."""
        return int(self._senders.row(number)["received_us"])

    def __iter__(self) -> Iterator[int]:
        """Iterate over the delivery numbers, rising."""
        return iter(self._senders)

    def __len__(self) -> int:
        """Return how many deliveries are known."""
        return len(self._senders)


class Deliveries:
    """The deliveries that open sets, late readings or notes may name, by rising number."""

    def __init__(self) -> None:
        """Start with none."""
        self.rows = Growing(DELIVERY)
        self.sources: list[str] = []
        self.ranks = np.zeros(0, np.int32)
        """Place of each source in the order of names."""
        self._codes: dict[str, int] = {}

    def source(self, name: str) -> int:
        """Code of a source, new or known."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.sources)
            self.sources = [*self.sources, name]
            self.ranks = np.argsort(np.argsort(np.array(self.sources))).astype(np.int32)
        return code

    def add(self, number: int, source: str, received_us: int, precedence: int | None) -> None:
        """Note a delivery; its number is above all that are known, or known already."""
        if len(self.rows) and self.rows.view()["number"][-1] >= number:
            return
        row = np.zeros(1, DELIVERY)
        row["number"], row["source"], row["received_us"] = number, self.source(source), received_us
        row["precedence"] = -1 if precedence is None else precedence
        self.rows.append(row)

    def drop_below(self, number: int) -> None:
        """Forget the deliveries below ``number``."""
        at = int(np.searchsorted(self.rows.view()["number"], number))
        if at:
            kept = Growing(DELIVERY)
            kept.append(self.rows.view(at))
            self.rows = kept

    def senders(self) -> Senders:
        """All senders that are known now."""
        return Senders(self.rows.view(), self.sources)

    def received_us(self, numbers: Array) -> Array:
        """When deliveries came (µs); 0 for those that are not known."""
        rows = self.rows.view()
        at = np.minimum(np.searchsorted(rows["number"], numbers), max(len(rows) - 1, 0))
        if not len(rows):
            return np.zeros(len(numbers), np.int64)
        return np.where(rows["number"][at] == numbers, rows["received_us"][at], 0)
