"""Servers that share a log in a real Kafka: whatever is killed, frozen or restarted, nothing acknowledged is lost or doubled."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import httpx
import pytest
from confluent_kafka import Producer

from bench import faults_kafka as trials
from meterlake.testing.serving import Server

pytestmark = pytest.mark.timeout(600)
"""Brokers, servers and senders share two cores with the other tests."""

ADAPTER = "meterlake.adapters.kafka_logs:KafkaLogs"
LAKE = "meterlake.adapters.delta:DeltaLake"
NOTHING = {"lost": 0, "changed": 0, "invented": 0}


@pytest.fixture
def log(kafka):
    return trials.prefixed(f"kafka://{kafka.bootstrap}")


def nothing_of(counted):
    assert counted["batches"] > 10
    return {name: counted[name] for name in NOTHING}


def test_a_killed_server_loses_and_doubles_nothing(tmp_path, log):
    points = [
        None, (f"{ADAPTER}.append", "after", 2), (f"{LAKE}.commit", "after", 1), ("meterlake.shard:Shard.restore", "after", 2),
    ]  # fmt: skip
    counted = trials.alone(tmp_path / "lake", log, points, seed=5)
    assert counted["kills"] >= 3
    assert nothing_of(counted) == NOTHING


def test_three_that_share_the_shards_shrink_to_one(tmp_path, log):
    counted = trials.group(tmp_path / "lake", log, seed=6)
    assert counted["kills"] == 3
    assert nothing_of(counted) == NOTHING


def test_a_rolling_restart_loses_nothing(tmp_path, log):
    counted = trials.rolling(tmp_path / "lake", log, seed=7, rounds=1)
    assert counted["restarts"] == 6
    assert nothing_of(counted) == NOTHING


def test_one_that_was_frozen_until_it_was_given_up_spoils_nothing(tmp_path, log):
    assert nothing_of(trials.frozen(tmp_path / "lake", log, seed=8)) == NOTHING


def test_brokers_killed_one_after_another_lose_nothing_and_one_of_three_acknowledges_nothing(tmp_path, kafka):
    counted = trials.brokers(tmp_path / "lake", kafka, seed=9)
    assert "did not acknowledge" in counted["refused"]
    assert nothing_of(counted) == NOTHING


def test_another_programs_json_is_answered_and_poison_is_in_quarantine(tmp_path, log):
    trials.topics(log)
    address, _, prefix = log.removeprefix("kafka://").rpartition("/")
    start = datetime.fromtimestamp(time.time() // 900 * 900 - 900, UTC).isoformat()
    reading = {"meter": "theirs", "seconds": 900, "value": 1.25, "start": start}
    with Server(tmp_path / "lake", trials.SETTINGS, options=("--log", log)) as server:
        headers = {"Authorization": f"Bearer {server.key()}"}
        producer = Producer({"bootstrap.servers": address})
        for number, value in enumerate([b"poison", json.dumps(reading).encode(), b'{"meter":']):
            producer.produce(f"{prefix}.electricity", value, partition=number % 2)
        producer.produce(f"{prefix}.gas", b"poison", partition=0, headers=[("ml-format", b"1")])
        producer.flush(10)
        deadline, found = time.monotonic() + 30, []
        while len(found) < 3 and time.monotonic() < deadline:
            time.sleep(0.5)
            found = httpx.get(f"{server.url}/v1/quarantine", headers=headers).json()["items"]
        assert sorted((one["file"], one["line"], one["reason"]) for one in found) == [
            (f"{prefix}.electricity/0", 0, "malformed_line"), (f"{prefix}.electricity/0", 1, "malformed_line"),
            (f"{prefix}.gas/0", 0, "malformed_line"),
        ]  # fmt: skip
        span = {"from": start, "to": datetime.fromtimestamp(time.time(), UTC).isoformat()}
        told = httpx.get(f"{server.url}/v1/meters/theirs/history", params=span, headers=headers).json()
        assert [value["value"] for value in told["values"]] == [1.25]
        assert server.stop() == 0
