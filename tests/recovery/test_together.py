"""Several processes on one lake: nothing is lost, nothing is there twice, whoever comes first."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pyarrow as pa

import meterlake
from meterlake.blocks import BLOCK_SCHEMA, sort_blocks

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = ("stored", "duplicate", "superseded", "conflict", "rejected")


def csv(path: Path, meters: range, value: int, days: int = 3) -> Path:
    lines = [
        f"m{m:03d},2026-01-{d + 1:02d}T{h:02d}:{q:02d}:00Z,{value + m}.{h:02d}"
        for m in meters
        for d in range(days)
        for h in range(24)
        for q in (0, 15, 30, 45)
    ]
    path.write_text("meter,start,value\n" + "\n".join(lines) + "\n")
    return path


def start(lake: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "meterlake", "--lake", str(lake), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def everything(lake: Path) -> pa.Table:
    open_lake = meterlake.open(str(lake)).lake
    tables = [open_lake.blocks(file) for file in open_lake.snapshot().files]
    columns = [name for name in BLOCK_SCHEMA.names if name not in {"stamp", "delivery", "origin"}]
    return sort_blocks(pa.concat_tables([BLOCK_SCHEMA.empty_table(), *tables])).select(columns)


def test_loads_at_once_end_as_loads_one_after_the_other(tmp_path: Path) -> None:
    """Four processes, two of which bring the same keys: the later delivery of equal values changes nothing."""
    files = [csv(tmp_path / f"{i}.csv", range(i * 20, i * 20 + 25), 1) for i in range(4)]
    together, after = tmp_path / "together", tmp_path / "after"
    meterlake.open(str(together))
    running = [start(together, "load", file, "--output", "json") for file in files]
    receipts = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        receipts.append(json.loads(out))
    for file in files:
        meterlake.open(str(after)).load([file])
    assert everything(together).equals(everything(after))
    for receipt in receipts:
        assert receipt["received"] == sum(receipt[name] for name in COUNTS) == 25 * 3 * 96
    assert sorted(receipt["version"] for receipt in receipts) == [1, 2, 3, 4]
    assert sum(receipt["stored"] for receipt in receipts) == 85 * 3 * 96
    assert meterlake.open(str(together)).check().ok


def test_a_load_killed_at_random_is_absent_or_whole(tmp_path: Path) -> None:
    """The command itself, killed after ever longer times until it once gets through."""
    lake, file = tmp_path / "lake", csv(tmp_path / "a.csv", range(100), 7, days=10)
    meterlake.open(str(lake))
    whole = 100 * 10 * 96
    for tenths in range(3, 90, 5):
        process = start(lake, "load", file)
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        report = meterlake.open(str(lake)).check()
        assert report.ok, report.problems
        assert report.readings in {0, whole}
        if process.returncode == 0:
            break
    receipt = meterlake.open(str(lake)).load([file])
    assert receipt.replayed
    assert meterlake.open(str(lake)).check().readings == whole
