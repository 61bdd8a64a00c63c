"""A day of 10 million meters, loaded by Meterlake alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.files import simulated
from bench.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METERS = 10_000_000


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
