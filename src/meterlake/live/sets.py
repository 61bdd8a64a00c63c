"""Open sets: the blocks of one plane that begin at one moment, as columns of cells by slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from meterlake.live import kernel
from meterlake.live.growing import Growing
from meterlake.live.kernel import CHUNK, LOSER, READING, SHIFT, VERSION

if TYPE_CHECKING:
    from meterlake.live.planes import Plane
    from meterlake.strips import Codes, Ints, Kind

Array = npt.NDArray[Any]

RESERVE: Final = 32_768
"""Columns that a set reserves at most before it uses them: address space, not memory."""

NARROW: Final = np.iinfo(np.int32)
_STAMP_MAX: Final = 2**55


@dataclass(frozen=True, slots=True)
class Pieces:
    """Strips within one block: row, place code, kind, start (s), slots, and where their amounts begin in ``amounts``."""

    row: Codes
    where: Codes
    kind: Codes
    start: Ints
    count: Codes
    at: Ints
    amounts: Ints

    def only(self, keep: Array) -> Pieces:
        """Return the pieces of an index or mask."""
        return Pieces(
            self.row[keep], self.where[keep], self.kind[keep],
            self.start[keep], self.count[keep], self.at[keep], self.amounts,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """What a set held at one moment; nothing of it changes any more where it was copied."""

    cells: Array
    place: Array
    versions: Array
    losers: Array
    rows: int
    """Rows of the plane at that moment."""


def version_key(precedence: int, stamp_us: int, quality: int) -> int:
    """One number in the order of (precedence, stamp, quality rank)."""
    stamp = min(max(stamp_us, -_STAMP_MAX), _STAMP_MAX)
    return (precedence << 60) + (stamp << 4) + 15 - quality


class OpenSet:
    """Cells of one plane's blocks from ``start_s`` on, the versions they name, and the readings that lost."""

    def __init__(self, plane: Plane, start_s: int, places: int) -> None:
        """Start empty; ``places`` are the codes that sums are kept for."""
        self.plane, self.start_s = plane, start_s
        self.stop_s = start_s + plane.span_s
        self.place = np.full((plane.width, 0), -1, np.int32)
        self.used = 0
        self.cells: Array = np.zeros((0, 2), np.int32)
        self.changed: Ints = np.zeros(0, np.int64)
        """Epoch of the last change by column."""
        self.versions = Growing(VERSION)
        self.versions.append(np.zeros(1, VERSION))
        self.losers = Growing(LOSER)
        self.lost_of: Codes = np.zeros(0, np.int32)
        """By row: 1 + the place of its newest loser, 0 where it has none."""
        self.sums: Ints = np.zeros((plane.width, places), np.int64)
        self.filled: Ints = np.zeros((plane.width, places), np.int64)

    # -- writing -----------------------------------------------------------------------------------------

    def add_versions(self, kinds: list[tuple[Kind, int]], delivery: int, received_us: int) -> Codes:
        """Add the versions of an entry's kinds (with the code of their source); return a version code by kind."""
        known: dict[tuple[int, int, int, int], int] = {}
        traits: dict[int, int] = {}
        codes: list[int] = []
        rows: list[tuple[Any, ...]] = []
        for kind, source in kinds:
            same = kind.precedence, kind.stamp_us, kind.quality, source
            code = known.get(same)
            if code is None:
                code = known[same] = len(self.versions) + len(rows)
                trait = traits.setdefault(kind.stamp_us, code)
                key = version_key(kind.precedence, kind.stamp_us, kind.quality)
                rows.append(
                    (key, kind.stamp_us, delivery, trait, source, kind.quality, kind.stamp_us != received_us)
                )
            codes.append(code)
        self.versions.append(np.array(rows, VERSION))
        return np.array(codes, np.int32)

    def write(
        self, pieces: Pieces, code: Codes, ranks: Array, epoch: int, counts: Ints, *, overlap: bool
    ) -> None:
        """Fold ``pieces`` into the cells and add to ``counts``; ``code`` is the version of each piece.

        ``overlap`` says that two of them may share a slot.
        """
        self._touch(pieces, epoch)
        n = int(pieces.count.sum())
        if len(self.lost_of) < len(self.plane):
            wider = np.zeros(len(self.plane.rows.data), np.int32)
            wider[: len(self.lost_of)] = self.lost_of
            self.lost_of = wider
        state = (
            self.sums, self.filled, counts, self.losers.room(2 * n), len(self.losers), self.lost_of,
        )  # fmt: skip
        strips = pieces.row, code, pieces.start, pieces.count, pieces.at, pieces.amounts
        if overlap:
            found = kernel.fold_sorted(
                self._sorted(strips, ranks, n), self.cells,
                self.versions.data, ranks, self.plane.rows.data, *state,
            )  # fmt: skip
        else:
            found = kernel.fold_each(
                pieces.row, pieces.where, *strips[1:], self.plane.interval_s, self.start_s,
                self.place, self.cells, self.versions.data, ranks, *state,
            )  # fmt: skip
        self.losers.n = found

    def _sorted(self, strips: tuple[Array, ...], ranks: Array, n: int) -> Array:
        """Readings by cell, then by version, then by falling amount, the first strip first."""
        code = strips[1]
        used = np.unique(code)
        versions = self.versions.data[used]
        classes = np.stack([versions["key"], ranks[versions["source"]]], axis=1)
        turn_of = np.zeros(len(self.versions), np.int32)
        turn_of[used] = np.unique(classes, axis=0, return_inverse=True)[1].reshape(-1)
        readings = np.empty(n, READING)
        found = kernel.explode(
            *strips, turn_of[code], self.plane.interval_s, self.start_s, self.place, readings
        )
        readings = readings[:found]
        order = np.lexsort((-readings["amount"], readings["turn"], readings["cell"]))
        return readings[order]

    def _touch(self, pieces: Pieces, epoch: int) -> None:
        """Make sure that the columns are there that ``pieces`` need, and that their amounts fit."""
        self.reach_rows(len(self.plane))
        columns = np.zeros(self.place.shape, bool)
        used, low, high = kernel.touch(
            pieces.row, pieces.start, pieces.count, pieces.at, pieces.amounts,
            self.plane.interval_s, self.start_s, self.place, self.used, columns,
        )  # fmt: skip
        if used > self.used:
            self._reach_columns(used)
        self.changed[self.place[columns]] = epoch
        if self.cells.dtype == np.int32 and not NARROW.min <= low <= high <= NARROW.max:
            self.cells = self.cells.astype(np.int64)
            self.changed[: self.used] = epoch

    def reach_rows(self, rows: int) -> None:
        """Make room for ``rows`` rows."""
        chunks = (rows + CHUNK - 1) >> SHIFT
        if chunks > self.place.shape[1]:
            wider = np.full((self.plane.width, chunks), -1, np.int32)
            wider[:, : self.place.shape[1]] = self.place
            self.place = wider

    def put(self, slot: int, chunk: int, cells: Array) -> None:
        """Take over one column of a checkpoint."""
        self.reach_rows((chunk + 1) << SHIFT)
        if cells.dtype != self.cells.dtype and self.cells.dtype == np.int32:
            self.cells = self.cells.astype(np.int64)
        self.place[slot, chunk] = self.used
        self._reach_columns(self.used + 1)
        self.cells[(self.used - 1) * CHUNK : self.used * CHUNK] = cells

    def _reach_columns(self, used: int) -> None:
        """Make room for ``used`` columns."""
        if used > len(self.changed):
            room = max(used, 2 * len(self.changed), min(self.place.size, RESERVE))
            cells = np.zeros((room * CHUNK, 2), self.cells.dtype)
            cells[: self.used * CHUNK] = self.cells[: self.used * CHUNK]
            self.changed = np.concatenate([self.changed, np.zeros(room - len(self.changed), np.int64)])
            self.cells = cells
        self.used = used

    # -- reading -----------------------------------------------------------------------------------------

    def holds(self, rows: Codes) -> Array:
        """Which of ``rows`` have a filled cell."""
        held = np.zeros(len(rows), bool)
        there = np.flatnonzero(rows >> SHIFT < self.place.shape[1])
        winner = np.empty((len(there), self.place.shape[0]), np.int32)
        kernel.gather(self.cells, self.place, rows[there], winner, np.empty(winner.shape, np.int64))
        held[there] = (winner >= 0).any(axis=1)
        return held

    def view(self, rows: Codes | None = None) -> View:
        """Return the set itself, to be read at once or while nothing changes it; with the losers of ``rows`` or all."""
        losers = self.losers.view() if rows is None else self._losers_of(rows)
        return View(self.cells, self.place, self.versions.view(), losers, len(self.plane))

    def _losers_of(self, rows: Codes) -> Array:
        losers, out = self.losers.view(), np.empty(0, np.int64)
        n = kernel.chained(losers, self.lost_of, rows, out) if len(losers) else 0
        if n:
            out = np.empty(n, np.int64)
            kernel.chained(losers, self.lost_of, rows, out)
        return losers[out]

    def recount(self, places: int) -> None:
        """Add up the sums by slot and place anew."""
        self.sums = np.zeros((self.plane.width, places), np.int64)
        self.filled = np.zeros((self.plane.width, places), np.int64)
        kernel.recount(self.cells, self.place, len(self.plane), self.plane.rows.data, self.sums, self.filled)

    @property
    def nbytes(self) -> int:
        """Bytes of the cells, versions, losers and sums."""
        cells = self.used * CHUNK * 2 * self.cells.dtype.itemsize
        return (
            cells + self.place.nbytes + self.changed.nbytes + self.versions.nbytes + self.losers.nbytes
            + self.lost_of.nbytes + self.sums.nbytes + self.filled.nbytes
        )  # fmt: skip
