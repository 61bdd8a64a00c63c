"""The live update gives the same values as its peers, at tiny size; nothing here looks at a time."""

from __future__ import annotations

from bench import report
from bench.live import LIVE_SIZES, kernel
from bench.report import ratios


def test_all_stores_agree_after_a_correction():
    work = {"live_update": kernel.update(200, 3, lambda _: None)}
    assert {"meterlake", "duckdb", "sqlite"} == work["live_update"]["engines"].keys()
    assert work["live_update"]["readings"] == 600
    assert "live_update" in report.table({"work": work, "ratios": ratios(work)})


def test_the_last_update_corrects_the_first_of_every_meter():
    made = list(kernel.batches(120_000, 3))
    first, last = made[:3], made[-3:]
    for before, after in zip(first, last, strict=True):
        assert before.start == after.start
        assert (before.meter == after.meter).all()
        assert (before.amount != after.amount).all()


def test_every_size_of_the_bench_has_its_live_work():
    assert {"small", "medium", "large"} <= LIVE_SIZES.keys()
