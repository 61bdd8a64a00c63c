"""Kill a real server while it is sent readings, start it again, and count what is lost or doubled.

`python -m bench.faults --kills 100 --steps 2` writes one JSON object: how often it was killed, and where.
`python -m bench.faults --freeze 30` stops it for 30 seconds instead (SIGSTOP) while four senders go on.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from meterlake.testing.dying import STEPS
from meterlake.testing.ledger import Sender, differences, stored
from meterlake.testing.serving import START, Server

SETTINGS = {"METERLAKE_FLUSH": "1s", "METERLAKE_CHECKPOINT": "1s", "METERLAKE_BATCH": "no"}
GRACES = ("4d", "1h", "1s")
"""With four days of grace old blocks stay open; with one second the next start seals them."""


def trials(lake: Path, points: list[tuple[str, str, int] | None], seed: int) -> dict[str, object]:
    """One lake, one kill a point (None: at a random moment), and the count at the end of all."""
    chance = random.Random(seed)
    server = Server(lake, SETTINGS | {"METERLAKE_GRACE": GRACES[0]}).start()
    sender = Sender(lambda: server.url, server.key(), seed)
    sender.start()
    killed, restarts = 0, []
    for i, point in enumerate(points):
        time.sleep(0.2)
        server.kill()
        server.settings = SETTINGS | {"METERLAKE_GRACE": GRACES[i % len(GRACES)]}
        if point is not None:
            server.command = (
                sys.executable,
                "-m",
                "meterlake.testing.dying",
                point[0],
                point[1],
                str(point[2]),
            )
        killed += _run_until_dead(server, chance, planned=point is not None)
        server.command = START
        began = time.monotonic()
        server.start()
        restarts.append(time.monotonic() - began)
    sender.finish()
    if sender.error:
        raise SystemExit(sender.error)
    meters = {slot[0] for slot in sender.ledger.amounts}
    counted = differences(sender.ledger.amounts, stored(server.url, sender._key, meters))  # noqa: SLF001
    server.stop()
    ledger = sender.ledger
    return {
        "kills": killed, "batches": ledger.batches, "readings": ledger.readings, "slots": len(ledger.amounts),
        "retries": ledger.retries, "replays": ledger.replays, **counted,
        "restart_s_max": round(max(restarts, default=0), 2),
    }  # fmt: skip


def _run_until_dead(server: Server, chance: random.Random, *, planned: bool) -> int:
    """Start, and kill at a random moment unless it dies by itself; 1 where it was killed."""
    try:
        server.start()
    except RuntimeError:
        return 1
    patience = time.monotonic() + (6.0 if planned else chance.uniform(0.05, 2.0))
    while time.monotonic() < patience:
        if not server.alive:
            server.kill()
            return 1
        time.sleep(0.01)
    server.kill()
    return 0 if planned else 1


def frozen(lake: Path, seconds: float, seed: int) -> dict[str, object]:
    """One server that is stopped for some seconds while four senders go on, and the count after."""
    with Server(lake, SETTINGS | {"METERLAKE_GRACE": GRACES[0]}) as server:
        key = server.key()
        senders = [Sender(lambda: server.url, key, seed + number) for number in range(4)]
        for sender in senders:
            sender.start()
        time.sleep(3.0)
        assert server.process is not None, "it was started"
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.process.send_signal(signal.SIGCONT)
        time.sleep(5.0)
        for sender in senders:
            sender.finish()
        errors = [sender.error for sender in senders if sender.error]
        if errors:
            raise SystemExit(errors[0])
        expected = {slot: amount for sender in senders for slot, amount in sender.ledger.amounts.items()}
        counted = differences(expected, stored(server.url, key, {slot[0] for slot in expected}))
    ledgers = [sender.ledger for sender in senders]
    summed = {
        name: sum(getattr(one, name) for one in ledgers)
        for name in ("batches", "readings", "retries", "replays")
    }
    return {"frozen_s": seconds, **summed, "slots": len(expected), **counted}


def main() -> None:
    """Kill at random moments and at every step, or freeze once; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills at random moments")
    parser.add_argument("--steps", type=int, default=1, help="kills before and after each step")
    parser.add_argument("--freeze", type=float, help="seconds to be stopped, instead of kills")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    points = [None] * told.kills + [
        (step, when, number)
        for number in range(1, told.steps + 1) for step in STEPS for when in ("before", "after")
    ]  # fmt: skip
    random.Random(told.seed).shuffle(points)
    with tempfile.TemporaryDirectory() as folder:
        if told.freeze is not None:
            print(json.dumps(frozen(Path(folder) / "lake", told.freeze, told.seed), indent=1))
            return
        print(json.dumps(trials(Path(folder) / "lake", points, told.seed), indent=1))


if __name__ == "__main__":
    main()
