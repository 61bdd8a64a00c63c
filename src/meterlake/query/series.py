"""One meter's readings as series by channel, from which every question about a single meter is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.intervals import DAY_S, HOUR_S
from meterlake.slots import (
    EDITED,
    ESTIMATED,
    Slots,
    arrivals_of,
    even_run,
    known,
    local_day,
    qualities_of,
    row_arrivals,
    run_slots,
    slots_of,
    width,
)
from meterlake.usage import (
    COUNTS,
    NEVER,
    Passport,
    Prefix,
    Units,
    counted_once,
    newest_between,
    prefix,
    ranks,
)

if TYPE_CHECKING:
    from meterlake.query.view import Held, View
    from meterlake.slots import Page
    from meterlake.strips import Ints

Array = npt.NDArray[Any]

NEVER_NEAR: Final = np.iinfo(np.int64).max

REACH_S: Final = 26 * HOUR_S
"""How far before or after a moment a reading may start that covers part of its day."""


class Cells(NamedTuple):
    """Slots of one meter-channel in order of start and length."""

    start: Ints
    interval: Ints
    amount: Ints
    filled: Array
    quality: Array
    arrival: Ints

    def where(self, keep: Array | slice) -> Cells:
        """Slots chosen by a mask, by indexes or as a run."""
        return Cells(*(column[keep] for column in self))


_NONE: Final = np.empty(0, np.int64)
NO_CELLS: Final = Cells(_NONE, _NONE, _NONE, np.empty(0, bool), np.empty(0, np.uint8), _NONE)


@dataclass(frozen=True, slots=True)
class Series:
    """One meter-channel: its units, and either the rows or the slots that they were made of."""

    view: View
    meter: str
    channel: str
    units: Units
    held: Held | None
    """Rows of the units; None where each unit is a slot."""
    cells: Cells | None
    """All stored slots in and around the span, also those that a longer series covers; for listings only."""

    def slots(self) -> Units:
        """Units of one slot each: the filled ones that count."""
        if self.held is None or self.cells is None:
            return self.units
        return slot_units(self.cells.where(self.cells.filled))


ROWS: Final = "rows"
SLOTS: Final = "slots"
LISTING: Final = "listing"
"""What a question needs: sums between few borders, sums between many, or every value."""


def series_of(
    view: View, meter: str, span: tuple[int, int], billing_s: int | None, need: str
) -> list[Series]:
    """Series of all channels that ``meter`` has in or around ``span``, ordered by channel.

    ``need`` is `ROWS`, `SLOTS` or `LISTING`. Units are slots for `SLOTS`, and where series overlap.
    """
    start, stop = span
    reach = REACH_S if stop - start <= 2 * DAY_S else 0
    held = view.held(meter, start - reach, stop + reach, values=need != ROWS)
    if not len(held.rows):
        held = view.nearest(meter, start)
    if not reach and any(_is_mixed(held.rows[held.rows["channel"] == c]) for c in _channels(held)):
        held = view.held(meter, start - REACH_S, stop + REACH_S, values=need != ROWS)
    names = view.memory.channels.names
    made = [
        _series(view, meter, names[code], held.where(held.rows["channel"] == code), span, billing_s, need)
        for code in _channels(held)
    ]
    return sorted(made, key=lambda series: series.channel)


def _channels(held: Held) -> list[int]:
    codes = held.rows["channel"]
    if len(codes) and codes[0] == codes[-1] and (codes == codes[0]).all():
        return [int(codes[0])]
    found: list[int] = np.unique(codes).tolist()
    return found


def _is_mixed(rows: Array) -> bool:
    interval = rows["interval"]
    return bool((interval != interval[0]).any()) and not bool(local_day(interval).all())


def _series(  # noqa: PLR0913
    view: View, meter: str, channel: str, held: Held, span: tuple[int, int], billing_s: int | None, need: str
) -> Series:
    if _is_mixed(held.rows):
        cells = cells_of(view, meter, _near(held, span), arrivals=False) if need == LISTING else None
        counted = _counted(view, meter, _near(_uncovered(held, billing_s), span), billing_s)
        return Series(view, meter, channel, slot_units(counted), None, cells)
    first = held.rows["start"] + held.rows["offset"]
    if (first[1:] < first[:-1]).any():
        held = held.where(np.argsort(first, kind="stable"))
    if need == SLOTS:
        cells = cells_of(view, meter, _near(held, span))
        return Series(view, meter, channel, slot_units(cells.where(cells.filled)), None, None)
    cells = cells_of(view, meter, _near(held, span), arrivals=False) if need == LISTING else None
    return Series(view, meter, channel, _row_units(view, held), held, cells)


def _row_units(view: View, held: Held) -> Units:
    rows = held.rows
    interval = rows["interval"].astype(np.int64)
    counts = np.empty((len(rows), len(COUNTS)), np.int64)
    for column, name in enumerate(COUNTS):
        counts[:, column] = rows[name]
    return Units(rows["start"] + rows["offset"], width(interval), interval, counts, _newest(view, held))


def _near(held: Held, span: tuple[int, int]) -> Held:
    """Rows that may matter to ``span``; where none of these has a reading, also the nearest that has one."""
    start = held.rows["start"]
    near = (start > span[0] - REACH_S - DAY_S) & (start < span[1] + REACH_S)
    filled = held.rows["filled"] > 0
    if not (near & filled).any() and filled.any():
        near[np.argmin(np.where(filled, np.abs(start - span[0]), NEVER_NEAR))] = True
    return held if near.all() else held.where(near)


def _uncovered(held: Held, billing_s: int | None) -> Held:
    """Rows but for those that lie within a row of a series taken before theirs all of whose slots count."""
    rows = held.rows
    first = rows["start"] + rows["offset"]
    rank = ranks(rows["interval"], billing_s)
    slots = width(rows["interval"])
    end = first + slots * rows["interval"]
    keep = np.ones(len(rows), bool)
    for level in np.unique(rank).tolist()[:-1]:
        before = keep & (rank < level) & (rows["filled"] > 0)
        begun = np.searchsorted(np.sort(first[before]), end, "left")
        free = begun == np.searchsorted(np.sort(end[before]), first, "right")
        full = keep & free & (rank == level) & (rows["filled"] == slots)
        if full.any():
            starts, ends = np.sort(first[full]), np.sort(end[full])
            at = np.searchsorted(starts, first, "right") - 1
            keep &= (rank <= level) | (at < 0) | (ends[np.maximum(at, 0)] < end)
    return held.where(keep)


def _counted(view: View, meter: str, held: Held, billing_s: int | None) -> Cells:
    cells = cells_of(view, meter, held)
    cells = cells.where(cells.filled)
    return cells.where(counted_once(cells.start, cells.interval, ranks(cells.interval, billing_s)))


def _around(view: View, meter: str, channel: str, span: tuple[int, int]) -> Held:
    held = view.held(meter, span[0] - REACH_S, span[1] + REACH_S, values=True)
    return _near(held.where(held.rows["channel"] == view.memory.channels.code(channel)), span)


def every_cell(view: View, meter: str, channel: str, span: tuple[int, int]) -> Cells:
    """All stored slots of one meter-channel in and around ``span``."""
    return cells_of(view, meter, _around(view, meter, channel, span))


def _newest(view: View, held: Held) -> Ints:
    if len(held.parts) == 1:
        return row_arrivals(held.parts[0].sheet, held.at, view.arrivals())
    newest = known(view.arrivals(), held.rows["delivery"])
    for part in np.unique(held.part[held.rows["delivery"] < 0]).tolist():
        own = held.part == part
        newest[own] = row_arrivals(held.parts[part].sheet, held.at[own], view.arrivals())
    return newest


def slot_units(cells: Cells) -> Units:
    """Each slot as a unit."""
    counts = np.empty((len(cells.start), len(COUNTS)), np.int64)
    counts[:, 0] = cells.amount
    counts[:, 1] = 1
    counts[:, 2] = cells.quality == EDITED
    counts[:, 3] = cells.quality >= ESTIMATED
    return Units(cells.start, np.ones(len(cells.start), np.int64), cells.interval, counts, cells.arrival)


def cells_of(view: View, meter: str, held: Held, *, arrivals: bool = True) -> Cells:
    """All slots of some rows of ``meter``, ordered by start and length; `NEVER` arrived without ``arrivals``."""
    found = []
    for number, part in enumerate(held.parts):
        at = held.at if len(held.parts) == 1 else held.at[held.part == number]
        if len(at):
            page = view.page(part.file, meter)
            rows = at - part.low + page.sheet.run(meter.encode())[0]
            found.append(page_cells(page, rows, view.arrivals() if arrivals else None))
    if not found:
        return NO_CELLS
    cells = (
        found[0]
        if len(found) == 1
        else Cells(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    )
    if (cells.start[1:] <= cells.start[:-1]).any():
        cells = cells.where(np.lexsort((cells.interval, cells.start)))
    return cells


def page_cells(page: Page, rows: Ints, arrivals: Ints | None) -> Cells:
    """All slots of some rows of a page, in their order; `NEVER` arrived without ``arrivals``."""
    low, high = int(rows[0]), int(rows[-1]) + 1
    run = high - low == len(rows) and bool((rows[1:] > rows[:-1]).all())
    even = even_run(page, low, high) if run and arrivals is None else None
    if even is not None:
        start, interval_s, amount, filled, quality = even
        length, never = np.full(len(start), interval_s), np.full(len(start), NEVER)
        return Cells(start, length, amount, filled, quality, never)
    slots: Slots = run_slots(page, low, high) if run else slots_of(page, rows)
    own = page.sheet.rows[low:high] if run else page.sheet.rows[rows]
    interval = own["interval"].astype(np.int64)
    first = own["start"] + own["offset"]
    n = len(slots.amount) // len(rows)
    if (interval == interval[0]).all():
        start = (first[:, None] + np.arange(n) * interval[0]).reshape(-1)
        length = np.full(len(start), interval[0])
    else:
        length = interval[slots.row]
        start = first[slots.row] + slots.slot * length
    quality = qualities_of(page, rows, slots)
    arrival = np.broadcast_to(np.int64(NEVER), start.shape)
    if arrivals is not None:
        arrival = arrivals_of(page, rows, slots, arrivals)
    return Cells(start, length, slots.amount, slots.filled, quality, arrival)


@dataclass(frozen=True, slots=True)
class Sums:
    """Counts of some ranges of one series: one row a range."""

    counts: Ints
    """Shape (ranges, 4): `usage.COUNTS`."""
    expected: Ints

    def passport(self, at: int, newest_us: int | None) -> Passport:
        """Passport of one range."""
        _, filled, edited, estimated = self.counts[at].tolist()
        return Passport(
            expected=max(int(self.expected[at]), filled), filled=filled, edited=edited, estimated=estimated,
            newest_us=newest_us,
        )  # fmt: skip


class Ruler:
    """A series measured at some borders: everything between any two of them is a difference."""

    def __init__(self, series: Series, borders: Ints) -> None:
        """Measure ``series`` at ``borders`` (ascending, distinct seconds); read the values that these cut."""
        self.units = series.units
        self.borders = borders
        self.prefix: Prefix = prefix(series.units, borders)
        self.counts = self.prefix.counts
        self._cells: dict[int, Cells] = {}
        cut = np.flatnonzero(self.prefix.within)
        if len(cut) and series.held is not None:
            self.counts = self.counts.copy()
            units = self.prefix.before[cut]
            for unit in np.unique(units).tolist():
                self._cells[unit] = cells_of(series.view, series.meter, series.held.where(np.array([unit])))
            for border, unit in zip(cut.tolist(), units.tolist(), strict=True):
                cells = self._cells[unit]
                part = cells.where(cells.filled & (cells.start < borders[border]))
                self.counts[border] += slot_units(part).counts.sum(axis=0)

    def between(self, starts: Ints, stops: Ints) -> Sums:
        """Counts of the ranges from each of ``starts`` to each of ``stops``, all of them borders."""
        low, high = np.searchsorted(self.borders, starts), np.searchsorted(self.borders, stops)
        return Sums(
            self.counts[high] - self.counts[low], self.prefix.expected[high] - self.prefix.expected[low]
        )

    def newest(self, starts: Ints, stops: Ints) -> list[int | None]:
        """When the newest reading of each of some ranges between borders was received, µs; None where there is none."""
        low, high = np.searchsorted(self.borders, starts), np.searchsorted(self.borders, stops)
        first = self.prefix.before[low] + (self.prefix.within[low] > 0)
        newest = [newest_between(self.units, *run) for run in zip(first.tolist(), self.prefix.before[high].tolist(), strict=True)]  # fmt: skip
        if self._cells:
            for at, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
                newest[at] = self._newest_cut(newest[at], start, stop)
        return newest

    def _newest_cut(self, known: int | None, start: int, stop: int) -> int | None:
        """The newest of a range, whose whole units are ``known``, with the units that its borders cut."""
        low, high = np.searchsorted(self.borders, (start, stop)).tolist()
        found = [NEVER if known is None else known]
        for unit in {int(self.prefix.before[low]), int(self.prefix.before[high])} & self._cells.keys():
            cells = self._cells[unit]
            inside = cells.filled & (cells.start >= start) & (cells.start < stop)
            found.append(int(cells.arrival[inside].max(initial=NEVER)))
        return None if max(found) == NEVER else max(found)
