"""Figures of one server for Prometheus; no label ever names a meter, a key or a batch."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meterlake.bodies import BatchReceipt

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
RING_S: Final = 64
"""Seconds of which the counts are kept."""

_OF_NODE: Final = (
    ("meterlake_ready", "Whether batches are accepted.", lambda told: float(bool(told["ready"]))),
    ("meterlake_troubles", "Works that fail right now.", lambda told: len(told["trouble"])),
    ("meterlake_log_offset", "Batches ever written to the log.", lambda told: told["offset"]),
    ("meterlake_log_lag_batches", "Batches in the log that no checkpoint holds.", lambda told: told["log_kept"]),
    ("meterlake_queue_batches", "Batches that wait for the log.", lambda told: told["waiting_batches"]),
    ("meterlake_queue_bytes", "Bytes of bodies at work.", lambda told: told["waiting_bytes"]),
    ("meterlake_seal_age_seconds", "Since the last seal.", lambda told: told["seal_age_s"]),
    ("meterlake_checkpoint_age_seconds", "Since the last checkpoint.", lambda told: told["checkpoint_age_s"]),
    ("meterlake_live_bytes", "Memory of the live side.", lambda told: told["live"]["bytes"]),
    ("meterlake_live_rows", "Meter-channels with a row.", lambda told: told["live"]["rows"]),
    ("meterlake_live_sets", "Open blocks of all meters together.", lambda told: told["live"]["sets"]),
    ("meterlake_live_late", "Late readings that wait for a seal.", lambda told: told["live"]["late"]),
)  # fmt: skip
"""Name, what it says, and where it stands in `node.Node.status`."""


class _OfNode:
    """Figures that are read from the node when they are asked for."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        told = self._status()
        for name, what, value in _OF_NODE:
            yield GaugeMetricFamily(name, what, value=value(told))
        if told["newest_us"]:
            age = time.time() - told["newest_us"] / 1_000_000
            yield GaugeMetricFamily(
                "meterlake_freshness_seconds", "Since the newest reading came.", value=age
            )


class Rates:
    """How many came in each of the last seconds. Safe to share between threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._second, self._counts = [0] * RING_S, [0] * RING_S

    def add(self, n: int, now_s: int) -> None:
        """Count ``n`` more in the second ``now_s``."""
        at = now_s % RING_S
        with self._lock:
            if self._second[at] != now_s:
                self._second[at], self._counts[at] = now_s, 0
            self._counts[at] += n

    def last(self, seconds: int, now_s: int) -> list[int]:
        """Return the counts of the ``seconds`` whole seconds before ``now_s``, the oldest first."""
        with self._lock:
            held = dict(zip(self._second, self._counts, strict=True))
        return [held.get(second, 0) for second in range(now_s - seconds, now_s)]


class Figures:
    """What a server counts."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """``status`` tells how the node is."""
        self._registry = CollectorRegistry()
        self._registry.register(_OfNode(status))
        self._readings = Counter(
            "meterlake_readings", "Readings by what became of them.", ["outcome"], registry=self._registry
        )
        self._batches = Counter(
            "meterlake_batches", "Batches answered.", ["outcome"], registry=self._registry
        )
        self._bytes = Counter(
            "meterlake_received_bytes", "Bytes of bodies, unpacked.", registry=self._registry
        )
        self._requests = Histogram(
            "meterlake_request_seconds", "Requests by route and status.", ["method", "route", "status"],
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self.rates = Rates()
        """Readings accepted by second."""
        self.streams = Gauge(
            "meterlake_event_streams", "Event streams that are open.", registry=self._registry
        )

    def batch(self, receipt: BatchReceipt, size: int) -> None:
        """Count an answered batch of ``size`` bytes."""
        outcomes = {
            "accepted": receipt.accepted,
            "duplicate": receipt.duplicate,
            "rejected": receipt.rejected,
        }
        for outcome, n in outcomes.items():
            self._readings.labels(outcome).inc(n)
        self.rates.add(receipt.accepted, int(time.time()))
        self._batches.labels("repeated" if receipt.replayed else "new").inc()
        self._bytes.inc(size)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; ``route`` is a template."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
