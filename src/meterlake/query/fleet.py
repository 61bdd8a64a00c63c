"""All meters together: their totals by step, with the slots that were expected of them.

Sums of whole files are pure functions of them and kept; where a meter-channel has series of several lengths,
what a longer one covers is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S
from meterlake.moments import CLOCK_STEPS, borders
from meterlake.query.meters import each, stack_members, stacks
from meterlake.query.series import REACH_S, counted_cells, every_cell, slot_units
from meterlake.query.sums import Tally, codes_of, gathered, row_sums, slot_sums
from meterlake.slots import spread
from meterlake.usage import CLOCK_S, empties, prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meterlake.ports import DataFile
    from meterlake.query.meters import Group, Members
    from meterlake.query.places import Places
    from meterlake.query.series import Cells
    from meterlake.query.view import View
    from meterlake.slots import Sheet
    from meterlake.strips import Ints

Array = npt.NDArray[Any]

ENTRIES_MAX: Final = 20_000_000
"""Rows of an answer beyond which a question is refused: it would not fit in memory."""

PARTIAL_CHUNK: Final = 4096
"""Meters with a beginning or end in the time asked for are counted so many at a time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A fleet question: ``marks`` are the n + 1 borders of its steps, or the two of an interval listing."""

    marks: Ints
    step: str
    places: Places

    @property
    def span(self) -> tuple[int, int]:
        """First and last border."""
        return int(self.marks[0]), int(self.marks[-1])

    @property
    def whole_days(self) -> bool:
        """Whether every border is a UTC midnight, so that totals of blocks are all that is needed."""
        return self.step in {"day", "month"} and not (self.marks % DAY_S).any()


def fleet(view: View, asked: Asked) -> Tally:
    """Sums by label, channel and step over all meters; ``interval`` is 0 but in an interval listing."""
    start, stop = asked.span
    # sums first: where they read all of a file, its small columns come along
    found = [_sums(view, view.files_between(start, stop), asked)]
    members = [stack_members(view, s) for s in stacks(view.files_between(start - REACH_S, stop + REACH_S))]
    found += _expected(members, asked)
    found += [_mixed_sums(view, group, asked) for own in members for group in own.mixed]
    return gathered(Tally.concat([_into_steps(tally, asked) for tally in found]))


def _into_steps(tally: Tally, asked: Asked) -> Tally:
    start, stop = asked.span
    inside = (tally.start >= start) & (tally.start < stop)
    if not inside.all():
        tally = tally.where(inside)
    if asked.step == "interval":
        return tally
    if asked.step in CLOCK_STEPS and (tally.interval > CLOCK_STEPS[asked.step]).any():
        raise Invalid(
            f"some meters are read in intervals longer than the step {asked.step}: ask the fleet by day, or by interval"
        )
    begin = asked.marks[np.searchsorted(asked.marks, tally.start, "right") - 1]
    return Tally(
        tally.label, tally.channel, np.zeros(len(begin), np.int64), begin, tally.amount, tally.filled,
        tally.expected,
    )  # fmt: skip


def _sums(view: View, files: Sequence[DataFile], asked: Asked) -> Tally:
    """Sums of all of some files; kept, also file by file, where they do not depend on places."""
    make = _row_tally if asked.whole_days else _slot_tally
    if len(asked.places.labels) > 1:
        return Tally.concat(each(files, lambda file: make(view, file, asked.places)))
    made, name = view.memory.kept.made, make.__name__

    def one(file: DataFile) -> Tally:
        tally: Tally = made((name, file.path), lambda: make(view, file, asked.places))
        return tally

    every: Tally = made(
        (f"{name}s", *(f.path for f in files)), lambda: gathered(Tally.concat(each(files, one)))
    )
    return every


def _labels(sheet: Sheet, places: Places) -> Ints:
    if len(places.labels) == 1:
        return np.zeros(len(sheet.rows), np.int64)
    owner = np.repeat(np.arange(len(sheet.meters)), np.diff(sheet.runs))
    return places.codes(sheet.meters, owner, sheet.rows["start"] + sheet.rows["offset"])


def _row_tally(view: View, file: DataFile, places: Places) -> Tally:
    sheet = view.sheet(file)
    return row_sums(sheet, _labels(sheet, places))


def _slot_tally(view: View, file: DataFile, places: Places) -> Tally:
    page = view.whole(file)
    return slot_sums(page, _labels(page.sheet, places))


def _grid(border: Ints, first: Ints, interval: Ints) -> Ints:
    """Slots of a grid that start before a border, counted from a fixed one."""
    slack = np.where(interval == DAY_S, CLOCK_S, 0)
    before: Ints = -((first + slack - border) // interval)
    return before


def _installed(members: Members, asked: Asked) -> Array:
    """Label, channel, length, phase, begin and end of each stay of the members, within the time asked for."""
    start, stop = asked.span
    owner, since, until, label = asked.places.stays(members.meters)
    low = np.searchsorted(owner, members.owner, "left")
    counts = np.searchsorted(owner, members.owner, "right") - low
    which, turn = spread(counts)
    stay = low[which] + turn
    since, until, label = np.maximum(since[stay], start), np.minimum(until[stay], stop), label[stay]
    interval = members.interval[which]
    stays = np.stack([label, members.channel[which], interval, members.first[which] % interval, since, until])
    here: Array = stays[:, since < until]
    return here


def _expected(members: Sequence[Members], asked: Asked) -> list[Tally]:
    """Slots that the members' grids have in the steps, while they were installed."""
    if not members:
        return []
    start, stop = asked.span
    stays = np.concatenate([_installed(own, asked) for own in members], axis=1)
    whole = (stays[4] == start) & (stays[5] == stop)
    kinds = stays[:4, whole]
    kind, one = codes_of(*kinds)
    times = np.bincount(kind, minlength=len(one))
    found = [_grids(kinds[:, one], times, asked, None)]
    part = stays[:, ~whole]
    for at in range(0, part.shape[1], PARTIAL_CHUNK):
        chunk = part[:, at : at + PARTIAL_CHUNK]
        ones = np.ones(chunk.shape[1], np.int64)
        found.append(gathered(_grids(chunk[:4], ones, asked, (chunk[4], chunk[5]))))
    return found


