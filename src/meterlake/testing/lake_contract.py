"""The contract of `ports.Lake`: subclass it with a ``lake`` fixture and every adapter keeps the same promises."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.errors import ConcurrentCommit, NotFound
from meterlake.ids import PARTITIONS
from meterlake.ledger import PENDING_SCHEMA, RECORD_SCHEMAS, SUPERSEDED_SCHEMA, operation_row
from meterlake.ports import Change, DataFile, Lake, Snapshot

WHOLE = (0, PARTITIONS)
NOTHING_LOST = SUPERSEDED_SCHEMA.empty_table()


def plain_blocks(meters: list[str], day: int = 0, width: int = 48, delivery: int = 1) -> pa.Table:
    """One full half-hourly block a meter, sorted; values count up from the meter's place."""
    n = len(meters)
    rows = [
        {
            "meter_id": meter,
            "channel": "electricity.import",
            "interval_s": 86_400 // width,
            "start": (15_000 + day) * 86_400_000_000,
            "offset_s": 0,
            "scale": 3,
            "values": [i + s for s in range(width)],
            "quality": 4,
            "delivery": delivery,
            "stamp": 10**15,
            "filled": width,
            "total": 1000 * sum(i + s for s in range(width)),
        }
        for i, meter in zip(range(n), sorted(meters), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA)


def change(
    base: Snapshot,
    added: list[DataFile],
    removed: list[DataFile] | None = None,
    app: str = "load:a",
    number: int = 1,
) -> Change:
    """A commit with one row of record."""
    row = operation_row("load", app, base.version + 1, 0, {})
    return Change(base, added, removed or [], app, number, {"operations": row})


def everything(lake: Lake, version: int | None = None) -> pa.Table:
    """All rows of a version in the order of its files."""
    tables = [lake.blocks(file) for file in lake.snapshot(version).files]
    return pa.concat_tables([BLOCK_SCHEMA.empty_table(), *tables])


class LakeContract:
    """What every lake promises; ``lake`` is a fixture that gives an empty one."""

    def test_a_new_lake_is_empty_at_version_0(self, lake: Lake) -> None:
        """Nothing is there before the first commit."""
        assert lake.snapshot() == Snapshot(0, ())
        for name, schema in RECORD_SCHEMAS.items():
            assert lake.records(name).schema == schema
            assert len(lake.records(name)) == 0

    def test_blocks_read_back_as_they_were_put(self, lake: Lake) -> None:
        """A file gives the rows, the types and the order that it got."""
        blocks = plain_blocks([f"m{i:03d}" for i in range(300)])
        file = lake.put(blocks, WHOLE)
        lake.commit(change(lake.snapshot(), [file]))
        assert lake.snapshot().files == (file,)
        assert everything(lake).equals(blocks)
        assert (file.rows, file.meters) == (300, ("m000", "m299"))

    def test_reading_some_meters_gives_at_least_theirs(self, lake: Lake) -> None:
        """A range of meters is a hint that may give more, never less."""
        file = lake.put(plain_blocks([f"m{i:05d}" for i in range(5000)]), WHOLE)
        some = lake.blocks(file, ["meter_id", "total"], ("m01234", "m01240"))
        assert some.column_names == ["meter_id", "total"]
        assert {f"m{i:05d}" for i in range(1234, 1241)} <= set(some["meter_id"].to_pylist())
        assert len(lake.blocks(file, ["meter_id"], ("zz", "zzz"))) == 0

    def test_put_is_not_visible_before_its_commit(self, lake: Lake) -> None:
        """Only a commit makes a version."""
        lake.put(plain_blocks(["m1"]), WHOLE)
        assert lake.snapshot() == Snapshot(0, ())

    def test_a_commit_is_whole_or_absent(self, lake: Lake) -> None:
        """A refused commit leaves neither files nor records."""
        base = lake.snapshot()
        lake.commit(change(base, [lake.put(plain_blocks(["m1"]), WHOLE)]))
        late = change(base, [lake.put(plain_blocks(["m2"]), WHOLE)], app="load:b")
        with pytest.raises(ConcurrentCommit):
            lake.commit(late)
        assert lake.snapshot().version == 1
        assert everything(lake)["meter_id"].to_pylist() == ["m1"]
        assert lake.records("operations")["load_id"].to_pylist() == ["load:a"]

    def test_two_rewrites_of_one_file_are_never_both_accepted(self, lake: Lake) -> None:
        """The second of two changes planned on one version fails, whatever it touches."""
        first = lake.put(plain_blocks(["m1"]), WHOLE)
        lake.commit(change(lake.snapshot(), [first]))
        base = lake.snapshot()
        a, b = (lake.put(plain_blocks(["m1"], delivery=d), WHOLE) for d in (2, 3))
        lake.commit(change(base, [a], [first], app="load:b"))
        with pytest.raises(ConcurrentCommit):
            lake.commit(change(base, [b], [first], app="load:c"))
        assert everything(lake)["delivery"].to_pylist() == [2]

    def test_earlier_versions_stay_as_they_were(self, lake: Lake) -> None:
        """Time travel gives the lake of that version."""
        first = lake.put(plain_blocks(["m1"]), WHOLE)
        lake.commit(change(lake.snapshot(), [first]))
        second = lake.put(plain_blocks(["m1"], delivery=2), WHOLE)
        lake.commit(change(lake.snapshot(), [second], [first], app="load:b"))
        assert everything(lake, 0).num_rows == 0
        assert everything(lake, 1)["delivery"].to_pylist() == [1]
        assert everything(lake, 2)["delivery"].to_pylist() == [2]
        with pytest.raises(NotFound):
            lake.snapshot(99)

    def test_rows_of_a_side_table_read_back_with_the_commit_that_they_are_of(self, lake: Lake) -> None:
        """A change brings rows of any side table; some meters may be asked for."""
        blocks = plain_blocks([f"m{i:03d}" for i in range(50)])
        rows = blocks.append_column(PENDING_SCHEMA.field("version"), pa.array(np.ones(50, np.int64)))
        base = lake.snapshot()
        lake.commit(Change(base, [], [], "seal:1", 1, {"pending_blocks": rows, "superseded": NOTHING_LOST}))
        assert lake.records("pending_blocks").equals(rows)
        some = lake.records("pending_blocks", ("m010", "m019"))["meter_id"].to_pylist()
        assert {f"m{i:03d}" for i in range(10, 20)} <= set(some)
        assert len(lake.records("superseded")) == 0

    def test_reserved_numbers_are_never_given_twice(self, lake: Lake) -> None:
        """Every reservation is its own."""
        given = np.concatenate([lake.reserve(n) + np.arange(n) for n in (1, 5, 2)])
        assert len(set(given.tolist())) == 8
