"""Questions with live readings laid over files: every answer is that of a lake that holds everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterlake import seal as seals
from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.registry import SqlRegistry
from meterlake.blocks import BLOCK_SCHEMA, KEY, sort_blocks
from meterlake.entry import Entry
from meterlake.errors import MeterlakeError, NotFound
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.ledger import (
    DELIVERY_SCHEMA,
    LOST_SCHEMA,
    QUARANTINE_SCHEMA,
    RECORD_SCHEMAS,
    operation_row,
    superseded,
)
from meterlake.live.limits import LiveLimits
from meterlake.live.live import Live
from meterlake.merge import Pile
from meterlake.ports import Change
from meterlake.query import Questions
from meterlake.readings import PRECEDENCE
from meterlake.record import lost_rows
from meterlake.strips import Kind, Kinds, Strips

DAY = 86_400
START = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
DAYS = 3
LANDED_US = (START + 10 * DAY) * 1_000_000
COMMON = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SERIES = (
    ("m0", "electricity.import", 1800), ("m0", "electricity.import.2", 1800), ("m0", "gas.import", 3600),
    ("m1", "electricity.import", 900), ("m1", "electricity.import", 3600), ("m2", "electricity.import", 1800),
)  # fmt: skip


class Run(NamedTuple):
    """Consecutive readings of one series that one delivery brought."""

    series: int
    first: int
    amounts: tuple[int, ...]
    quality: int


class Batch(NamedTuple):
    """What landed at once, by which way: ``load`` (a file), ``live``, or ``both`` (sealed, and live still)."""

    runs: tuple[Run, ...]
    way: str


@st.composite
def batches(draw):
    """Deliveries in the order of their landing, some of which bring what others brought before."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        runs = []
        for _ in range(draw(st.integers(1, 3))):
            series = draw(st.integers(0, len(SERIES) - 1))
            width = DAY // SERIES[series][2]
            first = draw(st.integers(0, DAYS * width - 1))
            size = draw(st.integers(1, DAYS * width - first))
            base, turn = draw(st.integers(-50, 50)), draw(st.integers(1, 13))
            amounts = tuple(base + (first + k) % turn for k in range(size))
            runs.append(Run(series, first, amounts, draw(st.sampled_from([3, 4, 4, 7]))))
        found.append(Batch(tuple(runs), draw(st.sampled_from(["load", "live", "both"]))))
    return found


def landed_us(number):
    return LANDED_US + number * 60_000_000


def strips_of(batch, number, ids):
    kinds = Kinds()
    code = [
        kinds.code(Kind(SERIES[r.series][1], SERIES[r.series][2], r.quality, PRECEDENCE[r.quality], landed_us(number), False, "s", number))
        for r in batch.runs
    ]  # fmt: skip
    strips = Strips(
        ids.codes_of(pa.array([SERIES[r.series][0] for r in batch.runs])),
        np.array(code, np.int32),
        np.array([START + r.first * SERIES[r.series][2] for r in batch.runs], np.int64),
        np.array([len(r.amounts) for r in batch.runs], np.int32),
        np.zeros(len(batch.runs), np.int64),
        np.array([a for r in batch.runs for a in r.amounts], np.int64),
    )
    return strips, kinds.table


def folded(numbered, ids):
    """Blocks and losers of some batches, folded in the order of their landing."""
    kinds, piles = Kinds(), []
    for number, batch in numbered:
        strips, table = strips_of(batch, number, ids)
        code = np.array([kinds.code(kind) for kind in table], np.int32)
        piles.append(replace(strips, kind=code[strips.kind]))
    if not piles:
        return BLOCK_SCHEMA.empty_table(), LOST_SCHEMA.empty_table()
    numbers = [number for number, _ in numbered]
    pile = Pile(Strips.concat(piles), kinds, ids.texts(), frozenset(numbers), {n: n for n in numbers})
    blocks, lost = [], []
    for grid in pile.grids():
        grid.settle_offsets(Strips.empty())
        for slab in grid.slabs(Strips.empty()):
            blocks.append(slab.blocks)
            lost.append(lost_rows(slab.blocks, slab.losers))
    return sort_blocks(pa.concat_tables(blocks)), pa.concat_tables(lost)


