"""Sums over many meters of a file: pure functions of its rows, kept between questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from meterlake.slots import Page, Sheet, slots_of, spread, width
from meterlake.usage import checked_sum

if TYPE_CHECKING:
    from meterlake.strips import Ints

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums as columns: an entry for each label, channel, length and start."""

    label: Ints
    channel: Ints
    interval: Ints
    start: Ints
    amount: Ints
    filled: Ints

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self.columns())

    def columns(self) -> tuple[Ints, ...]:
        """All columns in their order."""
        return self.label, self.channel, self.interval, self.start, self.amount, self.filled

    def where(self, keep: Array) -> Tally:
        """Entries chosen by a mask."""
        return Tally(*(column[keep] for column in self.columns()))

    @classmethod
    def concat(cls, tallies: list[Tally]) -> Tally:
        """Return all entries, one after the other."""
        if not tallies:
            return cls(*(np.empty(0, np.int64) for _ in range(6)))
        return cls(*(np.concatenate(columns) for columns in zip(*(t.columns() for t in tallies), strict=True)))


def codes_of(*columns: Ints) -> tuple[Ints, Ints]:
    """Number the distinct rows of some columns: the number of each row, and a row that has each number."""
    code = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(min(1, len(code)), np.int64)
    for column in columns:
        if len(column) and (column[0] != column[-1] or (column != column[0]).any()):
            values, own = np.unique(column, return_inverse=True)
            _, first, code = np.unique(code * len(values) + own, return_index=True, return_inverse=True)
    return code, first


def gathered(tally: Tally) -> Tally:
    """Sum the entries of equal label, channel, length and start."""
    checked_sum(tally.amount)
    code, first = codes_of(tally.label, tally.channel, tally.interval, tally.start)
    amount, filled = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
    np.add.at(amount, code, tally.amount)
    np.add.at(filled, code, tally.filled)
    return Tally(tally.label[first], tally.channel[first], tally.interval[first], tally.start[first], amount, filled)


def row_sums(sheet: Sheet, label: Ints) -> Tally:
    """Totals of whole blocks; ``start`` is that of a block's first slot."""
    rows = sheet.rows
    return gathered(
        Tally(
            label, rows["channel"].astype(np.int64), rows["interval"].astype(np.int64),
            rows["start"] + rows["offset"], rows["total"], rows["filled"].astype(np.int64),
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
        order = np.argsort(code, kind="stable")
        heads = np.flatnonzero(np.diff(code[order], prepend=-1))
        n = int(width(np.array([interval]))[0])
        amount, filled = _matrix_sums(page, own[order], heads, n)
        group, slot = spread(np.full(len(at), n))
        which = own[at][group]
        found.append(
            Tally(
                label[which], rows["channel"][which].astype(np.int64), np.full(len(which), interval),
                first[which] + slot * interval, amount.reshape(-1), filled.reshape(-1),
            )
        )  # fmt: skip
    return Tally.concat(found)


def _matrix_sums(page: Page, rows: Ints, heads: Ints, n: int) -> tuple[Ints, Ints]:
    """Sums of runs of ``rows`` (from each of ``heads`` on), a column a slot."""
    cells = page.borders[rows][:, None] + np.arange(n)
    amounts = page.amounts[cells] * page.power[rows][:, None]
    amount: Ints = np.add.reduceat(amounts, heads, axis=0)
    if page.filled is None:
        sizes = np.diff(np.append(heads, len(rows)))
        return amount, np.repeat(sizes, n)
    filled: Ints = np.add.reduceat(page.filled[cells], heads, axis=0, dtype=np.int64)
    return amount, filled


def meter_sums(sheet: Sheet, page: Page | None, start: int, stop: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Sums of ``[start, stop)`` by meter and channel: meter index, channel, amount, filled.

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
        moment = (rows["start"] + rows["offset"])[cut][slots.row] + slots.slot * rows["interval"][cut][slots.row]
        own = slots.filled & (moment >= start) & (moment < stop)
        np.add.at(total, cut[slots.row[own]], slots.amount[own])
        np.add.at(filled, cut[slots.row[own]], 1)
    checked_sum(total)
    if not len(heads):
        none = np.empty(0, np.int64)
        return none, none, none, none
    return (
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
