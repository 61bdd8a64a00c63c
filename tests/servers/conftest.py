"""One of each server for all tests of a worker; where one cannot be had, its tests are skipped with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import faults_kafka
from meterlake.testing.servers.databases import mariadb, postgres
from meterlake.testing.servers.kafka import kafka
from meterlake.testing.servers.mqtt import mqtt
from meterlake.testing.servers.processes import NEED_VARIABLE, why_not
from meterlake.testing.servers.redis import redis
from meterlake.testing.servers.s3 import s3
from meterlake.testing.servers.smtp import smtp
from meterlake.testing.servers.spark import spark

SERVERS = {
    "kafka": kafka, "spark": spark, "s3": s3, "redis": redis, "postgres": postgres, "mariadb": mariadb, "mqtt": mqtt,
    "smtp": smtp,
}  # fmt: skip
HEAVY = ("kafka", "spark")
HERE = Path(__file__).parent
# Every test begins a Spark of its own, which is over before Java's second compiler would have paid for itself.
QUICK = "-XX:TieredStopAtLevel=1"
os.environ.setdefault(
    "SPARK_SUBMIT_OPTS", f"{QUICK} -XX:+UseSerialGC -Dspark.executor.extraJavaOptions={QUICK}"
)


def fixture_of(name):
    def made():
        reason = why_not(name)
        if reason is not None:
            pytest.skip(reason)
        with SERVERS[name]() as server:
            yield server

    return pytest.fixture(scope="session", name=name)(made)


@pytest.fixture(autouse=True)
def rest(monkeypatch):
    """Senders leave the cores to what is tried: 20 batches a second each, and not as many as they can."""
    monkeypatch.setattr(faults_kafka, "PAUSE_S", 0.05)


globals().update({f"fixture_{name}": fixture_of(name) for name in SERVERS})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Fail what is skipped here where the environment says that every server must be there; real data may be absent."""
    outcome = yield
    report = outcome.get_result()
    needed = os.environ.get(NEED_VARIABLE) == "yes" and HERE in item.path.parents
    if report.skipped and needed and "real_data" not in item.fixturenames:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and {NEED_VARIABLE}=yes: {report.longrepr[2]}"


def pytest_collection_modifyitems(items):
    """Tests of a heavy server run in one worker, so that it is started once."""
    for item in items:
        for name in HEAVY:
            if name in getattr(item, "fixturenames", ()) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name))
