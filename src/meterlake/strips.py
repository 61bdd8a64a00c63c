"""Strips: readings on their way to blocks, run by run instead of row by row.

A *strip* is a run of consecutive slots of one meter-channel that arrived alike: a meter's rows in a
long file, one row of a wide file, one NEM12 day, one stored block. What the slots share (channel,
interval, quality, stamp, source, delivery) is its *kind*. A lone reading is a strip of one.
Codecs make strips, stored blocks unpack into strips, and `merge` turns any pile of them into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.readings import YEARS_S

if TYPE_CHECKING:
    from collections.abc import Iterable

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

MISSING: Final = np.iinfo(np.int64).min
"""Amount of an empty slot inside a strip."""


class Kind(NamedTuple):
    """What all slots of a strip have in common."""

    channel: str
    interval_s: int
    quality: int
    precedence: int
    stamp_us: int
    """Version time, microseconds since 1970 UTC."""
    sender_stamp: bool
    """Whether the sender gave the stamp; else it is the time of arrival."""
    source: str
    delivery: int
    per_line: bool = True
    """Whether slot k stands on line ``line + k`` of its file; else all stand on ``line``."""
    phase: int = -1
    """Local time of day (s) of a local-day read; -1: the phase is ``start`` modulo the interval."""


class Kinds:
    """The kinds of a load, numbered as they are met. Safe to share between threads."""

    def __init__(self) -> None:
        """Start with none."""
        self._codes: dict[Kind, int] = {}
        self._lock = Lock()
        self.table: list[Kind] = []

    def code(self, kind: Kind) -> int:
        """Number of ``kind``, new or known."""
        with self._lock:
            code = self._codes.setdefault(kind, len(self.table))
            if code == len(self.table):
                self.table.append(kind)
            return code


@dataclass(slots=True)
class Strips:
    """A pile of strips as columns; strip i owns ``amounts[sum(count[:i]):][:count[i]]``.

    Attributes: ``meter`` int32 code in a `MeterIds`; ``kind`` int32 code in a `Kinds`; ``start`` int64
    seconds since 1970 UTC of the first slot; ``count`` int32 slots; ``line`` int64 line number in the
    file, from 1 (0 where there is none); ``amounts`` int64 milli units, `MISSING` where a slot is empty.
    """

    meter: Codes
    kind: Codes
    start: Ints
    count: Codes
    line: Ints
    amounts: Ints

    def __len__(self) -> int:
        """Return the number of strips."""
        return len(self.meter)

    def offsets(self) -> Ints:
        """Return the n + 1 borders of the strips within ``amounts``."""
        borders = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.count, out=borders[1:])
        return borders

    @classmethod
    def empty(cls) -> Strips:
        """Return a pile of none."""
        return cls(
            np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64),
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64),
        )  # fmt: skip

    @classmethod
    def concat(cls, piles: Iterable[Strips]) -> Strips:
        """Return all strips of ``piles`` in their order."""
        piles = [pile for pile in piles if len(pile)]
        if len(piles) == 1:
            return piles[0]
        if not piles:
            return cls.empty()
        return cls(*(np.concatenate([getattr(p, f.name) for p in piles]) for f in fields(cls)))

    def where(self, keep: npt.NDArray[np.bool_]) -> Strips:
        """Return the strips for which ``keep`` (one bool a strip) is true."""
        if keep.all():
            return self
        slots = np.repeat(keep, self.count)
        return Strips(
            self.meter[keep], self.kind[keep], self.start[keep],
            self.count[keep], self.line[keep], self.amounts[slots],
        )  # fmt: skip


@dataclass(slots=True)
class Rejects:
    """Refused readings as columns: ``line`` int64, ``reason`` uint8 (readings.REASON_CODES), ``text``.

    ``count`` int32 says how many readings the entry stands for, mostly 1.
    """

    line: Ints
    reason: npt.NDArray[np.uint8]
    count: Codes
    text: list[str]

    @classmethod
    def empty(cls) -> Rejects:
        """Return a list of none."""
        return cls(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int32), [])

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.line)


def beyond_years(strips: Strips) -> npt.NDArray[np.bool_]:
    """Which strips begin in a year that no question may name."""
    far: npt.NDArray[np.bool_] = (strips.start < YEARS_S[0]) | (strips.start >= YEARS_S[1])
    return far
