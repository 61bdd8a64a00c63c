"""Nothing about few, and nothing about one of many, follows from the sums that are shown."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.disclose import MEMBERS, SHARE, disclosed, grouped, passes

LEAVES = 7


@st.composite
def trees(draw):
    """Parents of three levels below some roots, and the amounts of each leaf's members."""
    counts = sorted(draw(st.lists(st.integers(1, LEAVES), min_size=3, max_size=3)))
    parents = []
    for above, below in pairwise([draw(st.integers(1, counts[0])), *counts]):
        first = list(range(above))  # every group has a part
        rest = draw(st.lists(st.integers(0, above - 1), min_size=below - above, max_size=below - above))
        parents.append(np.array(sorted(first + rest)))
    amount = st.integers(0, 100) | st.sampled_from([0, 1, 10, 2_000])
    size = st.sampled_from([0, 1, 7, 8, 14, 15, 16, 30])
    amounts = [
        draw(size.flatmap(lambda n: st.lists(amount, min_size=n, max_size=n))) for _ in range(counts[-1])
    ]
    return parents, amounts


def groups_of(amounts):
    owner = np.repeat(np.arange(len(amounts)), [len(own) for own in amounts])
    return grouped(owner, np.array([x for own in amounts for x in own], np.int64), len(amounts))


def plain(amounts):
    """The rule in plain words, of the amounts of one group."""
    return len(amounts) >= MEMBERS and sum(amounts) > 0 and max(amounts) * 100 <= SHARE * sum(amounts)


def leaves_of(parents, level, node):
    """Leaves below a group."""
    own = {node}
    for parent in parents[level:]:
        own = {at for at, above in enumerate(parent.tolist()) if above in own}
    return own


def shown_sets(parents, found, amounts):
    """Leaves of every group that is shown."""
    return [
        leaves_of(parents, level, node)
        for level, shown in enumerate(found.shown)
        for node in np.flatnonzero(shown).tolist()
    ]


@given(st.lists(st.integers(-50, 50) | st.sampled_from([2_000, -2_000]), max_size=40))
def test_a_group_passes_as_the_rule_says(amounts):
    assert passes(groups_of([amounts]))[0] == plain([abs(x) for x in amounts])


@given(st.lists(st.integers(0, 50) | st.just(300), min_size=1, max_size=40))
def test_a_member_learns_no_more_of_the_others_than_the_rule_allows(amounts):
    without = [amounts[:at] + amounts[at + 1 :] for at in range(len(amounts))]
    safe = all(
        len(rest) >= MEMBERS and sum(amounts) > 0 and max(rest) * 100 <= SHARE * sum(rest) for rest in without
    )
    assert passes(groups_of([amounts]), but_one=True)[0] == safe


@settings(max_examples=150, deadline=None)
@given(trees())
def test_every_group_that_is_shown_passes_and_so_does_what_is_left_of_it(tree):
    parents, amounts = tree
    found = disclosed(parents, groups_of(amounts))
    for leaves in shown_sets(parents, found, amounts):
        assert plain([x for leaf in leaves for x in amounts[leaf]])
    for number in range(len(found.level)):
        own = [x for leaf in np.flatnonzero(found.share == number).tolist() for x in amounts[leaf]]
        assert plain(own)
        assert (len(own), sum(own)) == (found.shares.members[number], found.shares.total[number])


@settings(max_examples=150, deadline=None)
@given(trees())
def test_no_set_of_homes_that_fails_follows_from_what_is_shown(tree):
    """Every set whose sum is a combination of the sums that are shown, with whatever weights, passes."""
    parents, amounts = tree
    found = disclosed(parents, groups_of(amounts))
    filled = [leaf for leaf, own in enumerate(amounts) if own]
    rows = [[leaf in leaves for leaf in filled] for leaves in shown_sets(parents, found, amounts)]
    known = np.array(rows, float).reshape(len(rows), len(filled))
    rank = np.linalg.matrix_rank(known) if known.size else 0
    for bits in range(1, 1 << len(filled)):
        some = np.array([bits >> at & 1 for at in range(len(filled))], float)
        if rank and np.linalg.matrix_rank(np.vstack([known, some])) == rank:
            assert plain([x for at, leaf in enumerate(filled) if some[at] for x in amounts[leaf]])


@settings(deadline=None)
@given(trees())
def test_nothing_is_shown_below_what_is_not(tree):
    parents, amounts = tree
    found = disclosed(parents, groups_of(amounts))
    for above, parent, below in zip(found.shown, parents, found.shown[1:], strict=False):
        assert not (below & ~above[parent]).any()


def test_fifteen_equal_members_are_shown_and_fourteen_are_not():
    def shown(n):
        return [bool(one[0]) for one in disclosed([np.array([0])], groups_of([[1] * n])).shown]

    assert (shown(15), shown(14)) == ([True, True], [False, False])


def test_one_above_fifteen_percent_hides_the_group():
    assert passes(groups_of([[3, *[1] * 17]]))[0]  # 3 of 20
    assert not passes(groups_of([[3, *[1] * 16]]))[0]


def test_a_part_that_is_not_shown_takes_another_with_it():
    found = disclosed([np.zeros(3, np.int64)], groups_of([[1] * 40, [1] * 20, [1] * 3]))
    assert [one.tolist() for one in found.shown] == [[True], [True, False, False]]
    assert found.share.tolist() == [1, 0, 0]
    assert found.shares.members.tolist() == [23, 40]


def test_a_group_of_nothing_is_not_shown():
    assert not passes(groups_of([[0] * 20]))[0]
