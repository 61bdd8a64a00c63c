"""Spark does what threads do: the same readings, receipts and files that count, whoever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pytest

from meterlake.app import open_lake
from meterlake.app.parts import engine_at
from meterlake.errors import Conflict, Invalid, MeterlakeError
from meterlake.simulate import SimulateOptions, simulate

FLEET = SimulateOptions(
    points=60, days=4, start=date(2026, 1, 1), format="wide", seed=3, faults={"missing": 0.01}
)
DAY = "2026-01-02"
RECEIVED = "2026-02-01T00:00:00Z"
SECONDS = (
    "seconds",
    "readings_per_s",
    "day_of_10m_meters_s",
    "landed_at",
    "bytes_on_disk",
    "bytes_before",
    "bytes_after",
    "run_id",
)


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
    return rows.sort_by(
        [(name, "ascending") for name in rows.column_names if not pa.types.is_nested(rows[name].type)]
    )


def told(receipt):
    """A receipt without what differs from run to run."""
    return {name: value for name, value in receipt.to_json().items() if name not in SECONDS}


@pytest.fixture
def engine(spark):
    """A cluster of two workers; Spark within the process is tried where a driver is killed, and with real data."""
    return spark.url


def test_fleet_batch_compaction_and_check_equal_those_of_threads(tmp_path, fleet, engine):
    threads, spark = (lake_of(tmp_path / name, fleet) for name in ("threads", "spark"))
    assert readings(threads).equals(readings(spark))
    spark = open_lake(str(tmp_path / "spark"), engine=engine)
    first, second = (lake.fleet("2026-01-01", "2026-01-04", step="day") for lake in (threads, spark))
    assert first.to_json() == second.to_json()
    assert len(first.to_json()["values"]) > 9
    assert told(threads.batch(DAY)) == told(spark.batch(DAY))
    assert told(threads.compact()) == told(spark.compact())
    assert readings(threads).equals(readings(spark))
    assert json.dumps(told(threads.check())) == json.dumps(told(spark.check()))


def files_of(folder, fleet):
    """Files of every fate: whole, zipped, sent twice, beside the grid, broken, with lines that are refused."""
    folder.mkdir()
    rows = fleet / "first" / "readings"
    names = sorted(path for path in rows.rglob("*") if path.is_file())
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        for path in names[:2]:
            archive.write(path, path.name)
    for path in names[2:]:
        shutil.copy(path, folder / path.name)
    shutil.copy(names[0], folder / "twice.csv")
    lines = ["meter,start,kwh,interval"] + [f"m{n},2026-01-01T{n:02d}:00:00Z,1.5,3600" for n in range(20)]
    beside = [f"m{n},2026-01-02T{n:02d}:07:00Z,1.5,3600" for n in range(3)]
    same = [f"m{n},2026-01-02T{n:02d}:00:00Z,2.5,3600" for n in range(3)] + [
        "m1,yesterday,2,3600",
        "m1,2026-01-01T00:00:00Z,x,3600",
    ]
    (folder / "long.csv").write_text("\n".join(lines + same + beside) + "\n")
    (folder / "broken.gz").write_bytes(b"\x1f\x8b no")
    return folder


def test_a_load_of_many_files_equals_that_of_threads(tmp_path, fleet, engine):
    """Again too, where half of it is there already and in older files, and as a dry run."""
    files = files_of(tmp_path / "files", fleet)
    threads, spark = (open_lake(str(tmp_path / name)) for name in ("threads", "spark"))
    for lake in (threads, spark):
        lake.load(str(fleet / "again" / "readings"), source="again", received_at=RECEIVED)
    spark = open_lake(str(tmp_path / "spark"), engine=engine)
    for dry_run in (True, False, False):
        first, second = (
            lake.load(str(files), received_at=RECEIVED, dry_run=dry_run) for lake in (threads, spark)
        )
        assert told(first) == told(second)
    assert first.replayed
    assert len(threads.quarantine()) > 2
    assert sorted(map(str, threads.quarantine().to_pylist())) == sorted(
        map(str, spark.quarantine().to_pylist())
    )
    assert readings(threads).equals(readings(spark))
    assert threads.registry.series().equals(spark.registry.series())
    assert open_lake(str(tmp_path / "spark")).check().ok
    assert spark.lake.store.list("staging/") == []
    name = threads.lake.records("superseded").column_names
    both = [
        lake.lake.records("superseded").sort_by([(n, "ascending") for n in name[:4]])
        for lake in (threads, spark)
    ]
    assert len(both[0]) == len(both[1]) > 0


def test_a_hundred_files_are_loaded_though_executors_die(tmp_path, spark):
    """Two workers; an executor is killed whenever one is seen for the first time, three times in all."""
    files, n = tmp_path / "files", 100
    files.mkdir()
    for number in range(n):
        lines = [f"m{number:03d},2026-01-01T{hour:02d}:00:00Z,{number}.5,3600" for hour in range(24)]
        (files / f"{number:03d}.csv").write_text("meter,start,kwh,interval\n" + "\n".join(lines) + "\n")
    threads = open_lake(str(tmp_path / "threads")).load(str(files), received_at=RECEIVED)
    lake = open_lake(str(tmp_path / "spark"), engine=spark.url)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lake.load, str(files), received_at=RECEIVED)
        killed = set()
        while not loading.done() and len(killed) < 3:
            for pid in set(spark.executors()) - killed:
                time.sleep(1.5 * len(killed) + 4)  # its first tasks are under way
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                break
            time.sleep(0.1)
        receipt = loading.result(timeout=300)
    assert killed
    assert told(receipt) == told(threads)
    assert receipt.count("stored") == n * 24
    assert readings(lake).equals(readings(open_lake(str(tmp_path / "threads"))))
    lake = open_lake(str(tmp_path / "spark"))
    report = lake.check()
    assert report.ok
    assert report.readings == n * 24
    named = {file.path for file in lake.lake.snapshot().files}
    orphans = lake.lake.sweep(now_s=time.time() + 2 * 86_400)
    assert not named & set(orphans)
    assert lake.check().ok


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_killed_in_mid_commit_leaves_all_or_nothing(tmp_path, fleet, when):
    """The next run completes the load, or finds it done."""
    url, files = tmp_path / "lake", str(fleet / "first" / "readings")
    open_lake(str(url))
    step = ("meterlake.adapters.delta:DeltaLake.commit", when, "1")
    command = ("load", files, "--lake", str(url), "--received-at", RECEIVED, "--engine", "local[2]")
    done = subprocess.run([sys.executable, "-m", "meterlake.testing.dying", *step, *command], check=False)
    assert done.returncode == -signal.SIGKILL
    lake = open_lake(str(url), engine="local[2]")
    assert lake.lake.snapshot().version == (1 if when == "after" else 0)
    receipt = lake.load(files, received_at=RECEIVED)
    assert receipt.replayed == (when == "after")
    whole = open_lake(str(tmp_path / "whole"))
    whole.load(files, received_at=RECEIVED)
    assert readings(lake).equals(readings(whole))
    assert open_lake(str(url)).check().ok


def test_a_task_is_tried_again_within_one_process_too_and_what_it_says_is_what_a_user_reads(tmp_path):
    lake = open_lake(str(tmp_path / "lake"))
    marker = tmp_path / "tried"

    def second(_, job):
        if not marker.exists():
            marker.touch()
            raise Conflict("somebody else was first")
        return job + 1

    def refuses(_, job):
        raise Invalid(f"job {job} has no meters")

    def fails(_, job):
        return 1 // job

    with engine_at("local[1]", lake.lake, lake.registry) as engine:
        assert list(engine.map(second, [6])) == [7]
        with pytest.raises(Invalid, match=r"^job 3 has no meters$"):
            list(engine.map(refuses, [3]))
        with pytest.raises(
            MeterlakeError,
            match=r"^a task failed 4 times: ZeroDivisionError: integer division or modulo by zero; ",
        ):
            list(engine.map(fails, [0]))


def test_real_london_data_is_the_same_on_both(tmp_path, real_data):
    files = str(real_data / "lcl_london" / "Ryanhilde__meter_readings")
    threads, spark = (
        open_lake(str(tmp_path / "threads")),
        open_lake(str(tmp_path / "spark"), engine="local[2]"),
    )
    first, second = (lake.load(files, received_at=RECEIVED) for lake in (threads, spark))
    assert told(first) == told(second)
    assert first.count("stored") > 100_000
    assert readings(threads).equals(readings(spark))
    assert told(threads.compact()) == told(spark.compact())
    assert readings(threads).equals(readings(spark))
