"""Where the strips of one plane go: into which open set, or to the late pile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterlake.live.kernel import cut
from meterlake.live.late import piece
from meterlake.live.sets import Pieces

if TYPE_CHECKING:
    from meterlake.live.planes import Plane
    from meterlake.strips import Codes, Ints, Strips


@dataclass(frozen=True, slots=True)
class Routed:
    """Strips of one plane, cut at the borders of blocks."""

    blocks: list[tuple[int, Pieces]]
    """By start (s) of their block."""
    late: list[Strips]
    overlap: bool
    """Whether two pieces may share a slot."""


def route(plane: Plane, strips: Strips, places: Codes, epoch: int, floor_s: int, most: int) -> Routed:
    """Give strips their rows and blocks; late is what begins a block before ``floor_s`` or lies beside its row's phase.

    ``places`` are place codes by meter code; ``epoch`` is that of this batch alone; beyond ``most`` rows meters that
    are new are late too.
    """
    row, where, (low, high), beside, overlap = plane.register(
        strips.meter, strips.start, strips.count, places, epoch, most
    )
    late = []
    if beside:
        keep = row >= 0
        late.append(strips.where(~keep))
        strips, row, where = strips.where(keep), row[keep], where[keep]
    if not len(strips):
        return Routed([], late, overlap)
    span = plane.span_s
    if high * span < floor_s:
        return Routed([], [*late, strips], overlap)
    at = strips.offsets()[:-1]
    if low == high:
        pieces = Pieces(row, where, strips.kind, strips.start, strips.count, at, strips.amounts)
        return Routed([(low * span, pieces)], late, overlap)
    blocks, more = _by_block(plane, strips, (row, where, at), floor_s)
    return Routed(blocks, [*late, *more], overlap)


def _by_block(
    plane: Plane, strips: Strips, rows: tuple[Codes, Codes, Ints], floor_s: int
) -> tuple[list[tuple[int, Pieces]], list[Strips]]:
    row, where, at = rows
    given = strips.start, strips.count, at, plane.interval_s, plane.span_s
    room = 2 * len(strips)
    while True:
        strip, count = np.empty(room, np.int64), np.empty(room, np.int32)
        start, begin, block = np.empty((3, room), np.int64)
        n = cut(*given, strip, start, count, begin, block)
        if n <= room:
            break
        room = n
    strip, start, count, begin, block = strip[:n], start[:n], count[:n], begin[:n], block[:n]
    old = block * plane.span_s < floor_s
    late = [piece(strips, strip[old], start[old], count[old], begin[old])] if old.any() else []
    pieces = Pieces(row[strip], where[strip], strips.kind[strip], start, count, begin, strips.amounts)
    fresh = np.unique(block[~old]).tolist()
    return [(b * plane.span_s, pieces.only(block == b)) for b in fresh], late
