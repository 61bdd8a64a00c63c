"""Open sets as rows of BLOCK_SCHEMA, and their losers as rows of LOST_SCHEMA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake import fold
from meterlake.blocks import BLOCK_SCHEMA, Cells, from_cells
from meterlake.ledger import LOST_SCHEMA
from meterlake.live import kernel
from meterlake.live.kernel import CHUNK, SHIFT
from meterlake.live.sets import View
from meterlake.merge import Losers
from meterlake.record import lost_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    from meterlake.live.planes import Plane
    from meterlake.live.sets import OpenSet
    from meterlake.strips import Codes, Ints

Array = npt.NDArray[Any]

CELLS: Final = 4_000_000
"""Cells that become a table at once."""

COPY_COLUMNS: Final = 128
"""Columns copied under one hold of the lock: 4 MiB."""


NO_BLOCKS: Final = BLOCK_SCHEMA.empty_table()
NONE_LOST: Final = LOST_SCHEMA.empty_table()


class Copy:
    """A copy of an open set, made while readings come in: first all, a little at a time, then what has changed."""

    def __init__(self, of: OpenSet, epoch: int) -> None:
        """Begin with what is there at ``epoch``."""
        self.of, self._epoch, self._used = of, epoch, of.used
        self._cells: Array = np.empty((of.used * CHUNK, 2), of.cells.dtype)

    def bulk(self, lock: RLock) -> None:
        """Copy what was there at the beginning."""
        for low in range(0, self._used, COPY_COLUMNS):
            some = slice(low * CHUNK, min(low + COPY_COLUMNS, self._used) * CHUNK)
            with lock:
                self._cells[some] = self.of.cells[some]

    def finish(self) -> View:
        """Copy what has changed since, while the lock is held; return the set as of now."""
        of = self.of
        if of.cells.dtype != self._cells.dtype:
            self._cells, self._epoch = self._cells.astype(of.cells.dtype), -1
        if of.used > self._used:
            fresh = of.cells[self._used * CHUNK : of.used * CHUNK]
            self._cells = np.concatenate([self._cells, fresh])
        for column in np.flatnonzero(of.changed[: self._used] > self._epoch).tolist():
            some = slice(column * CHUNK, (column + 1) * CHUNK)
            self._cells[some] = of.cells[some]
        return View(self._cells, of.place.copy(), of.versions.view(), of.losers.view(), len(of.plane))


def tables_of(
    plane: Plane, start_s: int, view: View, rows: Ints | Codes, names: pa.Array
) -> tuple[pa.Table, pa.Table]:
    """Blocks of ``rows`` that hold anything, and the losers of these; ``names`` are the ids of the rows' meters."""
    step = max(1, CELLS // plane.width)
    pieces, kept = [], []
    for low in range(0, len(rows), step):
        some = rows[low : low + step]
        table, at, _ = _blocks(plane, [(start_s, view)], some, names.slice(low, len(some)))
        if len(table):
            pieces.append(table)
            kept.append(some[at])
    if not pieces:
        return NO_BLOCKS, NONE_LOST
    blocks = pa.concat_tables(pieces) if len(pieces) > 1 else pieces[0]
    if not len(view.losers):
        return blocks, NONE_LOST
    return blocks, _lost(view, np.concatenate(kept).astype(np.int64), blocks)


def few_tables(
    plane: Plane, views: Sequence[tuple[int, View]], rows: Codes, names: pa.Array
) -> tuple[pa.Table, list[pa.Table]]:
    """Blocks of a few rows in several open sets at once, in key order, and the losers of these by set.

    ``views`` are starts (s), rising, and what the sets hold; ``names`` are the ids of the rows' meters, rising.
    """
    blocks, row, of = _blocks(plane, views, rows, names)
    lost = []
    for number, (_, view) in enumerate(views):
        if len(view.losers):
            own = np.flatnonzero(of == number)
            lost.append(_lost(view, rows[row[own]].astype(np.int64), blocks.take(pa.array(own))))
    return blocks, lost


def _blocks(
    plane: Plane, views: Sequence[tuple[int, View]], rows: Ints | Codes, names: pa.Array
) -> tuple[pa.Table, Ints, Ints]:
    """Blocks that hold anything, by row and set, and which row and which set each of them is of."""
    winner, amount, versions, own = _gathered(plane, views, rows)
    some = np.flatnonzero((winner >= 0).any(axis=1))
    row, of = some // len(views), some % len(views)
    if not len(some):
        return NO_BLOCKS, row, of
    if len(some) < len(winner):
        winner, amount = winner[some], amount[some]
    if len(some) < len(names) or len(views) > 1:
        names = names.take(pa.array(row))
    start = np.array([start_s for start_s, _ in views], np.int64)[of]
    phase = plane.rows.data["phase"][rows[row]].astype(np.int64)
    if own is None:
        trait = versions["trait"]
        traits = np.stack([versions["delivery"].astype(np.int64), versions["stamp"]], axis=1)
    else:
        trait = np.unique(own << 32 | versions["trait"], return_inverse=True)[1].astype(np.int32)
        traits = np.zeros((len(versions), 2), np.int64)
        traits[trait, 0], traits[trait, 1] = versions["delivery"], versions["stamp"]
    flat = winner.reshape(-1)
    return _packed(plane, start, names, phase, flat, amount.reshape(-1), versions, trait, traits), row, of


def _gathered(
    plane: Plane, views: Sequence[tuple[int, View]], rows: Ints | Codes
) -> tuple[Codes, Ints, Array, Ints | None]:
    """Cells by row and set: version (-1: empty) and amount; the versions, and the set of each where they are cut down."""
    winners, amounts, versions, owners, first = [], [], [], [], 0
    for number, (_, view) in enumerate(views):
        winner, amount = (
            np.empty((len(rows), plane.width), np.int32),
            np.empty((len(rows), plane.width), np.int64),
        )
        kernel.gather(view.cells, view.place, rows, winner, amount)
        if len(views) == 1 and winner.size >= len(view.versions):
            return winner, amount, view.versions, None
        used, codes = _compact(winner.reshape(-1))
        winners.append(np.where(codes < 0, codes, codes + np.int32(first)))
        amounts.append(amount)
        versions.append(view.versions[used])
        owners.append(np.full(len(used), number, np.int64))
        first += len(used)
    winner = np.stack([one.reshape(len(rows), plane.width) for one in winners], axis=1)
    amount = np.stack(amounts, axis=1)
    shape = len(rows) * len(views), plane.width
    return winner.reshape(shape), amount.reshape(shape), np.concatenate(versions), np.concatenate(owners)


def _compact(flat: Codes) -> tuple[Ints, Codes]:
    """Versions in use, and the cells as indexes of these, -1 where empty."""
    used, inverse = np.unique(flat, return_inverse=True)
    codes: Codes = inverse.reshape(-1).astype(np.int32)
    empty = int(used[0] < 0)
    return used[empty:].astype(np.int64), codes - np.int32(empty)


def _packed(  # noqa: PLR0913
    plane: Plane, start_s: Ints, names: pa.Array, phase: Ints, flat: Codes, amount: Ints,
    versions: Array, trait: Codes, traits: Ints,
) -> pa.Table:  # fmt: skip
    n, size = len(names), len(flat)
    quality = np.ascontiguousarray(versions["quality"])
    trait = np.ascontiguousarray(trait)
    values, valid = np.empty(size, np.int32), np.empty(size, bool)
    filled, total, scale = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int8)
    one_trait, one_quality, fits = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, bool)
    fold.pack(
        flat, amount, plane.width, np.arange(len(versions), dtype=np.int32), trait, quality,
        values, valid, filled, total, scale, one_trait, one_quality, fits,
        np.zeros((n, 2), np.int64), np.zeros(len(versions), np.int64),
    )  # fmt: skip
    return from_cells(Cells(
        names, pa.repeat(plane.channel, n), plane.interval_s, start_s, phase,
        values, valid, amount, scale, fits, filled, total, one_quality, one_trait,
        lambda at: quality[flat[at]], lambda at: trait[flat[at]], traits,
    ))  # fmt: skip


def _lost(view: View, rows: Ints, blocks: pa.Table) -> pa.Table:
    """Losers of ``rows``, the i-th of which is the i-th of ``blocks``.

    Those that are the holder of their slot but for the stamp (of one delivery, amount and quality) are left out.
    """
    lost = view.losers
    order = np.argsort(rows)
    block = order[np.searchsorted(rows[order], lost["row"])]
    column = view.place[lost["slot"], lost["row"] >> SHIFT].astype(np.int64)
    holder = view.cells[column * CHUNK + (lost["row"] & (CHUNK - 1))]
    own, its = view.versions[lost["version"]], view.versions[holder[:, 1]]
    same = (holder[:, 0] == lost["amount"]) & (own["delivery"] == its["delivery"])
    same &= own["quality"] == its["quality"]
    lost, own, block = lost[~same], own[~same], block[~same]
    return lost_rows(blocks, Losers(
        block, lost["slot"].astype(np.int64), own["quality"],
        own["delivery"], own["stamp"], lost["amount"].astype(np.int64),
    ))  # fmt: skip
