"""What runs beyond one machine, measured on this one: `python -m bench.scale [kafka|spark|stream …]`, part of `make bench`.

Servers run on the same cores as what is measured. Prints one JSON object of all parts, and writes it beside the other results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.scale import kafka, spark, stream
from meterlake.testing.servers.processes import why_not

RESULTS = Path(__file__).parents[1] / "results"
PARTS = {
    "kafka": lambda told: kafka.part(told.meters, told.slots),
    "spark": lambda told: spark.part(told.points, told.days),
    "stream": lambda told: stream.part(told.meters, told.slots),
}
NEEDS = {"kafka": ("kafka", "s3", "redis"), "spark": ("spark",), "stream": ("kafka", "spark")}


def main() -> None:
    """Measure the parts; those whose servers cannot be had are skipped, with a line that says what to install."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="kafka, spark, stream; else all")
    parser.add_argument("--meters", type=int, default=100_000, help="meters whose readings come in")
    parser.add_argument("--slots", type=int, default=20, help="quarter hours of each")
    parser.add_argument("--points", type=int, default=20_000, help="service points of the night")
    parser.add_argument("--days", type=int, default=4, help="days that the night brings")
    parser.add_argument(
        "--here", action="store_true", help="one part, in this process; prints its JSON alone"
    )
    told = parser.parse_args()
    if told.here:
        print(json.dumps(PARTS[told.parts[0]](told)))
        return
    found: dict[str, object] = {
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
    }
    for name in told.parts or PARTS:
        missing = [reason for one in NEEDS[name] if (reason := why_not(one))]
        if missing:
            print(f"bench: without {name}: {missing[0]}", file=sys.stderr)
            continue
        words = [f"--{one}={getattr(told, one)}" for one in ("meters", "slots", "points", "days")]
        command = [sys.executable, "-m", "bench.scale", name, "--here", *words]  # Spark begins once a process
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {name} failed: {done.stderr[-2000:]}")
        found[name] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"scale-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json").write_text(
        json.dumps(found, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
