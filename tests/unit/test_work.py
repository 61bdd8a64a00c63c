"""What is told of jobs that go on, to whoever looks at the lake."""

from __future__ import annotations

import time

import pytest

from meterlake import work
from meterlake.adapters.store_folder import FolderStore
from meterlake.work import LOST_S, SHOWN_S, at_work, jobs


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(work, "BEAT_S", 0.01)


def seen(lake, wanted):
    for _ in range(500):
        found = jobs(FolderStore(lake), time.time())
        if [job["done"] for job in found] == wanted:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def test_a_job_is_seen_while_it_goes_on(tmp_path):
    heard = []
    with at_work(FolderStore(tmp_path), "load", "nightly/", lambda *told: heard.append(told)) as tell:
        tell("read", 10, 100)
        (job,) = seen(tmp_path, [10])
        assert (job["kind"], job["what"], job["phase"], job["total"], job["cut_off"]) == (
            "load",
            "nightly/",
            "read",
            100,
            False,
        )
        tell("merge", 50, 60)
        (job,) = seen(tmp_path, [50])
        assert job["rate"] > 0
        assert job["seconds_left"] >= 0
    assert jobs(FolderStore(tmp_path), time.time()) == []
    assert heard == [("read", 10, 100), ("merge", 50, 60)]


def test_a_job_that_fails_leaves_nothing(tmp_path):
    def fails():
        with at_work(FolderStore(tmp_path), "batch", "") as tell:
            tell("batch", 1, 2)
            seen(tmp_path, [1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert jobs(FolderStore(tmp_path), time.time()) == []


def test_what_was_cut_off_is_shown_as_such_for_a_day(tmp_path):
    with at_work(FolderStore(tmp_path), "load", "a.csv") as tell:
        tell("read", 7, 9)
        seen(tmp_path, [7])
        (file,) = (tmp_path / "work").glob("*.json")
        left = file.read_text()
    file.write_text(left)  # as a process that was killed leaves it
    (tmp_path / "work" / "broken.json").write_text("{")
    now = time.time()
    assert [job["cut_off"] for job in jobs(FolderStore(tmp_path), now)] == [False]
    assert [job["cut_off"] for job in jobs(FolderStore(tmp_path), now + LOST_S + 1)] == [True]
    assert jobs(FolderStore(tmp_path), now + SHOWN_S + 60) == []
    assert not file.exists()


def test_a_short_job_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "BEAT_S", 60)
    with at_work(FolderStore(tmp_path), "load", "a.csv") as tell:
        tell("read", 1, 1)
    assert list(tmp_path.iterdir()) == []