def key_set(table):
    return set(zip(*(table[name].to_pylist() for name in KEY), strict=True))


def lake_of(numbered, ids, waiting=frozenset(), cuts=()):
    """A lake of some batches, each landed by a commit of its own; keys in ``waiting`` are stale in their files."""
    lake = MemoryLake()
    blocks, lost = folded(numbered, ids)
    stale, _ = folded(numbered[:1], ids)
    keys = [key in waiting for key in zip(*(blocks[name].to_pylist() for name in KEY), strict=True)]
    fresh = blocks.filter(pa.array([not waits for waits in keys], pa.bool_()))
    old = stale.filter(
        pa.array([k in waiting for k in zip(*(stale[n].to_pylist() for n in KEY), strict=True)], pa.bool_())
    )
    stored = sort_blocks(pa.concat_tables([fresh, old]))
    edges = [-(10**12), *cuts, 10**12]
    starts = stored["start"].cast(pa.int64()).to_numpy() // 1_000_000
    files = []
    for low, high in pairwise(edges):
        piece = stored.filter(pa.array((starts >= low) & (starts < high)))
        if len(piece):
            files.append(lake.put(piece, (0, PARTITIONS)))
    for at, (number, batch) in enumerate(numbered):
        version = at + 1
        loaded = batch.way == "load"
        row = {
            "number": number, "load_id": f"load{number}", "path": "f" if loaded else "", "source": "s",
            "received_at": landed_us(number), "landed_at": landed_us(number), "version": version,
        }  # fmt: skip
        records = {
            "deliveries": pa.Table.from_pylist([row], schema=DELIVERY_SCHEMA),
            "operations": operation_row("load", f"load{number}", version, landed_us(number), {}),
        }
        last = at == len(numbered) - 1
        if last:
            records["superseded"] = superseded(lost, version)
            rows = blocks.filter(pa.array(keys, pa.bool_()))
            schema = RECORD_SCHEMAS["pending_blocks"]
            records["pending_blocks"] = rows.append_column("version", pa.array([version] * len(rows), pa.int64())).cast(schema)  # fmt: skip
        lake.commit(Change(lake.snapshot(), files if last else [], [], f"load{number}", 1, records))
    return lake


def live_of(numbered, ids, floor):
    live = Live(ids, LiveLimits(), {DAY: floor, 3600: floor})
    for offset, (number, batch) in enumerate(numbered):
        strips, kinds = strips_of(batch, number, ids)
        entry = Entry(
            number, f"b{number}", "key", "s", landed_us(number), None, "", len(strips.amounts), 0,
            tuple(kinds), strips, QUARANTINE_SCHEMA.empty_table(),
        )  # fmt: skip
        live.apply(entry, offset)
    return live


@st.composite
def worlds(draw):
    """The same batches spread over files, pending blocks and the live side, and all of them in files."""
    numbered = list(enumerate(draw(batches()), 1))
    ids = MeterIds()
    cuts = draw(st.sampled_from([(), (START + DAY,), (START + DAY, START + 2 * DAY)]))
    stored = [(n, b) for n, b in numbered if b.way != "live"]
    waiting = frozenset()
    if stored:
        shared = sorted(key_set(folded(stored, ids)[0]))
        waiting = frozenset(draw(st.sets(st.sampled_from(shared), max_size=3)))
    floor = START + draw(st.integers(0, DAYS)) * DAY
    live = live_of([(n, b) for n, b in numbered if b.way != "load"], ids, floor)
    spread = Questions(lake_of(stored, ids, waiting, cuts), live=live)
    return spread, Questions(lake_of(numbered, ids, (), cuts))


def moment(second):
    return datetime.fromtimestamp(second, UTC)


def asked(ask, questions, left_out=()):
    """The answer as JSON, or what kind of error it is; listings without a reading and ``left_out`` keys are left out."""
    try:
        answer = ask(questions).to_json()
    except MeterlakeError as error:
        return type(error).__name__
    return plain(answer if isinstance(answer, list) else [answer], {"version", *left_out})


