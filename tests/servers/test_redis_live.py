"""The live view in Redis answers as the live side that it shows, for whoever looks, and a late writer changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from meterlake.adapters import redis_publisher
from meterlake.adapters.redis_publisher import RedisPublisher
from meterlake.adapters.redis_view import RedisView
from meterlake.blocks import to_strips
from meterlake.entry import Entry
from meterlake.errors import Fenced, MeterlakeError
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.live.limits import LiveLimits
from meterlake.live.live import Live
from meterlake.readings import PRECEDENCE
from meterlake.record import lost_strips
from meterlake.strips import Kind, Kinds, Strips

DAY = 86_400
NOW = 1_767_225_600
FLOORS = {DAY: NOW, 3600: NOW}
METERS = [f"m{n}" for n in range(6)]
CHANNELS = ("water.import", "electricity.import", "electricity.export")
LAKE = "/somewhere/lake"


@pytest.fixture
def url(redis, monkeypatch):
    for name, value in redis.env.items():
        monkeypatch.setenv(name, value)
    redis.flush()
    return redis.url


@dataclass
class Feed:
    """Random batches into a live side."""

    live: Live
    random: np.random.Generator
    number: int = 0

    def batch(self):
        self.number += 1
        number, rng = self.number, self.random
        received, kinds, codes, starts, counts, amounts, meters = (
            NOW * 10**6 + number * 1000,
            Kinds(),
            [],
            [],
            [],
            [],
            [],
        )
        for _ in range(int(rng.integers(1, 5))):
            interval, quality = int(rng.choice([900, 900, 1800, 5, 86_400])), int(rng.choice([1, 4, 4, 6]))
            stamp = received if rng.random() < 0.7 else NOW * 10**6 + int(rng.integers(-5, 5))
            kind = Kind(
                str(rng.choice(CHANNELS)), interval, quality, PRECEDENCE[quality], stamp, stamp != received, str(rng.choice(["a", "b"])), number
            )  # fmt: skip
            codes.append(kinds.code(kind))
            starts.append(NOW + int(rng.integers(-3, 12)) * interval)
            counts.append(int(rng.integers(1, 4)))
            amounts += [
                int(rng.choice([rng.integers(0, 3000), 2**40]))
                if rng.random() < 0.05
                else int(rng.integers(0, 3000))
                for _ in range(counts[-1])
            ]
            meters.append(str(rng.choice(METERS)))
        ids = self.live.ids
        strips = Strips(
            ids.codes_of(pa.array(meters)), np.array(codes, np.int32), np.array(starts), np.array(counts, np.int32),
            np.zeros(len(codes), np.int64), np.array(amounts),
        )  # fmt: skip
        entry = Entry(
            number, f"b{number}", "key", "a", received, None, "", len(amounts), 0, tuple(kinds.table), strips,
            QUARANTINE_SCHEMA.empty_table(),
        )  # fmt: skip
        self.live.apply(entry, number)

    def seal(self, *, everything):
        cut = self.live.freeze(NOW + 2 * 3600, 0, everything=everything)
        if cut is not None:
            self.live.release(cut)


def live_of():
    live = Live(MeterIds(), LiveLimits(), FLOORS)
    regions = pa.array(["gcpvh", "gcpvj", "gcpvh", None, "gcpvj", "gcpvh"])
    live.set_places(pa.array(METERS), regions, pa.array(["residential"] * 6))
    return live


def held(part):
    """Readings of a part, slot by slot, and the senders of those that stand."""
    if part is None:
        return Counter(), []
    found = Counter()
    ids, kinds = MeterIds(), Kinds()
    winners = to_strips(part.blocks, ids, kinds, part.senders)
    tables = [part.lost, part.late] + ([lost_strips(winners, ids, kinds)] if len(winners) else [])
    for row in (row for table in tables for row in table.to_pylist()):
        start = int(row["start"].timestamp())
        for i, amount in enumerate(row["amounts"]):
            found[
                row["meter_id"],
                row["channel"],
                row["interval_s"],
                start + i * row["interval_s"],
                row["quality"],
                row["delivery"],
                row["stamp"],
                amount,
            ] += 1
    numbers = sorted({number for number in part.blocks["delivery"].to_pylist() if number is not None})
    return found, [(number, part.senders[number], part.landed_us[number]) for number in numbers]


def rows_of(table):
    return [] if table is None else sorted(map(str, table.to_pylist()))


def answers(view, meters=METERS):
    """All that is asked of what is live."""
    now = NOW + 3000
    span = (NOW - DAY, NOW + 3 * DAY)
    told = [
        rows_of(getattr(view, name)(meter, now))
        for meter in meters
        for name in ("meter", "recent", "quarters")
    ]
    told += [held(view.part([meter], *span)) for meter in meters]
    told += [held(view.part(meters[:3], *span)), held(view.part(None, *span))]
    return told


def derived(view):
    now = NOW + 3000
    newest = view.newest()
    ends = {
        text: int(end) for text, end in zip(view.ids.texts().to_pylist(), newest.ends, strict=False) if end
    }
    return [
        rows_of(view.regions(now)),
        rows_of(view.fleet(now)),
        rows_of(view.top(3, None, now)),
        rows_of(view.top(2, CHANNELS[0], now)),
        ends,
    ]


@pytest.mark.parametrize("seed", range(8))
def test_the_view_answers_as_the_live_sides_that_it_shows(url, seed, monkeypatch):
    """Two shards with batches, seals and lost readings; looked at again and again, and by one who comes late."""
    from meterlake.adapters import redis_publisher, redis_view

    monkeypatch.setattr(redis_publisher, "DERIVED_S", 0)
    monkeypatch.setattr(redis_publisher, "NEWEST_S", 0)
    monkeypatch.setattr(redis_view, "WHOLE_S", 0)
    monkeypatch.setattr(redis_publisher.time, "time", lambda: NOW + 3000.0)
    rng = np.random.default_rng(seed)
    feed = Feed(live_of(), rng)
    publisher = RedisPublisher(url, LAKE, "all", None)
    view = RedisView(url, LAKE, LiveLimits())
    for _ in range(6):
        for _ in range(int(rng.integers(1, 6))):
            feed.batch()
        if rng.random() < 0.3:
            feed.seal(everything=bool(rng.random() < 0.5))
        publisher.publish(feed.live)
        view.look()
        assert answers(view) == answers(feed.live)
        assert derived(view) == derived(feed.live)
        late = RedisView(url, LAKE, LiveLimits())
        late.look()
        assert answers(late) == answers(feed.live)
        assert sorted(view.notes()) == sorted(f"{name} all" for name in feed.live.notes())
        assert view.trouble == {}
        late.stop()
    publisher.close()
    view.stop()


def test_who_is_late_or_was_given_up_changes_nothing(url):
    """Of two who show one shard the one of the higher generation stays, also after all was lost."""
    old, new = Feed(live_of(), np.random.default_rng(1)), Feed(live_of(), np.random.default_rng(2))
    first, second = (RedisPublisher(url, LAKE, "gas-0", generation) for generation in (4, 5))
    view = RedisView(url, LAKE, LiveLimits())
    old.batch()
    first.publish(old.live)
    new.batch()
    second.publish(new.live)
    view.look()
    expected = answers(new.live)
    assert answers(view) == expected
    for _ in range(3):
        old.batch()
        with pytest.raises(Fenced):
            first.publish(old.live)
    view.look()
    assert answers(view) == expected


def test_a_redis_that_was_emptied_is_filled_again_and_says_so_meanwhile(url, redis):
    feed = Feed(live_of(), np.random.default_rng(3))
    publisher, view = RedisPublisher(url, LAKE, "all", None), RedisView(url, LAKE, LiveLimits())
    for _ in range(5):
        feed.batch()
    publisher.publish(feed.live)
    redis.flush()
    view.look()
    assert "being rebuilt" in view.trouble["live view"]
    assert view.part(METERS, NOW, NOW + DAY) is None
    assert view.meter("m1", NOW) is None
    feed.batch()
    publisher.publish(feed.live)  # finds out
    publisher.publish(feed.live)  # shows all of it
    view.look()
    assert view.trouble == {}
    assert answers(view) == answers(feed.live)


def test_a_redis_that_was_emptied_is_filled_again_though_nothing_comes_in(url, redis, monkeypatch):
    monkeypatch.setattr(redis_publisher, "LOOK_S", 0.0)
    monkeypatch.setattr(redis_publisher, "DERIVED_S", 0.0)
    feed = Feed(live_of(), np.random.default_rng(3))
    publisher, view = RedisPublisher(url, LAKE, "all", None), RedisView(url, LAKE, LiveLimits())
    feed.batch()
    publisher.publish(feed.live)
    redis.flush()
    publisher.publish(feed.live)  # finds out
    publisher.publish(feed.live)
    view.look()
    assert view.trouble == {}
    assert answers(view) == answers(feed.live)


def test_without_redis_answers_are_those_of_the_lake(url, redis):
    feed = Feed(live_of(), np.random.default_rng(3))
    publisher, view = RedisPublisher(url, LAKE, "all", None), RedisView(url, LAKE, LiveLimits())
    feed.batch()
    publisher.publish(feed.live)
    view.look()
    redis.kill()
    try:
        feed.batch()
        with pytest.raises(MeterlakeError, match="Redis at unix"):
            publisher.publish(feed.live)
        assert view.part(["m1", "m2"], NOW, NOW + DAY) is None
        assert view.part(None, NOW, NOW + DAY) is None
        assert len(view.regions(NOW)) == len(view.top(3, None)) == 0
        assert "cannot" in view.trouble["live view"] or "Redis at" in view.trouble["live view"]
    finally:
        redis.start()
    publisher.publish(feed.live)
    view.look()
    assert answers(view) == answers(feed.live)
