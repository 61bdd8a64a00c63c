"""Which sums of groups may be shown so that none of their members shows.

A group passes with `MEMBERS` members or more, none of which makes up more than `SHARE` percent of its total.
Groups form trees: each level splits the one before. Nothing is shown below a group that is not shown, and those
parts of a shown group that are not shown pass together: as many more are left out as that takes. So whatever
follows from all that is shown, by adding and taking off, is a union of groups that pass: the *shares*, each the
parts of one shown group that are not shown themselves, or a shown group of the last level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.strips import Ints

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

MEMBERS: Final = 15
SHARE: Final = 15
"""Percent."""


class Groups(NamedTuple):
    """What decides about groups: a column each."""

    members: Ints
    total: Ints
    """Of the sizes of the members' amounts: exported energy does not make up for imported."""
    largest: Ints
    second: Ints
    """Size of the second largest amount; 0 where there is one member."""

    def at(self, which: Array) -> Groups:
        """Return some of them."""
        return Groups(*(column[which] for column in self))


def grouped(group: Ints, amount: Ints, groups: int) -> Groups:
    """Describe ``groups`` groups by the group and the amount of each member."""
    size = np.abs(amount)
    return joined(group, Groups(np.ones_like(size), size, size, np.zeros_like(size)), groups)


def joined(parent: Ints, parts: Groups, parents: int) -> Groups:
    """Describe ``parents`` groups by those of their parts, which have no member in common."""
    found = np.zeros((4, parents), np.int64)
    np.add.at(found[0], parent, parts.members)
    np.add.at(found[1], parent, parts.total)
    owner, sizes = np.concatenate([parent, parent]), np.concatenate([parts.largest, parts.second])
    order = np.lexsort((-sizes, owner))
    owner, sizes = owner[order], sizes[order]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    found[2, owner[first]] = sizes[first]
    found[3, owner[first]] = sizes[first + 1]  # each part brings two
    return Groups(*found)


def passes(groups: Groups, *, but_one: bool = False) -> Bools:
    """Whether each group may be shown; with ``but_one`` also to any member, who takes off their own amount."""
    members = groups.members - but_one
    total = groups.total - (groups.second if but_one else 0)
    few: Bools = (members >= MEMBERS) & (groups.total > 0)
    return few & (groups.largest * 100 <= SHARE * total)


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What of some trees is shown."""

    shown: Sequence[Bools]
    """Of each level, by group."""
    share: Ints
    """Share of each group of the last level; -1 where it is in none."""
    level: Ints
    """Level of the shown group to which each share belongs."""
    node: Ints
    """That group's number in its level."""
    shares: Groups


def disclosed(parents: Sequence[Ints], last: Groups) -> Disclosed:
    """Decide what of some trees is shown.

    Args:
        parents: from the second level on, the number in the level above of each group's parent.
        last: the groups of the last level.

    """
    levels = [last]
    for parent, above in zip(reversed(parents), reversed(_counts(parents)), strict=True):
        levels.append(joined(parent, levels[-1], above))
    levels.reverse()
    shown = [passes(levels[0])]
    for parent, groups in zip(parents, levels[1:], strict=True):
        shown.append(_parts_shown(shown[-1], parent, groups))
    return _shares(parents, shown, last)


def _counts(parents: Sequence[Ints]) -> list[int]:
    """How many groups each level above the last has."""
    return [int(parents[0].max()) + 1, *(len(parent) for parent in parents[:-1])] if parents else []


def _parts_shown(above: Bools, parent: Ints, groups: Groups) -> Bools:
    """Which groups of a level are shown: those that pass, without as many as it takes for the rest to pass."""
    shown: Bools = above[parent] & passes(groups)
    rest = ~shown & above[parent] & (groups.members > 0)
    left = joined(parent[rest], groups.at(rest), len(above))
    bare = np.flatnonzero((left.members > 0) & ~passes(left))
    if not len(bare):
        return shown
    order = np.argsort(parent, kind="stable")
    low, high = np.searchsorted(parent[order], bare), np.searchsorted(parent[order], bare, "right")
    for first, stop in zip(low.tolist(), high.tolist(), strict=True):
        own = order[first:stop]
        candidates = own[shown[own]]
        candidates = candidates[
            np.lexsort((candidates, groups.total[candidates], groups.members[candidates]))
        ]
        for one in candidates.tolist():
            shown[one] = False
            hidden = own[~shown[own]]
            if passes(joined(np.zeros(len(hidden), np.int64), groups.at(hidden), 1))[0]:
                break
    return shown


def _shares(parents: Sequence[Ints], shown: Sequence[Bools], last: Groups) -> Disclosed:
    """Find the share of each group of the last level: its nearest group above that is shown, or itself."""
    count = len(last.members)
    node = np.arange(count)
    at_level, at_node = np.full(count, -1), np.full(count, -1)
    for level in range(len(shown) - 1, -1, -1):
        mine = (at_level < 0) & shown[level][node]
        at_level[mine], at_node[mine] = level, node[mine]
        if level:
            node = parents[level - 1][node]
    inside = np.flatnonzero((at_level >= 0) & (last.members > 0))
    share = np.full(count, -1)
    pairs, share[inside] = np.unique(
        np.stack([at_level[inside], at_node[inside]]), axis=1, return_inverse=True
    )
    shares = joined(share[inside], last.at(inside), pairs.shape[1])
    return Disclosed(shown, share, pairs[0], pairs[1], shares)
