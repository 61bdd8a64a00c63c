"""Every engine of the bench gives the same answers, at tiny size; nothing here looks at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import report
from bench.engines import NAMES, is_installed
from bench.files import Size, corrections, meters_of, simulated
from bench.rounds import Bench, agree, ask, correct, load, settle
from bench.worker import BenchFailedError

if TYPE_CHECKING:
    from pathlib import Path

THERE = [name for name in NAMES if is_installed(name)]
ABSENT = [name for name in NAMES if name not in THERE]
TINY = Size(
    long_meters=6, wide_meters=9, asked=3, load_rounds=1, question_rounds=1, long_days=40, wide_days=3
)


@pytest.mark.skipif(
    bool(ABSENT), reason=f"compared without {', '.join(ABSENT)}: not installed, see make bench"
)
def test_all_engines_of_the_bench_are_compared_here():
    assert tuple(THERE) == NAMES


@pytest.mark.skipif(len(THERE) < 2, reason="no peer is installed, see make bench")
def test_engines_agree_on_every_question_before_and_after_corrections(tmp_path: Path) -> None:
    bench = Bench(tmp_path, THERE, TINY, lambda _: None)
    long = simulated(tmp_path / "files/long", "long", TINY.long_meters, TINY.long_days)
    wide = simulated(tmp_path / "files/wide", "wide", TINY.wide_meters, TINY.wide_days)
    load(bench, "load_long_csv", "long", long)
    load(bench, "load_wide", "wide", wide)
    settle(bench, "long", long.readings)
    meters = meters_of(TINY.long_meters, TINY.asked)
    whole = (long.start, long.stop)
    ask(bench, "long", [
        ("history_year", "history", [(meter, *whole) for meter in meters]),
        ("usage_ranges", "usage", [(meter, long.stop.date()) for meter in meters]),
        ("load_curve", "load_curve", [whole]),
        ("month_totals", "month_totals", [(long.start, wide.stop)]),
    ])  # fmt: skip
    correct(bench, corrections(long.paths, tmp_path / "corrections.csv", share=0.2), long)
    result = {"work": bench.work, "ratios": report.ratios(bench.work)}
    asked = {
        "load_long_csv",
        "load_wide",
        "history_year_p50",
        "usage_ranges_p50",
        "month_totals",
        "load_curve",
    }
    assert asked | {"corrections"} <= result["ratios"].keys()
    assert all(name in report.table(result) for name in result["ratios"])


def test_a_difference_between_two_engines_ends_the_bench() -> None:
    same = {"meterlake": ["a", "b"], "duckdb": ["a", "b"]}
    assert agree("history", same) == "2 answers"
    with pytest.raises(BenchFailedError, match="history: meterlake and polars disagree, first in answer 1"):
        agree("history", {**same, "polars": ["a", "c"]})


def test_a_ratio_says_how_many_times_better_we_are_than_the_best_peer() -> None:
    engines = {"meterlake": 2.0, "duckdb": 12.0, "clickhouse": 8.0, "polars": 4.0}
    work = {
        "load_long_csv": {"engines": {name: {"seconds": value} for name, value in engines.items()}},
        "bytes_long": {"engines": {name: {"bytes": value} for name, value in engines.items()}},
        "bytes_london": {"skipped": "no files"},
    }
    assert report.ratios(work) == {"load_long_csv": 2.0, "bytes_vs_clickhouse": 4.0}
