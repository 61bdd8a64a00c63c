"""The merge law: the compiled fold against a plain one, and the laws that users count on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.blocks import BLOCK_SCHEMA, Sender, flat_amounts, sort_blocks, to_strips
from meterlake.fold import CONFLICT, DUPLICATE, REPLACED, STORED, SUPERSEDED
from meterlake.ids import MeterIds
from meterlake.merge import Pile, exact_sum
from meterlake.readings import AMOUNT_MAX, PRECEDENCE
from meterlake.strips import Kind, Kinds, Strips

BASE_S = 1_356_998_400
ARRIVED = 10**15


@dataclass(frozen=True, slots=True)
class Reading:
    """One candidate, written as plainly as can be."""

    meter: str
    interval_s: int
    slot: int
    amount: int
    quality: int = 4
    stamp: int = ARRIVED
    sender: bool = False
    source: str = "a"
    delivery: int = 1

    @property
    def key(self) -> tuple[str, int, int]:
        return self.meter, self.interval_s, self.slot

    @property
    def version(self) -> tuple[int, int, int, str]:
        return PRECEDENCE[self.quality], self.stamp, -self.quality, self.source


def plain_fold(held: dict, batch: list[Reading]) -> dict:
    """The law, slot by slot: classes of one version in their order, each by its greatest amount."""
    held = dict(held)
    for key in {r.key for r in batch}:
        mine = [r for r in batch if r.key == key]
        for version in sorted({r.version for r in mine}):
            best = max((r for r in mine if r.version == version), key=lambda r: (r.amount, -r.delivery))
            old = held.get(key)
            if old is None or best.version > old.version:
                same = old and (old.amount, old.quality) == (best.amount, best.quality)
                if not same or best.sender:
                    held[key] = best
            elif best.version == old.version:
                held[key] = max(old, best, key=lambda r: (r.amount, -r.delivery))
    return held


def strips_of(batch: list[Reading], ids: MeterIds, kinds: Kinds) -> Strips:
    meters = ids.codes_of(pa.array([r.meter for r in batch], pa.string()))
    codes = [
        kinds.code(
            Kind("electricity.import", r.interval_s, r.quality, PRECEDENCE[r.quality], r.stamp, r.sender,
                 r.source, r.delivery)
        )
        for r in batch
    ]  # fmt: skip
    return Strips(
        meters, np.array(codes, np.int32),
        np.array([BASE_S + r.slot * r.interval_s for r in batch], np.int64),
        np.ones(len(batch), np.int32), np.arange(len(batch)), np.array([r.amount for r in batch], np.int64),
    )  # fmt: skip


def merged(
    lake: pa.Table, batch: list[Reading], senders: dict[int, Sender]
) -> tuple[pa.Table, dict[int, np.ndarray]]:
    """Merge ``batch`` into ``lake`` as a load does; return all blocks and the counts."""
    ids, kinds = MeterIds(), Kinds()
    strips = strips_of(batch, ids, kinds)
    held = to_strips(lake, ids, kinds, senders)
    pile = Pile(Strips.concat([held, strips]), kinds, ids.texts(), frozenset(r.delivery for r in batch))
    tables, counts = [BLOCK_SCHEMA.empty_table()], {}
    for grid in pile.grids():
        assert not len(grid.settle_offsets(Strips.empty()))
        for slab in grid.slabs(Strips.empty()):
            tables.append(slab.blocks)
            for delivery, tally in slab.counts.items():
                counts[delivery] = counts.get(delivery, 0) + tally
    return sort_blocks(pa.concat_tables(tables)), counts


def senders_of(batch: list[Reading]) -> dict[int, Sender]:
    return {r.delivery: Sender(r.source, -1 if r.sender else r.stamp) for r in batch}


def slots_of(blocks: pa.Table) -> dict[tuple[str, int, int], tuple[int, int, int, int]]:
    """Every filled slot: (meter, interval, slot) -> (amount, quality, delivery, stamp)."""
    ids, kinds = MeterIds(), Kinds()
    numbers = range(1000)
    strips = to_strips(blocks, ids, kinds, {n: Sender("x", -1) for n in numbers})
    names = ids.texts().to_pylist()
    found = {}
    at = strips.offsets()
    for i in range(len(strips)):
        kind = kinds.table[strips.kind[i]]
        for k, amount in enumerate(strips.amounts[at[i] : at[i + 1]].tolist()):
            if amount == np.iinfo(np.int64).min:
                continue
            slot = (int(strips.start[i]) - BASE_S) // kind.interval_s + k
            found[names[strips.meter[i]], kind.interval_s, slot] = (
                amount, kind.quality, kind.delivery, kind.stamp_us,
            )  # fmt: skip
    return found


amounts = st.one_of(
    st.integers(0, 3).map(lambda n: n * 1000),
    st.sampled_from([-5, 7, 1_000_000, AMOUNT_MAX, -AMOUNT_MAX, 2**31 * 10, 123_456_789]),
)
readings = st.builds(
    Reading,
    meter=st.sampled_from(["m1", "m2"]),
    interval_s=st.sampled_from([1800, 10, 900, 86_400]),
    slot=st.integers(0, 5) | st.integers(40, 400),
    amount=amounts,
    quality=st.sampled_from([1, 4, 5, 7, 8]),
    stamp=st.integers(ARRIVED, ARRIVED + 2),
    sender=st.booleans(),
    source=st.sampled_from(["a", "b"]),
)


def deliver(batch: list[Reading], first: int) -> list[Reading]:
    """Give each (source, stamp, sender) of ``batch`` a delivery of its own."""
    numbers: dict = {}
    return [
        replace(r, delivery=numbers.setdefault((r.source, r.stamp, r.sender), first + len(numbers)))
        for r in batch
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(readings, min_size=1, max_size=40))
def test_fold_equals_the_plain_law(batch: list[Reading]) -> None:
    batch = deliver(batch, 1)
    blocks, _ = merged(BLOCK_SCHEMA.empty_table(), batch, {})
    expected = {k: (r.amount, r.quality, r.delivery, r.stamp) for k, r in plain_fold({}, batch).items()}
    assert slots_of(blocks) == expected
    blocks.validate(full=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(readings, min_size=1, max_size=25), st.lists(readings, min_size=1, max_size=25))
def test_fold_onto_a_lake_equals_the_plain_law_and_counts_add_up(
    first: list[Reading], second: list[Reading]
) -> None:
    first, second = deliver(first, 1), deliver(second, 100)
    senders = senders_of(first + second)
    lake, _ = merged(BLOCK_SCHEMA.empty_table(), first, senders)
    held = plain_fold({}, first)
    blocks, counts = merged(lake, second, senders)
    final = plain_fold(held, second)
    assert slots_of(blocks) == {k: (r.amount, r.quality, r.delivery, r.stamp) for k, r in final.items()}
    total = sum(counts.values())
    assert total[[STORED, DUPLICATE, SUPERSEDED, CONFLICT]].sum() == len(second)
    fresh = [k for k, r in final.items() if r.delivery >= 100]
    stored = [k for k in fresh if not (
        k in held and held[k].amount == final[k].amount and final[k].quality >= held[k].quality
    )]  # fmt: skip
    assert total[STORED] == len(stored)
    assert total[REPLACED] == sum(k in held for k in stored)


@settings(max_examples=40, deadline=None)
@given(st.lists(readings, min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(1, 4))
def test_senders_stamps_make_order_repetition_and_grouping_irrelevant(batch, random, groups) -> None:
    batch = deliver([replace(r, sender=True) for r in batch], 1)
    senders = senders_of(batch)
    whole, _ = merged(BLOCK_SCHEMA.empty_table(), batch, senders)
    again = batch + random.sample(batch, len(batch) // 2)
    random.shuffle(again)
    lake = BLOCK_SCHEMA.empty_table()
    for g in range(groups):
        part = again[g::groups]
        if part:
            lake, _ = merged(lake, part, senders)
    assert lake.equals(whole)


def test_arrival_does_not_refresh_an_equal_value_but_a_sender_does() -> None:
    old = Reading("m1", 1800, 0, 5)
    lake, _ = merged(BLOCK_SCHEMA.empty_table(), [old], {})
    senders = {1: Sender("a", ARRIVED)}
    again, counts = merged(lake, [replace(old, stamp=ARRIVED + 9, delivery=2)], senders)
    assert again.equals(lake)
    assert counts[2].tolist() == [0, 0, 1, 0, 0]
    refreshed, counts = merged(lake, [replace(old, stamp=ARRIVED + 9, delivery=2, sender=True)], senders)
    assert refreshed["delivery"].to_pylist() == [2]
    assert counts[2].tolist() == [0, 0, 1, 0, 0]


def test_equal_version_and_other_amount_is_a_conflict_and_the_larger_stands() -> None:
    batch = [Reading("m1", 1800, 0, a) for a in (5, 5, 7)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        blocks, counts = merged(BLOCK_SCHEMA.empty_table(), [batch[i] for i in order], {})
        assert blocks["total"].to_pylist() == [7]
        assert counts[1].tolist() == [1, 0, 0, 0, 2]


def test_an_estimate_never_replaces_an_actual() -> None:
    actual = Reading("m1", 1800, 0, 5)
    lake, _ = merged(BLOCK_SCHEMA.empty_table(), [actual], {})
    estimate = replace(actual, amount=9, quality=7, stamp=ARRIVED + 10**12, delivery=2)
    blocks, counts = merged(lake, [estimate], {1: Sender("a", ARRIVED)})
    assert blocks.equals(lake)
    assert counts[2].tolist() == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("amount", [AMOUNT_MAX, -AMOUNT_MAX, 1, -1, 0, 2**31 - 1, 2**31, -(2**31) - 1])
def test_amounts_up_to_the_limits_neither_overflow_nor_round(amount: int) -> None:
    batch = [Reading("m1", 1, s, amount) for s in range(3600)]
    blocks, _ = merged(BLOCK_SCHEMA.empty_table(), batch, {})
    assert blocks["total"].to_pylist() == [3600 * amount]
    assert set(flat_amounts(blocks)[0].tolist()) == {amount}


def test_exact_sum_is_exact_beyond_int64() -> None:
    assert exact_sum(np.array([2**62, 2**62, 2**62, -5])) == 3 * 2**62 - 5


@settings(max_examples=20, deadline=None)
@given(st.lists(readings, min_size=1, max_size=30))
def test_dates_far_apart_are_merged_meter_by_meter_with_the_same_result(batch: list[Reading]) -> None:
    """A wrong clock stretches a meter's days over decades: the table that numbers blocks stays bounded."""
    far = [replace(r, slot=r.slot - 20 * 365 * 86_400 // r.interval_s) for r in batch[::3]]
    batch = deliver(batch + far, 1)
    whole, counts = merged(BLOCK_SCHEMA.empty_table(), batch, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meterlake.merge.TABLE_MAX", 10)
        cut, again = merged(BLOCK_SCHEMA.empty_table(), batch, {})
    assert cut.equals(whole)
    assert {d: n.tolist() for d, n in again.items()} == {d: n.tolist() for d, n in counts.items()}