def plain(answer, left_out):
    if isinstance(answer, list):
        return [plain(item, left_out) for item in answer if not is_empty(item)]
    if isinstance(answer, dict):
        return {k: plain(v, left_out) for k, v in answer.items() if k not in left_out and not is_empty(v)}
    return answer


def is_empty(item):
    """Whether nothing was read of what is listed: which files lie near decides whether it is."""
    if not isinstance(item, dict):
        return False
    if "ranges" in item:
        return not any(
            f["passport"]["filled"] or f["previous"]["passport"]["filled"] for f in item["ranges"].values()
        )
    if "values" in item and "passport" in item:
        return item["passport"]["filled"] == 0
    return "channel" in item and item.get("filled") == 0


GRID = ("expected", "missing", "shares")
"""What depends on the readings around the time asked for, and so on those that files bring along."""


@COMMON
@given(st.data(), worlds())
def test_every_answer_is_that_of_a_lake_that_holds_everything(data, world):
    spread, whole = world
    low = START + data.draw(st.integers(0, DAYS * 24 - 1)) * 3600
    high = low + data.draw(st.integers(1, DAYS * 24)) * 3600
    if data.draw(st.booleans()):
        low, high = START, START + DAYS * DAY
    grid = () if high - low == DAYS * DAY else GRID
    span, zone = (
        (moment(low), moment(high)),
        data.draw(st.sampled_from(["UTC", "Europe/London", "Asia/Kolkata"])),
    )
    for meter in ("m0", "m1", "m2", "nobody"):
        left_out = GRID if meter == "m1" else ()  # of two lengths
        for step in ("interval", "15min", "hour", "day", "month"):
            one = partial(Questions.history, id_=meter, from_=span[0], to=span[1], step=step, zone=zone, gaps="drop" if left_out else "keep")  # fmt: skip
            assert asked(one, spread, left_out) == asked(one, whole, left_out), (meter, step)
        one = partial(Questions.usage, id_=meter, until="2024-03-31", ranges=("1d", "3d"), zone=zone)
        assert asked(one, spread, left_out) == asked(one, whole, left_out), meter
    for ask in (
        lambda q: q.snapshot(span[0]),
        lambda q: q.fleet(*span, zone=zone),
        lambda q: q.fleet(*span, step="hour", zone=zone),
        lambda q: q.fleet(*span, step="day", zone=zone),
        lambda q: q.top(*span, None),
    ):
        found, wanted = asked(ask, spread, grid), asked(ask, whole, grid)
        assert in_order(found) == in_order(wanted)


def in_order(answer):
    """Rows of an answer whose channels come in the order in which they were met."""
    return answer if isinstance(answer, str) else sorted(answer[0]["values"], key=repr)


def lake_and_live(loads, lives, floor=START):
    """Questions over batches that were loaded first, and batches that came live then."""
    ids = MeterIds()
    numbered = list(enumerate([*loads, *lives], 1))
    lake = lake_of(numbered[: len(loads)], ids)
    return lake, live_of(numbered[len(loads) :], ids, floor)


def day_of(series, day, amount, way):
    width = DAY // SERIES[series][2]
    return Batch((Run(series, day * width, (amount,) * width, 4),), way)


