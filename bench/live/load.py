"""Readings into a server: as fast as it takes them, and at a steady rate while one meter is watched."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.live.server import receipt_of
from bench.worker import BenchFailedError
from meterlake.simulate import SimulateOptions, amounts, plan
from meterlake.simulate.fleet import meter_id

if TYPE_CHECKING:
    from bench.live.server import Server

DAY_S: Final = 86_400
INTERVAL_S: Final = 900
BATCH: Final = 50_000
DAYS_BACK: Final = {"arrow": 2, "ndjson": 3, "steady": 5}
"""How many days ago each play takes place, so that none meets the readings of another."""
PROBE: Final = "PROBE-1"
_PROBE_S: Final = 0.2
_LOST_S: Final = 30.0


def _day(days_back: int) -> int:
    return (int(time.time()) // DAY_S - days_back) * DAY_S


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def flat_out(server: Server, encoding: str, points: int, slots: int) -> dict[str, Any]:
    """Send ``slots`` quarter-hours of a fleet in large batches; then a meter must have them."""
    begin = _day(DAYS_BACK[encoding])
    told = receipt_of(
        server.stream(
            "--points", str(points), "--interval", "15min", "--speed", "max", "--from", _iso(begin),
            "--for", f"{slots * INTERVAL_S}s", "--batch", str(BATCH), "--encode", encoding,
        )
    )  # fmt: skip
    _verify(server, points, begin, slots)
    return {
        "points": points, "meter_channels": told["sent"] // slots, "readings": told["sent"], "batch": BATCH,
        "encoding": encoding, "seconds": told["seconds"], "readings_per_s": told["readings_per_s"],
        "ack_p50_ms": told["ack_p50_ms"], "ack_p99_ms": told["ack_p99_ms"], "retries": told["retries"],
    }  # fmt: skip


def _verify(server: Server, points: int, begin: int, slots: int) -> None:
    """The last meter of the fleet has exactly what was sent."""
    fleet = plan(SimulateOptions(points=points, interval_s=INTERVAL_S))
    channel, last = "electricity.import", np.array([points - 1])
    sent = amounts(fleet, channel, begin // INTERVAL_S, slots, last)[0]
    connection = server.connect()
    path = f"/v1/meters/{meter_id('electricity', points - 1)}/history?channel={channel}"
    answer = connection.get(f"{path}&from={_iso(begin)}&to={_iso(begin + DAY_S)}")
    connection.close()
    seen = [round(item["value"] * 1e6) for item in answer["values"]]
    if seen != sent.tolist():
        raise BenchFailedError(f"{path} does not have what was sent")


def steady(server: Server, per_s: int, seconds: float) -> dict[str, Any]:
    """Send ``per_s`` readings a second and watch how long a reading takes from its sender to the page of its meter."""
    points = max(1, per_s // 3)
    probe = _Probe(server)
    fleet = plan(SimulateOptions(points=points, interval_s=INTERVAL_S))
    series = 3 * points + int(fleet.solar.sum())
    speed = per_s * INTERVAL_S / series
    begin_bytes, _ = server.memory()
    process = server.stream(
        "--points", str(points), "--interval", "15min", "--speed", f"{speed:.6f}x",
        "--from", _iso(_day(DAYS_BACK["steady"])), "--for", f"{round(speed * seconds)}s",
    )  # fmt: skip
    time.sleep(2.0)  # until it is under way
    waits = probe.run(seconds, lambda: process.poll() is None)
    told = receipt_of(process)
    end_bytes, peak_bytes = server.memory()
    p50, p99, most = (float(np.percentile(waits, percent)) * 1e3 for percent in (50, 99, 100))
    return {
        "meter_channels": series, "readings": told["sent"], "seconds": told["seconds"],
        "readings_per_s": told["readings_per_s"], "asked_per_s": per_s, "probes": len(waits), "p50_ms": p50,
        "p99_ms": p99, "max_ms": most, "ack_p50_ms": told["ack_p50_ms"], "ack_p99_ms": told["ack_p99_ms"],
        "lag_max_s": told["lag_max_s"], "rss_begin": begin_bytes, "rss_end": end_bytes, "rss_peak": peak_bytes,
    }  # fmt: skip


class _Probe:
    """One meter of one-second readings: each is sent, and awaited in the events of its meter's page."""

    def __init__(self, server: Server) -> None:
        self._sender, self._watcher = server.connect(), server.connect()
        self._start = int(time.time()) - 3 * 3600
        self._send()
        self._seen = threading.Condition()
        self._text = ""
        self._events = self._watcher.events(f"/v1/live/meters/{PROBE}/events")
        threading.Thread(target=self._watch, daemon=True).start()

    def _send(self) -> str:
        """Send the next reading; return how its start is written."""
        self._start += 1
        start = _iso(self._start)
        reading = {
            "meter": PROBE,
            "channel": "electricity.import",
            "start": start,
            "seconds": 1,
            "value": 0.001,
        }
        self._sender.post("/v1/readings", {"readings": [reading]})
        return start

    def _watch(self) -> None:
        """Keep the newest event."""
        try:
            for line in self._events:
                if line.startswith(b"data:"):
                    with self._seen:
                        self._text = line.decode()
                        self._seen.notify()
        except (OSError, ValueError, AttributeError):
            return  # hung up

    def run(self, seconds: float, going: Any) -> list[float]:
        """Seconds that each reading took, one at a time while ``going()``, at most for ``seconds``."""
        waits: list[float] = []
        end = time.perf_counter() + seconds
        while not waits or (time.perf_counter() < end and going()):
            begin = time.perf_counter()
            start = self._send()
            with self._seen:
                if not self._seen.wait_for(lambda start=start: start in self._text, _LOST_S):  # type: ignore[misc]
                    raise BenchFailedError(
                        f"the reading of {start} did not come: the last event was {self._text[:300]}"
                    )
            waits.append(time.perf_counter() - begin)
            time.sleep(max(0.0, _PROBE_S - waits[-1]))
        self._sender.close()
        self._watcher.close()
        return waits
