"""A real server under faults that do not kill it: frozen, out of disk, twice on one lake, sent everything twice by many."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from contextlib import suppress

import httpx
import pytest

from meterlake.testing.ledger import Sender, differences, stored
from meterlake.testing.serving import START, Server

SETTINGS = {
    "METERLAKE_FLUSH": "1s",
    "METERLAKE_CHECKPOINT": "1s",
    "METERLAKE_BATCH": "no",
    "METERLAKE_GRACE": "4d",
}
NOTHING = {"lost": 0, "changed": 0, "invented": 0}


def counted(server, key, *senders):
    """What differs between all that was acknowledged and all that the server answers."""
    expected = {slot: amount for sender in senders for slot, amount in sender.ledger.amounts.items()}
    assert expected
    return differences(expected, stored(server.url, key, {slot[0] for slot in expected}))


def fill(path):
    """Write until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"0" * 65_536):
            pass


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "lake", SETTINGS) as running:
        yield running


def test_a_second_server_on_a_lake_is_refused_and_the_first_goes_on(server):
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*another server"):
        Server(server.lake, SETTINGS).start()
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_frozen_server_loses_nothing_when_it_thaws(server):
    key = server.key()
    sender = Sender(lambda: server.url, key, seed=1)
    sender.start()
    for _ in range(2):
        time.sleep(0.7)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        server.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    sender.finish()
    assert sender.error is None
    assert counted(server, key, sender) == NOTHING


def test_many_senders_add_up_to_the_last_mwh_before_and_after_sealing(server):
    key = server.key()
    senders = [Sender(lambda: server.url, key, seed) for seed in range(4)]
    for sender in senders:
        sender.start()
    time.sleep(2)
    for sender in senders:
        sender.finish()
    assert [sender.error for sender in senders] == [None] * 4
    assert sum(sender.ledger.replays for sender in senders) > 0
    assert counted(server, key, *senders) == NOTHING
    assert server.stop() == 0
    server.settings = SETTINGS | {"METERLAKE_GRACE": "1s"}
    server.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and counted(server, key, *senders) == NOTHING:
        told = httpx.get(f"{server.url}/v1/batches", headers={"Authorization": f"Bearer {key}"}).json()
        if all(item["state"] == "sealed" for item in told["items"]):
            break
    else:
        pytest.fail("not all was sealed, or something was lost")
    assert counted(server, key, *senders) == NOTHING
    assert server.stop() == 0
    checked = subprocess.run([*START, "check", "--lake", str(server.lake)], check=False, capture_output=True)
    assert checked.returncode == 0, checked.stdout


def test_a_log_that_cannot_be_written_stops_acknowledging_and_the_next_start_has_all(server):
    key = server.key()
    sender = Sender(lambda: server.url, key, seed=2)
    sender.start()
    time.sleep(1)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 20
    while httpx.get(f"{server.url}/readyz").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    told = httpx.get(f"{server.url}/readyz")
    assert told.status_code == 503
    server.kill()
    server.start()
    time.sleep(1)
    sender.finish()
    assert sender.error is None
    assert counted(server, key, sender) == NOTHING


def test_a_full_disk_answers_503_and_goes_on_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk cannot be mounted here; run as root")
    try:
        filler = disk / "filler"
        with Server(disk / "lake", SETTINGS | {"METERLAKE_FLUSH": "1h"}) as server:
            key = server.key()
            sender = Sender(lambda: server.url, key, seed=3, readings=400)
            sender.start()
            time.sleep(1)
            fill(filler)
            retries = sender.ledger.retries
            deadline = time.monotonic() + 15
            while sender.ledger.retries < retries + 3 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert sender.ledger.retries >= retries + 3
            filler.unlink()
            before, deadline = sender.ledger.batches, time.monotonic() + 15
            while sender.ledger.batches < before + 3 and time.monotonic() < deadline:
                time.sleep(0.1)
                if (
                    "restart the server" in sender.answered
                ):  # some disks say that they failed, not that they are full
                    server.kill()
                    server.start()
            sender.finish()
            assert sender.error is None
            assert sender.ledger.batches >= before + 3
            assert counted(server, key, sender) == NOTHING
    finally:
        subprocess.run(["umount", disk], check=False)


def test_readings_of_tomorrow_are_kept_in_quarantine_and_stop_nobody(server):
    headers = {"Authorization": f"Bearer {server.key()}"}
    lines = [
        f'{{"meter":"m{day}","seconds":900,"value":1,"start":"{time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + day * 86_400))}"}}'
        for day in (-1, 0, 2)
    ]
    answer = httpx.post(
        f"{server.url}/v1/readings",
        content="\n".join(lines),
        headers=headers | {"Content-Type": "application/x-ndjson"},
    )
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 1)
    assert (told["errors"][0]["line"], told["errors"][0]["reason"]) == (3, "future")
    deadline, items = time.monotonic() + 15, []
    while not items and time.monotonic() < deadline:
        items = httpx.get(f"{server.url}/v1/quarantine", headers=headers).json()["items"]
    assert [(item["line"], item["text"], item["reason"]) for item in items] == [(3, lines[2], "future")]
