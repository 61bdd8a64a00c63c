"""Shards: what is read again is the same, what came twice counts once, and of two that hold one shard only the later seals."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pyarrow.compute as pc
import pytest

from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.memory_log import MemoryCheckpoints, MemoryKept
from meterlake.adapters.memory_logs import MemoryLogs
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.store_cuts import StoreCuts
from meterlake.adapters.store_folder import FolderStore
from meterlake.app import Meterlake
from meterlake.errors import Conflict, Damaged, Fenced, NotFound, Overloaded
from meterlake.foreign import Place
from meterlake.handover import Committer, decode, encode
from meterlake.ids import MeterIds
from meterlake.ingest import Ingest
from meterlake.keys import ApiKey
from meterlake.live.live import Live
from meterlake.node import SPANS_S
from meterlake.node_settings import AcceptLimits, NodeSettings
from meterlake.ports import Append
from meterlake.seal import newest_seal, seal
from meterlake.shard import Shard
from meterlake.spread import part_of

NOW = int(time.time())
HOUR = NOW // 3600 * 3600 - 26 * 3600
KEY = ApiKey(id="k", name="k", scopes=frozenset({"ingest"}), source="s", meters=None, best_quality=4)
METER = next(f"m{i}" for i in range(99) if part_of(f"m{i}", 2) == 1)
OTHER = next(f"m{i}" for i in range(99) if part_of(f"m{i}", 2) == 0)


def reading(meter, value, hour=0, **told):
    start = datetime.fromtimestamp(HOUR + 900 * hour, UTC).isoformat()
    return {"meter": meter, "seconds": 900, "value": value, "start": start} | told


def body(*readings):
    return json.dumps(list(readings)).encode()


class World:
    """One lake and the logs of its shards; whoever asks for a shard gets one that begins with the last checkpoint."""

    def __init__(self):
        self.lake, self.logs = MemoryLake(), MemoryLogs(2)
        self.registry = SqlRegistry("sqlite://", create=True)
        self.ingest = Ingest(self.logs, AcceptLimits())
        self.kept = {name: MemoryKept() for name in self.logs.names}
        self.settings = NodeSettings(grace_s=4 * 86_400)

    def shard(self, name="electricity-1", cuts=None):
        ended = NOW - self.settings.grace_s
        live = Live(MeterIds(), self.settings.live, {span: ended // span * span for span in SPANS_S})
        made = Shard(
            name, self.lake, self.registry, live, self.logs.shard(name), MemoryCheckpoints(self.kept[name]), self.settings,
            Place(*self.logs.place(name)), cuts,
        )  # fmt: skip
        made.restore()
        return made

    def feed(self, shard, stop=None):
        records = self.logs.records[shard.name][shard.live.offset : stop]
        self.logs.append(shard.foreign(records, 2))
        shard.take(records)

    def send(self, *readings, key=None):
        return self.ingest.accept(body(*readings), "application/json", KEY, key)

    def values(self, *shards, meter=METER, channel="electricity.import"):
        from meterlake.live.together import Together

        live = Together(MeterIds(), self.settings.live)
        for shard in shards:
            live.add(shard.name, shard.live)
            live.ids = shard.live.ids
        answer = Meterlake(self.lake, self.registry, live=live).history(
            meter, datetime.fromtimestamp(HOUR, UTC), datetime.fromtimestamp(NOW + 86_400, UTC), channel=channel
        )  # fmt: skip
        told = answer.to_json()
        return [int(value["value"]) // 10**6 for value in told["values"]]


@pytest.fixture
def world():
    return World()


def deliveries(lake):
    rows = lake.records("deliveries")
    return sorted(zip(*(rows[n].to_pylist() for n in ("number", "load_id", "received_at")), strict=True))


def test_a_batch_is_cut_by_shard_and_told_once_whatever_it_is_cut_into(world):
    told = world.send(
        reading(METER, 1), reading(OTHER, 2), reading(METER, 3, channel="gas.import"), {"bad": 1}
    )
    assert (told.received, told.accepted, told.rejected) == (4, 3, 1)
    ends = {name: world.logs.shard(name).bounds()[1] for name in world.logs.names}
    assert {name for name, end in ends.items() if end} == {"electricity-0", "electricity-1", "gas-1"}
    notes = []
    for name in ("electricity-0", "electricity-1", "gas-1"):
        shard = world.shard(name)
        world.feed(shard)
        notes += shard.live.notes().values()
    assert {note.batch_id for note in notes} == {told.batch_id}
    assert (sum(n.received for n in notes), sum(n.accepted for n in notes)) == (4, 3)
    assert sum(len(n.rejects) for n in notes) == 1


def test_a_repeat_is_told_so_and_another_content_under_its_key_is_refused(world):
    first = world.send(reading(METER, 1), key="a")
    again = world.send(reading(METER, 1), key="a")
    assert (again.batch_id, again.replayed, again.accepted) == (first.batch_id, True, 0)
    with pytest.raises(Conflict, match="Idempotency-Key"):
        world.send(reading(METER, 2), key="a")
    assert world.logs.shard("electricity-1").bounds() == (0, 1)


def test_a_message_that_comes_twice_changes_nothing_even_after_a_correction(world):
    world.send(reading(METER, 5))
    world.send(reading(METER, 6))
    first = world.logs.records["electricity-1"][0]
    world.logs.append([("electricity-1", Append(first.data, (), "", first.headers))])
    shard = world.shard()
    world.feed(shard)
    assert (shard.applied, shard.repeated, world.values(shard)) == (2, 1, [6])
    shard.checkpoint()
    world.logs.append([("electricity-1", Append(first.data, (), "", first.headers))])
    later = world.shard()
    world.feed(later)
    assert (later.applied, later.repeated, world.values(later)) == (0, 1, [6])


def test_what_is_read_again_after_a_checkpoint_gets_the_same_numbers_and_moments(world):
    for k in range(6):
        world.send(reading(METER, k, k))
    first = world.shard()
    world.feed(first, 3)
    first.checkpoint()
    world.feed(first)
    seen = {note.batch_id: (note.number, note.received_us) for note in first.live.notes().values()}
    second = world.shard()
    world.feed(second)
    assert {n.batch_id: (n.number, n.received_us) for n in second.live.notes().values()} == seen
    assert len({number for number, _ in seen.values()}) == 6
    assert world.values(second) == [0, 1, 2, 3, 4, 5]


def test_who_was_given_up_can_neither_save_nor_seal(world):
    world.send(reading(METER, 1))
    zombie = world.shard()
    world.feed(zombie)
    world.shard()
    for work in (zombie.checkpoint, lambda: zombie.seal(everything=True)):
        with pytest.raises(Fenced):
            work()
    assert zombie.fenced
    assert newest_seal(world.lake, "electricity-1") is None


@pytest.mark.parametrize("zombie_first", [True, False])
@pytest.mark.parametrize("more", [0, 2])
def test_a_seal_begun_before_it_was_given_up_loses_and_doubles_nothing_whenever_it_lands(
    world, zombie_first, more
):
    world.send(reading(METER, 1), reading(METER, 2, 1))
    zombie = world.shard()
    world.feed(zombie)
    cut = zombie.live.freeze(NOW, 0, everything=True)
    zombie.checkpoint()
    heir = world.shard()
    for k in range(more):
        world.send(reading(METER, 7 + k, k))
    world.feed(heir)
    steps = [
        lambda: seal(world.lake, world.registry, cut, "electricity-1"),
        lambda: heir.seal(everything=True),
    ]
    for step in steps if zombie_first else steps[::-1]:
        step()
    wanted = [7, 8] if more else [1, 2]
    assert world.values(heir) == wanted
    assert world.values(world.shard()) == wanted
    assert [load for _, load, _ in deliveries(world.lake)] == list(
        dict.fromkeys(load for _, load, _ in deliveries(world.lake))
    )
    assert len(deliveries(world.lake)) == 1 + more
    heir.seal(everything=True)
    assert newest_seal(world.lake, "electricity-1").offset == 1 + more


def test_the_log_is_cut_below_what_is_saved_and_no_further_than_the_archive_is(world):
    for k in range(4):
        world.send(reading(METER, k, k))
    shard = world.shard()
    world.feed(shard, 3)
    shard._archived = lambda: 1
    shard.checkpoint()
    assert shard.log.bounds() == (1, 4)
    shard._archived = None
    shard.checkpoint()
    assert shard.log.bounds() == (3, 4)


def test_shards_seal_beside_one_another_under_their_own_names(world):
    world.send(reading(METER, 1), reading(OTHER, 2))
    shards = [world.shard(name) for name in ("electricity-0", "electricity-1")]
    for shard in shards:
        world.feed(shard)
        assert shard.seal(everything=True).sequence == 1
    assert [newest_seal(world.lake, s.name).shard for s in shards] == ["electricity-0", "electricity-1"]
    assert newest_seal(world.lake) is None
    assert (world.values(meter=METER), world.values(meter=OTHER)) == ([1], [2])


@pytest.mark.parametrize("everything", [True, False])
def test_a_cut_comes_back_as_it_was_handed_over(world, everything):
    world.send(reading(METER, 1), reading(METER, 2, 1), {"bad": 1})
    world.send(reading(METER, 3), reading(METER, 4, -9 * 96))
    shard = world.shard()
    world.feed(shard)
    cut = shard.live.freeze(NOW, 4 * 86_400, everything=everything)
    back = decode(encode(cut))
    for name in ("number", "offset", "sequence", "floors", "sets"):
        assert getattr(back, name) == getattr(cut, name)
    for name in ("blocks", "lost", "late"):
        assert getattr(back.part, name).equals(getattr(cut.part, name))
    assert dict(back.part.senders) == dict(cut.part.senders)
    assert dict(back.part.landed_us) == dict(cut.part.landed_us)
    assert [(n.number, n.batch_id, n.counts) for n in back.entries] == [
        (n.number, n.batch_id, n.counts) for n in cut.entries
    ]
    assert [n.rejects.equals(m.rejects) for n, m in zip(back.entries, cut.entries, strict=True)] == [True] * 2
    with pytest.raises(Damaged):
        decode(encode(cut)[:-7])


def test_what_is_handed_over_is_let_go_when_it_has_landed_and_committed_once_however_often(world, tmp_path):
    cuts = StoreCuts(FolderStore(tmp_path))
    world.send(reading(METER, 1))
    shard = world.shard(cuts=cuts)
    world.feed(shard)
    assert shard.seal(everything=True) is None
    assert shard.seal() is None
    (found,) = cuts.waiting()
    data = cuts.get(*found)
    assert world.values(shard) == [1]
    assert list(Committer(world.lake, world.registry, cuts).work()) == ["electricity-1"]
    version = world.lake.snapshot().version
    cuts.put(*found, data)
    Committer(world.lake, world.registry, cuts).work()
    assert world.lake.snapshot().version == version
    assert cuts.waiting() == []
    receipt = shard.seal()
    assert (receipt.sequence, receipt.shard) == (1, "electricity-1")
    assert shard.live.pending is None
    assert world.values() == [1]
    with pytest.raises(NotFound):
        cuts.get(*found)


def test_a_cut_handed_over_by_one_that_was_given_up_loses_and_doubles_nothing(world, tmp_path):
    cuts = StoreCuts(FolderStore(tmp_path))
    world.send(reading(METER, 1))
    zombie = world.shard(cuts=cuts)
    world.feed(zombie)
    zombie.seal(everything=True)
    heir = world.shard(cuts=cuts)
    world.send(reading(METER, 2, 1))
    world.feed(heir)
    heir.seal(everything=True)
    committer = Committer(world.lake, world.registry, cuts)
    assert len(cuts.waiting()) == 2
    committer.work()
    assert heir.seal() is not None
    assert world.values(heir) == world.values() == [1, 2]
    assert len(deliveries(world.lake)) == 2


def test_json_of_another_program_lands_in_the_shard_it_belongs_to(world):
    messages = [
        json.dumps(reading(METER, 1)).encode(), json.dumps(reading(METER, 2, 1)).encode(),
        json.dumps([reading(OTHER, 3), reading(METER, 4, channel="gas.import")]).encode(),
        json.dumps({"defaults": {"seconds": 900}, "readings": [reading(METER, 5, 2)]}, indent=1).encode(),
    ]  # fmt: skip
    world.logs.append([("electricity-0", Append(data, (), "")) for data in messages])
    shards = {name: world.shard(name) for name in world.logs.names}
    for _ in range(2):
        for shard in shards.values():
            world.feed(shard)
    assert world.values(shards["electricity-1"]) == [1, 2, 5]
    assert world.values(shards["electricity-0"], meter=OTHER) == [3]
    assert world.values(shards["gas-1"], channel="gas.import") == [4]
    sources = {note.source for shard in shards.values() for note in shard.live.notes().values()}
    assert sources == {"kafka:electricity"}


def test_forwarding_again_in_other_portions_changes_nothing(world):
    world.logs.append(
        [("electricity-1", Append(json.dumps(reading(METER, k, k % 3)).encode(), (), "")) for k in range(7)]
    )
    one = world.shard()
    theirs = world.logs.records["electricity-1"]
    whole = world.logs.append(one.foreign(theirs, 2))
    assert len(whole) == 1
    for first in range(0, 7, 2):
        world.logs.append(one.foreign(theirs[first : first + 2], 2))
    one.take(world.logs.records["electricity-1"])
    assert sorted(world.values(one)) == sorted(max(k for k in range(7) if k % 3 == slot) for slot in range(3))


def test_poison_goes_to_quarantine_by_its_place_and_stops_nothing(world):
    world.send(reading(METER, 1))
    good = world.logs.records["electricity-1"][0]
    bad = [
        Append(good.data[:-1] + b"?", (), "", good.headers),
        Append(good.data, (), "", [("ml-format", b"99"), *good.headers[1:]]),
        Append(b"no json at all", (), ""),
        Append(b'{"meter": "m1"', (), ""),
        Append(b"\xff\xfe", (), ""),
        Append(b"", (), ""),
        Append(json.dumps(reading(METER, 9, 40_000)).encode(), (), ""),
    ]
    world.logs.append([("electricity-1", one) for one in bad])
    world.send(reading(METER, 2, 1))
    shard = world.shard()
    world.feed(shard)
    world.feed(shard)
    assert world.values(shard) == [1, 2]
    shard.seal(everything=True)
    rows = world.lake.records("quarantine")
    rows = rows.filter(pc.equal(rows["file"], "electricity/1"))
    told = dict(zip(rows["line"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    assert {at: told[at] for at in (1, 2, 3, 4, 5)} == dict.fromkeys((1, 2, 3, 4, 5), "malformed_line")
    assert told[7] == "future"


def test_one_odd_message_of_many_is_refused_alone(world, monkeypatch):
    monkeypatch.setattr("meterlake.foreign._lines", lambda *_: (_ for _ in ()).throw(OverflowError("odd")))
    messages = [json.dumps(reading(METER, 1)).encode(), b"{odd}", json.dumps(reading(METER, 2, 1)).encode()]
    world.logs.append([("electricity-1", Append(data, (), "")) for data in messages])
    shard = world.shard()
    world.feed(shard)
    world.feed(shard)
    assert world.values(shard) == [1, 2]


def test_a_lake_that_gives_no_numbers_stops_reading_and_loses_nothing(world, monkeypatch):
    world.send(reading(METER, 1))
    shard = world.shard()
    with monkeypatch.context() as patch:
        patch.setattr(shard._arrivals, "_reserve", lambda _: (_ for _ in ()).throw(Overloaded("down")))
        with pytest.raises(Overloaded):
            world.feed(shard)
    world.feed(shard)
    assert world.values(shard) == [1]


def test_a_big_batch_is_several_messages_that_say_the_same_together(world, monkeypatch):
    monkeypatch.setattr("meterlake.ingest.MESSAGE_BYTES", 2_000)
    told = world.send(
        *(reading(METER, k, k % 90) for k in range(300)), *({"bad": "x" * 100} for _ in range(50)),
        *(reading(METER, 0, 0) for _ in range(3)),
    )  # fmt: skip
    assert (told.received, told.rejected, told.duplicate) == (353, 50, 3)
    shard = world.shard()
    world.feed(shard)
    assert shard.applied > 3
    notes = shard.live.notes().values()
    assert sum(len(n.rejects) for n in notes) >= 1
