"""The record and Delta time travel tell the same past, also after undo, compaction and other engines' reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import meterlake
from meterlake.blocks import sort_blocks
from meterlake.intake import LoadOptions
from meterlake.record import as_of

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = [f"2026-03-{d:02d}T{h:02d}:{m:02d}:00Z" for d in (28, 29, 30) for h in range(24) for m in (0, 30)]


def csv(path: Path, meters: range, value: float, slots: list[str]) -> Path:
    lines = [f"m{m:02d},{slot},{value + m / 1000:.3f}" for m in meters for slot in slots]
    path.write_text("meter,start,value\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> meterlake.app.Meterlake:
    """Six versions: two loads, a correction, its undo, a later load, a compaction."""
    folder = tmp_path_factory.mktemp("as-of")
    made = meterlake.open(str(folder / "lake"))
    feed = LoadOptions(source="feed")
    made.load([csv(folder / "a.csv", range(20), 1, SLOTS[:96])], feed)
    made.load([csv(folder / "b.csv", range(10, 30), 2, SLOTS[48:])], feed)
    wrong = made.load([csv(folder / "c.csv", range(5), 9, SLOTS[10:60])], feed)
    made.undo(wrong.load_id)
    made.load([csv(folder / "d.csv", range(3), 4, SLOTS[20:30])], feed)
    made.compact()
    return made


def test_every_version_from_the_record_is_the_table_that_delta_keeps(lake) -> None:
    newest = lake.lake.snapshot().version
    assert newest >= 6
    for version in range(newest + 1):
        told = as_of(lake.lake, version)
        kept = pl.read_delta(f"{lake.lake.url}/interval_blocks", version=version)
        columns = ["meter_id", "channel", "interval_s", "start", "values", "filled", "total", "delivery"]
        if not len(told):
            assert len(kept) == 0
            continue
        expected = sort_blocks(kept.to_arrow().select(told.column_names).cast(told.schema))
        assert told.select(columns).equals(expected.select(columns)), version


@pytest.mark.parametrize("meter", ["m00", "m04", "m12", "m25"])
def test_questions_as_of_a_version_are_those_asked_then(lake, meter: str) -> None:
    asked = {"from_": "2026-03-28", "to": "2026-03-31", "zone": "Europe/London"}
    undone = lake.history(meter, **asked, as_of=4).to_arrow()
    before = lake.history(meter, **asked, as_of=2).to_arrow()
    assert undone.equals(before)
    newest = lake.lake.snapshot().version
    assert (
        lake.history(meter, **asked, as_of=newest).to_arrow().equals(lake.history(meter, **asked).to_arrow())
    )
    if meter == "m00":
        assert not lake.history(meter, **asked, as_of=3).to_arrow().equals(before)
    day = lake.fleet("2026-03-29", "2026-03-30", step="day", as_of=4).to_arrow()
    assert (
        day["value"].to_pylist()
        == lake.fleet("2026-03-29", "2026-03-30", step="day", as_of=2).to_arrow()["value"].to_pylist()
    )


def test_a_moment_is_the_last_version_committed_at_or_before_it(lake) -> None:
    operations = lake.lake.records("operations").to_pylist()
    third = next(o for o in operations if o["version"] == 3)
    assert as_of(lake.lake, third["landed_at"]).equals(as_of(lake.lake, 3))
