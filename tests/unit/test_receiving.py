"""Turns of shards from received messages give what processes that read the logs give, cut off anywhere."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.memory_logs import MemoryLogs
from meterlake.adapters.received import DeltaReceived, write
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.store_checkpoints import StoreCheckpoints
from meterlake.adapters.store_cuts import StoreCuts
from meterlake.adapters.store_folder import FolderStore
from meterlake.app import Meterlake
from meterlake.errors import Conflict
from meterlake.foreign import Place
from meterlake.handover import Committer
from meterlake.ids import MeterIds
from meterlake.ingest import Ingest
from meterlake.keys import ApiKey
from meterlake.live.live import Live
from meterlake.node import SPANS_S
from meterlake.node_settings import AcceptLimits, NodeSettings
from meterlake.ports import Append
from meterlake.receiving import Parts, StreamJob, Turn, turn
from meterlake.shard import Shard
from meterlake.site import Threads

NOW = int(time.time())
HOUR = NOW // 3600 * 3600 - 26 * 3600
KEY = ApiKey(id="k", name="k", scopes=frozenset({"ingest"}), source="s", meters=None, best_quality=4)
SETTINGS = NodeSettings(grace_s=4 * 86_400)


class World:
    """A lake in a folder, logs, and what was received of them."""

    def __init__(self, folder):
        self.store = FolderStore(folder)
        self.lake, self.logs = DeltaLake(self.store, create=True), MemoryLogs(2)
        self.registry = SqlRegistry("sqlite://", create=True)
        self.received = DeltaReceived(self.store)
        self.cuts = StoreCuts(self.store)
        self.asked = 0

    def shard(self, name, *, cuts):
        ended = NOW - SETTINGS.grace_s
        live = Live(MeterIds(), SETTINGS.live, {span: ended // span * span for span in SPANS_S})
        return Shard(
            name, self.lake, self.registry, live, self.logs.shard(name), StoreCheckpoints(self.store, name), SETTINGS,
            Place(*self.logs.place(name)), self.cuts if cuts else None,
        )  # fmt: skip

    def opens(self, _site, name):
        return Parts(self.shard(name, cuts=True), self.received, self.logs)

    def receive(self):
        """What a stream does: files of what came since."""
        files, ends = [], {name: self.received.bounds(name) for name in self.logs.names}
        for name, records in self.logs.records.items():
            new = records[ends[name][1] if ends[name] else 0 :]
            files += [write(self.store, new[i : i + 3]) for i in range(0, len(new), 3)]
        self.received.commit(files, dict.fromkeys(self.logs.names, 0))

    def job(self, stream, seal_s=1.0):
        turns = [Turn(name, self.opens) for name in self.logs.names]
        committer = Committer(self.lake, self.registry, self.cuts)
        return StreamJob(stream, Threads(self.lake, self.registry), turns, committer, seal_s, self.alone)

    def alone(self):
        self.asked += 1

    def live_until_sealed(self):
        """What processes with the roles live and seal do."""
        for name in self.logs.names:
            shard = self.shard(name, cuts=False)
            shard.restore()
            records = self.logs.records[name][shard.live.offset :]
            self.logs.append(shard.foreign(records, 2))
            shard.take(records)
            shard.seal(everything=True)
            shard.let_go(lost=False)

    def readings(self):
        rows = Meterlake(self.lake, self.registry).sql(
            "select meter, channel, start, seconds, value from readings order by all"
        )
        return rows.to_pylist()


class Stream:
    """`ports.Stream` of a world's logs."""

    def __init__(self, world):
        self.world, self.taken = world, {"commits": 0}

    def start(self, *, now):
        assert now
        self.world.receive()
        self.taken["commits"] += 1

    def wait(self, seconds):
        return True

    def stop(self):
        pass


def reading(meter, value, slot):
    start = datetime.fromtimestamp(HOUR + 900 * slot, UTC).isoformat()
    return {"meter": meter, "seconds": 900, "value": value, "start": start}


