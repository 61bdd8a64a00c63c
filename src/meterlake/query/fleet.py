"""Questions about all meters: totals over time, the largest consumers, and every value at one moment.

Files are taken in *stacks*: those that may hold the same meters. Sums of whole files are pure functions of
them and kept; where a meter-channel has series of several lengths, what a longer one covers is taken off.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.moments import borders
from meterlake.query.series import REACH_S, counted_cells, every_cell, slot_units
from meterlake.query.sums import (
    MeterSums,
    Tally,
    codes_of,
    cut_rows,
    gathered,
    meter_sums,
    row_sums,
    slot_sums,
)
from meterlake.slots import local_day, spread, width
from meterlake.usage import CLOCK_S, empties, prefix, ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from meterlake.ports import DataFile
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

_NONE: Final = np.empty(0, np.int64)


class Group(NamedTuple):
    """One meter-channel of a stack that has several lengths."""

    meter: str
    channel: int


@dataclass(frozen=True, slots=True)
class Members:
    """The meter-channels of a stack that have one length each, a column a trait, and the others."""

    meters: Array
    """Distinct ids of the stack."""
    owner: Ints
    """Index of the meter by member."""
    channel: Ints
    interval: Ints
    first: Ints
    """Start of some slot of each."""
    mixed: list[Group]

    @property
    def nbytes(self) -> int:
        """Bytes in memory, but for the few mixed ones."""
        columns = (self.meters, self.owner, self.channel, self.interval, self.first)
        return sum(column.nbytes for column in columns)


def stacks(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Cut files into groups whose partitions do not overlap: no meter is in two of them."""
    stack: list[DataFile] = []
    end = 0
    for file in sorted(files, key=lambda f: f.partitions):
        if stack and file.partitions[0] >= end:
            yield stack
            stack = []
        stack.append(file)
        end = max(end, file.partitions[1]) if len(stack) > 1 else file.partitions[1]
    if stack:
        yield stack


def each(files: Sequence[DataFile], make: Callable[[DataFile], Any]) -> list[Any]:
    """Call ``make`` for every file, in threads where there are several."""
    if len(files) < 2:
        return [make(file) for file in files]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(make, files))


def members_of(sheets: Sequence[Sheet]) -> Members:
    """Meter-channels of some sheets, each once."""
    alike = all(
        len(s.meters) == len(sheets[0].meters) and (s.meters == sheets[0].meters).all() for s in sheets
    )
    if alike:
        meters, numbers = sheets[0].meters, np.tile(np.arange(len(sheets[0].meters)), len(sheets))
    else:
        meters, numbers = np.unique(np.concatenate([s.meters for s in sheets]), return_inverse=True)
    traits, at = [], 0
    for sheet in sheets:
        rows = sheet.rows
        length = np.where(local_day(rows["interval"]), DAY_S, rows["interval"]).astype(np.int64)
        owner = np.repeat(numbers[at : at + len(sheet.meters)], np.diff(sheet.runs))
        at += len(sheet.meters)
        head = np.ones(len(rows), bool)
        head[1:] = (np.diff(owner) != 0) | (np.diff(rows["channel"]) != 0) | (np.diff(length) != 0)
        first = rows["start"] + rows["offset"]
        traits.append(
            np.stack([owner[head], rows["channel"][head].astype(np.int64), length[head], first[head]])
        )
    owner, channel, length, first = np.concatenate(traits, axis=1)
    group, one = codes_of(owner, channel)
    differs = np.zeros(len(one), bool)
    differs[group[length != length[one][group]]] = True
    names = [Group(meters[owner[i]].decode(), int(channel[i])) for i in one[differs].tolist()]
    plain = one[~differs]
    return Members(meters, owner[plain], channel[plain], length[plain], first[plain], names)


def _members(view: View, stack: Sequence[DataFile]) -> Members:
    """Meter-channels of the files of a stack; kept."""
    made: Members = view.memory.kept.made(
        ("members", *(file.path for file in stack)), lambda: members_of(each(stack, view.sheet))
    )
    return made


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
    members = [_members(view, s) for s in stacks(view.files_between(start - REACH_S, stop + REACH_S))]
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
    if asked.step == "hour" and (tally.interval > HOUR_S).any():
        raise Invalid("some meters are read less than hourly: ask the fleet by day, or by interval")
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


class Totals(NamedTuple):
    """A sum for every meter-channel."""

    meter: Array
    channel: Ints
    amount: Ints
    filled: Ints


