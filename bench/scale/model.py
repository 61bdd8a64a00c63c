"""From figures that were measured to 10 and 50 million meters: what each part would need, with the assumption of each number.

`python -m bench.scale.model RESULT.json` prints a table for the docs from what `python -m bench.scale` wrote.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

READINGS_A_DAY = 96
LIVE_SHARE = 0.1
BEATING_SHARE, BEAT_S = 0.01, 5
"""Of all meters, and how often they beat."""
QUARTER_WITHIN_S = 60
"""Meters report a quarter hour within so many seconds of its end."""
HEADROOM = 2.0
"""A part runs at half of what it can."""
NIGHT_S = 3600
"""The night's files are to be loaded, and the day computed again, in an hour each."""
BYTES_A_READING = 1.53
"""Of a year of half-hours, everything in, by the bench of engines."""
CELL_BYTES, OPEN_DAYS = 12, 2
"""An open slot takes so much; today and yesterday are open."""
CORE_MONTH, GIB_MONTH, TB_MONTH = 25.0, 3.0, 23.0
"""Price list of a large cloud, in dollars: a core, a GiB of memory, a TB in an S3 store, a month each."""


def needs(meters: int, found: dict[str, Any]) -> dict[str, float]:
    """What so many meters need."""
    live = meters * LIVE_SHARE / QUARTER_WITHIN_S + meters * BEATING_SHARE / BEAT_S
    night = meters * READINGS_A_DAY * (1 - LIVE_SHARE)
    cores = found["cores"]
    a_core = found["kafka"]["kafka and s3"]["sealed_per_s"] / cores
    spark = found["spark"]["2 executors"]
    load_core = found["spark"]["readings"] / spark["load_s"] / 2
    batch_core = found["spark"]["readings"] / found["spark"]["days"] / spark["batch_s"] / 2
    open_gib = meters * LIVE_SHARE * READINGS_A_DAY * CELL_BYTES * OPEN_DAYS / 2**30
    beats_gib = meters * BEATING_SHARE * 3600 / BEAT_S * CELL_BYTES * 2 / 2**30
    live_cores = math.ceil(HEADROOM * live / a_core)
    spark_cores = math.ceil(max(night / load_core, meters * READINGS_A_DAY / batch_core) / NIGHT_S)
    memory = HEADROOM * (open_gib + beats_gib) + 2 * spark_cores + 16
    year_tb = meters * READINGS_A_DAY * 365 * BYTES_A_READING / 1e12
    month = (
        (live_cores + 8) * CORE_MONTH
        + spark_cores * CORE_MONTH / 12
        + memory * GIB_MONTH
        + year_tb * TB_MONTH
    )
    return {
        "readings a second, live, at the peak": live,
        "readings a night, in files": night,
        "cores for ingest, log, live and seal": live_cores,
        "GiB of open blocks, twice (a neighbour may die)": HEADROOM * (open_gib + beats_gib),
        "executor cores for a load and a batch of an hour each": spark_cores,
        "TB a year in the lake": year_tb,
        "dollars a month, the first year kept": month,
    }


def main() -> None:
    """Print the table."""
    found = json.loads(Path(sys.argv[1]).read_text())
    columns = {n: needs(n, found) for n in (10_000_000, 50_000_000)}
    print("| | " + " | ".join(f"{n / 1e6:.0f} M meters" for n in columns) + " |\n|---|---|---|")
    for name in columns[10_000_000]:
        shown = (
            f"{column[name]:,.1f}" if column[name] < 20 else f"{column[name]:,.0f}"
            for column in columns.values()
        )
        print(f"| {name} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
