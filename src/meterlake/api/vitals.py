"""How a server and its fleet do right now: what comes in, how fresh and complete it is, what was refused, who is silent."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.logs import log
from meterlake.moments import day_start, local_date, text_of
from meterlake.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.api.metrics import Figures
    from meterlake.server import Server

MINUTE_S: Final = 60
TEN_S: Final = 10
SILENT_S: Final = (3600, 21_600, 86_400, 259_200, 604_800)
"""Lengths of silence that are counted: an hour, six, a day, three, a week."""
GRACE_S: Final = 60
"""A reading is due so long after the end of its interval."""
KEPT: Final = 32
PATIENCE_S: Final = 0.25
"""So long a first figure is waited for."""
EASE: Final = 20
"""What took a second to work out is shown for so many."""


class _Made(NamedTuple):
    told: Any
    until: float


class Slow:
    """Figures that take time: made in a thread of their own, and shown until the next are there."""

    def __init__(self, least_s: float, patience_s: float = PATIENCE_S) -> None:
        """Show each for ``least_s`` seconds, or `EASE` times as long as it took; wait ``patience_s`` for the first."""
        self._least_s, self._patience_s = least_s, patience_s
        self._lock = Lock()
        self._made: OrderedDict[Any, _Made] = OrderedDict()
        self._making: dict[Any, Thread] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what ``make`` gives, or gave a while ago; None where it takes long and was never made."""
        with self._lock:
            made = self._made.get(key)
            thread = self._making.get(key)
            if thread is None and (made is None or made.until < time.monotonic()):
                thread = self._making[key] = Thread(
                    target=self._make, args=(key, make), name="vitals", daemon=True
                )
                thread.start()
        if made is None and thread is not None:
            thread.join(self._patience_s)
            with self._lock:
                made = self._made.get(key)
        return None if made is None else made.told

    def _make(self, key: Any, make: Callable[[], Any]) -> None:
        began, told = time.monotonic(), None
        try:
            told = make()
        except Exception as error:  # noqa: BLE001 - the next try may do better
            log.error("figure failed", what=str(key), why=f"{type(error).__name__}: {error}")
        now = time.monotonic()
        with self._lock:
            self._made[key] = _Made(told, now + max(self._least_s, EASE * (now - began)))
            self._made.move_to_end(key)
            del self._making[key]
            if len(self._made) > KEPT:
                self._made.popitem(last=False)


