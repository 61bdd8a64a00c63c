"""Meter-channels that are read in several lengths, many at once: which slots count, and what is expected of them.

The series are laid one after another on one line of time, so far apart that none touches the next: the kernels of
one series then do all of them in one go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from meterlake.intervals import DAY_S
from meterlake.query.series import NO_CELLS, REACH_S, Cells, every_cell, page_cells
from meterlake.slots import PAGE_COLUMNS, local_day, page_of, spread, width
from meterlake.usage import Units, counted_once, gap_intervals, grid_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meterlake.ports import DataFile
    from meterlake.query.meters import Group
    from meterlake.query.places import Places
    from meterlake.query.view import View
    from meterlake.slots import Array, Bools
    from meterlake.strips import Ints

SLOTS_AT_ONCE: Final = 8_000_000
"""Slots that are in memory together, about."""


class Mixed(NamedTuple):
    """Filled slots of some meter-channels in and around a span, by series, start and length."""

    groups: Sequence[Group]
    of: Ints
    """Index of the series by slot."""
    cells: Cells
    counted: Bools
    """Which slots a total counts."""

    @property
    def meters(self) -> Array:
        """Meter id (UTF-8 bytes) by series."""
        return np.array([group.meter.encode() for group in self.groups])

    @property
    def channels(self) -> Ints:
        """Channel code by series."""
        return np.array([group.channel for group in self.groups], np.int64)


def mixed_of(
    view: View, files: Sequence[DataFile], groups: Sequence[Group], span: tuple[int, int], places: Places
) -> Iterator[Mixed]:
    """Slots of ``groups``, which are among the meters of ``files``, some at a time."""
    ordered = sorted(groups)
    for low, high in _borders(view, files, ordered, span):
        yield _settled(_read(view, files, ordered[low:high], span), places)


def _borders(
    view: View, files: Sequence[DataFile], groups: Sequence[Group], span: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Cut groups, which are ordered, into runs of about `SLOTS_AT_ONCE` slots."""
    finder, slots = _Finder(view, groups), np.zeros(len(groups), np.int64)
    for file in files:
        sheet = view.sheet(file)
        of, rows = finder.near(sheet.meters, sheet.runs, sheet.rows, span)
        np.add.at(slots, of, width(sheet.rows["interval"][rows]))
    run = np.cumsum(slots) // SLOTS_AT_ONCE
    heads = np.flatnonzero(np.diff(run, prepend=-1)).tolist()
    yield from zip(heads, [*heads[1:], len(groups)], strict=True)


class _Finder:
    """Finds the rows of some meter-channels."""

    def __init__(self, view: View, groups: Sequence[Group]) -> None:
        self._meters = np.array(sorted({group.meter.encode() for group in groups}))
        self._group = np.full((len(self._meters), len(view.memory.channels.names)), -1)
        at = np.searchsorted(self._meters, np.array([group.meter.encode() for group in groups]))
        self._group[at, [group.channel for group in groups]] = np.arange(len(groups))

    def near(self, meters: Array, runs: Ints, rows: Array, span: tuple[int, int]) -> tuple[Ints, Ints]:
        """Return series and row number of the block rows that may matter to ``span``."""
        at = np.minimum(np.searchsorted(self._meters, meters), len(self._meters) - 1)
        known = self._meters[at] == meters
        owner = np.repeat(np.arange(len(meters)), np.diff(runs))
        of = np.where(known[owner], self._group[at[owner], rows["channel"]], -1)
        near = (rows["start"] > span[0] - REACH_S - DAY_S) & (rows["start"] < span[1] + REACH_S)
        found = np.flatnonzero((of >= 0) & near)
        return of[found], found


def _read(
    view: View, files: Sequence[DataFile], groups: Sequence[Group], span: tuple[int, int]
) -> tuple[Sequence[Group], Ints, Cells]:
    finder, ends = _Finder(view, groups), (groups[0].meter, groups[-1].meter)
    found: list[tuple[Ints, Cells]] = []
    for file in files:
        page = page_of(view.table(file, PAGE_COLUMNS, ends), view.memory.channels)
        of, rows = finder.near(page.sheet.meters, page.sheet.runs, page.sheet.rows, span)
        if len(rows):
            cells = page_cells(page, rows, None)
            of = np.repeat(of, width(page.sheet.rows["interval"][rows]))
            found.append((of[cells.filled], cells.where(cells.filled)))
    near = np.zeros(len(groups), bool)
    for of, _ in found:
        near[of] = True
    for number in np.flatnonzero(~near).tolist():  # the nearest reading says the grid
        group = groups[number]
        cells = every_cell(view, group.meter, view.memory.channels.names[group.channel], span)
        cells = cells.where(cells.filled)
        found.append((np.full(len(cells.start), number), cells))
    of = np.concatenate([np.empty(0, np.int64), *(of for of, _ in found)])
    columns = zip(NO_CELLS, *(cells for _, cells in found), strict=True)
    cells = Cells(*(np.concatenate(column) for column in columns))
    order = np.lexsort((cells.interval, cells.start, of))
    return groups, of[order], cells.where(order)


