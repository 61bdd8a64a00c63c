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
from meterlake.query.mixed import Grids, mixed_of
from meterlake.query.series import REACH_S
from meterlake.query.sums import Tally, codes_of, gathered, row_sums, slot_sums
from meterlake.slots import spread
from meterlake.usage import CLOCK_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import DataFile
    from meterlake.query.meters import Group, Members
    from meterlake.query.mixed import Mixed
    from meterlake.query.places import Places
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


@dataclass(frozen=True, slots=True)
class _Answered:
    """Sums, and the places that they are split by: these must live as long as their id names them."""

    places: Places
    sums: Tally

    @property
    def nbytes(self) -> int:
        return self.sums.nbytes


def fleet(view: View, asked: Asked, *, plain: bool = False) -> Tally:
    """Sums by label, channel and step over all meters; ``interval`` is 0 but in an interval listing.

    ``plain`` says that nothing lies over the files of ``view``: what was found is then kept as long as they stand.
    """
    if not plain:
        with view.memory.turn:
            return _fleet(view, asked)
    start, stop = asked.span
    paths = (file.path for file in view.files_between(start - REACH_S, stop + REACH_S))
    key = ("fleet", asked.step, asked.marks.tobytes(), id(asked.places), *paths)
    answered: _Answered | None = view.memory.answers.get(key)
    if answered is None:
        with view.memory.turn:
            answered = view.memory.answers.made(key, lambda: _Answered(asked.places, _fleet(view, asked)))
    assert answered is not None, "it was made"
    return answered.sums


def _fleet(view: View, asked: Asked) -> Tally:
    start, stop = asked.span
    # sums first: where they read all of a file, its small columns come along
    found = [_sums(view, view.files_between(start, stop), asked)]
    near = list(stacks(view.files_between(start - REACH_S, stop + REACH_S)))
    members = [stack_members(view, stack) for stack in near]
    found += _expected(members, asked)
    found += [
        _mixed_sums(view, stack, own.mixed, asked)
        for stack, own in zip(near, members, strict=True)
        if own.mixed
    ]
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


def _mixed_sums(view: View, stack: Sequence[DataFile], groups: Sequence[Group], asked: Asked) -> Tally:
    """What meter-channels of several lengths change: off what is covered, on what is expected of them."""
    found = []
    for mixed in mixed_of(view, stack, groups, asked.span, asked.places):
        start = mixed.cells.start
        covered = np.flatnonzero(~mixed.counted & (start >= asked.span[0]) & (start < asked.span[1]))
        cells, of = mixed.cells.where(covered), mixed.of[covered]
        once = np.full(len(covered), -1)
        off = Tally(
            asked.places.codes(mixed.meters, of, cells.start), mixed.channels[of], cells.interval, cells.start,
            -cells.amount, once, np.zeros_like(once),
        )  # fmt: skip
        found.append(gathered(Tally.concat([off, _mixed_expected(mixed, asked)])))
    return Tally.concat(found)


def _mixed_expected(mixed: Mixed, asked: Asked) -> Tally:
    """Slots that the grids of ``mixed`` have in the steps, while their meters were installed."""
    grids = Grids(mixed, asked.span)
    of, since, until, label = asked.places.stays(mixed.meters)
    since, until = np.maximum(since, asked.span[0]), np.minimum(until, asked.span[1])
    here = (since < until) & (grids.high > grids.low)[of]
    of, since, until, label = of[here], since[here], until[here], label[here]
    if asked.step == "interval":
        slot_of, start, length = grids.slots()
        place = grids.line.at(start, slot_of)
        low = np.searchsorted(place, grids.line.at(since, of))
        stay, turn = spread(np.searchsorted(place, grids.line.at(until, of)) - low)
        slot = low[stay] + turn
        begin, length, expected = start[slot], length[slot], np.ones(len(slot), np.int64)
    else:
        marks = np.clip(asked.marks[None, :], since[:, None], until[:, None])
        grid = np.diff(grids.before(of, marks), axis=1)
        stay, step = np.nonzero(grid)
        begin, expected = asked.marks[step], grid[stay, step]
        length = np.zeros(len(stay), np.int64)
    none = np.zeros(len(stay), np.int64)
    return Tally(label[stay], mixed.channels[of[stay]], length, begin, none, none, expected)


def marks_of(step: str, zone: str, start: int, stop: int) -> Ints:
    """Borders of the steps of a fleet question."""
    return np.array([start, stop]) if step == "interval" else borders(zone, step, start, stop)
