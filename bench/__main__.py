"""``python -m bench [--size small|medium|large] [--engines a,b] [--folder F]``: run, print a table, write the JSON."""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench import live, report
from bench.engines import NAMES, is_installed
from bench.files import LONDON, SIZES, Size, corrections, london, meters_of, simulated
from bench.large import DAY, day_of_all, text
from bench.rounds import Bench, ask, correct, load, settle
from bench.worker import BenchFailedError

FOLDER = Path(__file__).parents[1] / "build/bench"


def tell(text: str) -> None:
    """Say what is being done, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def compare(folder: Path, size: Size, engines: list[str]) -> Bench:
    """Run all work at one size."""
    bench = Bench(folder, engines, size, tell)
    tell("simulate the files")
    long = simulated(folder / "files/long", "long", size.long_meters, size.long_days)
    wide = simulated(folder / "files/wide", "wide", size.wide_meters, size.wide_days)
    load(bench, "load_long_csv", "long", long)
    load(bench, "load_wide", "wide", wide)
    _london(bench)
    settle(bench, "long", long.readings)
    settle(bench, "wide", wide.readings)
    month = long.stop - timedelta(days=31)
    meters = meters_of(size.long_meters, size.asked)
    ask(
        bench,
        "long",
        [
            ("history_month", "history", [(meter, month, long.stop) for meter in meters]),
            ("history_year", "history", [(meter, long.start, long.stop) for meter in meters]),
            ("usage_ranges", "usage", [(meter, long.stop.date()) for meter in meters]),
            ("load_curve", "load_curve", [(long.start, long.stop)]),
        ],
    )
    ask(bench, "wide", [("month_totals", "month_totals", [(wide.start, wide.stop)])])
    correct(bench, corrections(long.paths, folder / "files/corrections.csv"), long)
    return bench


def _london(bench: Bench) -> None:
    """Weigh the real files where they are at hand."""
    given = london()
    if given is None:
        bench.work["bytes_london"] = {"skipped": f"no London files in {LONDON}"}
        return
    load(bench, "load_london", "london", given, rounds=1)
    settle(bench, "london", given.readings)


def main() -> int:
    """Run the bench; 1 where an engine fails or two disagree."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", default="medium", choices=[*SIZES, "large"], help="how much work")
    parser.add_argument("--engines", default=",".join(NAMES), help="engines to compare (default: all)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to work; emptied before and after")
    chosen = parser.parse_args()
    engines = chosen.engines.split(",")
    missing = [name for name in engines if not is_installed(name)]
    if missing:
        print(
            f"bench: {', '.join(missing)} not installed: `make bench` sets up what it needs", file=sys.stderr
        )
        return 1
    shutil.rmtree(chosen.folder, ignore_errors=True)
    chosen.folder.mkdir(parents=True)
    about = report.machine()
    try:
        if chosen.size == "large":
            work: dict[str, Any] = {DAY: day_of_all(chosen.folder, tell)}
        else:
            work = compare(chosen.folder, SIZES[chosen.size], engines).work
        work |= live.measure(
            chosen.folder / "live", live.LIVE_SIZES.get(chosen.size, live.LIVE_SIZES["medium"]), tell
        )
    except BenchFailedError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(chosen.folder, ignore_errors=True)
    result = {"size": chosen.size, "machine": about, "work": work, "ratios": report.ratios(work)}
    tell("")
    if chosen.size == "large":
        print(text(work[DAY]), end="\n\n")
    print(report.table(result), live.text(work), sep="\n")
    print(f"\n{report.save(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
