"""A day of 10 million meters, loaded by Meterlake alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.files import simulated
from bench.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METERS = 10_000_000
DAY = "day_of_10m_meters"
"""Name of the work item."""


def day_of_all(folder: Path, tell: Callable[[str], None], meters: int = METERS) -> dict[str, Any]:
    """Simulate the day as wide CSV, load it, and return its figures as one work item."""
    tell(f"simulate a day of {meters:,} meters")
    given = simulated(folder / "files", "wide", meters, 1)
    tell(f"load {given.readings:,} readings, {given.bytes / 1e9:.1f} GB")
    with Worker("meterlake", folder / "day-meterlake", (given.paths[0], "wide")) as worker:
        done = worker.call("load", [(given.paths, "wide")])
        size = next(iter(worker.call("sizes").value.values()))
    seconds = done.seconds[0]
    figures = {
        "seconds": seconds, "readings_per_s": round(given.readings / seconds), "peak_bytes": done.peak_bytes,
        "bytes": size,
    }  # fmt: skip
    about = {"meters": meters, "readings": given.readings, "bytes_in": given.bytes, "files": len(given.paths)}
    return {**about, "engines": {"meterlake": figures}}


def text(day: dict[str, Any]) -> str:
    """Say the figures of `day_of_all` in a few lines."""
    ours = day["engines"]["meterlake"]
    return (
        f"a day of {day['meters']:,} meters: {day['readings']:,} readings in {day['bytes_in'] / 1e9:.2f} GB of wide CSV\n"
        f"time         {ours['seconds']:.1f} s\n"
        f"speed        {ours['readings_per_s'] / 1e6:.2f} M readings/s\n"
        f"peak memory  {ours['peak_bytes'] / 2**30:.2f} GiB\n"
        f"on disk      {ours['bytes'] / 1e9:.2f} GB, {ours['bytes'] / day['readings']:.3f} bytes a reading, before compaction"
    )
