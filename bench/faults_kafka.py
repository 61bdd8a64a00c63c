"""Faults beyond one machine, counted: servers that share a log in Kafka are killed, stopped and started, and so are its brokers.

`python -m bench.faults_kafka alone|group|rolling|frozen|seals|brokers` starts brokers of its own, and writes one JSON object: what was done, and what was lost, changed or invented.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from meterlake.testing.ledger import Sender, differences, stored
from meterlake.testing.servers.kafka import kafka
from meterlake.testing.serving import START, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meterlake.testing.servers.kafka import KafkaServers

SETTINGS = {
    "METERLAKE_FLUSH": "1s", "METERLAKE_CHECKPOINT": "1s", "METERLAKE_BATCH": "no", "METERLAKE_KAFKA_SESSION_TIMEOUT_MS": "6000",
}  # fmt: skip
GRACES = ("4d", "1h", "1s")
"""With four days of grace old blocks stay open; with one second the next start seals them."""
STEPS = (
    "meterlake.adapters.kafka_logs:KafkaLogs.append",
    "meterlake.adapters.kafka_log:KafkaLog.truncate",
    "meterlake.shard:Shard.take",
    "meterlake.shard:Shard.restore",
    "meterlake.live.live:Live.save",
    "meterlake.live.live:Live.freeze",
    "meterlake.live.live:Live.release",
    "meterlake.adapters.delta:DeltaLake.put",
    "meterlake.adapters.delta:DeltaLake.commit",
    "meterlake.adapters.delta:DeltaLake.reserve",
    "meterlake.adapters.registry:SqlRegistry.update_series",
)
"""Every step that makes something durable between a batch's arrival and its place in the lake."""
PATIENCE_S = 120.0
PAUSE_S = 0.0
"""Seconds that a sender rests after each batch; tests that share their machine with others let it rest."""


def prefixed(log: str) -> str:
    """Return the URL of a log that nobody has used."""
    return f"{log.rstrip('/')}/f{uuid.uuid4().hex[:8]}"


def topics(log: str, partitions: int = 4, replication: int = 1) -> str:
    """Make topics; return the log."""
    command = [*START, "topics", "create", "--log", log, "--partitions", str(partitions)]
    subprocess.run([*command, "--replication", str(replication)], check=True, capture_output=True)
    return log


class Trial:
    """One lake and one log, senders that never give up, and the count at the end."""

    def __init__(self, lake: Path, log: str, seed: int) -> None:
        """Start with no server; every server gets a name."""
        self.lake, self.log, self.chance = lake, log, random.Random(seed)
        self.servers: dict[str, Server] = {}
        self.senders: list[Sender] = []
        self.kills = 0

    def server(self, name: str, role: str, **told: str) -> Server:
        """Start a server."""
        options = ("--log", self.log, "--role", role)
        server = Server(self.lake, SETTINGS | told, options=options, name=name)
        self.servers[name] = server
        return server.start()

    def send(self, urls: Callable[[], str], key: str, senders: int = 2) -> None:
        """Begin to send."""
        for _ in range(senders):
            seed = self.chance.randrange(1 << 30)
            sender = Sender(urls, key, seed, readings=60, several=True, pause_s=PAUSE_S)
            self.senders.append(sender)
            sender.start()

    def kill(self, name: str) -> None:
        """Kill a server."""
        self.servers.pop(name).kill()
        self.kills += 1

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """Stop sending."""
        for sender in self.senders:
            sender.finish(patience_s)
        errors = [sender.error for sender in self.senders if sender.error]
        if errors:
            raise RuntimeError(errors[0])

    def count(self, server: Server, key: str) -> dict[str, object]:
        """Compare with all that was acknowledged, once what is on its way in the log is visible."""
        expected = {slot: amount for sender in self.senders for slot, amount in sender.ledger.amounts.items()}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = differences(expected, stored(server.url, key, {slot[0] for slot in expected}))
            if not any(found.values()) or time.monotonic() > deadline:
                break
            time.sleep(3.0)
        ledgers = [sender.ledger for sender in self.senders]
        names = ("batches", "readings", "retries", "replays")
        summed = {name: sum(getattr(one, name) for one in ledgers) for name in names}
        return {"kills": self.kills, **summed, "slots": len(expected), **found}

    def stop(self) -> None:
        """End every server that still runs."""
        for server in self.servers.values():
            if server.alive:
                server.kill()


