"""All meters, each for itself: which there are, the total of each over a time, and its value at one moment.

Files are taken in *stacks*: those that may hold the same meters. What is computed of whole files is a pure
function of them and kept.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.intervals import DAY_S
from meterlake.query.mixed import mixed_of
from meterlake.query.series import REACH_S
from meterlake.query.sums import MeterSums, codes_of, cut_rows, meter_sums
from meterlake.slots import local_day, width
from meterlake.usage import ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from meterlake.ports import DataFile
    from meterlake.query.places import Places
    from meterlake.query.view import View
    from meterlake.slots import Sheet
    from meterlake.strips import Ints

Array = npt.NDArray[Any]

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


def stack_members(view: View, stack: Sequence[DataFile]) -> Members:
    """Meter-channels of the files of a stack; kept."""
    made: Members = view.memory.kept.made(
        ("members", *(file.path for file in stack)), lambda: members_of(each(stack, view.sheet))
    )
    return made


class Totals(NamedTuple):
    """A sum for every meter-channel."""

    meter: Array
    channel: Ints
    amount: Ints
    filled: Ints


def totals(view: View, span: tuple[int, int], places: Places) -> Totals:
    """Sum of every meter-channel over ``[start, stop)`` seconds, in no order."""
    with view.memory.turn:
        return _totals(view, span, places)


def _totals(view: View, span: tuple[int, int], places: Places) -> Totals:
    start, stop = span
    found = []
    for stack in stacks(view.files_between(start - REACH_S, stop + REACH_S)):
        sheets = each(stack, view.sheet)
        members = stack_members(view, stack)
        kept = each(stack, lambda file: _meter_totals(view, file, span))
        owner = [
            np.searchsorted(members.meters, s.meters)[m] for s, (m, *_) in zip(sheets, kept, strict=True)
        ]
        columns = [np.concatenate(owner), *(np.concatenate(c) for c in list(zip(*kept, strict=True))[1:])]
        if members.mixed:
            more = _covered(view, stack, members, span, places)
            columns = [np.concatenate(parts) for parts in zip(columns, *more, strict=True)]
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
    view: View, stack: Sequence[DataFile], members: Members, span: tuple[int, int], places: Places
) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """What is counted twice of meter-channels, with its sign turned: meter index, channel, amount, filled."""
    for mixed in mixed_of(view, stack, members.mixed, span, places):
        start = mixed.cells.start
        twice = np.flatnonzero(~mixed.counted & (start >= span[0]) & (start < span[1]))
        of = mixed.of[twice]
        meter = np.searchsorted(members.meters, mixed.meters)
        yield meter[of], mixed.channels[of], -mixed.cells.amount[twice], np.full(len(of), -1)


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
    with view.memory.turn:
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
