"""The servers that tests use are real: they answer, they end, and what may be killed comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from meterlake.testing.servers import processes


def test_a_broker_that_was_killed_comes_back(kafka):
    assert len(kafka.brokers) == 3
    kafka.brokers[1].kill()
    kafka.wait(2)
    kafka.brokers[1].start()
    kafka.wait()


def test_a_store_keeps_what_it_has_when_it_is_killed(s3):
    import obstore

    from meterlake.testing.servers.s3 import REGION

    s3.bucket("kept")
    store = obstore.store.S3Store(
        "kept", endpoint=s3.endpoint, access_key_id=s3.access_key, secret_access_key=s3.secret_key,
        region=REGION, client_options={"allow_http": True},
    )  # fmt: skip
    obstore.put(store, "a", b"1")
    s3.kill()
    s3.start()
    assert bytes(obstore.get(store, "a").bytes()) == b"1"
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "a", b"2", mode="create")


def test_redis_comes_back_empty(redis):
    with redis.client() as client:
        client.set("a", 1)
    redis.kill()
    redis.start()
    with redis.client() as client:
        assert client.get("a") is None


@pytest.mark.parametrize("which", ["postgres", "mariadb"])
def test_a_database_is_made_for_each_test_and_outlives_a_restart(which, request):
    server = request.getfixturevalue(which)
    url = server.database()
    assert url != server.database()
    engine = create_engine(url, pool_pre_ping=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (7)"))
    server.restart()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT a FROM t")).scalar_one() == 7
    engine.dispose()


def test_a_cluster_has_its_workers(spark):
    assert spark.workers == 2
    assert spark.executors() == []


def test_mosquitto_knows_its_user(mqtt):
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    codes = []
    for password in (mqtt.password, "wrong"):
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(mqtt.user, password)
        client.on_connect = lambda *told: codes.append(told[3].is_failure)
        client.connect("127.0.0.1", mqtt.port)
        while len(codes) < 1 + (password == "wrong"):
            client.loop(0.1)
        client.disconnect()
    assert codes == [False, True]


def test_a_mail_server_keeps_what_it_was_sent(smtp):
    from smtplib import SMTP

    with SMTP("127.0.0.1", smtp.port) as client:
        client.sendmail("a@example.com", ["b@example.com"], "Subject: s\r\n\r\nt")
    assert [mail.rcpt_tos for mail in smtp.mails] == [["b@example.com"]]


STARTS = """
import sys
from time import sleep
from importlib import import_module
module, name = sys.argv[1:]
with getattr(import_module("meterlake.testing.servers." + module), name)() as server:
    print(server.pid, flush=True)
    sleep(600)
"""


@pytest.mark.parametrize(
    ("module", "name"), [("databases", "postgres"), ("redis", "redis"), ("s3", "s3"), ("mqtt", "mqtt")]
)
def test_a_server_ends_with_whoever_started_it(module, name):
    reason = processes.why_not(name)
    if reason is not None:
        pytest.skip(reason)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS, module, name], stdout=subprocess.PIPE, text=True
    )
    with starter:
        process = Path("/proc") / starter.stdout.readline().strip()
        assert process.is_dir()
        starter.kill()
    processes.wait(lambda: not process.exists() or "(zombie)" in (process / "status").read_text())


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(processes.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(processes, "PLACES", ())
    monkeypatch.setattr(processes.Path, "home", lambda: tmp_path)
    assert (
        processes.why_not("redis")
        == "no redis here (redis-server or valkey-server not found): run `make services`"
    )
    assert processes.why_not("kafka") == "no kafka here (java or kafka-jars not found): run `make services`"
    assert processes.why_not("smtp") is None
