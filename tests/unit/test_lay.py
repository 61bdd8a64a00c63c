"""Unsealed readings laid over the lake: which blocks stand, what is new, what lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from meterlake.adapters.memory import MemoryLake
from meterlake.block_keys import BlockKeys, among, hours_of
from meterlake.blocks import BLOCK_SCHEMA, Sender, sort_blocks
from meterlake.errors import Invalid
from meterlake.ids import PARTITIONS
from meterlake.lay import lay
from meterlake.ledger import DELIVERY_SCHEMA, LOST_SCHEMA, Delivered
from meterlake.live.part import Part
from meterlake.ports import Change
from meterlake.testing.lake_contract import change, plain_blocks

LANDED = 10**15
NONE = LOST_SCHEMA.empty_table()


@pytest.fixture
def lake() -> MemoryLake:
    """One file: two days of three meters, of delivery 1."""
    made = MemoryLake()
    blocks = sort_blocks(pa.concat_tables([plain_blocks(["a", "b", "c"], day) for day in (0, 1)]))
    row = {
        "number": 1,
        "load_id": "l",
        "path": "x",
        "source": "s",
        "version": 1,
        "received_at": LANDED,
        "landed_at": LANDED,
    }
    rows = pa.Table.from_pylist([row], schema=DELIVERY_SCHEMA)
    first = change(made.snapshot(), [made.put(blocks, (0, PARTITIONS))])
    made.commit(Change(first.base, first.added, [], "load:l", 1, {**first.records, "deliveries": rows}))
    return made


def part(blocks: pa.Table, late: pa.Table = NONE, lost: pa.Table = NONE) -> Part:
    """Readings of delivery 2, acknowledged a second after the file landed."""
    return Part(blocks, lost, late, {2: Sender("s", LANDED + 10**6)}, {2: LANDED + 10**6})


def laid(lake: MemoryLake, over: Part, *, lost: bool = True):
    return lay(lake, lake.snapshot(), Delivered.read(lake), over, lost=lost)


def of(meters: list[str], day: int) -> pa.Table:
    """Blocks of delivery 2 whose values are others than the lake's."""
    blocks = plain_blocks(meters, day, delivery=2)
    values = pa.array([[v + 7 for v in row] for row in blocks["values"].to_pylist()], pa.list_(pa.int32()))
    blocks = blocks.set_column(6, BLOCK_SCHEMA.field("values"), values)
    total = pa.array([t + 7 * 48_000 for t in blocks["total"].to_pylist()])
    stamp = pa.array([LANDED + 10**6] * len(blocks)).cast(BLOCK_SCHEMA.field("stamp").type)
    return blocks.set_column(14, BLOCK_SCHEMA.field("total"), total).set_column(
        11, BLOCK_SCHEMA.field("stamp"), stamp
    )


def late_rows(meter: str, start_s: int, amounts: list[int]) -> pa.Table:
    row = {
        "meter_id": meter, "channel": "electricity.import", "interval_s": 1800, "start": start_s * 1_000_000,
        "count": len(amounts), "quality": 4, "delivery": 2, "stamp": LANDED + 10**6, "amounts": amounts,
    }  # fmt: skip
    return pa.Table.from_pylist([row], schema=LOST_SCHEMA)


def test_blocks_of_which_the_lake_holds_nothing_are_taken_as_they_are(lake) -> None:
    over = part(sort_blocks(pa.concat_tables([of(["d"], 0), of(["a"], 7)])))
    found = laid(lake, over)
    assert found.blocks is over.blocks
    assert found.fresh.all()
    assert found.held.tolist() == [0, 0]


def test_blocks_of_both_are_merged_and_what_they_replace_is_named(lake) -> None:
    found = laid(lake, part(sort_blocks(pa.concat_tables([of(["b"], 1), of(["b"], 9)]))))
    assert found.fresh.tolist() == [False, True]
    assert found.changed.all()
    assert found.held.tolist() == [48, 0]
    assert found.blocks["delivery"].to_pylist() == [2, 2]
    assert (found.lost["meter_id"].to_pylist(), found.lost["count"].to_pylist()) == (["b"], [48])
    assert found.lost["delivery"].to_pylist() == [1]
    assert len(laid(lake, part(of(["b"], 1)), lost=False).lost) == 0


def test_late_readings_over_midnight_touch_two_blocks(lake) -> None:
    midnight = 15_001 * 86_400
    found = laid(lake, part(BLOCK_SCHEMA.empty_table(), late_rows("a", midnight - 1800, [5, 6])))
    assert found.blocks["start"].cast(pa.int64()).to_pylist() == [
        (midnight - 86_400) * 10**6,
        midnight * 10**6,
    ]
    assert found.late.all()
    assert not found.fresh.any()
    assert [len(row) for row in found.blocks["origin"].to_pylist()] == [2, 2]


def test_readings_that_are_in_the_lake_already_change_nothing(lake) -> None:
    over = part(of(["a"], 0), late_rows("b", 15_000 * 86_400, [5, 6]))
    first = laid(lake, over)
    file = lake.snapshot().files[0]
    keys, kept = BlockKeys(), lake.blocks(file)
    kept = kept.filter(pa.array(~among(keys.of(kept), np.sort(keys.of(first.blocks)))))
    whole = sort_blocks(pa.concat_tables([kept, first.blocks]))
    lost = first.lost.append_column("version", pa.array([2] * len(first.lost)))
    base = lake.snapshot()
    put = lake.put(whole, (0, PARTITIONS))
    row = {
        "number": 2,
        "load_id": "b2",
        "path": "",
        "source": "s",
        "version": 2,
        "received_at": LANDED + 10**6,
        "landed_at": LANDED + 10**6,
    }
    rows = pa.Table.from_pylist([row], schema=DELIVERY_SCHEMA)
    lake.commit(Change(base, [put], [file], "seal:1", 1, {"superseded": lost, "deliveries": rows}))
    again = laid(lake, over)
    assert again.blocks.equals(first.blocks)
    assert not again.changed.any()
    assert len(again.lost) == 0


def test_readings_beside_the_phase_of_the_lakes_block_are_in_none(lake) -> None:
    found = laid(lake, part(BLOCK_SCHEMA.empty_table(), late_rows("a", 15_000 * 86_400 + 300, [5, 6])))
    assert found.beside["count"].to_pylist() == [2]
    assert not found.changed.any()
    assert len(found.lost) == 0


def test_keys_of_blocks_are_equal_where_the_blocks_are() -> None:
    keys = BlockKeys()
    blocks = sort_blocks(pa.concat_tables([plain_blocks(["a", "b"], day) for day in (-40_000, 0, 1)]))
    first, again = keys.of(blocks), keys.of(blocks.slice(2))
    assert len(set(first.tolist())) == 6
    assert again.tolist() == first[2:].tolist()
    assert hours_of(first[:3]).tolist() == [-25_000 * 24, 15_000 * 24, 15_001 * 24]
    assert keys.meters(first).to_pylist() == ["a", "b"]
    many = plain_blocks([f"m{n}" for n in range(2100)])
    channels = pa.array([f"electricity.import.{n}" for n in range(2100)])
    with pytest.raises(Invalid, match="channels and intervals"):
        keys.of(many.set_column(1, BLOCK_SCHEMA.field("channel"), channels))
