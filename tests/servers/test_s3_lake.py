"""A lake in a bucket keeps every promise of a lake in a folder."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from meterlake.adapters import delta_place
from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.received import DeltaReceived, write
from meterlake.adapters.store_checkpoints import StoreCheckpoints
from meterlake.adapters.store_folder import FolderStore
from meterlake.adapters.store_s3 import S3Store
from meterlake.app import open_lake
from meterlake.errors import Invalid, MeterlakeError
from meterlake.testing.lake_contract import LakeContract
from meterlake.testing.log_contract import CheckpointsContract
from meterlake.testing.received_contract import ReceivedContract
from meterlake.testing.servers.storm import storm
from meterlake.testing.store_contract import StoreContract

numbers = itertools.count()


@pytest.fixture
def url(s3, monkeypatch):
    """A place in a bucket of its own, and the environment that leads there."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return f"{s3.bucket(f'b{next(numbers)}-{os.getpid()}')}/some/lake"


class TestStore(StoreContract):
    @pytest.fixture
    def store(self, url):
        return S3Store(url)


class TestLake(LakeContract):
    @pytest.fixture
    def lake(self, url, monkeypatch):
        monkeypatch.setattr(delta_place, "LOOK_S", 0)
        return DeltaLake(S3Store(url), create=True)


class TestCheckpoints(CheckpointsContract):
    @pytest.fixture
    def checkpoints(self, url):
        return StoreCheckpoints(S3Store(url), "gas-1")

    @pytest.fixture
    def another(self, url):
        return lambda: StoreCheckpoints(S3Store(url), "gas-1")


class TestReceived(ReceivedContract):
    @pytest.fixture
    def received(self, url):
        return DeltaReceived(S3Store(url))

    @pytest.fixture
    def another(self, url):
        return lambda: DeltaReceived(S3Store(url))

    @pytest.fixture
    def put(self, url):
        return partial(write, S3Store(url))


