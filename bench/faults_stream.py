"""A stream job that is killed again and again while readings come in, counted.

`python -m bench.faults_stream --kills 50` writes one JSON object: what was done, what was lost, changed, invented, and how many
messages the table of received ones lacks or has twice.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from bench.faults_kafka import SETTINGS, START, Trial, prefixed, topics
from meterlake.adapters.received import DeltaReceived
from meterlake.adapters.store_folder import FolderStore
from meterlake.testing.servers.kafka import kafka
from meterlake.testing.servers.processes import needed

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

RECEIVED: Final = "meterlake.adapters.received:DeltaReceived.commit"
STEPS: Final = (
    (RECEIVED, "before"), (RECEIVED, "after"),
    ("meterlake.adapters.delta:DeltaLake.commit", "before"), ("meterlake.adapters.delta:DeltaLake.commit", "after"),
    ("meterlake.adapters.store_cuts:StoreCuts.drop", "before"), ("meterlake.handover:Committer.work", "after"),
)  # fmt: skip
"""What the driver does that lasts."""
LONGEST_S: Final = 60.0


def command(log: str, master: str, *more: str) -> list[str]:
    """Words of the command, after those that start this program."""
    return ["stream-job", "--log", log, "--engine", master, "--every", "1s", *more]


def environment(lake: Path) -> dict[str, str]:
    """Variables of a job."""
    own = {"METERLAKE_LAKE": str(lake), "METERLAKE_SPARK_JARS": str(needed("spark-jars"))}
    return dict(os.environ) | SETTINGS | own | {"METERLAKE_GRACE": "1s"}


def run(lake: Path, log: str, master: str, *more: str) -> dict[str, Any]:
    """Let a job do what there is now, seal it, and return its receipt."""
    words = command(log, master, "--now", "--output", "json", *more)
    done = subprocess.run(
        [*START, *words], env=environment(lake), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(_without_java(done.stderr))
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _without_java(said: str) -> str:
    """Return the last lines of ``said`` but for Java's stacks."""
    return "\n".join([line for line in said.splitlines() if not line.startswith("\tat ")][-100:])


def killed(lake: Path, log: str, kills: int, seed: int, master: str = "local[2]") -> dict[str, object]:
    """Kill ``kills`` jobs, at moments of chance and at steps by turns, and let one more finish."""
    trial = Trial(lake, topics(log), seed)
    try:
        server = trial.server("ingest", "ingest")
        trial.send(lambda: server.url, server.key(), 1)
        for i in range(kills):
            step = STEPS[i // 2 % len(STEPS)] if i % 2 else None
            _kill(lake, log, master, step, trial.chance)
        trial.finish()
        receipt = run(lake, log, master, "--seal", "1s")
        counted = trial.count(trial.server("asked", "web"), server.key())
        return {**counted, "kills": kills, **_messages(lake, log), "last": receipt}
    finally:
        trial.stop()


def _kill(lake: Path, log: str, master: str, step: tuple[str, str] | None, chance: random.Random) -> None:
    """Start a job, and end it at a step or when chance says so."""
    words = command(log, master, "--seal", "2s")
    start: Sequence[str] = START
    if step is not None:
        start = (sys.executable, "-m", "meterlake.testing.dying", *step, str(chance.randint(1, 2)))
    said = lake.with_suffix(".job.log")
    with said.open("a") as file:
        process = subprocess.Popen([*start, *words], env=environment(lake), stdout=file, stderr=file)
        patience = LONGEST_S if step is not None else chance.uniform(5.0, 20.0)
        end = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if process.poll() not in {None, -signal.SIGKILL}:
            raise RuntimeError(f"the job ended by itself: {_without_java(said.read_text())}")
        process.kill()
        process.wait()


def _messages(lake: Path, log: str) -> dict[str, int]:
    """How many messages were received, and how many of those that the log ever took are missing or there twice."""
    received = DeltaReceived(FolderStore(lake))
    seen: Counter[tuple[str, int]] = Counter()
    for file in received.files():
        rows = pq.read_table(lake / "received" / file.path, columns=["shard", "offset"])
        seen.update(zip(rows["shard"].to_pylist(), rows["offset"].to_pylist(), strict=True))
    from meterlake.app.parts import logs_at

    logs = logs_at(log)
    try:
        missing = 0
        for shard in {name for name, _ in seen}:
            end = logs.shard(shard).bounds()[1]
            missing += sum((shard, offset) not in seen for offset in range(end))
    finally:
        logs.close()
    return {"messages": len(seen), "missing": missing, "twice": sum(count > 1 for count in seen.values())}


def main() -> None:
    """Do it; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, kafka(1) as servers:
        log = prefixed(f"kafka://{servers.bootstrap}")
        print(json.dumps(killed(Path(folder) / "lake", log, told.kills, told.seed), indent=1))


if __name__ == "__main__":
    main()
