"""One of each server for all tests of a worker; where one cannot be had, its tests are skipped with the reason."""

from __future__ import annotations

import os

import pytest

from meterlake.testing.servers.databases import mariadb as mariadb_of
from meterlake.testing.servers.databases import postgres as postgres_of
from meterlake.testing.servers.kafka import kafka as kafka_of
from meterlake.testing.servers.mqtt import mqtt as mqtt_of
from meterlake.testing.servers.processes import NEED_VARIABLE, why_not
from meterlake.testing.servers.redis import redis as redis_of
from meterlake.testing.servers.s3 import s3 as s3_of
from meterlake.testing.servers.spark import spark as spark_of

HEAVY = ("kafka", "spark")


def running(name, context):
    reason = why_not(name)
    if reason is not None:
        if os.environ.get(NEED_VARIABLE) == "yes":
            pytest.fail(reason)
        pytest.skip(reason)
    with context() as server:
        yield server


def fixture_of(name, context):
    def made():
        yield from running(name, context)

    return pytest.fixture(scope="session", name=name)(made)


kafka = fixture_of("kafka", kafka_of)
spark = fixture_of("spark", spark_of)
s3 = fixture_of("s3", s3_of)
redis = fixture_of("redis", redis_of)
postgres = fixture_of("postgres", postgres_of)
mariadb = fixture_of("mariadb", mariadb_of)
mqtt = fixture_of("mqtt", mqtt_of)


def pytest_collection_modifyitems(items):
    """Tests of a heavy server run in one worker, so that it is started once."""
    for item in items:
        for name in HEAVY:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))
                break
