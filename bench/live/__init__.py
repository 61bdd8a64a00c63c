"""The live side measured: its kernel beside other engines, and a real server under load.

Everything runs on this machine at once: the server, what loads it, and what asks.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSize:
    """How much work.

    ``meters`` of the kernel and ``updates`` of each; ``points`` (about three meter-channels each) and ``slots``
    of what is sent over HTTP at full speed; readings a second and ``seconds`` of the steady load;
    ``homes`` with a month of history that are asked about, at ``asks`` requests a second.
    """

    meters: int
    updates: int
    points: int
    slots: int
    steady_per_s: int
    seconds: float
    homes: int
    asks: int
    asked_s: float


LIVE_SIZES: Final = {
    "small": LiveSize(
        meters=20_000, updates=4, points=5_000, slots=20, steady_per_s=20_000, seconds=5, homes=50, asks=50, asked_s=3
    ),
    "medium": LiveSize(
        meters=1_000_000, updates=8, points=100_000, slots=40, steady_per_s=150_000, seconds=60, homes=2000, asks=200,
        asked_s=20,
    ),
    "large": LiveSize(
        meters=1_000_000, updates=24, points=300_000, slots=40, steady_per_s=150_000, seconds=300, homes=10_000,
        asks=200, asked_s=60,
    ),
}  # fmt: skip
"""By the name that ``SIZE=`` takes; any other is medium."""


def measure(folder: Path, size: LiveSize, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the work items of the live side; ``folder`` is emptied before and after."""
    from bench.live import kernel, load, questions
    from bench.live.server import Server

    found: dict[str, Any] = {"live_update": kernel.update(size.meters, size.updates, tell)}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tell("live: simulate and load a month")
    homes = questions.prepare(folder, size.homes)
    with Server(folder / "lake") as server:
        for encoding in ("arrow", "ndjson"):
            tell(f"live: {encoding} at full speed")
            found[f"accept_{encoding}"] = load.flat_out(server, encoding, size.points, size.slots)
        tell(f"live: {size.steady_per_s:,} readings/s")
        found["live_steady"] = load.steady(server, size.steady_per_s, size.seconds)
        found |= questions.ask(server, homes, size.asks, size.asked_s, tell)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def text(work: dict[str, Any]) -> str:
    """Say the figures of `measure` that have no peer, a line each."""
    lines = []
    for name in ("accept_arrow", "accept_ndjson"):
        item = work[name]
        lines.append(
            f"{name}: {item['readings_per_s'] / 1e6:.2f} M readings/s over HTTP, durable and visible "
            f"({item['readings']:,} readings, {item['meter_channels']:,} meter-channels, batches of {item['batch']:,}, "
            f"ack p50 {item['ack_p50_ms']:.0f} ms, p99 {item['ack_p99_ms']:.0f} ms)"
        )
    item = work["live_steady"]
    lines.append(
        f"live_steady: {item['readings_per_s']:,} readings/s for {item['seconds']:.0f} s; a reading reaches its page in "
        f"{item['p50_ms']:.0f} ms (p50), {item['p99_ms']:.0f} ms (p99, {item['probes']} probes); server "
        f"{item['rss_begin'] / 2**20:.0f} MiB before, {item['rss_end'] / 2**20:.0f} after, {item['rss_peak'] / 2**20:.0f} at most"
    )
    lines += [
        f"{name}: p50 {item['p50_ms']:.2f} ms, p99 {item['p99_ms']:.2f} ms over HTTP at {item['per_s']} a second"
        for name, item in work.items()
        if name.startswith("http_")
    ]
    return "\n".join(lines)
