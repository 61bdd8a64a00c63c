"""Where meters stand, as a fleet is asked by it: the labels of every meter for a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.strips import Ints

Array = npt.NDArray[Any]

ALWAYS: Final = (-(2**40), 2**40)
"""Seconds: a time that holds every moment a lake may hold."""

UNKNOWN: Final = 0
"""Label code of a meter that nobody registered."""


@dataclass(frozen=True, slots=True)
class Places:
    """Stays of meters at places, ordered by meter and start: what a fleet is split by, and what is expected.

    ``labels`` are the values of the keys that were asked for, by code; code 0 is that of an unknown meter.
    """

    labels: Sequence[tuple[str | None, ...]]
    meters: Array
    """Meter id (UTF-8 bytes) of each stay."""
    start: Ints
    stop: Ints
    label: Ints
    billed: Ints
    """Length (s) that is billed during the stay, 0 where none is named."""

    def _found(self, meters: Array) -> tuple[Ints, Ints]:
        return np.searchsorted(self.meters, meters, "left"), np.searchsorted(self.meters, meters, "right")

    def billing(self, meter: str) -> int | None:
        """Length (s) that is billed of ``meter``; None where none is named."""
        low, high = self._found(np.array([meter.encode()]))
        lengths = self.billed[int(low[0]) : int(high[0])]
        return int(lengths.max(initial=0)) or None

    def billings(self, meters: Array) -> Ints:
        """`billing` of many meters, 0 where none is named."""
        low, high = self._found(meters)
        if not self.billed.any():
            return np.zeros(len(meters), np.int64)
        known = high > low
        lengths: Ints = np.where(known, self.billed[np.where(known, low, 0)], 0)
        return lengths

    def codes(self, meters: Array, owner: Ints, moment: Ints) -> Ints:
        """Label of each row by its meter (index of ``meters``) and the moment (s) of its first slot.

        A reading outside its meter's stays is that of the stay before, or of the first.
        """
        if not len(self.meters):
            return np.zeros(len(owner), np.int64)
        low, high = self._found(meters)
        stay = low[owner]
        for turn in range(1, int((high - low).max(initial=0))):
            later = low[owner] + turn
            known = later < high[owner]
            stay = np.where(known & (self.start[np.where(known, later, 0)] <= moment), later, stay)
        known = (high > low)[owner]
        codes: Ints = np.where(known, self.label[np.where(known, stay, 0)], UNKNOWN)
        return codes

    def stays(self, meters: Array) -> tuple[Ints, Ints, Ints, Ints]:
        """Stays of ``meters``: index of the meter, start, stop and label; always, at 0, where none is known."""
        low, high = self._found(meters)
        counts = np.maximum(high - low, 1)
        owner = np.repeat(np.arange(len(meters)), counts)
        if not len(self.meters):
            return (
                owner,
                np.full(len(owner), ALWAYS[0]),
                np.full(len(owner), ALWAYS[1]),
                np.zeros(len(owner), np.int64),
            )
        at = low[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        known = (high > low)[owner]
        at = np.where(known, at, 0)
        return (
            owner, np.where(known, self.start[at], ALWAYS[0]), np.where(known, self.stop[at], ALWAYS[1]),
            np.where(known, self.label[at], UNKNOWN),
        )  # fmt: skip


_NONE: Final = np.empty(0, np.int64)
NOWHERE: Final = Places([()], np.empty(0, "S1"), _NONE, _NONE, _NONE, _NONE)
"""The places of a lake without a registry."""
