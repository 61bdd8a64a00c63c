"""Sums over many meters of a file: pure functions of its rows, kept between questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.slots import Page, Sheet, slots_of, spread, width
from meterlake.usage import checked_sum

if TYPE_CHECKING:
    from meterlake.strips import Ints

Array = npt.NDArray[Any]

FEW: Final = 16
"""Groups of more rows than this are summed one by one: ten times as fast as in one go, for few groups."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums as columns: an entry for each label, channel, length and start."""

    label: Ints
    channel: Ints
    interval: Ints
    start: Ints
    amount: Ints
    filled: Ints
    expected: Ints

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self.columns())

    def columns(self) -> tuple[Ints, ...]:
        """All columns in their order."""
        return self.label, self.channel, self.interval, self.start, self.amount, self.filled, self.expected

    def where(self, keep: Array) -> Tally:
        """Entries chosen by a mask."""
        return Tally(*(column[keep] for column in self.columns()))

    @classmethod
    def concat(cls, tallies: list[Tally]) -> Tally:
        """Return all entries, one after the other."""
        if not tallies:
            return cls(*(np.empty(0, np.int64) for _ in range(7)))
        if len(tallies) == 1:
            return tallies[0]
        return cls(
            *(np.concatenate(columns) for columns in zip(*(t.columns() for t in tallies), strict=True))
        )


def codes_of(*columns: Ints) -> tuple[Ints, Ints]:
    """Number the distinct rows of some columns: the number of each row, and the first row of each number.

    Numbers ascend with the rows, the first column weighing most.
    """
    code = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(min(1, len(code)), np.int64)
    for column in columns:
        if len(column) and (column[0] != column[-1] or (column != column[0]).any()):
            own, size = _on_grid(column)
            code, first = _numbered(code * size + own, len(first) * size)
    return code, first


def _on_grid(column: Ints) -> tuple[Ints, int]:
    """Code of each value below a bound: its place on the coarsest grid, or where that is long, among the values."""
    own = column - column.min()
    own //= np.gcd.reduce(own)
    size = int(own.max()) + 1
    if size <= _room(len(own)):
        return own, size
    values, own = np.unique(column, return_inverse=True)
    return own, len(values)


def _numbered(code: Ints, size: int) -> tuple[Ints, Ints]:
    """Numbers without gaps in place of codes below ``size``, and the first row of each number."""
    if size > _room(len(code)):
        _, first, code = np.unique(code, return_index=True, return_inverse=True)
        return code, first
    used = np.zeros(size, bool)
    used[code] = True
    code = (np.cumsum(used) - 1)[code]
    first = np.empty(np.count_nonzero(used), np.int64)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1)  # of equal numbers the one written last stays
    return code, first


def _room(entries: int) -> int:
    """Length of a table that is addressed sooner than ``entries`` are sorted."""
    return 8 * entries + 1024


def gathered(tally: Tally) -> Tally:
    """Sum the entries of equal label, channel, length and start."""
    checked_sum(tally.amount)
    code, first = codes_of(tally.label, tally.channel, tally.interval, tally.start)
    sums = []
    for column in (tally.amount, tally.filled, tally.expected):
        sums.append(np.zeros(len(first), np.int64))
        if column.any():
            np.add.at(sums[-1], code, column)
    keys = (tally.label, tally.channel, tally.interval, tally.start)
    return Tally(*(key[first] for key in keys), *sums)


def row_sums(sheet: Sheet, label: Ints) -> Tally:
    """Totals of whole blocks; ``start`` is that of a block's first slot."""
    rows = sheet.rows
    return gathered(
        Tally(
            label, rows["channel"].astype(np.int64), rows["interval"].astype(np.int64),
            rows["start"] + rows["offset"], rows["total"], rows["filled"].astype(np.int64),
            np.zeros(len(rows), np.int64),
        )
    )  # fmt: skip


def slot_sums(page: Page, label: Ints) -> Tally:
    """Sums slot by slot of all rows of ``page`` that have one label, channel, length and start."""
    checked_sum(page.sheet.rows["total"])
    rows = page.sheet.rows
    first = rows["start"] + rows["offset"]
    found = []
    for interval in np.unique(rows["interval"]).tolist():
        own = np.flatnonzero(rows["interval"] == interval)
        code, at = codes_of(label[own], rows["channel"][own].astype(np.int64), first[own])
        # short integers are sorted digit by digit, which is several times as fast
        order = np.argsort(code.astype(np.uint16) if len(at) < 1 << 16 else code, kind="stable")
        heads = np.flatnonzero(np.diff(code[order], prepend=-1))
        n = int(width(np.array([interval]))[0])
        amount, filled = _matrix_sums(page, own, order, heads)
        group, slot = spread(np.full(len(at), n))
        which = own[at][group]
        found.append(
            Tally(
                label[which], rows["channel"][which].astype(np.int64), np.full(len(which), interval),
                first[which] + slot * interval, amount.reshape(-1), filled.reshape(-1),
                np.zeros(len(which), np.int64),
            )
        )  # fmt: skip
    return Tally.concat(found)


