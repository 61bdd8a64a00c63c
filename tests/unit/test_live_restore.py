"""Saving, sealing and crashing at any moment: nothing is lost, and nothing is there twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterlake.adapters.memory_log import MemoryCheckpoints
from meterlake.blocks import to_strips
from meterlake.entry import Entry
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.live.limits import LiveLimits
from meterlake.live.live import Live
from meterlake.live.part import Part
from meterlake.readings import PRECEDENCE
from meterlake.record import lost_strips
from meterlake.strips import Kind, Kinds, Strips

DAY = 86_400
NOW = 1_767_225_600
FLOORS = {DAY: NOW, 3600: NOW}


@dataclass(frozen=True, slots=True)
class Sealed:
    sequence: int
    offset: int
    number: int
    floors: dict[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """A few consecutive slots of one meter that came alike."""

    meter: str
    interval_s: int
    start: int
    amounts: tuple[int, ...]
    quality: int = 4
    stamp: int | None = None


def entry(number: int, runs: list[Run], ids: MeterIds) -> Entry:
    received, kinds, codes = NOW * 10**6 + number * 1000, Kinds(), []
    for run in runs:
        stamp = received if run.stamp is None else run.stamp
        codes.append(kinds.code(Kind(
            "water.import", run.interval_s, run.quality, PRECEDENCE[run.quality], stamp,
            run.stamp is not None, "a", number,
        )))  # fmt: skip
    strips = Strips(
        ids.codes_of(pa.array([run.meter for run in runs], pa.string())),
        np.array(codes, np.int32),
        np.array([run.start for run in runs], np.int64),
        np.array([len(run.amounts) for run in runs], np.int32),
        np.zeros(len(runs), np.int64),
        np.array([a for run in runs for a in run.amounts], np.int64),
    )
    rejects = [{"load_id": f"b{number}", "delivery": number, "line": 1, "count": 1}] * (number % 2)
    return Entry(
        number, f"b{number}", "key", "a", received, None, "", len(strips.amounts), 0, tuple(kinds.table), strips,
        pa.Table.from_pylist(rejects, schema=QUARANTINE_SCHEMA),
    )  # fmt: skip


def readings(rows: pa.Table) -> Counter:
    """Rows of LOST_SCHEMA slot by slot."""
    found = Counter()
    for row in rows.to_pylist():
        start, stamp = int(row["start"].timestamp()), round(row["stamp"].timestamp() * 1e6)
        for i, amount in enumerate(row["amounts"]):
            key = row["meter_id"], row["interval_s"], start + i * row["interval_s"]
            found[*key, row["quality"], row["delivery"], stamp, amount] += 1
    return found


def all_readings(part: Part | None) -> Counter:
    if part is None:
        return Counter()
    ids, kinds = MeterIds(), Kinds()
    winners = to_strips(part.blocks, ids, kinds, part.senders)
    held = readings(lost_strips(winners, ids, kinds)) if len(winners) else Counter()
    return held + readings(part.lost) + readings(part.late)


def as_list(part: Part | None) -> list:
    if part is None:
        return []
    names = set(part.blocks["delivery"].to_pylist()) - {None}
    return [
        part.blocks.to_pylist(), sorted(readings(part.lost).items()), sorted(readings(part.late).items()),
        [(n, part.senders[n], part.landed_us[n]) for n in sorted(names)],
    ]  # fmt: skip


runs = st.builds(
    lambda meter, interval, slot, phase, amounts, quality, stamp: Run(
        meter, interval, NOW + slot * interval + phase, tuple(amounts), quality, stamp
    ),
    st.sampled_from(["m0", "m1"]),
    st.sampled_from([900, 900, 5, 7200]),
    st.one_of(st.integers(0, 2), st.sampled_from([-3, 95, 96, 718, 720])),
    st.sampled_from([0, 0, 0, 2]),
    st.lists(st.one_of(st.integers(1, 3), st.just(2**40)), min_size=1, max_size=3),
    st.sampled_from([4, 4, 7]),
    st.sampled_from([None, None, 7]),
)
steps = st.lists(
    st.one_of(
        st.lists(runs, min_size=1, max_size=4),
        st.lists(runs, min_size=1, max_size=4),
        st.sampled_from(["save", "crash", "freeze", "freeze all", "land", "release", "bad save"]),
    ),
    min_size=2,
    max_size=14,
)


class Node:
    """A live side with a log, checkpoints and a lake that is a list of parts."""

    def __init__(self) -> None:
        self.log, self.sealed, self.parts, self.cut = [], None, [], None
        self.checkpoints = MemoryCheckpoints()
        self.live = Live(MeterIds(), LiveLimits(), FLOORS)
        self.now = NOW

    def step(self, step) -> None:
        live = self.live
        if isinstance(step, list):
            self.log.append(step)
            live.apply(entry(len(self.log), step, live.ids), len(self.log) - 1)
        elif step == "save":
            live.save(self.checkpoints)
        elif step == "bad save":
            try:
                live.save(Full())
            except OSError:
                return
        elif step == "crash":
            self.crash()
        elif step.startswith("freeze"):
            self.now += 3600
            self.cut = live.freeze(self.now, 600, everything=step == "freeze all")
        elif self.cut is not None and step == "land":
            self.land()
        elif self.cut is not None and step == "release":
            self.land()
            live.release(self.cut)
            self.cut = None

    def land(self) -> None:
        cut = self.cut
        if self.sealed is None or self.sealed.sequence < cut.sequence:
            self.sealed = Sealed(cut.sequence, cut.offset, cut.number, dict(cut.floors))
            self.parts.append(all_readings(cut.part))

    def crash(self) -> None:
        self.live, self.cut = Live(MeterIds(), LiveLimits(), FLOORS), None
        offset = self.live.restore(self.checkpoints, self.sealed)
        for at in range(offset, len(self.log)):
            self.live.replay(entry(at + 1, self.log[at], self.live.ids), at)
        assert self.live.offset == len(self.log)


class Full:
    def save(self, pieces, gone, state) -> None:
        raise OSError


UNLANDED = ["freeze all", "save", "crash"]
"""A seal that is cut off, and saved, and comes to nothing."""


@settings(max_examples=70, deadline=None)
@example([[Run("m0", 900, NOW - 900, (1,))], *UNLANDED, *UNLANDED, "freeze all", "land"])
@given(steps)
def test_every_reading_is_in_the_lake_or_live_and_not_in_both(all_steps):
    node = Node()
    for step in all_steps:
        node.step(step)
    if node.cut is not None:
        node.step("release")
    node.crash()
    held = sum(node.parts, all_readings(node.live.part(None, 0, 2**40)))
    came = Counter()
    for number, step in enumerate(node.log, 1):
        ids = MeterIds()
        e = entry(number, step, ids)
        kinds = Kinds()
        kinds.table.extend(e.kinds)
        came += readings(lost_strips(e.strips, ids, kinds))
    assert not set(held) - set(came)
    gone = set(came) - set(held)
    same = {(r[:3], r[3], r[4], r[6]) for r in held}
    assert all((r[:3], r[3], r[4], r[6]) in same for r in gone)
    assert all(n <= came[r] for r, n in held.items())
    recorded = {f"b{n}" for n in range(1, len(node.log) + 1)} - set(node.live.notes())
    assert recorded == {f"b{n}" for n in range(1, (node.sealed.number if node.sealed else 0) + 1)}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.lists(runs, min_size=1, max_size=4), st.sampled_from(["save", "crash", "bad save"])),
        max_size=12,
    )
)
def test_after_a_crash_it_is_as_if_there_had_been_none(all_steps):
    node, twin = Node(), Node()
    for step in all_steps:
        node.step(step)
        if isinstance(step, list):
            twin.step(step)
    assert as_list(node.live.part(None, 0, 2**40)) == as_list(twin.live.part(None, 0, 2**40))
    left, right = node.live.notes(), twin.live.notes()
    assert {k: replace(n, rejects=None) for k, n in left.items()} == {
        k: replace(n, rejects=None) for k, n in right.items()
    }
    assert [n.rejects.to_pylist() for n in left.values()] == [n.rejects.to_pylist() for n in right.values()]
    now = NOW + DAY
    assert node.live.fleet(now).to_pylist() == twin.live.fleet(now).to_pylist()
    for name in ("m0", "m1"):
        here, there = node.live.meter(name, now), twin.live.meter(name, now)
        assert (here and here.to_pylist()) == (there and there.to_pylist())
    assert node.live.sizes() | {"bytes": 0, "late": 0} == twin.live.sizes() | {"bytes": 0, "late": 0}
