"""Sums of groups as rows: which group of the tree each belongs to, and what of it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.exact import decimals
from meterlake.query.answers import moments, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meterlake.query.shares import Allowed, Tree
    from meterlake.query.sums import Tally
    from meterlake.strips import Ints

ROWS_MAX: Final = 250_000


class Split(NamedTuple):
    """What sums are split by."""

    by: tuple[str, ...]
    digits: int

    @property
    def level(self) -> int:
        """Level of the tree of which they are."""
        return self.digits if "region" in self.by else 0


def channel_rows(
    tree: Tree, own: Allowed, sums: Tally, channel: str, marks: Ints, split: Split
) -> Iterator[tuple[Any, ...]]:
    """Rows of `table_of` of one channel.

    Raises:
        Invalid: there are too many.

    """
    level = split.level
    shown = own.tree.shown[level]
    node = _climbed(tree, own, level)
    steps, groups = len(marks) - 1, len(shown)
    if groups * steps > ROWS_MAX:
        raise Invalid(f"more than {ROWS_MAX} sums: ask for a shorter time, a longer step or fewer digits")
    added = np.zeros((3, groups, steps), np.int64)
    at = np.searchsorted(marks, sums.start)
    inside = node[sums.label] >= 0
    for grid, column in zip(added, (sums.amount, sums.filled, sums.expected), strict=True):
        np.add.at(grid, (node[sums.label][inside], at[inside]), column[inside])
    members = _members(tree, own, level)
    labels: dict[tuple[str, str], list[int]] = {}
    for number, (class_, region) in enumerate(tree.labels[level]):
        if members[number]:
            told = (class_ if "class" in split.by else "", region if "region" in split.by else "")
            labels.setdefault(told, []).append(number)
    for label, numbers in sorted(labels.items()):
        hidden = not shown[numbers].all()
        amount, filled, expected = added[:, numbers].sum(axis=1)
        for step in range(steps):
            value = None if hidden or not filled[step] else int(amount[step])
            counts = (None, None, None) if hidden else (
                int(members[numbers].sum()), int(filled[step]), int(expected[step])
            )  # fmt: skip
            yield channel, label, int(marks[step]), int(marks[step + 1] - marks[step]), value, counts, hidden


def _climbed(tree: Tree, own: Allowed, level: int) -> Ints:
    """Group of a level in which each share is whole; -1 where it is part of none that is shown."""
    found = np.full(len(own.tree.level), -1)
    for share, (at, node) in enumerate(zip(own.tree.level.tolist(), own.tree.node.tolist(), strict=True)):
        above = node
        for step in range(at, level, -1):
            above = int(tree.parents[step - 1][above])
        found[share] = above if at >= level else -1
    return found


def _members(tree: Tree, own: Allowed, level: int) -> Ints:
    """Homes of each group of a level, shown or not."""
    members = own.members
    for parent in reversed(tree.parents[level:]):
        above = np.zeros(int(parent.max()) + 1, np.int64)
        np.add.at(above, parent, members)
        members = above
    return members


def table_of(rows: Sequence[tuple[Any, ...]], zone: str, by: Sequence[str]) -> pa.Table:
    """Return the rows of `channel_rows` as a table."""
    channel, label, start, seconds, amount, counts, hidden = zip(*rows, strict=True) if rows else ((),) * 7
    known = np.array([one is not None for one in amount], bool)
    amounts = np.array([one or 0 for one in amount], np.int64)
    columns = {
        "channel": pa.array(channel, pa.string()),
        "unit": pa.array([unit_of(name) for name in channel], pa.string()),
        "start": moments(np.array(start, np.int64), zone),
        "seconds": pa.array(seconds, pa.int64()),
    }
    for at, key in enumerate(("class", "region")):
        if key in by:
            columns[key] = pa.array([one[at] or None for one in label], pa.string())
    columns |= {"value": decimals(amounts, known), "amount": pa.array(amounts, mask=~known)}
    for at, key in enumerate(("homes", "filled", "expected")):
        columns[key] = pa.array([one[at] for one in counts], pa.int64())
    columns["suppressed"] = pa.array(hidden, pa.bool_())
    return pa.table(columns)