def alone(
    lake: Path, log: str, points: Sequence[tuple[str, str, int] | None], seed: int
) -> dict[str, object]:
    """Kill one server with all roles, at a moment or a step each, and start it again."""
    trial = Trial(lake, topics(log), seed)
    try:
        server = trial.server("all", "all", METERLAKE_GRACE=GRACES[0])
        key = server.key()
        trial.send(lambda: server.url, key, 1)
        for i, point in enumerate(points):
            time.sleep(0.5)
            server.kill()
            server.settings = {**SETTINGS, "METERLAKE_GRACE": GRACES[i % len(GRACES)]}
            if point is not None:
                server.command = (
                    sys.executable,
                    "-m",
                    "meterlake.testing.dying",
                    point[0],
                    point[1],
                    str(point[2]),
                )
            trial.kills += _until_dead(server, trial.chance, planned=point is not None)
            server.command = START
            server.start()
        trial.finish()
        return trial.count(server, key)
    finally:
        trial.stop()


def _until_dead(server: Server, chance: random.Random, *, planned: bool) -> int:
    """Start, and kill at a random moment unless it dies by itself; 1 where it was killed."""
    try:
        server.start()
    except RuntimeError:
        return 1
    patience = time.monotonic() + (12.0 if planned else chance.uniform(0.5, 4.0))
    while time.monotonic() < patience:
        if not server.alive:
            server.kill()
            return 1
        time.sleep(0.01)
    server.kill()
    return 0 if planned else 1


def group(lake: Path, log: str, seed: int) -> dict[str, object]:
    """Kill two of three that share the shards; at the end one of another kind holds all, and is asked."""
    trial = Trial(lake, topics(log), seed)
    try:
        ingest = trial.server("ingest", "ingest")
        key = ingest.key()
        trial.send(lambda: ingest.url, key)
        for name in ("one", "two", "three"):
            trial.server(name, "live,seal", METERLAKE_GRACE="1h")
        time.sleep(5)
        trial.kill("one")
        time.sleep(9)
        trial.kill("two")
        time.sleep(9)
        trial.finish()
        last = trial.server("last", "all", METERLAKE_GRACE="1h")
        trial.kill("three")
        return trial.count(last, key)
    finally:
        trial.stop()


def seals(lake: Path, log: str, seed: int, rounds: int = 3) -> dict[str, object]:
    """Let two commit what one hands over, and kill each in turn."""
    trial = Trial(lake, topics(log), seed)
    try:
        ingest = trial.server("ingest", "ingest")
        key = ingest.key()
        trial.send(lambda: ingest.url, key)
        trial.server("live", "live", METERLAKE_GRACE="1s")
        for name in ("one", "two") * rounds:
            if name not in trial.servers:
                trial.server(name, "seal")
            time.sleep(5)
            other = "two" if name == "one" else "one"
            if other in trial.servers:
                trial.kill(other)
        trial.finish()
        trial.servers.pop("live").stop()
        return trial.count(trial.server("last", "all", METERLAKE_GRACE="1s"), key)
    finally:
        trial.stop()


def frozen(lake: Path, log: str, seed: int, seconds: float = 10.0) -> dict[str, object]:
    """Freeze each of two that share the shards until it is given up, let the other work, and thaw it again."""
    trial = Trial(lake, topics(log), seed)
    try:
        ingest = trial.server("ingest", "ingest")
        key = ingest.key()
        trial.send(lambda: ingest.url, key)
        for name in ("one", "two"):
            trial.server(name, "live,seal", METERLAKE_GRACE="1h")
        time.sleep(5)
        for name in ("one", "two"):
            process = trial.servers[name].process
            assert process is not None, "it was started"
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)
            time.sleep(4)
        trial.finish()
        for name in ("one", "two"):
            trial.servers.pop(name).stop()
        last = trial.server("last", "all", METERLAKE_GRACE="1h")
        return {"frozen": 2, **trial.count(last, key)}
    finally:
        trial.stop()


