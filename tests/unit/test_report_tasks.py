"""Questions about all meters, answered in parts: the same as in one piece, however the lake's files are cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import pytest

from meterlake.app import open_lake
from meterlake.errors import Conflict, Invalid
from meterlake.ids import PARTITIONS
from meterlake.query.questions import Questions
from meterlake.report_tasks import Slice, TaskParts, ask, runs
from meterlake.simulate import SimulateOptions, simulate
from meterlake.site import Threads

FLEET = SimulateOptions(
    points=60, days=3, start=date(2026, 1, 1), format="wide", seed=3, faults={"missing": 0.02}
)
FROM, TO = "2025-12-31T12:00:00Z", "2026-01-03T06:00:00Z"


@pytest.fixture(scope="module")
def lakes(tmp_path_factory):
    """One lake as a load leaves it, one whose files are cut by partitions and have pending blocks and corrections over them."""
    folder = tmp_path_factory.mktemp("lakes")
    simulate(folder / "first", FLEET)
    simulate(folder / "again", replace(FLEET, points=25, days=2, seed=4))
    found = []
    for name in ("plain", "cut"):
        lake = open_lake(str(folder / name))
        lake.registry.import_tables(
            {kind: open_registry(folder, kind) for kind in ("customers", "service_points", "meters")}
        )
        lake.load(str(folder / "first" / "readings"))
        found.append(lake)
    cut_files(found[1])
    found[1].load(str(folder / "again" / "readings"), source="again")
    return found


def open_registry(folder, kind):
    import pyarrow.csv as pacsv

    return pacsv.read_csv(folder / "first" / "registry" / f"{kind}.csv")


def cut_files(lake):
    """Write the files anew, a file for each of four runs of partitions."""
    from meterlake.ports import Change

    base = lake.lake.snapshot()
    quarter = PARTITIONS // 4
    added = []
    for n in range(4):
        part = Slice(lake.lake, base.version, (n * quarter, (n + 1) * quarter))
        for file in base.files:
            rows = part.blocks(file)
            if len(rows):
                added.append(lake.lake.put(rows, (n * quarter, (n + 1) * quarter)))
    lake.lake.commit(Change(base, added, base.files, "test:cut", 1, {}))


def in_parts(lake):
    return Questions(
        lake.lake, lake.registry, parts=TaskParts(lake.lake, lambda: Threads(lake.lake, lake.registry))
    )


def test_a_load_of_large_files_is_cut(lakes):
    assert len(runs(lakes[0].lake.snapshot().files)) == 1
    before = lakes[1].lake.snapshot(2)
    assert len(runs(before.files)) == 4
    parts = [Slice(lakes[1].lake, 2, run).snapshot() for run in runs(before.files)]
    assert sum(len(part.files) for part in parts) == len(before.files)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("as_of", [None, 1, 2, "2030-01-01T00:00:00Z"])
def test_totals_of_parts_are_those_of_the_whole(lakes, number, as_of):
    lake = lakes[number]
    if as_of == 2 and number == 0:
        return
    whole, parts = Questions(lake.lake, lake.registry), in_parts(lake)
    for step, by in product(("interval", "hour", "day"), (("channel",), ("channel", "region"), ("class",))):
        options = {"step": step, "by": by, "zone": "Europe/London", "as_of": as_of}
        first, second = whole.fleet(FROM, TO, **options), parts.fleet(FROM, TO, **options)
        assert first.to_json() == second.to_json()
        assert first.table.equals(second.table)
    for by, n in product(("meter", "region"), (3, None)):
        first, second = (one.top(FROM, TO, n, by=by, as_of=as_of) for one in (whole, parts))
        assert first.to_json() == second.to_json()
    options = {"channel": "gas.import", "as_of": as_of}
    assert whole.top(FROM, TO, 5, **options).to_json() == parts.top(FROM, TO, 5, **options).to_json()


def test_an_empty_lake_has_nothing_in_parts_too(tmp_path):
    lake = open_lake(str(tmp_path / "lake"), create=True)
    for one in (Questions(lake.lake, lake.registry), in_parts(lake)):
        assert one.fleet(FROM, TO).to_json()["values"] == []
        assert one.top(FROM, TO).to_json()["values"] == []


def test_places_that_changed_meanwhile_are_told(lakes, monkeypatch):
    def changed(site, job):
        found = ask(site, job)
        return found.replace_schema_metadata({**found.schema.metadata, b"labels": b"others"})

    monkeypatch.setattr("meterlake.report_tasks.ask", changed)
    with pytest.raises(Conflict, match="registry changed"):
        in_parts(lakes[1]).fleet(FROM, TO, by=("region",))


def test_nothing_is_written_through_a_part(lakes):
    part = Slice(lakes[0].lake, 1, (0, 4))
    for write in (part.put, part.commit, part.reserve):
        with pytest.raises(Invalid, match="only read"):
            write(1)
