"""``python -m bench.live [--size small|medium|large] [--seconds S] [--folder F]``: the live side alone."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from bench import report
from bench.__main__ import FOLDER, tell
from bench.live import LIVE_SIZES, measure, text
from bench.worker import BenchFailedError


def main() -> int:
    """Run it; 1 where the server or a check fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--size", default="medium", choices=list(LIVE_SIZES), help="how much work")
    parser.add_argument("--seconds", type=float, help="how long the steady load lasts (default: by size)")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER / "live", help="where to work; emptied before and after"
    )
    chosen = parser.parse_args()
    size = LIVE_SIZES[chosen.size]
    size = size if chosen.seconds is None else replace(size, seconds=chosen.seconds)
    about = report.machine()
    try:
        work = measure(chosen.folder, size, tell)
    except BenchFailedError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(chosen.folder, ignore_errors=True)
    result = {"size": chosen.size, "machine": about, "work": work, "ratios": report.ratios(work)}
    tell("")
    print(report.table(result))
    print(text(work))
    print(f"\n{report.save(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