def meterlake(*words, **env):
    done = subprocess.run(
        [sys.executable, "-m", "meterlake", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_readings(path, meter, days):
    lines = ["meter,start,value"]
    lines += [
        f"{meter},2026-01-{1 + k // 48:02d}T{k % 48 // 2:02d}:{k % 2 * 30:02d}:00Z,0.{k % 900 + 100}"
        for k in range(48 * days)
    ]
    path.write_text("\n".join(lines) + "\n")


def asked(url, registry):
    """What a lake answers, over each of its ways to files and tables."""
    lake = open_lake(url, registry, create=False)
    return [
        lake.history("m0", "2026-01-03", "2026-01-05", step="day").to_json()["values"],
        lake.usage("m1").to_json()["channels"],
        lake.fleet("2026-01-01", "2026-01-20", step="day").to_arrow().to_pylist(),
        lake.snapshot("2026-01-05T12:00:00Z").to_arrow().to_pylist(),
        lake.sql("SELECT meter, sum(value) FROM readings GROUP BY ALL ORDER BY ALL").to_pylist(),
        lake.loads(),
    ]


def test_commands_work_on_a_bucket_and_a_lake_may_move(url, tmp_path):
    for number in range(3):
        write_readings(tmp_path / f"{number}.csv", f"m{number}", 20)
    registry = f"sqlite:///{tmp_path}/registry.db"
    at = ("--lake", url, "--registry", registry)
    paths = (str(tmp_path / "0.csv"), str(tmp_path / "1.csv"))
    receipt = json.loads(meterlake("load", *paths, *at, "-o", "json"))
    assert (receipt["stored"], receipt["rejected"]) == (2 * 48 * 20, 0)
    assert json.loads(meterlake("load", *paths, *at, "-o", "json"))["replayed"]
    meterlake("load", str(tmp_path / "2.csv"), "--keep", *at)
    assert json.loads(meterlake("batch", "--day", "2026-01-02", *at, "-o", "json"))["repaired"] == 0
    assert "can be written" in meterlake("doctor", *at)
    answers = asked(url, registry)
    # the lake moves: a plain copy of its names, to a folder and back into the bucket
    away, back = FolderStore(tmp_path / "away"), S3Store(f"{url}-back")
    copy(S3Store(url), away)
    assert asked(away.url, registry) == answers
    copy(away, back)
    assert asked(back.url, registry) == answers
    moved = open_lake(back.url, registry, create=False)
    moved.compact()
    assert asked(back.url, registry)[:5] == answers[:5]
    moved.undo(receipt["load_id"])
    report = moved.check()
    assert report.ok
    assert report.readings == 48 * 20


def copy(source, target):
    for kept in source.list(""):
        target.write(kept.name, source.read(kept.name)[0])


def test_a_lake_in_a_bucket_needs_a_registry(url):
    with pytest.raises(Invalid, match="--registry"):
        open_lake(url)


def test_writers_at_once_all_land_once(url, tmp_path):
    """Four processes load four files each into one lake; every reading is there, once."""
    processes, files = 4, 4
    for number in range(processes * files):
        write_readings(tmp_path / f"{number}.csv", f"m{number:03d}", 1)
    open_lake(url, f"sqlite:///{tmp_path}/registry.db")
    program = (
        "import sys\nfrom meterlake.app import open_lake\n"
        f"lake = open_lake({url!r}, 'sqlite:///{tmp_path}/registry.db', create=False)\n"
        "for path in sys.argv[1:]: print(lake.load(path).version)\n"
    )

    def run(process):
        paths = [str(tmp_path / f"{process * files + n}.csv") for n in range(files)]
        done = subprocess.run(
            [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    with ThreadPoolExecutor(processes) as pool:
        versions = sorted(version for some in pool.map(run, range(processes)) for version in some)
    assert versions == list(range(1, processes * files + 1))
    lake = open_lake(url, f"sqlite:///{tmp_path}/registry.db", create=False)
    report = lake.check()
    assert report.ok
    assert report.readings == processes * files * 48


def test_a_store_that_is_killed_again_and_again_loses_nothing_that_was_acknowledged(url, s3, tmp_path):
    """Files are loaded one by one while the store is killed; each acknowledged load is in the lake, whole, once."""
    registry = f"sqlite:///{tmp_path}/registry.db"
    lake = open_lake(url, registry)
    acknowledged, kills = [], 0
    with ThreadPoolExecutor(1) as pool:
        for number in range(6):
            write_readings(tmp_path / f"{number}.csv", f"m{number:03d}", 2)
            for attempt in range(20):
                loading = pool.submit(lake.load, str(tmp_path / f"{number}.csv"))
                if attempt == 0 and number % 2:
                    time.sleep(0.02 * number)
                    s3.kill()
                    kills += 1
                    s3.start()
                try:
                    receipt = loading.result(timeout=100)
                except (MeterlakeError, OSError):  # what a user is told in a line
                    lake = open_lake(url, registry)
                    continue
                assert receipt.replayed or receipt.count("stored") == 96
                acknowledged.append(number)
                break
    assert acknowledged == list(range(6))
    assert kills == 3
    report = open_lake(url, registry).check()
    assert report.ok
    assert report.readings == 6 * 96


@pytest.mark.parametrize("late", [0.0, 0.01], ids=["refused and unanswered", "some after the client gave up"])
def test_in_bad_weather_every_acknowledged_load_is_there_once(url, s3, tmp_path, monkeypatch, late):
    """The store answers 503, cuts lines after it has done what was asked, and does things that nobody waits for any more."""
    registry = f"sqlite:///{tmp_path}/registry.db"
    open_lake(url, registry)
    monkeypatch.setenv("METERLAKE_S3_TIMEOUT", "2s")
    with storm(s3, 7, refused=0.04, silent=0.02, late=late) as weather:
        monkeypatch.setenv("METERLAKE_S3_ENDPOINT", weather.endpoint)
        retries = 0
        for number in range(4):
            write_readings(tmp_path / f"{number}.csv", f"m{number:03d}", 2)
            retries += loaded_at_last(url, registry, str(tmp_path / f"{number}.csv"))
        time.sleep(2 * weather.late_s * bool(late))
        counted = weather.counted()
    assert counted.total() - counted["passed"] > 10
    monkeypatch.setenv("METERLAKE_S3_ENDPOINT", s3.endpoint)
    report = open_lake(url, registry).check()
    assert report.ok
    assert report.readings == 4 * 96


def loaded_at_last(url, registry, path):
    """Load a file until that is acknowledged; return how often it was not."""
    for attempt in range(40):
        try:
            receipt = open_lake(url, registry).load(path)
        except (MeterlakeError, OSError):
            continue
        assert receipt.replayed or receipt.count("stored") == 96
        return attempt
    raise AssertionError("40 attempts failed")
