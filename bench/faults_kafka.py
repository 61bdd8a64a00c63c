"""Faults beyond one machine, counted: servers that share a log in Kafka are killed, stopped and started, and so are its brokers.

`python -m bench.faults_kafka --log kafka://HOST:PORT alone|group|rolling` works on brokers that run already, and writes one JSON object: what was done, and what was lost, changed or invented.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from meterlake.testing.ledger import Sender, differences, stored
from meterlake.testing.serving import START, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
PATIENCE_S = 240.0


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
            sender = Sender(urls, key, self.chance.randrange(1 << 30), readings=60)
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
        time.sleep(8)
        trial.kill("one")
        time.sleep(12)
        trial.kill("two")
        time.sleep(12)
        trial.finish()
        last = trial.server("last", "all", METERLAKE_GRACE="1h")
        trial.kill("three")
        return trial.count(last, key)
    finally:
        trial.stop()


def rolling(lake: Path, log: str, seed: int, rounds: int = 2) -> dict[str, object]:
    """Stop and start two of each kind, one after another, while readings come in."""
    trial = Trial(lake, topics(log), seed)
    restarts = 0
    try:
        names = {"in-1": "ingest", "in-2": "ingest", "live-1": "live,seal", "live-2": "live,seal"}
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
    parser.add_argument("kind", choices=["alone", "group", "rolling"])
    parser.add_argument("--log", required=True, help="kafka://HOST:PORT of brokers that run")
    parser.add_argument("--kills", type=int, default=10, help="kills at random moments")
    parser.add_argument("--steps", type=int, default=1, help="kills before and after each step")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake, log = Path(folder) / "lake", prefixed(told.log)
        if told.kind == "alone":
            points: list[tuple[str, str, int] | None] = [None] * told.kills
            points += [
                (step, when, number)
                for number in range(1, told.steps + 1) for step in STEPS for when in ("before", "after")
            ]  # fmt: skip
            random.Random(told.seed).shuffle(points)
            counted = alone(lake, log, points, told.seed)
        else:
            counted = (group if told.kind == "group" else rolling)(lake, log, told.seed)
        print(json.dumps(counted, indent=1))


if __name__ == "__main__":
    main()