def test_a_moment_knows_what_was_acknowledged_by_then_and_a_version_the_lake_alone():
    lake, live = lake_and_live([day_of(0, 0, 1, "load")], [day_of(0, 0, 2, "live"), day_of(0, 1, 3, "live")])
    questions = Questions(lake, live=live)
    seen = {}
    for at in (lake.snapshot().version, *(moment(landed_us(n) // 1_000_000) for n in (1, 2, 3))):
        days = questions.history("m0", moment(START), moment(START + 2 * DAY), step="day", as_of=at)
        top = questions.top(moment(START), moment(START + 2 * DAY), as_of=at).to_arrow()
        seen[at] = [a for listing in days.listings for a in listing.amount.tolist()]
        assert top["amount"].to_pylist() == [sum(seen[at])]
        newest = days.listings[0].passport.newest_us
        assert newest == (landed_us(1) if isinstance(at, int) else int(at.timestamp()) * 1_000_000)
    assert list(seen.values()) == [[48, 0], [48, 0], [96, 0], [96, 144]]


class Sealing:
    """A live source whose readings are sealed, and dropped, right after a question took its part."""

    def __init__(self, live, seal):
        self._live, self._seal = live, seal

    @property
    def epoch(self):
        return self._live.epoch

    def touched(self, meters):
        return self._live.touched(meters)

    def reaches(self, meters, start_s, stop_s):
        return self._live.reaches(meters, start_s, stop_s)

    def part(self, meters, start_s, stop_s):
        part = self._live.part(meters, start_s, stop_s)
        self._seal()
        return part


def test_what_is_sealed_while_a_question_is_asked_is_counted_once():
    for ask in (
        lambda q: (
            q.history("m0", moment(START), moment(START + 2 * DAY), step="day").listings[0].amount.sum()
        ),
        lambda q: (
            q.usage("m0", until="2024-03-31", ranges=("2d",)).channels["electricity.import"]["2d"][0].amount
        ),
        lambda q: sum(
            q.fleet(moment(START), moment(START + 2 * DAY), step="day").to_arrow()["amount"].to_pylist()
        ),
        lambda q: q.top(moment(START), moment(START + 2 * DAY)).to_arrow()["amount"][0].as_py(),
    ):
        late = [day_of(0, 0, 2, "live"), day_of(0, 1, 3, "live")]
        lake, live = lake_and_live([day_of(0, 0, 1, "load")], late, START + DAY)
        registry = SqlRegistry("sqlite://", create=True)

        def seal(lake=lake, live=live, registry=registry):
            cut = live.freeze(START + 9 * DAY, 0)
            if cut is not None:
                seals.seal(lake, registry, cut)
                live.release(cut)

        questions = Questions(lake, live=Sealing(live, seal))
        assert [int(ask(questions)) for _ in range(3)] == [48 * 5] * 3
        assert live.part(None, START - DAY, START + 9 * DAY) is None


def test_a_meter_that_only_sends_live_is_known():
    lake, live = lake_and_live([], [day_of(0, 1, 3, "live")])
    questions = Questions(lake, live=live)
    (listing,) = questions.history("m0", "2020-01-01", "2020-01-02", step="day").listings
    assert (listing.expected.tolist(), listing.filled.tolist()) == ([48], [0])
    with pytest.raises(NotFound, match="no meter"):
        questions.history("m1", "2020-01-01", "2020-01-02")
    with pytest.raises(NotFound, match=r"it has electricity\.import"):
        questions.history("m0", "2024-03-29", "2024-03-30", channel="gas.import")


def test_live_readings_of_a_day_that_goes_on_do_not_end_it():
    half = Batch((Run(0, 48, (1,) * 20, 4),), "live")
    ahead = Batch((Run(0, 2 * 48, (1,) * 48, 4),), "live")
    for lives, until in (([half], "2024-03-30"), ([half, day_of(0, 1, 1, "live")], "2024-03-31")):
        lake, live = lake_and_live([day_of(1, 0, 1, "load")], lives)
        assert Questions(lake, live=live).usage("m0").to_json()["until"] == until
        assert (
            Questions(lake, live=live).usage("m0", as_of=lake.snapshot().version).to_json()["until"]
            == "2024-03-30"
        )
    lake, live = lake_and_live([], [half, ahead])
    assert Questions(lake, live=live).usage("m0").to_json()["until"] == "2024-04-01"


def test_electricity_is_the_sum_of_its_import_registers():
    lake, live = lake_and_live([day_of(0, 0, 1, "load")], [day_of(1, 0, 2, "live"), day_of(2, 0, 9, "live")])
    questions = Questions(lake, live=live)
    asked = {"id_": "m0", "channel": "electricity"}
    span = {"from_": "2024-03-29", "to": "2024-03-30"}
    (every,) = questions.history(**asked, **span).listings
    assert (every.channel, every.amount.tolist(), every.passport.filled) == ("electricity", [3] * 48, 96)
    (hours,) = questions.history(**asked, **span, step="hour").listings
    assert hours.amount.tolist() == [6] * 24
    usage = questions.usage(**asked, until="2024-03-30", ranges=("1d",))
    assert usage.channels["electricity"]["1d"][0].amount == 3 * 48
    assert usage.to_json()["channels"]["electricity"]["unit"] == "kWh"
