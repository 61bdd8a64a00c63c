"""Polars and DuckDB read the lake as Delta tables, with no help from us, and see what we see."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import duckdb
import polars as pl
import pytest

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.store_folder import FolderStore
from meterlake.testing.lake_contract import WHOLE, change, everything, plain_blocks

COLUMNS = ["meter_id", "channel", "interval_s", "start", "offset_s", "scale", "values", "filled", "total"]


@pytest.fixture
def lake(tmp_path):
    """A lake in which one of two files was written again."""
    lake = DeltaLake(FolderStore(tmp_path / "lake"), create=True)
    first, second = (lake.put(plain_blocks(["m1", "m2"], day), WHOLE) for day in (0, 40))
    lake.commit(change(lake.snapshot(), [first, second], app="load:a"))
    again = lake.put(plain_blocks(["m1", "m2", "m3"], 40, delivery=2), WHOLE)
    lake.commit(change(lake.snapshot(), [again], [second], app="load:b"))
    return lake


@pytest.fixture(scope="module")
def engine():
    """DuckDB with the Delta extension of its wheel."""
    places = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations
    (extension,) = (path for place in places for path in Path(place).rglob("*.duckdb_extension"))
    connection = duckdb.connect()
    connection.load_extension(str(extension))
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def in_order(rows):
    return sorted(rows, key=lambda row: (row["meter_id"], row["start"]))


def test_polars_sees_the_same_rows(lake):
    seen = pl.read_delta(f"{lake.url}/interval_blocks").select(COLUMNS)
    assert in_order(seen.to_dicts()) == in_order(everything(lake).select(COLUMNS).to_pylist())


def test_duckdb_sees_the_same_rows(lake, engine):
    query = f"""SELECT {", ".join(f'"{name}"' for name in COLUMNS)} FROM delta_scan('{lake.url}/interval_blocks')"""
    seen = engine.execute(query).to_arrow_table().to_pylist()
    assert in_order(seen) == in_order(everything(lake).select(COLUMNS).to_pylist())


def test_earlier_versions_are_theirs_too(lake):
    for version in (0, 1, 2):
        seen = pl.read_delta(f"{lake.url}/interval_blocks", version=version)
        assert len(seen) == len(everything(lake, version))
