"""Spark does what threads do: the same readings, receipts and files that count, whoever is killed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from meterlake.app import open_lake
from meterlake.simulate import SimulateOptions, simulate

FLEET = SimulateOptions(points=60, days=4, start=date(2026, 1, 1), format="wide", seed=3, faults={"missing": 0.01})
DAY = "2026-01-02"
RECEIVED = "2026-02-01T00:00:00Z"
SECONDS = ("seconds", "landed_at", "bytes_on_disk", "bytes_before", "bytes_after", "run_id")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Files of a simulated fleet, some of them sent again with other values."""
    folder = tmp_path_factory.mktemp("fleet")
    simulate(folder / "first", FLEET)
    simulate(folder / "again", replace(FLEET, points=20, days=2, seed=4))
    return folder


def lake_of(folder, fleet, engine=None):
    lake = open_lake(str(folder), engine=engine)
    for name in ("first", "again"):
        lake.load(str(fleet / name / "readings"), source=name, received_at=RECEIVED)
    return lake


def readings(lake):
    """All readings as sorted Arrow rows."""
    rows = lake.sql("select * from readings")
    return rows.sort_by([(name, "ascending") for name in rows.column_names if not pa.types.is_nested(rows[name].type)])


def told(receipt):
    """A receipt without what differs from run to run."""
    return {name: value for name, value in receipt.to_json().items() if name not in SECONDS}


@pytest.fixture(params=["local[2]", "cluster"])
def engine(request):
    return request.param if request.param != "cluster" else request.getfixturevalue("spark").url


def test_batch_compaction_and_check_equal_those_of_threads(tmp_path, fleet, engine):
    threads, spark = (lake_of(tmp_path / name, fleet) for name in ("threads", "spark"))
    assert readings(threads).equals(readings(spark))
    spark = open_lake(str(tmp_path / "spark"), engine=engine)
    assert told(threads.batch(DAY)) == told(spark.batch(DAY))
    assert told(threads.check()) == told(spark.check())
    assert told(threads.compact()) == told(spark.compact())
    assert readings(threads).equals(readings(spark))
    assert spark.check().ok
    assert json.dumps(told(threads.check())) == json.dumps(told(spark.check()))