def brokers(lake: Path, servers: KafkaServers, seed: int, rounds: int = 1) -> dict[str, object]:
    """Kill each of three brokers in turn while readings come in; then two at once, when nothing may be acknowledged."""
    trial = Trial(lake, topics(prefixed(f"kafka://{servers.bootstrap}"), replication=3), seed)
    killed, longest = 0, 0.0
    try:
        server = trial.server("all", "all", METERLAKE_GRACE="1h")
        key = server.key()
        trial.send(lambda: server.url, key)
        for number in list(range(len(servers.brokers))) * rounds:
            time.sleep(3)
            longest = max(longest, _outage(trial, servers, number))
            killed += 1
        refused = _two_away(trial, servers)
        trial.finish()
        return {
            "brokers_killed": killed + 2,
            "longest_s": round(longest, 1),
            "refused": refused,
            **trial.count(server, key),
        }
    finally:
        trial.stop()


def _acknowledged(trial: Trial) -> int:
    return sum(sender.ledger.batches for sender in trial.senders)


def _outage(trial: Trial, servers: KafkaServers, number: int) -> float:
    """Kill a broker, wait for the next acknowledgements, start it again; return the seconds without any."""
    servers.brokers[number].kill()
    began, before = time.monotonic(), _acknowledged(trial)
    while _acknowledged(trial) < before + 20 and time.monotonic() < began + PATIENCE_S:
        time.sleep(0.05)
    passed = time.monotonic() - began
    servers.brokers[number].start()
    servers.wait()
    time.sleep(4)  # its copies are in sync again
    return passed


def _two_away(trial: Trial, servers: KafkaServers) -> str:
    """Kill two of three, and return what senders are told; start them again."""
    for number in (0, 1):
        servers.brokers[number].kill()
    time.sleep(12)
    before = _acknowledged(trial)
    time.sleep(6)
    if _acknowledged(trial) != before:
        raise RuntimeError("a batch was acknowledged that one broker alone has")
    told = trial.senders[0].answered
    for number in (0, 1):
        servers.brokers[number].start()
    servers.wait()
    return told


def rolling(lake: Path, log: str, seed: int, rounds: int = 2) -> dict[str, object]:
    """Stop and start processes of each role, one after another, while readings come in."""
    trial = Trial(lake, topics(log), seed)
    restarts = 0
    try:
        names = {
            "in-1": "ingest",
            "in-2": "ingest",
            "live-1": "live",
            "live-2": "live",
            "seal-1": "seal",
            "seal-2": "seal",
        }
        for name, role in names.items():
            trial.server(name, role, METERLAKE_GRACE="1h")
        key = trial.servers["in-1"].key()

        def url() -> str:
            ready = [one for name, one in trial.servers.items() if name.startswith("in-") and one.alive]
            return ready[trial.chance.randrange(len(ready))].url

        trial.send(url, key)
        for _ in range(rounds):
            for name in names:
                time.sleep(2)
                if trial.servers[name].stop() != 0:
                    raise RuntimeError(f"{name} did not end in order")
                trial.servers[name].start()
                restarts += 1
        trial.finish()
        for name in ("live-1", "live-2"):
            trial.servers.pop(name).stop()
        last = trial.server("last", "all", METERLAKE_GRACE="1h")
        return {"restarts": restarts, **trial.count(last, key)}
    finally:
        trial.stop()


def main() -> None:
    """Do one kind of trial; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["alone", "group", "rolling", "frozen", "seals", "brokers"])
    parser.add_argument("--kills", type=int, default=10, help="kills of one server at random moments")
    parser.add_argument("--steps", type=int, default=1, help="kills of it before and after each step")
    parser.add_argument("--rounds", type=int, default=1, help="times that each broker is killed")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, kafka(3 if told.kind == "brokers" else 1) as servers:
        lake, log = Path(folder) / "lake", prefixed(f"kafka://{servers.bootstrap}")
        match told.kind:
            case "alone":
                counted = alone(lake, log, points_of(told.kills, told.steps, told.seed), told.seed)
            case "brokers":
                counted = brokers(lake, servers, told.seed, told.rounds)
            case kind:
                counted = {"group": group, "rolling": rolling, "frozen": frozen, "seals": seals}[kind](
                    lake, log, told.seed
                )
        print(json.dumps(counted, indent=1))


def points_of(kills: int, steps: int, seed: int) -> list[tuple[str, str, int] | None]:
    """Moments to kill at: some by chance (None), and some before and after each step."""
    points: list[tuple[str, str, int] | None] = [None] * kills
    points += [(step, when, n) for n in range(1, steps + 1) for step in STEPS for when in ("before", "after")]
    random.Random(seed).shuffle(points)
    return points


if __name__ == "__main__":
    main()
