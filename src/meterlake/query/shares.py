"""Homes by class and region as a tree of groups, and which sums of them a month allows to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from meterlake.disclose import MEMBERS, Disclosed, disclosed, grouped
from meterlake.intervals import DAY_S
from meterlake.query import fleet as fleets
from meterlake.query import meters
from meterlake.query.series import REACH_S
from meterlake.query.subject import homes_of, labels_of, stays_at
from meterlake.query.sums import Tally, codes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from meterlake.disclose import Bools
    from meterlake.query.places import Places
    from meterlake.query.view import View
    from meterlake.strips import Ints

DIGITS: Final = 5
"""Characters of the geohash of the smallest groups."""
Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Tree:
    """The homes of one state of a registry by class, split by one more character of the region at each level."""

    homes: Places
    """Home of each stay of a meter, 0 where it is not known."""
    cells: Places
    """Cell (class and region of the last level) of each stay, 0 where it is not known."""
    cell: Ints
    """Cell of each home."""
    nodes: Sequence[Ints]
    """Of each level, the group of each cell but 0."""
    parents: Sequence[Ints]
    labels: Sequence[Sequence[Label]]
    """Class and region of each group of each level."""

    def cell_of(self, class_: str | None, geohash: str | None) -> int:
        """Return the group of the last level at a place; -1 where there is none."""
        label = (class_ or "", (geohash or "")[:DIGITS])
        return self.labels[-1].index(label) if label in self.labels[-1] else -1


def tree_of(meters_: pa.Table, points: pa.Table) -> Tree:
    """Build the tree of the homes of a registry."""
    labels, codes = labels_of(points, ("class", "region"), DIGITS)
    at = homes_of(meters_, points)
    cell = np.append(0, codes[::-1])
    told = [(class_ or "", region or "") for class_, region in labels[1:]]
    levels = [[(class_, region[:digits]) for class_, region in told] for digits in range(DIGITS + 1)]
    nodes, names = [], []
    for level in levels:
        kept = sorted(set(level))
        number = {label: i for i, label in enumerate(kept)}
        nodes.append(np.array([number[label] for label in level], np.int64))
        names.append(kept)
    parents = []
    for above, own, kept in zip(nodes, nodes[1:], names[1:], strict=False):
        parent = np.zeros(len(kept), np.int64)
        parent[own] = above
        parents.append(parent)
    return Tree(
        stays_at(meters_, [], at + 1), stays_at(meters_, labels, cell[at + 1]), cell, nodes, parents, names
    )


class Allowed(NamedTuple):
    """What of one channel may be shown of a month."""

    tree: Disclosed
    longest: Ints
    """Longest interval (s) of the meters of each share."""
    members: Ints
    """Homes of each group of the last level."""


def allowed(view: View, tree: Tree, span: tuple[int, int]) -> Mapping[int, Allowed]:
    """Decide by channel what sums a month (s) allows: its members are homes with a reading in it."""
    found = meters.totals(view, span, tree.homes)
    found = meters.Totals(*(column[found.filled > 0] for column in found))
    found = meters.by_label(found, tree.homes, span[0])
    cell = tree.cell[found.meter]
    longest = _longest(view, tree, span)
    decided = {}
    for channel in np.unique(found.channel).tolist():
        own = (found.channel == channel) & (cell > 0)
        group = tree.nodes[-1][cell[own] - 1]
        last = grouped(group, found.amount[own], len(tree.labels[-1]))
        shown = disclosed(tree.parents, last)
        length = np.zeros(len(shown.level), np.int64)
        known = np.flatnonzero(shown.share[tree.nodes[-1]] >= 0)
        np.maximum.at(length, shown.share[tree.nodes[-1]][known], longest[channel][known + 1])
        decided[channel] = Allowed(shown, length, last.members)
    return decided


def _longest(view: View, tree: Tree, span: tuple[int, int]) -> Ints:
    """Longest interval by channel and cell."""
    longest = np.zeros((len(view.memory.channels.names), len(tree.nodes[-1]) + 1), np.int64)
    files = view.files_between(span[0] - REACH_S, span[1] + REACH_S)
    for stack in meters.stacks(files):
        held = meters.stack_members(view, stack)
        at = np.full(len(held.owner), span[0])
        np.maximum.at(longest, (held.channel, tree.cells.codes(held.meters, held.owner, at)), held.interval)
        names = np.array([group.meter.encode() for group in held.mixed])
        if len(names):
            own = np.arange(len(names))
            channel = np.array([group.channel for group in held.mixed])
            longest[channel, tree.cells.codes(names, own, np.full(len(names), span[0]))] = DAY_S
    return longest


def share_sums(view: View, tree: Tree, decided: Mapping[int, Allowed], marks: Ints, step: str) -> Tally:
    """Sums of shares (``label``) by channel and step, of those in which at least `MEMBERS` homes have a reading.

    A home that has none misses all of its slots, of which there are at least as many as of the longest interval.
    """
    sums = fleets.fleet(view, fleets.Asked(marks, step, tree.cells))
    sums = sums.where(sums.label > 0)
    share = np.full(len(sums.label), -1)
    for channel, own in decided.items():
        rows = sums.channel == channel
        share[rows] = own.tree.share[tree.nodes[-1][sums.label[rows] - 1]]
    sums, share = sums.where(share >= 0), share[share >= 0]
    code, one = codes_of(sums.channel, share, sums.start)
    added = np.zeros((3, len(one)), np.int64)
    for row, column in zip(added, (sums.amount, sums.filled, sums.expected), strict=True):
        np.add.at(row, code, column)
    start = sums.start[one]
    found = Tally(share[one], sums.channel[one], np.zeros(len(one), np.int64), start, *added)
    length = marks[np.searchsorted(marks, start, "right")] - start
    return found.where(_enough(found, decided, length))


def _enough(sums: Tally, decided: Mapping[int, Allowed], length: Ints) -> Bools:
    enough: Bools = np.zeros(len(sums.label), bool)
    for channel, own in decided.items():
        rows = np.flatnonzero(sums.channel == channel)
        share = sums.label[rows]
        slots = np.maximum(length[rows] // np.maximum(own.longest[share], 1), 1)
        silent = np.maximum(sums.expected[rows] - sums.filled[rows], 0) // slots
        enough[rows] = own.tree.shares.members[share] - silent >= MEMBERS
    return enough