def _settled(read: tuple[Sequence[Group], Ints, Cells], places: Places) -> Mixed:
    """Say which slots count: see `usage.ranks` for the order of the lengths."""
    groups, of, cells = read
    billed = places.billings(np.array([group.meter.encode() for group in groups]))
    billed = np.where(local_day(billed) & (billed > 0), DAY_S, billed)
    length = np.where(local_day(cells.interval), DAY_S, cells.interval)
    rank = np.where(length == billed[of], -1, 2 * DAY_S - length)
    line = Line(cells.start)
    return Mixed(groups, of, cells, counted_once(line.at(cells.start, of), cells.interval, rank))


class Line:
    """One line of time on which series lie one after another."""

    def __init__(self, start: Ints, *more: int) -> None:
        """Take the moments (s) that will be asked for, of whatever series."""
        moments = [int(start.min(initial=2**40)), int(start.max(initial=-(2**40))), *more]
        self._base = min(moments) // DAY_S * DAY_S
        self._stride = max(0, max(moments) - self._base) // DAY_S * DAY_S + 8 * DAY_S

    def at(self, moments: Ints, of: Ints) -> Ints:
        """Place of moments (s) of some series."""
        return moments - self._base + of * self._stride


class Grids:
    """The grids of counted slots: what is expected of each series, with its gaps."""

    def __init__(self, mixed: Mixed, span: tuple[int, int]) -> None:
        """Lay the counted slots of ``mixed`` on a line that reaches over ``span``."""
        own = np.flatnonzero(mixed.counted)
        self.of, self.start, self.interval = mixed.of[own], mixed.cells.start[own], mixed.cells.interval[own]
        self.span = span
        self.line = Line(self.start, *span)
        self.first = self.line.at(self.start, self.of)
        n = len(mixed.groups)
        self.low = np.searchsorted(self.of, np.arange(n), "left")
        self.high = np.searchsorted(self.of, np.arange(n), "right")
        ones = np.ones(len(own), np.int64)
        units = Units(self.first, ones, self.interval, np.zeros((len(own), 4), np.int64), ones)
        self.after = np.append(gap_intervals(units), self.interval[-1:])
        self.last = np.zeros(len(own), bool)
        self.last[self.high[self.high > self.low] - 1] = True
        self.after = np.where(self.last, self.interval, self.after)
        self.gap = np.zeros(len(own), np.int64)
        inner = np.flatnonzero(~self.last)
        gap_s = self.first[inner + 1] - self.first[inner] - self.interval[inner]
        self.gap[inner] = grid_between(gap_s, self.after[inner], cut=False)
        self.grid = np.append(0, np.cumsum(1 + self.gap))

    def before(self, of: Ints, borders: Ints) -> Ints:
        """Return slots of the grid of each series ``of`` before its ``borders`` (a row each), from an arbitrary one."""
        at_line = self.line.at(borders, of[:, None])
        low = self.low[of][:, None]
        at = np.searchsorted(self.first, at_line, "left") - 1
        unit = np.maximum(at, low)
        end = self.first[unit] + self.interval[unit]
        past = grid_between(at_line - end, self.after[unit], cut=True)
        past = np.where(self.last[unit], past, np.minimum(past, self.gap[unit]))
        lead = grid_between(self.first[low] - at_line, self.interval[low], cut=False)
        inside = self.grid[unit] + 1 + np.where(at_line > end, past, 0)
        return np.where(at < low, self.grid[low] - lead, inside)

    def slots(self) -> tuple[Ints, Ints, Ints]:
        """Series, start and length of all slots of the grids in the span, filled or empty, by series and start."""
        known = np.flatnonzero(self.high > self.low)
        head, tail = self.low[known], self.high[known] - 1
        counts = self.gap.copy()
        end = self.start + self.interval
        counts[tail] = grid_between(self.span[1] - end[tail], self.after[tail], cut=True)
        owner, turn = spread(counts)
        lead = grid_between(self.start[head] - self.span[0], self.interval[head], cut=False)
        of_lead, back = spread(lead)
        first = head[of_lead]
        of = np.concatenate([self.of, self.of[owner], known[of_lead]])
        start = np.concatenate(
            [
                self.start,
                end[owner] + turn * self.after[owner],
                self.start[first] - (back + 1) * self.interval[first],
            ]
        )
        length = np.concatenate([self.interval, self.after[owner], self.interval[first]])
        asked = (start >= self.span[0]) & (start < self.span[1])
        order = np.lexsort((start[asked], of[asked]))
        return of[asked][order], start[asked][order], length[asked][order]