sendings = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=6),
    min_size=1, max_size=10,
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=sendings, seed=st.integers(0, 99))
def test_turns_and_live_processes_make_the_same_blocks_whoever_takes_over(tmp_path_factory, sent, seed):
    chance, worlds = random.Random(seed), [World(tmp_path_factory.mktemp("w") / "lake") for _ in range(2)]
    ingest = [Ingest(world.logs, AcceptLimits()) for world in worlds]
    for number, batch in enumerate(sent):
        body = json.dumps([reading(f"m{meter}", value, slot) for meter, value, slot in batch]).encode()
        for one, world in zip(ingest, worlds, strict=True):
            if number % 3 == 2:  # another program's
                world.logs.append([("electricity-0", Append(body, (), ""))])
            else:
                one.accept(body, "application/json", KEY, f"b{number}")
        what = chance.randrange(4)
        if what == 1:
            worlds[0].job(Stream(worlds[0])).run(Event(), now=True)
        elif what == 2:
            worlds[0].receive()
            worlds[0].live_until_sealed()
    first = worlds[0].job(Stream(worlds[0])).run(Event(), now=True)
    for _ in range(2):
        worlds[0].receive()
        worlds[0].job(Stream(worlds[0])).run(Event(), now=True)
    worlds[1].live_until_sealed()
    worlds[1].live_until_sealed()
    assert first.commits == 1
    assert worlds[0].readings() == worlds[1].readings()
    assert worlds[0].cuts.waiting() == []


def test_a_job_that_was_cut_off_between_hand_over_and_commit_goes_on(tmp_path):
    world = World(tmp_path / "lake")
    Ingest(world.logs, AcceptLimits()).accept(
        json.dumps([reading("m1", 1, 0)]).encode(), "application/json", KEY, "a"
    )
    world.receive()
    job = world.job(Stream(world))
    turns = [one._replace(everything=True) for one in job._turns if world.received.bounds(one.shard)]
    assert all(turn(None, one).more for one in turns)
    assert world.cuts.waiting()
    assert world.readings() == []
    told = world.job(Stream(world)).run(Event(), now=True)
    assert told.seals >= 1
    assert [float(row["value"]) for row in world.readings()] == [1.0]
    assert world.cuts.waiting() == []


def test_two_that_commit_what_is_handed_over_do_it_once(tmp_path):
    """Each with handles of its own, at the same time, again and again."""
    world = World(tmp_path / "lake")
    ingest = Ingest(world.logs, AcceptLimits())
    committers = [
        Committer(
            DeltaLake(FolderStore(tmp_path / "lake")),
            world.registry,
            StoreCuts(FolderStore(tmp_path / "lake")),
        )
        for _ in range(2)
    ]
    sent = {}
    for turn_number in range(6):
        for meter in range(12):
            sent[meter, turn_number % 4] = value = turn_number + meter
            body = json.dumps([reading(f"m{meter}", value, turn_number % 4)]).encode()
            ingest.accept(body, "application/json", KEY, f"{turn_number}-{meter}")
        world.receive()
        for one in (Turn(name, world.opens, everything=True) for name in world.logs.names):
            turn(None, one)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.work(), committers))
    world.job(Stream(world)).run(Event(), now=True)
    found = {(row["meter"], row["start"]): int(row["value"]) for row in world.readings()}
    assert len(found) == len(world.readings()) == len(sent)
    assert found == {
        (f"m{meter}", datetime.fromtimestamp(HOUR + 900 * slot, UTC)): value
        for (meter, slot), value in sent.items()
    }


def test_a_job_that_only_receives_asks_nobody_and_seals_nothing(tmp_path):
    world = World(tmp_path / "lake")
    Ingest(world.logs, AcceptLimits()).accept(
        json.dumps([reading("m1", 1, 0)]).encode(), "application/json", KEY, "a"
    )
    told = world.job(Stream(world), seal_s=None).run(Event(), now=True)
    assert (told.seals, world.asked) == (0, 0)
    assert len(world.received.files()) == 1


def test_shards_that_others_hold_are_left_alone(tmp_path):
    world = World(tmp_path / "lake")

    def alone():
        raise Conflict("held")

    world.alone = alone
    with pytest.raises(Conflict):
        world.job(Stream(world)).run(Event(), now=True)
    assert isinstance(world.lake.records("operations"), pa.Table)
    assert world.received.files() == []