def totals(view: View, span: tuple[int, int], places: Places) -> Totals:
    """Sum of every meter-channel over ``[start, stop)`` seconds, in no order."""
    start, stop = span
    found = []
    for stack in stacks(view.files_between(start - REACH_S, stop + REACH_S)):
        sheets = each(stack, view.sheet)
        members = _members(view, stack)
        kept = each(stack, lambda file: _meter_totals(view, file, span))
        owner = [
            np.searchsorted(members.meters, s.meters)[m] for s, (m, *_) in zip(sheets, kept, strict=True)
        ]
        columns = [np.concatenate(owner), *(np.concatenate(c) for c in list(zip(*kept, strict=True))[1:])]
        for group in members.mixed:
            columns = [
                np.append(column, more)
                for column, more in zip(columns, _covered(view, group, members, span, places), strict=True)
            ]
        meter, channel, amount, filled = columns
        code, one = codes_of(meter, channel)
        sums = np.zeros((2, len(one)), np.int64)
        np.add.at(sums[0], code, amount)
        np.add.at(sums[1], code, filled)
        found.append(Totals(members.meters[meter[one]], channel[one], *sums))
    if not found:
        return Totals(np.empty(0, "S1"), _NONE, _NONE, _NONE)
    return Totals(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _meter_totals(view: View, file: DataFile, span: tuple[int, int]) -> MeterSums:
    def make() -> MeterSums:
        sheet = view.sheet(file)
        page = view.whole(file) if cut_rows(sheet, *span) else None
        return meter_sums(sheet, page, *span)

    sums: MeterSums = view.memory.kept.made(("totals", file.path, *span), make)
    return sums


def _covered(
    view: View, group: Group, members: Members, span: tuple[int, int], places: Places
) -> tuple[int, int, int, int]:
    """What is counted twice of one meter-channel, with its sign turned: meter index, channel, amount, filled."""
    name = view.memory.channels.names[group.channel]
    every = every_cell(view, group.meter, name, span)
    counted = counted_cells(view, group.meter, name, span, places.billing(group.meter))
    amount = filled = 0
    for cells, sign in ((every.where(every.filled), -1), (counted, 1)):
        own = (cells.start >= span[0]) & (cells.start < span[1])
        amount += sign * int(cells.amount[own].sum())
        filled += sign * int(own.sum())
    return int(np.searchsorted(members.meters, group.meter.encode())), group.channel, amount, filled


class Values(NamedTuple):
    """One value of every meter-channel."""

    meter: Array
    channel: Ints
    start: Ints
    seconds: Ints
    amount: Ints
    filled: Array
    quality: Array


def at_moment(view: View, moment: int, places: Places) -> Values:
    """Value of every meter-channel in the interval that holds ``moment``, ordered by meter and channel.

    Of several lengths that have a value there it is the one that a total counts.
    """
    files = view.files_between(moment - REACH_S, moment + 1)
    parts = each(files, lambda file: _file_values(view, file, moment))
    parts = [part for part in parts if len(part.meter)]
    if not parts:
        return Values(np.empty(0, "S1"), _NONE, _NONE, _NONE, _NONE, np.empty(0, bool), np.empty(0, np.uint8))
    values = Values(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    rank = ranks(values.seconds, None)
    rank = np.where(places.billings(values.meter) == values.seconds, -1, rank)
    order = np.lexsort((rank, ~values.filled, values.channel, values.meter))
    meter, channel = values.meter[order], values.channel[order]
    best = np.ones(len(order), bool)
    best[1:] = (meter[1:] != meter[:-1]) | (channel[1:] != channel[:-1])
    return Values(*(column[order[best]] for column in values))


def _file_values(view: View, file: DataFile, moment: int) -> Values:
    sheet = view.sheet(file)
    rows = sheet.rows
    first = rows["start"] + rows["offset"]
    own = np.flatnonzero((first <= moment) & (first + width(rows["interval"]) * rows["interval"] > moment))
    page = view.whole(file) if len(own) else None
    if page is None:
        return Values(np.empty(0, "S1"), _NONE, _NONE, _NONE, _NONE, np.empty(0, bool), np.empty(0, np.uint8))
    interval = rows["interval"][own].astype(np.int64)
    slot = (moment - first[own]) // interval
    cell = page.borders[own] + slot
    filled = np.ones(len(own), bool) if page.filled is None else page.filled[cell]
    quality = np.where(filled, rows["quality"][own], 0)
    for i in np.flatnonzero(quality < 0).tolist():
        quality[i] = page.qualities.of(int(own[i]))[slot[i]]
    owner = np.searchsorted(sheet.runs, own, "right") - 1
    return Values(
        sheet.meters[owner], rows["channel"][own].astype(np.int64), first[own] + slot * interval, interval,
        page.amounts[cell].astype(np.int64) * page.power[own], filled, quality.astype(np.uint8),
    )  # fmt: skip


def marks_of(step: str, zone: str, start: int, stop: int) -> Ints:
    """Borders of the steps of a fleet question."""
    return np.array([start, stop]) if step == "interval" else borders(zone, step, start, stop)


def by_label(found: Totals, places: Places, moment: int) -> Totals:
    """Totals by the label that each meter has at ``moment``; ``meter`` then holds label codes."""
    owner = np.arange(len(found.meter))
    label = places.codes(found.meter, owner, np.full(len(owner), moment))
    code, one = codes_of(label, found.channel)
    sums = np.zeros((2, len(one)), np.int64)
    np.add.at(sums[0], code, found.amount)
    np.add.at(sums[1], code, found.filled)
    return Totals(label[one], found.channel[one], *sums)


def largest(found: Totals, n: int | None, channel: int | None) -> Totals:
    """The ``n`` largest totals of every channel (or of one), largest first; None: all."""
    if channel is not None:
        found = Totals(*(column[found.channel == channel] for column in found))
    order = np.lexsort((found.meter, -found.amount, found.channel))
    heads = np.flatnonzero(np.diff(found.channel[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(heads, np.diff(np.append(heads, len(order))))
    if n is not None:
        order = order[place < n]
    return Totals(*(column[order] for column in found))