class Vitals:
    """The figures of one node. Safe to share between threads."""

    def __init__(self, node: Server, figures: Figures) -> None:
        """Watch ``node``, whose batches are counted in ``figures``."""
        self._node, self._figures = node, figures
        self.silence = Silence(node.lake.registry, node.live)
        self._slow = Slow(10.0)

    def zones(self) -> list[str]:
        """Return the zones of the service points, the commonest first; UTC where none is known yet."""
        found: list[str] = self._slow.get("zones", self._zones) or ["UTC"]
        return found

    def _zones(self) -> list[str]:
        counts = pc.value_counts(self._node.lake.registry.table("service_points")["zone"].drop_null())
        ordered = sorted(counts.to_pylist(), key=lambda one: (-one["counts"], one["values"]))
        return [one["values"] for one in ordered]

    def told(self, zone: str) -> dict[str, Any]:
        """Return how it is; days are those of ``zone``.

        Raises:
            Invalid: there is no such zone.

        """
        now = time.time()
        day_s = day_start(zone, local_date(zone, int(now)))
        status = self._node.status()
        newest_s = status["newest_us"] / 1_000_000
        counts = self._figures.rates.last(MINUTE_S, int(now))
        return {
            "at": text_of(int(now), "UTC"),
            "zone": zone,
            "ready": status["ready"],
            "trouble": sorted(status["trouble"]),
            "accepted": {
                "last_10_s": round(sum(counts[-TEN_S:]) / TEN_S, 1),
                "last_60_s": round(sum(counts) / MINUTE_S, 1),
                "seconds": counts,
            },
            "newest_received_at": text_of(int(newest_s), "UTC") if newest_s else None,
            "freshness_s": round(max(0.0, now - newest_s), 1) if newest_s else None,
            "waiting": {"batches": status["waiting_batches"], "bytes": status["waiting_bytes"]},
            "quarantine": self._slow.get(("quarantine", day_s), lambda: self._refused(day_s)),
            "completeness": self._slow.get(("complete", day_s), lambda: self._complete(day_s)),
            "silent": self._slow.get("silent", self._silent),
        }

    def _complete(self, day_s: int) -> dict[str, Any]:
        """Count the intervals that are due since the second ``day_s``, and those that came."""
        now = int(time.time())
        channels: list[dict[str, Any]] = []
        share = None
        if now > day_s:
            span = datetime.fromtimestamp(day_s, UTC), datetime.fromtimestamp(now, UTC)
            rows = self._node.lake.fleet(*span, step="interval").table
            ends = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000 + rows["seconds"].to_numpy()
            due = rows.filter(pa.array(ends <= now - GRACE_S))
            for name in ("expected", "filled"):
                due = due.append_column(f"{name}_s", pc.multiply(due[name], due["seconds"]))
            how = [
                ("expected", "sum"),
                ("filled", "sum"),
                ("seconds", "max"),
                ("expected_s", "sum"),
                ("filled_s", "sum"),
            ]
            sums = due.group_by("channel", use_threads=False).aggregate(how).sort_by("channel")
            channels = [_channel(*row.values()) for row in sums.to_pylist()]
            whole, part = (pc.sum(sums[f"{name}_s_sum"]).as_py() for name in ("expected", "filled"))
            share = _share(part, whole) if whole else None
        at, since = text_of(now, "UTC"), text_of(day_s, "UTC")
        return {"at": at, "from": since, "share": share, "channels": channels}

    def _refused(self, day_s: int) -> dict[str, int]:
        """Count the readings that were refused, ever and since the second ``day_s``."""
        lake, notes = (
            self._node.lake.lake,
            self._node.live.notes().values(),
        )  # live first: a seal moves them over
        rows, deliveries = lake.records("quarantine"), lake.records("deliveries")
        known = {note.number for note in notes}
        received = deliveries["received_at"].cast(pa.int64()).to_numpy()
        today = deliveries["number"].filter(pa.array(received >= day_s * 1_000_000)).combine_chunks()
        count = rows["count"].to_numpy().astype(np.int64)
        fresh = pc.is_in(rows["delivery"], value_set=today).to_numpy()
        waiting = [
            (note.received_us, pc.sum(note.rejects["count"]).as_py() or 0)
            for note in notes
            if len(note.rejects)
        ]
        sealed = pc.is_in(
            rows["delivery"], value_set=pa.array(sorted(known), rows["delivery"].type)
        ).to_numpy()
        count[sealed] = 0
        return {
            "today": int(count[fresh].sum()) + sum(n for at, n in waiting if at >= day_s * 1_000_000),
            "total": int(count.sum()) + sum(n for _, n in waiting),
        }

    def _silent(self) -> dict[str, Any]:
        standing = self.silence.at(int(time.time()))
        counts = standing.counts(SILENT_S)
        return {
            "meters": standing.meters,
            "never": standing.never,
            "over": [{"seconds": s, "meters": n} for s, n in zip(SILENT_S, counts, strict=True)],
        }


def _channel(
    channel: str, expected: int, filled: int, longest_s: int, expected_s: int, filled_s: int
) -> dict[str, Any]:
    return {
        "channel": channel, "expected": expected, "filled": filled, "share": _share(filled_s, expected_s),
        "longest_s": longest_s,
    }  # fmt: skip


def _share(part: int, whole: int) -> float:
    """Return a share rounded down: 1 means all."""
    return part * 1000 // max(whole, 1) / 1000