def _grids(grids: Array, times: Ints, asked: Asked, clip: tuple[Ints, Ints] | None) -> Tally:
    """Entries that only say what is expected: ``times`` over, of some grids, in the steps or slot by slot.

    ``grids`` has four rows: label, channel, length and phase.
    """
    label, channel, interval, phase = grids
    start, stop = asked.span
    since, until = clip or (np.full(len(label), start), np.full(len(label), stop))
    if asked.step == "interval":
        day = interval == DAY_S
        low, high = _grid(since, phase, interval), _grid(until, phase, interval)
        sizes = np.where(day, 0, high - low)
        _check_size(int(sizes.sum()))
        which = np.repeat(np.arange(len(label)), sizes)
        turn = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        begin = phase[which] + (low[which] + turn) * interval[which]
        expected, length = times[which], interval[which]
    else:
        _check_size(len(label) * (len(asked.marks) - 1))
        marks = np.clip(asked.marks[None, :], since[:, None], until[:, None])
        grid = np.diff(_grid(marks, phase[:, None], interval[:, None]), axis=1) * times[:, None]
        which, step = np.nonzero(grid)
        begin, expected = asked.marks[step], grid[which, step]
        length = np.zeros(len(which), np.int64)
    none = np.zeros(len(which), np.int64)
    return Tally(label[which], channel[which], length, begin, none, none, expected)


def _check_size(entries: int) -> None:
    if entries > ENTRIES_MAX:
        raise Invalid(
            f"the answer would have {entries:,} rows: ask for a shorter time, a longer step or fewer keys"
        )


def _mixed_sums(view: View, group: Group, asked: Asked) -> Tally:
    """What one meter-channel of several lengths changes: off what is covered, on what is expected of it."""
    start, stop = asked.span
    name = view.memory.channels.names[group.channel]
    billing = asked.places.billing(group.meter)
    every = every_cell(view, group.meter, name, asked.span)
    counted = counted_cells(view, group.meter, name, asked.span, billing)
    own = every.where(every.filled & (every.start >= start) & (every.start < stop))
    kept = counted.where((counted.start >= start) & (counted.start < stop))
    return Tally.concat(
        [
            _entries(own, group, asked.places, -1),
            _entries(kept, group, asked.places, 1),
            *_mixed_expected(group, counted, asked),
        ]
    )


def _entries(cells: Cells, group: Group, places: Places, sign: int) -> Tally:
    n = len(cells.start)
    meters = np.array([group.meter.encode()])
    label = places.codes(meters, np.zeros(n, np.int64), cells.start)
    return Tally(
        label, np.full(n, group.channel), cells.interval, cells.start, sign * cells.amount, np.full(n, sign),
        np.zeros(n, np.int64),
    )  # fmt: skip


def _mixed_expected(group: Group, counted: Cells, asked: Asked) -> Iterator[Tally]:
    units = slot_units(counted)
    if not len(units.first):
        return
    _, since, until, labels = asked.places.stays(np.array([group.meter.encode()]))
    for low, high, label in zip(since.tolist(), until.tolist(), labels.tolist(), strict=True):
        span = max(low, asked.span[0]), min(high, asked.span[1])
        if span[0] >= span[1]:
            continue
        if asked.step == "interval":
            own = (units.first >= span[0]) & (units.first < span[1])
            starts, lengths = empties(units, *span)
            begin = np.append(units.first[own], starts)
            length = np.append(units.interval[own], lengths)
            expected = np.ones(len(begin), np.int64)
        else:
            expected = np.diff(prefix(units, np.clip(asked.marks, *span)).expected)
            begin, length = asked.marks[:-1], np.zeros(len(expected), np.int64)
        none = np.zeros(len(begin), np.int64)
        yield Tally(
            np.full(len(begin), label),
            np.full(len(begin), group.channel),
            length,
            begin,
            none,
            none,
            expected,
        )


def marks_of(step: str, zone: str, start: int, stop: int) -> Ints:
    """Borders of the steps of a fleet question."""
    return np.array([start, stop]) if step == "interval" else borders(zone, step, start, stop)
