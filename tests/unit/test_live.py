"""The live side against the plain law: whatever comes, in whatever batches, it holds what one fold would."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.blocks import BLOCK_SCHEMA, flat_amounts, sort_blocks, to_strips
from meterlake.entry import Entry
from meterlake.fold import CONFLICT, DUPLICATE, REPLACED, STORED, SUPERSEDED
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.live import views
from meterlake.live.limits import LiveLimits
from meterlake.live.live import Live
from meterlake.merge import Pile
from meterlake.readings import PRECEDENCE
from meterlake.record import strips_of
from meterlake.strips import MISSING, Kind, Kinds, Strips

DAY = 86_400
NOW = 1_767_225_600
"""A UTC midnight."""

METERS = ("m1", "m0", "m2")


@dataclass(frozen=True, slots=True)
class Run:
    """A few consecutive slots of one meter that came alike."""

    meter: str
    channel: str
    interval_s: int
    start: int
    amounts: tuple[int | None, ...]
    quality: int = 4
    stamp: int | None = None


def entry(number: int, runs: list[Run], ids: MeterIds, precedence: int | None = None) -> Entry:
    received = NOW * 10**6 + number * 1000
    kinds = Kinds()
    rows = []
    for run in runs:
        rank = PRECEDENCE[run.quality] if precedence is None else precedence
        stamp = received if run.stamp is None else run.stamp
        kind = Kind(
            run.channel, run.interval_s, run.quality, rank, stamp, run.stamp is not None,
            "ab"[number % 2], number,
        )  # fmt: skip
        rows.append(kinds.code(kind))
    amounts = [MISSING if a is None else a for run in runs for a in run.amounts]
    strips = Strips(
        ids.codes_of(pa.array([run.meter for run in runs], pa.string())),
        np.array(rows, np.int32),
        np.array([run.start for run in runs], np.int64),
        np.array([len(run.amounts) for run in runs], np.int32),
        np.zeros(len(runs), np.int64),
        np.array(amounts, np.int64),
    )
    return Entry(
        number, f"b{number}", "key", "ab"[number % 2], received, precedence, "", len(amounts), 0,
        tuple(kinds.table), strips, QUARANTINE_SCHEMA.empty_table(),
    )  # fmt: skip


def live(ids: MeterIds, floor: int = NOW) -> Live:
    return Live(ids, LiveLimits(), {DAY: floor, 3600: floor})


def pile_of(entries: list[Entry], ids: MeterIds) -> tuple[Strips, Kinds]:
    kinds, piles = Kinds(), []
    for e in entries:
        code = np.array([kinds.code(kind) for kind in e.kinds], np.int32)
        s = e.strips
        piles.append(Strips(s.meter, code[s.kind] if len(s) else s.kind, s.start, s.count, s.line, s.amounts))
    return Strips.concat(piles), kinds


def folded(strips: Strips, kinds: Kinds, landings: dict[int, int], ids: MeterIds) -> tuple[pa.Table, set]:
    """Blocks and losers of one fold of everything."""
    tables, losers = [BLOCK_SCHEMA.empty_table()], set()
    if not len(strips):
        return tables[0], losers
    for grid in Pile(strips, kinds, ids.texts(), frozenset(landings), landings).grids():
        grid.settle_offsets(Strips.empty())
        for slab in grid.slabs(Strips.empty()):
            tables.append(slab.blocks)
            held, borders = flat_amounts(slab.blocks)
            rows = slab.blocks.to_pylist()
            lost = slab.losers
            for b, slot, quality, delivery, stamp, amount in zip(
                lost.block.tolist(), lost.slot.tolist(), lost.quality.tolist(), lost.delivery.tolist(),
                lost.stamp_us.tolist(), lost.amount.tolist(), strict=True,
            ):  # fmt: skip
                row = rows[b]
                start = int(row["start"].timestamp()) + row["offset_s"] + slot * row["interval_s"]
                exact = held[borders[b] + slot] if amount == MISSING else amount
                losers.add(
                    (
                        row["meter_id"],
                        row["channel"],
                        row["interval_s"],
                        start,
                        quality,
                        delivery,
                        stamp,
                        int(exact),
                    )
                )
    return sort_blocks(pa.concat_tables(tables)), losers


def readings_of(rows: pa.Table) -> list:
    """Rows of LOST_SCHEMA slot by slot."""
    found = []
    for row in rows.to_pylist():
        start, stamp = int(row["start"].timestamp()), int(row["stamp"].timestamp() * 1e6 + 0.5)
        for i, amount in enumerate(row["amounts"]):
            found.append(
                (row["meter_id"], row["channel"], row["interval_s"], start + i * row["interval_s"],
                 row["quality"], row["delivery"], stamp, amount)
            )  # fmt: skip
    return found


def same_tables(left: pa.Table, right: pa.Table) -> bool:
    return left.combine_chunks().to_pylist() == right.combine_chunks().to_pylist()


def is_open(run: Run, start: int, floor: int, phases: dict) -> bool:
    span = 3600 if run.interval_s < 60 else DAY
    if run.interval_s > 3600:
        return False
    phase = phases.setdefault((run.meter, run.channel, run.interval_s), start % run.interval_s)
    return phase == start % run.interval_s and start // span * span >= floor


def plain_counts(held: dict, e: Entry, runs: list[Run], floor: int, phases: dict) -> tuple[list[int], int]:
    """Counts of one entry by the law, slot by slot; and how many of its readings are late."""
    cells, late, counts = {}, 0, [0] * 5
    for run, code in zip(runs, e.strips.kind.tolist(), strict=True):
        for i, amount in enumerate(run.amounts):
            start = run.start + i * run.interval_s
            here = is_open(run, start, floor, phases)
            if amount is not None and here:
                key = run.meter, run.channel, run.interval_s, start
                cells.setdefault(key, []).append((e.kinds[code], amount))
            late += amount is not None and not here
    for key, found in cells.items():
        before = held.get(key)
        held[key] = plain_winner(before, found)
        for one in found:
            for outcome in plain_outcome(one, held[key], before):
                counts[outcome] += 1
    return counts, late


def plain_winner(winner, found):
    """Fold the candidates of one slot by version, of each version the greatest."""
    for version in sorted({version_of(kind) for kind, _ in found}):
        best = max((r for r in found if version_of(r[0]) == version), key=lambda r: r[1])
        if winner is None:
            winner = best
        elif version > version_of(winner[0]):
            if (winner[1], winner[0].quality) != (best[1], best[0].quality) or best[0].sender_stamp:
                winner = best
        elif version == version_of(winner[0]) and best[1] > winner[1]:
            winner = best
    return winner


def plain_outcome(one, winner, before):
    if one is winner:
        if before and before[1] == one[1] and one[0].quality >= before[0].quality:
            return (DUPLICATE,)
        return (STORED, REPLACED) if before else (STORED,)
    if one[1] == winner[1]:
        return (DUPLICATE,)
    return (CONFLICT,) if version_of(one[0]) == version_of(winner[0]) else (SUPERSEDED,)


def version_of(kind: Kind):
    return kind.precedence, kind.stamp_us, -kind.quality, kind.source


runs = st.builds(
    lambda meter, channel, interval, slot, phase, amounts, quality, stamp: Run(
        meter, channel, interval, NOW + slot * interval + phase, tuple(amounts), quality, stamp
    ),
    st.sampled_from(METERS),
    st.sampled_from(["electricity.import", "gas.import"]),
    st.sampled_from([900, 900, 900, 5, 7200]),
    st.one_of(st.integers(0, 3), st.sampled_from([-2, 94, 95, 96, 718, 719, 1438])),
    st.sampled_from([0, 0, 0, 0, 0, 2]),
    st.lists(
        st.one_of(st.integers(1, 4), st.sampled_from([None, 2**31, -5, 10**12])), min_size=1, max_size=4
    ),
    st.sampled_from([4, 4, 4, 3, 7]),
    st.sampled_from([None, None, None, 7, 8]),
)
batches = st.lists(st.lists(runs, max_size=5), min_size=1, max_size=6)


def check(one: Live, entries: list[Entry], runs_of: list[list[Run]], floor: int = NOW) -> None:
    """Everything that is held against the plain fold of all entries."""
    ids, phases, late, opens = one.ids, {}, [], []
    for e, some in zip(entries, runs_of, strict=True):
        for run, code in zip(some, e.strips.kind.tolist(), strict=True):
            for i, amount in enumerate(run.amounts):
                start = run.start + i * run.interval_s
                kind = e.kinds[code]
                if not is_open(run, start, floor, phases):
                    if amount is not None:
                        late.append(
                            (
                                run.meter,
                                run.channel,
                                run.interval_s,
                                start,
                                kind.quality,
                                e.number,
                                kind.stamp_us,
                                amount,
                            )
                        )
                elif amount is not None:
                    opens.append((e.number, replace(run, start=start, amounts=(amount,))))
    again = [
        entry(n, [run for m, run in opens if m == n], ids, entries[n - 1].precedence)
        for n in range(1, len(entries) + 1)
    ]
    strips, kinds = pile_of(again, ids)
    blocks, losers = folded(strips, kinds, {e.number: e.received_us for e in again}, ids)
    part = one.part(None, 0, 2**40)
    if part is None:
        assert not len(blocks)
        assert not late
        return
    assert same_tables(part.blocks, blocks)
    found = readings_of(part.lost)
    assert len(found) == len(set(found))
    assert set(found) == losers
    assert sorted(readings_of(part.late)) == sorted(late)
    some = one.part(["m1", "m2"], 0, 2**40)
    mine = pc.is_in(blocks["meter_id"], pa.array(["m1", "m2"]))
    if some is not None:
        assert same_tables(some.blocks, blocks.filter(mine))
        assert set(readings_of(some.lost)) == {r for r in losers if r[0] != "m0"}
        assert sorted(readings_of(some.late)) == sorted(r for r in late if r[0] != "m0")
    else:
        assert not pc.any(mine).as_py()
    # The tables name everything that another fold needs.
    ids2, kinds2 = MeterIds(), Kinds()
    piles = [
        to_strips(part.blocks, ids2, kinds2, part.senders),
        strips_of(part.lost, ids2, kinds2, part.senders),
    ]
    refolded, _ = folded(Strips.concat(piles), kinds2, dict(part.landed_us), ids2)
    assert same_tables(refolded, part.blocks)


@settings(max_examples=40, deadline=None)
@given(batches, st.booleans())
def test_what_is_held_is_the_fold_of_all_that_came(groups, authoritative):
    ids = MeterIds()
    one, held, phases, entries = live(ids), {}, {}, []
    for number, group in enumerate(groups, 1):
        e = entry(number, group, ids, 3 if authoritative and number % 2 else None)
        entries.append(e)
        applied = one.apply(e, number + 9)
        counts, late = plain_counts(held, e, group, NOW, phases)
        assert applied.counts.tolist() == counts
        assert applied.late == late
    check(one, entries, groups)


def test_only_strips_beside_the_phase_of_their_row_clash():
    ids = MeterIds()
    one = live(ids)
    one.apply(entry(1, [Run("m0", "gas.import", 900, NOW + 300, (1,))], ids), 0)
    came = [
        Run("m0", "gas.import", 900, NOW + 900, (1,)),
        Run("m0", "gas.import", 900, NOW + 1200, (1,)),
        Run("m1", "gas.import", 900, NOW, (1,)),
        Run("m1", "gas.import", 900, NOW + 960, (1, 2)),
        Run("m0", "water.import", 900, NOW, (1,)),
    ]
    e = entry(2, came, ids)
    assert one.phases_clash(e.strips, e.kinds).tolist() == [True, False, True, False, False]


def test_quarter_hours_are_the_sums_of_whole_quarters_alone():
    rng = np.random.default_rng(3)
    amounts, filled = rng.integers(0, 9, (6, 180)), np.ones((6, 180), bool)
    filled[2, 7] = filled[4, :] = False
    sums, counts = views.quarters(amounts, filled)
    assert counts.tolist() == [180, 180, 179, 180, 0, 180]
    for row in range(6):
        plain = sum(amounts[row].tolist()) if counts[row] == 180 else MISSING
        assert sums[row] == plain


def test_views_add_up_what_came():
    ids = MeterIds()
    one = live(ids)
    beats = tuple(range(1, 361))
    came = [
        Run("m0", "electricity.import", 900, NOW, (100, 200, 300, 400, 500)),
        Run("m1", "electricity.import", 900, NOW, (10, None, 30)),
        Run("m2", "electricity.import", 5, NOW, beats),
    ]
    one.set_places(pa.array(["m0", "m2"]), pa.array(["u10hb", "u10hb"]), pa.array(["residential", None]))
    one.apply(entry(1, came, ids), 0)
    now = NOW + 4500
    row = one.meter("m0", now).to_pylist()[0]
    assert (row["start"], row["amount"], row["quality"]) == (NOW + 3600, 500, 4)
    assert (row["today"], row["filled"], row["average"]) == (1500, 5, 350)
    assert (row["w1m"], row["w15m"], row["w1h"]) == (500, 500, 1400)
    assert row["received_us"] == NOW * 10**6 + 1000
    assert one.recent("m0", now, 1800)["amount"].to_pylist() == [400, 500]
    found = {(r["region"], r["class"], r["interval_s"]): r for r in one.regions(now).to_pylist()}
    assert found["u10hb", "residential", 900]["today"] == 1500
    assert found["u10hb", "residential", 900]["power_w"] == 2.0
    assert found[None, None, 900]["meters"] == 1
    assert found[None, None, 900]["filled"] == 2
    assert found["u10hb", None, 5]["w1m"] == sum(beats[-12:])
    assert [r["today"] for r in sorted(one.fleet(now).to_pylist(), key=lambda r: r["interval_s"])] == [
        sum(beats),
        1540,
    ]
    assert one.top(1, "electricity.import").to_pylist()[0]["meter"] == "m2"
    assert one.quarters("m2", NOW + 1800)["amount"].to_pylist() == [sum(beats[:180]), sum(beats[180:])]
    assert (one.touched(["m0"]), one.touched(["m9"])) == (one.epoch, 0)
    one.set_places(pa.array(["m1"]), pa.array(["gcpvj"]), pa.array(["business"]))
    found = {(r["region"], r["interval_s"]): r["today"] for r in one.regions(now).to_pylist()}
    assert found == {("gcpvj", 900): 40, (None, 900): 1500, (None, 5): sum(beats)}


def test_a_meter_of_two_lengths_flows_once():
    ids = MeterIds()
    one = live(ids)
    came = [
        Run("m0", "gas.import", 1800, NOW, (900, 1800)),
        Run("m0", "gas.import", 60, NOW + 3000, (20,) * 10),
        Run("m1", "gas.import", 1800, NOW, (900, 1800)),
    ]
    one.apply(entry(1, came, ids), 0)
    now = NOW + 3700
    found = {row["interval_s"]: (row["meters"], row["power_w"]) for row in one.fleet(now).to_pylist()}
    assert found == {60: (1, 1.2), 1800: (1, 3.6)}
    assert [(r["meter"], r["interval_s"]) for r in one.top(9, None, now).to_pylist()] == [
        ("m1", 1800),
        ("m0", 60),
    ]


def test_a_sealed_hour_stays_in_the_sum_of_its_day():
    ids = MeterIds()
    one = live(ids)
    one.apply(entry(1, [Run("m0", "electricity.import", 5, NOW, (7,) * 1000)], ids), 0)
    cut = one.freeze(NOW + 3700, 0)
    assert cut.sets == [("electricity.import", 5, NOW)]
    assert one.freeze(NOW + 9999, 0) is cut
    one.release(cut)
    assert one.meter("m0", NOW + 5000).to_pylist()[0]["today"] == 7000
    assert one.fleet(NOW + 5000)["today"].to_pylist() == [7000]
    assert one.part(["m0"], 0, 2**40).blocks["filled"].to_pylist() == [280]
    assert one.apply(entry(2, [Run("m0", "electricity.import", 5, NOW, (8,))], ids), 1).late == 1
    assert one.freeze(NOW + 3700, 0).part.late["amounts"].to_pylist() == [[8]]


def test_what_is_held_is_counted_against_the_limits():
    ids = MeterIds()
    one = Live(ids, LiveLimits(bytes=1 << 20, rows=4, late_slots=8), {DAY: NOW, 3600: NOW})
    assert one.pressure() < 0.1
    one.apply(entry(1, [Run("m0", "gas.import", 900, NOW - DAY, (1,) * 16)], ids), 0)
    assert one.pressure() == 2
    assert one.sizes()["late"] == 16
    assert one.used_bytes < 1 << 20


def test_meters_beyond_the_rows_there_may_be_wait_as_late_readings_do():
    ids = MeterIds()
    one = Live(ids, LiveLimits(rows=4), {DAY: NOW, 3600: NOW})
    applied = one.apply(entry(1, [Run(f"m{i}", "gas.import", 900, NOW, (i,)) for i in range(7)], ids), 0)
    assert (applied.late, applied.counts[0], one.sizes()["rows"]) == (3, 4, 4)
    assert one.touched(["m6"]) == one.epoch
    found = [one.part([f"m{i}"], 0, 2**40) for i in range(7)]
    assert [len(part.blocks) for part in found] == [1, 1, 1, 1, 0, 0, 0]
    assert [len(part.late) for part in found] == [0, 0, 0, 0, 1, 1, 1]


def test_one_wrong_clock_is_forgotten_with_the_block_it_was_in():
    ids = MeterIds()
    one = live(ids, NOW - DAY)
    one.apply(entry(1, [Run("m0", "gas.import", 900, NOW - DAY + 420, (1,))], ids), 0)
    today = [Run("m0", "gas.import", 900, NOW, (5, 6))]
    assert one.apply(entry(2, today, ids), 1).late == 2
    one.release(one.freeze(NOW + 60, 0))
    again = entry(3, today, ids)
    assert not one.phases_clash(again.strips, again.kinds).any()
    assert one.apply(again, 2).counts.tolist() == [2, 0, 0, 0, 0]
    assert one.part(["m0"], 0, 2**40).blocks["offset_s"].to_pylist() == [0]


def test_a_clock_that_jumps_ahead_closes_no_day_to_come():
    ids = MeterIds()
    one = live(ids)
    one.apply(entry(1, [Run("m0", "gas.import", 900, NOW, (1,))], ids), 0)
    arrived = one.last_us // 1_000_000
    one.freeze(NOW + 10_000 * DAY, 0)
    assert one.floors[DAY] <= max(NOW, arrived) + 2 * DAY
