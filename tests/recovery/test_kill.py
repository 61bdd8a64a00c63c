"""A load that is killed at any step leaves the lake as before it, and the next run completes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import meterlake
from meterlake.blocks import BLOCK_SCHEMA, sort_blocks

if TYPE_CHECKING:
    from pathlib import Path

DYING = """
import sys
from meterlake.app import Meterlake, lake_at, registry_at
from meterlake.testing.faults import DyingLake
url, point, *paths = sys.argv[1:]
lake = lake_at(url, create=True)
Meterlake(DyingLake(lake, int(point)), registry_at(None, lake, create=True)).load(paths)
"""


def csv(path: Path, value: int) -> Path:
    days = ("2026-01-31", "2026-02-01")
    lines = [f"m{m},{day}T{h:02d}:00:00Z,{value + m}.5" for m in range(3) for day in days for h in range(24)]
    path.write_text("meter,start,value\n" + "\n".join(lines) + "\n")
    return path


def everything(url: Path) -> pa.Table:
    lake = meterlake.open(str(url)).lake
    tables = [lake.blocks(file) for file in lake.snapshot().files]
    columns = [name for name in BLOCK_SCHEMA.names if name not in {"stamp", "delivery"}]
    return sort_blocks(pa.concat_tables([BLOCK_SCHEMA.empty_table(), *tables])).select(columns)


def killed_load(url: Path, point: int, *paths: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(url), str(point), *map(str, paths)], timeout=120, check=False
    )
    return done.returncode


@pytest.mark.parametrize("point", range(12))
def test_a_load_killed_at_any_writing_step_is_absent_or_whole(tmp_path: Path, point: int) -> None:
    """Points: reserving numbers, each file put (two months, then the rewritten ones), the commit."""
    url, whole = tmp_path / "lake", tmp_path / "whole"
    first, second = csv(tmp_path / "a.csv", 1), csv(tmp_path / "b.csv", 2)
    for folder in (url, whole):
        meterlake.open(str(folder)).load([first])
    before = everything(url)
    meterlake.open(str(whole)).load([second])
    after = everything(whole)
    assert not after.equals(before)

    code = killed_load(url, point, second)
    assert code in {0, -signal.SIGKILL}
    seen = everything(url)
    assert seen.equals(before) or seen.equals(after)
    assert meterlake.open(str(url)).check().ok

    receipt = meterlake.open(str(url)).load([second])
    assert receipt.replayed == seen.equals(after)
    assert everything(url).equals(after)
    assert meterlake.open(str(url)).check().ok