def _matrix_sums(page: Page, rows: Ints, order: Ints, heads: Ints) -> tuple[Ints, Ints]:
    """Sums by slot of groups of ``rows`` of one width; group i is ``order[heads[i]:heads[i + 1]]``."""
    n = int(page.borders[rows[0] + 1] - page.borders[rows[0]])
    power = page.power[rows]
    if len(rows) == len(page.power):
        amounts = page.amounts.reshape(-1, n)
        filled = None if page.filled is None else page.filled.reshape(-1, n)
    else:
        cells = page.borders[rows][:, None] + np.arange(n)
        amounts = page.amounts[cells]
        filled = None if page.filled is None else page.filled[cells]
    sizes = np.diff(np.append(heads, len(rows)))
    if len(heads) * FEW < len(rows):
        groups = np.split(order, heads[1:])
        total = np.array([_column_sums(amounts[group], power[group]) for group in groups])
        count = (
            sizes[:, None] if filled is None else np.array([filled[group].sum(axis=0) for group in groups])
        )
    else:
        total = np.add.reduceat(amounts[order] * power[order][:, None], heads, axis=0)
        count = (
            sizes[:, None]
            if filled is None
            else np.add.reduceat(filled[order], heads, axis=0, dtype=np.int64)
        )
    return total, np.broadcast_to(count, total.shape)


def _column_sums(amounts: Array, power: Ints) -> Ints:
    """Sums of columns; one multiplication where all rows have one power, which is the rule."""
    if (power == power[0]).all():
        sums: Ints = amounts.sum(axis=0, dtype=np.int64) * power[0]
        return sums
    mixed: Ints = (amounts * power[:, None]).sum(axis=0)
    return mixed


class MeterSums(NamedTuple):
    """Sums by meter (its index in a sheet) and channel."""

    meter: Ints
    channel: Ints
    amount: Ints
    filled: Ints

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self)


def meter_sums(sheet: Sheet, page: Page | None, start: int, stop: int) -> MeterSums:
    """Sums of ``[start, stop)`` seconds by meter and channel.

    ``page`` has the values of the same rows; it is needed only where `cut_rows` finds any.
    """
    rows = sheet.rows
    owner = np.repeat(np.arange(len(sheet.meters)), np.diff(sheet.runs))
    change = (np.diff(owner, prepend=-1) != 0) | (np.diff(rows["channel"], prepend=-1) != 0)
    heads = np.flatnonzero(change)
    inside, cut = _inside(sheet, start, stop)
    total = np.where(inside, rows["total"], 0)
    filled = np.where(inside, rows["filled"], 0).astype(np.int64)
    if len(cut) and page is not None:
        slots = slots_of(page, cut)
        moment = (rows["start"] + rows["offset"])[cut][slots.row] + slots.slot * rows["interval"][cut][
            slots.row
        ]
        own = slots.filled & (moment >= start) & (moment < stop)
        np.add.at(total, cut[slots.row[own]], slots.amount[own])
        np.add.at(filled, cut[slots.row[own]], 1)
    checked_sum(total)
    if not len(heads):
        none = np.empty(0, np.int64)
        return MeterSums(none, none, none, none)
    return MeterSums(
        owner[heads], rows["channel"][heads].astype(np.int64), np.add.reduceat(total, heads),
        np.add.reduceat(filled, heads),
    )  # fmt: skip


def _inside(sheet: Sheet, start: int, stop: int) -> tuple[Array, Ints]:
    rows = sheet.rows
    first = rows["start"] + rows["offset"]
    last = first + (width(rows["interval"]) - 1) * rows["interval"]
    inside = (first >= start) & (last < stop)
    return inside, np.flatnonzero(~inside & (first < stop) & (last >= start))


def cut_rows(sheet: Sheet, start: int, stop: int) -> bool:
    """Whether a border of ``[start, stop)`` falls within the slots of some row."""
    return len(_inside(sheet, start, stop)[1]) > 0
