"""A real server, killed at random and at the steps of log, seal and commit: nothing acknowledged is lost or doubled."""

from __future__ import annotations

from bench.faults import trials

LOG = "meterlake.adapters.sqlite_log:SqliteLog"
LAKE = "meterlake.adapters.delta:DeltaLake"


def test_a_killed_server_loses_and_doubles_nothing(tmp_path):
    points = [
        None,
        (f"{LOG}.append", "after", 2),
        (f"{LAKE}.commit", "after", 1),
        None,
        (f"{LAKE}.commit", "before", 1),
    ]
    counted = trials(tmp_path / "lake", points, seed=5)
    assert counted["kills"] >= 3
    assert counted["batches"] > 10
    assert (counted["lost"], counted["changed"], counted["invented"]) == (0, 0, 0)
