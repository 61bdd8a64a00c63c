"""What the log and the checkpoints acknowledged survives kill -9 at any moment, and a disk that fails to sync."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from meterlake.adapters.sqlite_checkpoints import SqliteCheckpoints
from meterlake.adapters.sqlite_log import SqliteLog

KILLS = 24
KEPT = 40
PIECES = 12

WRITER = """
import sys
from pathlib import Path
from meterlake.adapters.sqlite_checkpoints import SqliteCheckpoints
from meterlake.adapters.sqlite_log import SqliteLog
from meterlake.errors import LogFailed
from meterlake.ports import Append

folder, stop, kept, pieces = Path(sys.argv[1]), *map(int, sys.argv[2:])

def data(at):
    return at.to_bytes(8, "little") * (1 + at * 7919 % 30_000)

def say(*words):
    print(*words, flush=True)

def work():
    log = SqliteLog(folder / "log.db")
    checkpoints = SqliteCheckpoints(folder / "open.db")
    last = checkpoints.load()
    k = int(last[0]) if last else 0
    while (at := log.bounds()[1]) < stop:
        group = range(at, at + 1 + at % 3)
        first = log.append([Append(data(i), (f"a{i}", f"b{i}"), str(i)) for i in group])
        say("log", first, len(group))
        k += 1
        changed = {f"every {i}": data(k) for i in range(1, pieces) if k % i == 0}
        checkpoints.save(changed | {f"last/{k}": b""}, ["last/*"], str(k).encode())
        say("checkpoint", k)
        if at % 5 == 0:
            log.truncate(at - kept)
    return log

try:
    work()
except LogFailed as error:
    say("failed", error)
"""
"""Appends and saves from where it finds the files, and says what was acknowledged."""


def data(at):
    return at.to_bytes(8, "little") * (1 + at * 7919 % 30_000)


def writer(folder, stop, before=()):
    arguments = [str(folder), str(stop), str(KEPT), str(PIECES)]
    return subprocess.Popen(
        [*before, sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
    )


class Acknowledged:
    """The greatest offset and the last checkpoint that a writer was told are safe."""

    def __init__(self):
        self.next = self.checkpoint = 0
        self.failures = []

    def hear(self, text):
        for line in text.splitlines(keepends=True):
            match line.split() if line.endswith("\n") else []:
                case ["log", first, count]:
                    assert int(first) >= self.next, "an offset was given twice"
                    self.next = int(first) + int(count)
                case ["checkpoint", number]:
                    self.checkpoint = int(number)
                case ["failed", *words]:
                    self.failures.append(" ".join(words))

    def check(self, folder):
        """All of it is there with its bytes, exactly once, without gaps."""
        log = SqliteLog(folder / "log.db")
        first, end = log.bounds()
        assert end >= self.next
        assert first <= max(self.next - KEPT, 0)
        assert list(log.read(0)) == [(at, data(at)) for at in range(first, end)]
        memos = {f"{letter}{at}": str(at) for at in range(end) for letter in "ab"}
        assert log.find([*memos, f"a{end}"]) == memos
        self.next = end
        log.close()

        checkpoints = SqliteCheckpoints(folder / "open.db")
        last = checkpoints.load()
        k = int(last[0]) if last else 0
        assert k >= self.checkpoint
        whole = {f"every {i}": data(k - k % i) for i in range(1, PIECES) if k >= i}
        assert (dict(last[1]) if last else {}) == (whole | {f"last/{k}": b""} if k else {})
        self.checkpoint = k
        checkpoints.close()


def test_what_was_acknowledged_survives_every_kill(tmp_path):
    """Some kills fall into the recovery from the kill before."""
    chance = random.Random(7)
    heard = Acknowledged()
    for k in range(KILLS):
        process = writer(tmp_path, 10**9)
        first = process.stdout.readline() if k % 4 else ""
        time.sleep(chance.uniform(0, 0.08 if k % 4 else 0.16))
        process.send_signal(signal.SIGKILL)
        heard.hear(first + process.communicate()[0])
        if k % 4:
            heard.check(tmp_path)
    heard.check(tmp_path)
    assert heard.next > KILLS
    assert heard.checkpoint > KILLS // 2


@pytest.mark.parametrize("call", [1, 4, 6, 10, 14, 31])
def test_a_failed_sync_is_never_acknowledged_and_ends_the_writing(tmp_path, call):
    """The disk fails to sync once and says that all is well from then on."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which makes a sync fail, is not installed")
    heard, calls, trace = Acknowledged(), "fsync,fdatasync", tmp_path / "trace"
    fault = f"inject={calls}:error=EIO:when={call}"
    process = writer(tmp_path, 40, ["strace", "-fyo", str(trace), "-e", f"trace={calls}", "-e", fault])
    text = process.communicate(timeout=60)[0]
    injected = [line for line in trace.read_text("utf-8").splitlines() if "INJECTED" in line]
    if not injected and process.returncode:
        pytest.skip("strace may not trace here")
    heard.hear(text)
    if f"<{tmp_path}>" in injected[0] and "fdatasync" in injected[0]:
        assert heard.failures == []  # SQLite does not mind, we sync the folder once more.
    else:
        assert len(heard.failures) == 1
        assert text.splitlines()[-1].startswith("failed")
    heard.check(tmp_path)
    heard.hear(writer(tmp_path, heard.next + 5).communicate(timeout=60)[0])
    assert len(heard.failures) <= 1
    heard.check(tmp_path)
