"""A nightly batch that is killed again and again ends as one that never was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import meterlake
from meterlake.nightly import bucket

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SMALL = """
from meterlake.nightly import bucket
bucket.BUCKET_SLOTS = 3000
from meterlake.cli import main
main()
"""
"""The command line, with buckets of thirty blocks."""


def csv(path: Path, meters: range, value: int) -> Path:
    lines = [
        f"m{m:03d},2026-01-0{day}T{h:02d}:{q:02d}:00Z,{value + m}.{h:02d}"
        for m in meters
        for day in (1, 2)
        for h in range(24)
        for q in (0, 15, 30, 45)
    ]
    path.write_text("meter,start,value\n" + "\n".join(lines) + "\n")
    return path


def start(lake: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SMALL, "--lake", str(lake), "batch", "--day", "2026-01-01", "-o", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def outcome(lake: Path) -> dict:
    tables = {}
    here = meterlake.open(str(lake)).lake
    for name in ("adjustments", "completeness", "daily_totals"):
        rows = here.records(name)
        rows = rows.select([column for column in rows.column_names if column not in {"run_id", "version"}])
        tables[name] = sorted(map(str, rows.to_pylist()))
    return tables


def test_a_batch_killed_anywhere_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, whole = tmp_path / "lake", tmp_path / "whole"
    files = [csv(tmp_path / "a.csv", range(160), 1), csv(tmp_path / "b.csv", range(60, 180), 2)]
    for folder in (lake, whole):
        for file in files:
            meterlake.open(str(folder)).load([file])
    monkeypatch.setattr(bucket, "BUCKET_SLOTS", 3000)
    never = meterlake.open(str(whole)).batch("2026-01-01").to_json()
    chance, killed = random.Random(7), 0
    parts = lake / "batch"
    for _ in range(2):
        process = start(lake)
        wanted = len(list(parts.glob("*/*.arrow"))) + 1
        while process.poll() is None and len(list(parts.glob("*/*.arrow"))) < wanted:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
    process = start(lake)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    receipt = json.loads(out)
    assert killed > 0
    assert receipt["resumed"] > 0 or len(meterlake.open(str(lake)).runs()) > 1
    runs = meterlake.open(str(lake)).runs()
    assert len(runs) == 1 + (receipt["run_id"] != runs[-1]["run_id"])
    told = runs[-1]
    for name in (
        "cut",
        "blocks",
        "readings",
        "adjustments",
        "channels",
        "completeness",
        "regions",
        "sources",
        "buckets",
    ):
        assert told[name] == never[name], name
    if len(runs) == 1:
        assert outcome(lake) == outcome(whole)
    assert not list(parts.rglob("*.arrow"))
    assert meterlake.open(str(lake)).check().ok
