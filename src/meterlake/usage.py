"""Usage: sums over time in which nothing is counted twice, and how much of the time they cover.

The kernels work on *units*: runs of equal slots of one meter-channel that do not overlap, in time order.
A block is a unit of many slots; where series of several lengths overlap, each slot that counts is a unit.
Everything asked of a range is a difference of two *prefixes*, what starts before its two borders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.slots import local_day

if TYPE_CHECKING:
    from meterlake.strips import Ints

Array = npt.NDArray[Any]

COUNTS: Final = ("total", "filled", "edited", "estimated")
"""Columns of every table of counts; ``total`` is in milli base units."""

CLOCK_S: Final = 2 * HOUR_S
"""Local days may be this much off a whole number of days apart, because the clock is moved."""

NEVER: Final = np.iinfo(np.int64).min
"""Arrival of what never arrived."""

INT64: Final = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """How good a figure is: slots expected and filled, and of the filled those edited and estimated."""

    expected: int
    filled: int
    edited: int
    estimated: int
    newest_us: int | None
    """When the newest of the readings was received, microseconds since 1970 UTC."""

    def shares(self) -> dict[str, float]:
        """Share of the expected slots by quality; all 0 where none is expected."""
        whole = max(self.expected, self.filled)
        parts = {
            "actual": self.filled - self.edited - self.estimated,
            "edited": self.edited,
            "estimated": self.estimated,
            "missing": whole - self.filled,
        }
        return {name: round(part / whole, 6) if whole else 0.0 for name, part in parts.items()}

    def __add__(self, other: Passport) -> Passport:
        """Return the passport of both figures together."""
        known = [us for us in (self.newest_us, other.newest_us) if us is not None]
        return Passport(
            expected=self.expected + other.expected,
            filled=self.filled + other.filled,
            edited=self.edited + other.edited,
            estimated=self.estimated + other.estimated,
            newest_us=max(known, default=None),
        )


NO_PASSPORT: Final = Passport(expected=0, filled=0, edited=0, estimated=0, newest_us=None)


class Units(NamedTuple):
    """Runs of slots in time order that do not overlap; slot k of unit i starts at first + k * interval."""

    first: Ints
    slots: Ints
    interval: Ints
    counts: Ints
    """Shape (n, 4): `COUNTS` of each unit."""
    newest: Ints
    """When the newest reading of the unit was received, µs; `NEVER` where it has none."""


class Prefix(NamedTuple):
    """What starts before each of some borders."""

    counts: Ints
    """Shape (borders, 4), `COUNTS`."""
    expected: Ints
    """Slots of the grid, counted from an arbitrary but fixed one."""
    before: Ints
    """Units whose slots all start before."""
    within: Ints
    """Slots of the next unit that start before; above 0 where the border cuts it."""


def checked_sum(totals: Array) -> None:
    """Raise Invalid where a sum of ``totals`` may leave int64: an overflow is an error, never a wrap."""
    if len(totals) * max(int(totals.max(initial=0)), -int(totals.min(initial=0))) < INT64:
        return
    if np.abs(totals.astype(np.float64)).sum() >= INT64:
        raise Invalid("the sum is above 9.2 * 10**12 kWh or m³: ask for a shorter time or fewer meters")


def grid_between(gap_s: Ints, interval: Ints, *, cut: bool) -> Ints:
    """Slots that start within a stretch without readings of ``gap_s`` seconds, one beginning at its start.

    ``cut`` says that the stretch ends anywhere, so that a slot may reach beyond it; else slots must fit.
    """
    slack = np.where(local_day(interval), CLOCK_S, 0)
    slots: Ints = -((slack - gap_s) // interval) if cut else (gap_s + slack) // interval
    return np.maximum(slots, 0)


def gap_intervals(units: Units) -> Ints:
    """Length of the empty slots after each unit but the last.

    The longest that has readings on the day where the gap begins, else that of either neighbour; of these
    the longest that fits.
    """
    interval, first = units.interval, units.first
    if len(interval) < 2 or (interval[1:] == interval[:-1]).all():
        return interval[:-1]
    end = first + units.slots * interval
    gap = first[1:] - end[:-1]
    day = first // DAY_S
    heads = np.flatnonzero(np.append(True, day[1:] != day[:-1]))
    longest = np.maximum.reduceat(interval, heads)
    at = np.searchsorted(day[heads], end[:-1] // DAY_S, "right") - 1
    best = np.zeros(len(gap), np.int64)
    for choice in (longest[at], interval[:-1], interval[1:]):
        fits = grid_between(gap, choice, cut=False) > 0
        best = np.where(fits & (choice > best), choice, best)
    return np.where(best > 0, best, interval[:-1])


def prefix(units: Units, borders: Ints) -> Prefix:
    """What starts before each border, whole units only: the caller adds the slots `Prefix.within` a cut one.

    ``units`` holds at least one; where the time asked for has none, its nearest one says the grid.
    """
    checked_sum(units.counts[:, 0])
    sums = np.zeros((len(units.first) + 1, len(COUNTS)), np.int64)
    np.cumsum(units.counts, axis=0, out=sums[1:])
    at = np.searchsorted(units.first, borders, "left") - 1
    unit = np.maximum(at, 0)
    slots = units.slots[unit]
    within = np.minimum(np.maximum(-((units.first[unit] - borders) // units.interval[unit]), 0), slots)
    whole = (at >= 0) & (within == slots)
    before = np.where(whole, at + 1, unit)
    end = units.first + units.slots * units.interval
    if _is_even(units, end):
        expected = -((units.first[0] - borders) // units.interval[0])
    else:
        expected = _expected(units, end, borders, at, within)
    return Prefix(sums[before], expected, before, np.where(whole | (at < 0), 0, within))


def _is_even(units: Units, end: Ints) -> bool:
    """Whether all units are one grid without a gap, whose slots can be counted by a division."""
    one = units.interval[0]
    return bool(not local_day(one) and (units.interval == one).all() and (units.first[1:] == end[:-1]).all())


def _expected(units: Units, end: Ints, borders: Ints, at: Ints, within: Ints) -> Ints:
    """Grid slots before each border, with those of the gaps; ``at`` is the last unit that starts before."""
    unit = np.maximum(at, 0)
    gap = np.zeros(len(units.first), np.int64)
    after = gap_intervals(units)
    gap[:-1] = grid_between(units.first[1:] - end[:-1], after, cut=False)
    after = np.append(after, units.interval[-1])
    grid = np.append(0, np.cumsum(units.slots + gap))
    past = grid_between(borders - end[unit], after[unit], cut=True)
    past = np.where(unit < len(gap) - 1, np.minimum(past, gap[unit]), past)
    expected = grid[unit] + within + np.where(borders > end[unit], past, 0)
    lead = grid_between(
        units.first[0] - borders, np.broadcast_to(units.interval[0], borders.shape), cut=False
    )
    return np.where(at < 0, -lead, expected)


def empties(units: Units, start: int, stop: int) -> tuple[Ints, Ints]:
    """Starts and lengths of the grid slots of ``[start, stop)`` that no unit holds.

    Takes units of one slot each; the grid is that of `prefix`.
    """
    end = units.first + units.interval
    after = np.append(gap_intervals(units), units.interval[-1])
    counts = np.zeros(len(end), np.int64)
    counts[:-1] = grid_between(units.first[1:] - end[:-1], after[:-1], cut=False)
    counts[-1:] = grid_between(stop - end[-1:], after[-1:], cut=True)
    lead = int(grid_between(units.first[:1] - start, units.interval[:1], cut=False)[0])
    owner = np.repeat(np.arange(len(end)), counts)
    turn = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    head = units.first[0] - units.interval[0] * np.arange(lead, 0, -1)
    starts = np.concatenate([head, end[owner] + turn * after[owner]])
    lengths = np.concatenate([np.full(lead, units.interval[0]), after[owner]])
    asked = (starts >= start) & (starts < stop)
    return starts[asked], lengths[asked]


def counted_once(start: Ints, interval: Ints, rank: Ints) -> Array:
    """Which slots of one meter-channel count when series of several lengths overlap.

    Series are taken by ``rank``, least first (slots of one rank do not overlap): a slot counts where no
    part of its time is covered by a slot of a lesser rank that counts. Returns one bool a slot.
    """
    keep = np.zeros(len(start), bool)
    held_start, held_end = np.empty(0, np.int64), np.empty(0, np.int64)
    for level in np.unique(rank).tolist():
        own = np.flatnonzero(rank == level)
        end = start[own] + interval[own]
        at = np.searchsorted(held_end, start[own], "right")
        known = at < len(held_start)
        free = ~known
        free[known] = held_start[at[known]] >= end[known]
        keep[own[free]] = True
        held_start = np.sort(start[keep])
        held_end = np.sort((start + interval)[keep])
    return keep


def ranks(interval: Ints, billing_s: int | None) -> Ints:
    """Rank of each length: the billing length first, then the longest; local days are one length."""
    length = np.where(local_day(interval), DAY_S, interval).astype(np.int64)
    first = DAY_S if billing_s and local_day(np.array([billing_s]))[0] else billing_s
    order: Ints = np.where(length == first, -1, 2 * DAY_S - length)
    return order


def newest_between(units: Units, low: int, high: int) -> int | None:
    """When the newest reading of the units from ``low`` to before ``high`` was received, µs."""
    newest = int(units.newest[low:high].max(initial=NEVER))
    return None if newest == NEVER else newest
