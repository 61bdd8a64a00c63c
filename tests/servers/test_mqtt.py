"""Readings come from a real MQTT broker into a real server, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from meterlake.testing.serving import Server

MAP = """
client = "bridge-of-a-test"

[[topic]]
pattern = "meters/{meter}/json"
fields = { start = "at", value = "kwh" }
set = { channel = "electricity.import", seconds = 900 }
"""
METERS, SLOTS = 20, 48


def payload(meter, slot):
    at = f"2026-01-05T{slot // 4:02d}:{slot % 4 * 15:02d}:00Z"
    return json.dumps({"at": at, "kwh": (meter * 100 + slot) / 1000})


class Sender:
    """One client that publishes with QoS 1 and waits for every acknowledgement."""

    def __init__(self, mqtt):
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(mqtt.user, mqtt.password)
        self.client.connect("127.0.0.1", mqtt.port)
        self.client.loop_start()

    def send(self, messages):
        for one in [self.client.publish(topic, text, qos=1) for topic, text in messages]:
            one.wait_for_publish(30)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "lake", {"METERLAKE_BATCH": "no"}) as running:
        yield running


def test_what_a_broker_took_is_stored_once_though_bridges_are_killed(mqtt, server, tmp_path):
    (tmp_path / "bridge.toml").write_text(MAP)
    env = os.environ | mqtt.env | {"METERLAKE_KEY": server.key("ingest,read,operate")}
    command = [
        sys.executable,
        "-m",
        "meterlake",
        "bridge",
        mqtt.url,
        "--to",
        server.url,
        "--map",
        str(tmp_path / "bridge.toml"),
        "-o",
        "json",
    ]

    def bridge():
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stored(key):
        totals = {}
        for meter in range(METERS):
            answer = httpx.get(
                f"{server.url}/v1/meters/m{meter}/history?from=2026-01-05&to=2026-01-06",
                headers={"Authorization": f"Bearer {key}"}, timeout=30,
            )  # fmt: skip
            if answer.status_code == 200:
                totals[meter] = [row["value"] for row in answer.json()["values"]]
        return totals

    wanted = {m: [(m * 100 + s) / 1000 for s in range(SLOTS)] for m in range(METERS)}
    running, sender, kills = bridge(), Sender(mqtt), 0
    time.sleep(4)  # its session is there; from now on nothing is lost
    try:
        for slot in range(SLOTS):
            sender.send([(f"meters/m{meter}/json", payload(meter, slot)) for meter in range(METERS)])
            if slot % 16 == 15:
                running.kill()
                running.communicate()
                running, kills = bridge(), kills + 1
        sender.send([("meters/m0/json", "this is no JSON")])
        deadline = time.monotonic() + 60
        while stored(env["METERLAKE_KEY"]) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        assert stored(env["METERLAKE_KEY"]) == wanted
        assert kills == 3
    finally:
        sender.close()
        running.send_signal(signal.SIGTERM)
        told, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    receipt = json.loads(told)
    assert receipt["messages"] > 0
