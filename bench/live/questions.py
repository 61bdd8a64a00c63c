"""Questions over HTTP at a fixed rate, asked on time whether or not earlier ones are answered."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.live.server import command, receipt_of
from meterlake.simulate import SimulateOptions, simulate
from meterlake.simulate.fleet import meter_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.live.server import Server

ASKERS: Final = 16
"""Connections that share the questions."""
DAYS: Final = 31
TRICKLE: Final = 5_000
"""Readings a second that come in meanwhile."""
TRICKLE_DAYS: Final = 7
"""Simulated time that they may cover."""
SERIES: Final = 3.05
"""Meter-channels of one home, about."""
INTERVAL_S: Final = 1800


@dataclass(frozen=True, slots=True)
class Homes:
    """The homes with history: a month of half-hours that ends with the day before ``until``."""

    count: int
    until: str
    begin: str


def prepare(folder: Path, homes: int) -> Homes:
    """Make the lake: register ``homes`` and load their month."""
    until = datetime.now(UTC).date() - timedelta(days=12)
    begin = until - timedelta(days=DAYS)
    options = SimulateOptions(points=homes, days=DAYS, start=begin, interval_s=INTERVAL_S)
    made = simulate(folder / "homes", options)
    lake = ("--lake", str(folder / "lake"))
    command(*lake, "init")
    command(*lake, "registry", "import", str(made.folder / "registry"))
    command(*lake, "load", str(made.folder / "readings"))
    return Homes(homes, until.isoformat(), begin.isoformat())


def ask(
    server: Server, homes: Homes, per_s: int, seconds: float, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Ask for usage, a live meter and a month of history, kind after kind, while a few readings come in.

    Every meter is asked once before, so that what is measured is a server that has been up for a while.
    """
    kinds = {
        "http_usage": f"/v1/meters/{{}}/usage?until={homes.until}",
        "http_live_meter": "/v1/live/meters/{}",
        "http_history_month": f"/v1/meters/{{}}/history?channel=electricity.import&from={homes.begin}&to={homes.until}",
    }
    whole_s = (seconds + homes.count / per_s + 2) * len(kinds) + 5
    at_clock = homes.count * SERIES / INTERVAL_S
    speed = max(1.0, min(TRICKLE / at_clock, TRICKLE_DAYS * 86_400 / whole_s))
    begin = datetime.now(UTC) - timedelta(days=9)
    trickle = server.stream(
        "--points", str(homes.count), "--interval", "30min", "--speed", f"{speed:.6f}x", "--from",
        begin.strftime("%Y-%m-%dT00:00:00Z"), "--for", f"{round(speed * whole_s)}s",
    )  # fmt: skip
    time.sleep(2.0)
    chosen = np.random.default_rng(1).integers(0, homes.count, 4096)
    meters = [meter_id("electricity", int(point)) for point in chosen]
    found = {}
    for name, path in kinds.items():
        tell(f"live: {name}, {per_s} a second")
        count = round(per_s * seconds)
        paths = [path.format(meters[i % len(meters)]) for i in range(count)]
        _open_loop(server, sorted(set(paths)), per_s)
        waits = _open_loop(server, paths, per_s)
        found[name] = {
            "homes": homes.count, "calls": count, "per_s": per_s, "beside_readings_per_s": TRICKLE,
            **{f"p{p}_ms": float(np.percentile(waits, p)) * 1e3 for p in (50, 99)}, "max_ms": float(waits.max()) * 1e3,
        }  # fmt: skip
    told = receipt_of(trickle)
    for item in found.values():
        item["beside_readings_per_s"] = told["readings_per_s"]
    return found


def _open_loop(server: Server, paths: Sequence[str], per_s: int) -> Any:
    """Ask each path at its time; return the seconds from that time to the whole answer."""
    waits = np.zeros(len(paths))
    failed: list[Exception] = []
    begin = time.perf_counter() + 0.2

    def work(first: int) -> None:
        connection = server.connect()
        try:
            for i in range(first, len(paths), ASKERS):
                due = begin + i / per_s
                time.sleep(max(0.0, due - time.perf_counter()))
                connection.fetch(paths[i])
                waits[i] = time.perf_counter() - due
        except Exception as error:  # noqa: BLE001 - told to the caller
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(ASKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return waits
