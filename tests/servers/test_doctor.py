"""`meterlake doctor` tries what is set on real servers: what is well is told, what is wrong with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from meterlake.app import create_topics, open_lake
from meterlake.testing.servers.processes import free_port


@pytest.fixture
def lake(tmp_path):
    open_lake(str(tmp_path / "lake"))
    return tmp_path / "lake"


def doctor(lake, *options, **env):
    """Findings by part, and whether all are well."""
    done = subprocess.run(
        [sys.executable, "-m", "meterlake", "doctor", "--lake", lake, *options, "-o", "json"],
        capture_output=True, text=True, check=False, env=os.environ | env,
    )  # fmt: skip
    found = {one["part"]: one for one in json.loads(done.stdout)["items"]}
    assert done.returncode == (0 if all(one["ok"] for one in found.values()) else 1)
    return found


def test_a_lake_in_a_folder_is_well(lake):
    found = doctor(lake)
    assert set(found) == {
        "versions",
        "kernels",
        "lake",
        "rights",
        "space",
        "registry",
        "feeds",
        "log",
        "clock",
    }
    assert all(one["ok"] for one in found.values())
    assert "guards its commits" in found["rights"]["what"]
    assert "SQLite" in found["registry"]["what"]


def test_a_lake_that_is_not_there_is_told_and_the_rest_is_tried(tmp_path):
    found = doctor(tmp_path / "none")
    assert "meterlake init" in found["lake"]["what"]
    assert "registry" not in found
    assert found["log"]["ok"]


def test_the_log_in_kafka_is_reached_has_its_topics_and_keeps_everything(lake, kafka):
    url = kafka.log_url("doctor")
    assert "topics create" in doctor(lake, "--log", url)["log"]["what"]
    create_topics(url, 2, 3)
    well = doctor(lake, "--log", url)["log"]
    assert well["ok"]
    assert "3 brokers, 2 partitions a commodity, 3 copies" in well["what"]
    drop_after(kafka, "doctor.gas", "86400000")
    wrong = doctor(lake, "--log", url)["log"]
    assert "doctor.gas: retention.ms=86400000, not -1" in wrong["what"]
    assert not wrong["ok"]


def drop_after(kafka, topic, milliseconds):
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
    )

    entry = ConfigEntry("retention.ms", milliseconds, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result()


def test_a_log_that_nobody_answers_for_is_told(lake):
    found = doctor(lake, "--log", f"kafka://127.0.0.1:{free_port()}/ml")["log"]
    assert "no broker" in found["what"]
    assert not found["ok"]


def test_a_broker_of_mqtt_lets_us_in_or_says_why_not(lake, mqtt):
    assert doctor(lake, "--mqtt", mqtt.url, **mqtt.env)["mqtt"]["ok"]
    stranger = doctor(lake, METERLAKE_MQTT=mqtt.url, METERLAKE_MQTT_PASSWORD="wrong")["mqtt"]
    assert "METERLAKE_MQTT_PASSWORD" in stranger["what"]
    nobody = doctor(lake, "--mqtt", f"mqtt://127.0.0.1:{free_port()}")["mqtt"]
    assert "no broker answers" in nobody["what"]
    assert mqtt.password not in json.dumps([stranger, nobody])


def test_a_mail_server_lets_us_in_and_gets_no_mail(lake, smtp):
    told = {"METERLAKE_MAIL_FROM": "ops@example.org", "METERLAKE_PUBLIC_URL": "http://127.0.0.1:8080"}
    before = len(smtp.mails)
    assert doctor(lake, METERLAKE_SMTP_URL=smtp.url, **told)["mail"]["ok"]
    assert len(smtp.mails) == before
    assert "METERLAKE_MAIL_FROM" in doctor(lake, METERLAKE_SMTP_URL=smtp.url)["mail"]["what"]
    away = doctor(lake, METERLAKE_SMTP_URL=f"smtp://u:secret@127.0.0.1:{free_port()}", **told)["mail"]
    assert "does not take mail" in away["what"]
    assert "secret" not in away["what"]


def test_redis_is_reached_keeps_all_keys_and_lets_us_in_or_the_reason_is_told(lake, redis):
    assert "bytes used, can be written" in doctor(lake, "--live", redis.url, **redis.env)["live"]["what"]
    wrong = doctor(lake, "--live", redis.url, METERLAKE_REDIS_PASSWORD="wrong")["live"]
    assert not wrong["ok"]
    with redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        drops = doctor(lake, "--live", redis.url, **redis.env)["live"]
        client.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in drops["what"]
    assert not drops["ok"]
    away = doctor(lake, "--live", f"redis://127.0.0.1:{free_port()}")["live"]
    assert not away["ok"]


def test_spark_does_a_task_or_the_reason_is_told(lake, spark):
    well = doctor(lake, "--engine", spark.url)["engine"]
    assert "did a task" in well["what"]
    assert well["ok"]
