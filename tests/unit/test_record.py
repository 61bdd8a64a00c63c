"""As of and undo, held to time travel: whatever was loaded, replaced, re-delivered or taken back."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.registry import SqlRegistry
from meterlake.blocks import BLOCK_SCHEMA, sort_blocks
from meterlake.check import check
from meterlake.compact import compact
from meterlake.intake import LoadOptions
from meterlake.load import Load
from meterlake.record import as_of
from meterlake.undo import undo

if TYPE_CHECKING:
    from meterlake.ports import Lake
    from meterlake.receipt import Receipt

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def write(path: Path, rows: list[dict]) -> Path:
    pq.write_table(
        pa.Table.from_pylist(
            rows,
            schema=pa.schema(
                [
                    ("meter", pa.string()), ("channel", pa.string()), ("start", pa.timestamp("us", "UTC")),
                    ("seconds", pa.int32()), ("value", pa.decimal128(20, 6)), ("unit", pa.string()),
                    ("quality", pa.string()),
                ]
            ),
        ),
        path,
    )  # fmt: skip
    return path


def row(meter: str, slot: int, milli: int, quality: str = "actual") -> dict:
    from decimal import Decimal

    return {
        "meter": meter, "channel": "electricity.import", "start": DAY + timedelta(minutes=30 * slot),
        "seconds": 1800, "value": Decimal(milli).scaleb(-6), "unit": "kWh", "quality": quality,
    }  # fmt: skip


def load(lake: Lake, path: Path, at: int, **options: object) -> Receipt:
    received = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(hours=at)
    registry = SqlRegistry("sqlite://", create=True)
    return Load(lake, registry, LoadOptions(received_at=received, **options)).run([str(path)])


def everything(lake: Lake, version: int | None = None) -> pa.Table:
    tables = [lake.blocks(file) for file in lake.snapshot(version).files]
    return sort_blocks(pa.concat_tables([BLOCK_SCHEMA.empty_table(), *tables]))


rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["m1", "m2"]), st.integers(0, 3) | st.integers(46, 50),
        st.integers(0, 3).map(lambda n: n * 1000), st.sampled_from(["actual", "estimated", "verified"]),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(rows, st.integers(0, 5)), min_size=1, max_size=6))
def test_as_of_any_version_is_what_time_travel_gives(steps: list) -> None:
    """Loads (rows) and undos (the index of an earlier load) in any sequence, then a compaction."""
    lake, loads = MemoryLake(), []
    with tempfile.TemporaryDirectory() as folder:
        for at, step in enumerate(steps):
            if isinstance(step, list):
                receipt = load(lake, write(Path(folder) / f"{at}.parquet", step), at, source="feed")
                counts = [
                    receipt.count(n) for n in ("stored", "duplicate", "superseded", "conflict", "rejected")
                ]
                assert sum(counts) == receipt.count("received") == len(step)
                if not receipt.replayed:
                    loads.append(receipt.load_id)
            elif step < len(loads):
                undo(lake, loads.pop(step))
    before = everything(lake)
    compact(lake)
    assert everything(lake).equals(before)
    assert check(lake).problems == []
    for version in range(lake.snapshot().version + 1):
        assert as_of(lake, version).equals(everything(lake, version)), version


def test_undo_gives_back_what_was_replaced_and_a_replay_brings_nothing_back(tmp_path: Path) -> None:
    lake = MemoryLake()
    first = write(tmp_path / "a.parquet", [row("m1", s, 1000) for s in range(48)])
    second = write(tmp_path / "b.parquet", [row("m1", s, 2000) for s in range(10)] + [row("m2", 0, 5000)])
    load(lake, first, 0)
    before = everything(lake)
    wrong = load(lake, second, 1)
    assert (wrong.count("stored"), wrong.count("replaced")) == (11, 10)
    back = undo(lake, wrong.load_id)
    assert (back.withdrawn, back.restored, back.emptied) == (11, 10, 1)
    assert everything(lake).equals(before)
    again = load(lake, first, 0)
    assert again.replayed
    assert everything(lake).equals(before)
    once_more = load(lake, second, 2)
    assert once_more.load_id != wrong.load_id
    assert once_more.count("stored") == 11


def test_a_delivery_known_by_content_changes_nothing_in_another_load(tmp_path: Path) -> None:
    lake = MemoryLake()
    first = write(tmp_path / "a.parquet", [row("m1", s, 1000) for s in range(48)])
    load(lake, first, 0, source="x")
    correction = write(tmp_path / "b.parquet", [row("m1", 0, 7000)])
    load(lake, correction, 1, source="x")
    corrected = everything(lake)
    other = write(tmp_path / "c.parquet", [row("m2", 0, 1)])
    registry = SqlRegistry("sqlite://", create=True)
    receipt = Load(lake, registry, LoadOptions(source="x")).run([str(first), str(other)])
    assert receipt.count("stored") == 1
    assert receipt.count("duplicate") == 47
    assert receipt.count("superseded") == 1
    assert everything(lake)["total"].to_pylist()[0] == corrected["total"].to_pylist()[0]
