"""The update of open blocks in process, beside DuckDB and SQLite with a primary key, on the same readings.

Readings come in batches, one a meter and slot, meters in a random order that never changes; then a slot comes again with
other values. Nothing is written to disk by anybody. Peers are given numbers for meters, and no text.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.rounds import agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from meterlake.simulate.stream import Ints

BATCH: Final = 50_000
INTERVAL_S: Final = 900
BEGIN_S: Final = 1_780_272_000
"""2026-06-01T00:00:00Z."""
WARM: Final = 1000
"""Meters of the run before the one that counts: it compiles, or reads what was compiled."""
SAMPLE: Final = 10
"""Of so many meters one is read back and compared."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one slot: meter numbers, start (s), amounts (milli units)."""

    meter: Ints
    start: int
    amount: Ints


class Store(Protocol):
    """What is measured."""

    def prepare(self, batch: Batch) -> Any:
        """Bring a batch into the store's own form; not timed."""

    def update(self, batch: Any) -> None:
        """Make it visible."""

    def sums(self, meters: Ints) -> str:
        """Readings and their sum of some meters, as text."""


def batches(meters: int, updates: int) -> Iterator[Batch]:
    """Yield ``updates`` readings of each meter; the last of them is a correction of the first."""
    chance = np.random.default_rng(1)
    order = chance.permutation(meters)
    for turn in range(updates):
        slot = turn if turn < updates - 1 else 0
        amount = chance.integers(0, 2_000, meters) * 1000 + turn
        for low in range(0, meters, BATCH):
            part = order[low : low + BATCH]
            yield Batch(part, BEGIN_S + slot * INTERVAL_S, amount[part])


def update(meters: int, updates: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure all stores on the same readings; they must end with the same values."""
    stores: Mapping[str, Callable[[int], Store]] = {"meterlake": _Live, "duckdb": _DuckDB, "sqlite": _SQLite}
    engines, hashes = {}, {}
    for name, make in stores.items():
        tell(f"live: update of {meters:,} meters, {name}")
        _run(make(WARM), WARM, 2)
        store = make(meters)
        waits = _run(store, meters, updates)
        count, seconds = meters * updates, sum(waits)
        engines[name] = {
            "seconds": seconds, "readings_per_s": round(count / seconds), "batch_p50": float(np.percentile(waits, 50)),
            "batch_p99": float(np.percentile(waits, 99)),
        }  # fmt: skip
        hashes[name] = [store.sums(np.arange(0, meters, SAMPLE))]
    about = {
        "meters": meters,
        "readings": meters * updates,
        "batch": BATCH,
        "hash": agree("live_update", hashes),
    }
    return {**about, "engines": engines}


def _run(store: Store, meters: int, updates: int) -> list[float]:
    """Seconds of each batch."""
    waits = []
    for batch in batches(meters, updates):
        ready = store.prepare(batch)
        begin = time.perf_counter()
        store.update(ready)
        waits.append(time.perf_counter() - begin)
    return waits


class _Live:
    """Open blocks in memory, as the server has them."""

    def __init__(self, meters: int) -> None:
        from meterlake.ids import MeterIds
        from meterlake.live.limits import LiveLimits
        from meterlake.live.live import Live

        self._live = Live(
            MeterIds(), LiveLimits(bytes=8 << 30, rows=2 * meters), {86_400: BEGIN_S, 3600: BEGIN_S}
        )
        self._codes = self._live.ids.codes_of(_names(np.arange(meters)))
        self._number = 0

    def prepare(self, batch: Batch) -> Any:
        from meterlake.entry import Entry
        from meterlake.ledger import QUARANTINE_SCHEMA
        from meterlake.readings import PRECEDENCE, Quality
        from meterlake.strips import Kind, Strips

        self._number += 1
        received_us = (BEGIN_S + 86_400) * 1_000_000 + self._number
        kind = Kind(
            "electricity.import", INTERVAL_S, Quality.ACTUAL, PRECEDENCE[Quality.ACTUAL], received_us, False, "bench",
            self._number,
        )  # fmt: skip
        count = len(batch.meter)
        strips = Strips(
            self._codes[batch.meter], np.zeros(count, np.int32), np.full(count, batch.start), np.ones(count, np.int32),
            np.zeros(count, np.int64), batch.amount,
        )  # fmt: skip
        return Entry(
            number=self._number, batch_id=f"b{self._number}", owner="k", source="bench", received_us=received_us,
            precedence=None, content=f"c{self._number}", received=count, duplicate=0, kinds=(kind,), strips=strips,
            rejects=QUARANTINE_SCHEMA.empty_table(),
        )  # fmt: skip

    def update(self, batch: Any) -> None:
        self._live.apply(batch, batch.number)

    def sums(self, meters: Ints) -> str:
        part = self._live.part(_names(meters).to_pylist(), BEGIN_S, BEGIN_S + 86_400)
        assert part is not None
        return f"{pc.sum(part.blocks['filled'])} {pc.sum(part.blocks['total'])}"


def _names(meters: Ints) -> pa.Array:
    return pc.utf8_lpad(pa.array(meters).cast(pa.string()), 9, "0")


class _DuckDB:
    """A table in memory, rows replaced by their key."""

    def __init__(self, _: int) -> None:
        import duckdb

        self._base = duckdb.connect(config={"threads": 1})
        self._base.execute(
            "CREATE TABLE live (meter INTEGER, start BIGINT, amount BIGINT, PRIMARY KEY (meter, start))"
        )

    def prepare(self, batch: Batch) -> Any:
        starts = np.full(len(batch.meter), batch.start)
        return pa.table({"meter": batch.meter.astype(np.int32), "start": starts, "amount": batch.amount})

    def update(self, batch: Any) -> None:
        self._base.register("batch", batch)
        self._base.execute("INSERT OR REPLACE INTO live SELECT * FROM batch")

    def sums(self, meters: Ints) -> str:
        self._base.register("asked", pa.table({"meter": meters}))
        asked = "SELECT count(*), sum(amount) FROM live WHERE meter IN (SELECT meter FROM asked)"
        found = self._base.execute(asked).fetchone()
        assert found is not None
        return f"{found[0]} {found[1]}"


class _SQLite:
    """A table in memory, rows replaced by their key."""

    def __init__(self, _: int) -> None:
        self._base = sqlite3.connect(":memory:")
        self._base.execute(
            "CREATE TABLE live (meter INTEGER, start INTEGER, amount INTEGER, PRIMARY KEY (meter, start)) WITHOUT ROWID"
        )

    def prepare(self, batch: Batch) -> Any:
        return [
            (meter, batch.start, amount)
            for meter, amount in zip(batch.meter.tolist(), batch.amount.tolist(), strict=True)
        ]

    def update(self, batch: Any) -> None:
        with self._base:
            self._base.executemany("INSERT OR REPLACE INTO live VALUES (?, ?, ?)", batch)

    def sums(self, meters: Ints) -> str:
        self._base.execute("CREATE TABLE asked (meter INTEGER PRIMARY KEY)")
        self._base.executemany("INSERT INTO asked VALUES (?)", [(meter,) for meter in meters.tolist()])
        asked = "SELECT count(*), sum(amount) FROM live WHERE meter IN asked"
        count, total = self._base.execute(asked).fetchone()
        return f"{count} {total}"
