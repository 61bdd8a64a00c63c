"""A stream job on a real Spark and a real Kafka: every message once in the lake, and every reading in its blocks, whatever is killed."""

from __future__ import annotations

import subprocess

import pytest

from bench import faults_kafka, faults_stream
from meterlake.testing.ledger import Sender, differences, stored
from meterlake.testing.serving import Server

pytestmark = pytest.mark.timeout(600)
MASTER = "local[2]"
NOTHING = {"lost": 0, "changed": 0, "invented": 0, "missing": 0, "twice": 0}


@pytest.fixture
def log(kafka):
    return faults_kafka.topics(faults_kafka.prefixed(f"kafka://{kafka.bootstrap}"))


def sent(server, key, seconds, seed):
    sender = Sender(lambda: server.url, key, seed)
    sender.start()
    sender.join(seconds)
    sender.finish()
    assert sender.error is None
    return sender.ledger


def told_by(server, key, ledger):
    return differences(ledger.amounts, stored(server.url, key, {slot[0] for slot in ledger.amounts}))


def test_a_job_seals_what_came_once_and_a_live_process_goes_on_where_it_ended(tmp_path, log, spark):
    """On a cluster of two workers first, then within the job's own process."""
    lake = tmp_path / "lake"
    with Server(lake, faults_kafka.SETTINGS, options=("--log", log, "--role", "ingest"), name="in") as ingest:
        key = ingest.key()
        ledger = sent(ingest, key, 2, 1)
        first = faults_stream.run(lake, log, spark.url, "--seal", "1s")
        assert first["messages"] > 10
        assert first["batches"] > 0
        assert first["seals"] > 0
        with Server(lake, options=("--log", log, "--role", "web"), name="web") as web:
            assert told_by(web, key, ledger) == {"lost": 0, "changed": 0, "invented": 0}
        again = faults_stream.run(lake, log, MASTER, "--seal", "1s")
        assert (again["messages"], again["commits"], again["batches"], again["seals"]) == (0, 0, 0, 0)
        later = sent(ingest, key, 1, 2)
        ledger.amounts.update(later.amounts)
        with Server(lake, faults_kafka.SETTINGS, options=("--log", log), name="all") as server:
            refused = subprocess.run(
                [*faults_kafka.START, *faults_stream.command(log, MASTER, "--now", "--seal", "1s")],
                env=faults_stream.environment(lake), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert refused.returncode == 1
            assert "hold the shards" in refused.stderr
            assert told_by(server, key, ledger) == {"lost": 0, "changed": 0, "invented": 0}


@pytest.mark.usefixtures("spark")
def test_jobs_that_are_killed_lose_and_double_nothing(tmp_path, log):
    counted = faults_stream.killed(tmp_path / "lake", log, kills=2, seed=3, master=MASTER)
    assert counted["batches"] > 10
    assert {name: counted[name] for name in NOTHING} == NOTHING
