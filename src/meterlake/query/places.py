"""Where meters stand, as a fleet is asked by it: region and class of every meter for a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.strips import Ints

ALWAYS: Final = (-(2**40), 2**40)
"""Seconds: a time that holds every moment a lake may hold."""


class Stay(NamedTuple):
    """A meter at a place for a time."""

    span: tuple[int, int]
    label: int
    """Code of the place in `Places.labels`."""


@dataclass(frozen=True, slots=True)
class Places:
    """Labels of meters for a time: what a fleet is split by, and when each meter is expected to send."""

    labels: Sequence[tuple[str | None, ...]]
    """Values of the keys that were asked for, by code; code 0 is that of a meter which nobody registered."""
    stays: dict[str, list[Stay]]
    billing: dict[str, int]
    """Length (s) that is billed, for meters that have one."""

    def of(self, meter: str) -> list[Stay]:
        """Stays of ``meter`` in time order; always at the unknown place where it is not registered."""
        return self.stays.get(meter) or [Stay(ALWAYS, 0)]

    def codes(self, meters: Sequence[str], owner: Ints, moment: Ints) -> Ints:
        """Label of each row by the meter (index of ``meters``) and moment (s) of its first slot.

        A meter's readings outside its stays are its nearest stay's.
        """
        known = [self.of(meter) for meter in meters]
        codes: Ints = np.array([stays[-1].label for stays in known], np.int64)[owner]
        for at, stays in enumerate(known):
            if len(stays) > 1 and len({stay.label for stay in stays}) > 1:
                own = np.flatnonzero(owner == at)
                starts = np.array([stay.span[0] for stay in stays])
                labels = np.array([stay.label for stay in stays])
                codes[own] = labels[np.maximum(np.searchsorted(starts, moment[own], "right") - 1, 0)]
        return codes


NOWHERE: Final = Places([()], {}, {})
"""The places of a lake without a registry, or of a question that does not ask for any."""


def unlabelled(places: Any) -> bool:
    """Whether all meters have one label, so that sums by file need no registry."""
    return len(places.labels) == 1
