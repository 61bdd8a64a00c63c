"""A night on Spark beside threads, and beside plain PySpark over the same files.

Each engine loads the same long CSV into a lake of its own and runs the batch of one of its days; PySpark reads the files, takes one
row of each slot by `groupBy` and writes Parquet, then sums it by meter, channel and day. What an engine costs by itself is the
time of tasks that do nothing.
"""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from operator import is_not as nothing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterlake.adapters.spark_engine import session_at
from meterlake.app import engine_at, open_lake
from meterlake.simulate import SimulateOptions, simulate
from meterlake.testing.servers.spark import spark

if TYPE_CHECKING:
    from meterlake.app import Meterlake
    from meterlake.simulate.options import Simulated

RECEIVED = "2026-02-01T00:00:00Z"
TASKS = 64


def part(points: int, days: int) -> dict[str, object]:
    """Seconds of a load and a nightly batch: threads, one executor of one core, two; and of PySpark on two."""
    told: dict[str, Any] = {"points": points, "days": days}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = SimulateOptions(points=points, days=days, format="csv", files=8)
        made = simulate(folder / "fleet", options)
        told |= {"readings": made.readings, "csv_bytes": made.bytes}
        day = (options.start + timedelta(days=days - 1)).isoformat()
        told["threads"] = _night(open_lake(str(folder / "threads")), folder, day)
        for executors in (1, 2):
            with spark(workers=executors, memory="3g") as cluster:
                lake = open_lake(str(folder / f"spark{executors}"), engine=cluster.url)
                alone = _alone(lake, cluster.url)
                told[f"{executors} executors"] = _night(lake, folder, day) | alone
                if executors == 2:
                    told["pyspark on 2 executors"] = _peer(cluster.url, made, folder)
    return told


def _night(lake: Meterlake, folder: Path, day: str) -> dict[str, float]:
    began = time.monotonic()
    lake.load(str(folder / "fleet" / "readings"), received_at=RECEIVED)
    loaded = time.monotonic()
    lake.batch(day)
    return {"load_s": round(loaded - began, 2), "batch_s": round(time.monotonic() - loaded, 2)}


def _alone(lake: Meterlake, master: str) -> dict[str, float]:
    """What the engine itself takes: to begin, and a task, once it has begun."""
    began = time.monotonic()
    with engine_at(master, lake.lake, lake.registry) as engine:
        list(engine.map(nothing, [0]))
        ready = time.monotonic()
        list(engine.map(nothing, range(TASKS)))
        done = time.monotonic()
    return {"begin_s": round(ready - began, 2), "task_ms": round(1000 * (done - ready) / TASKS, 1)}


def _peer(master: str, made: Simulated, folder: Path) -> dict[str, float]:
    """The same by PySpark's own means; it keeps no record, no quality, no version and no quarantine."""
    from pyspark.sql import functions as f

    began = time.monotonic()
    session = session_at(master, {"spark.sql.shuffle.partitions": "8", "spark.executor.memory": "3g"})
    try:
        rows = session.read.csv([str(path) for path in made.files], header=True, inferSchema=False)
        meter, start, value = _columns(rows.columns)
        slots = rows.groupBy(meter, start, *[name for name in rows.columns if "channel" in name]).agg(
            f.max(f.col(value).cast("decimal(18,6)")).alias("value")
        )
        slots.write.parquet(str(folder / "peer"))
        loaded = time.monotonic()
        kept = session.read.parquet(str(folder / "peer"))
        sums = kept.groupBy(meter, f.substring(start, 1, 10)).agg(f.sum("value"))
        sums.write.parquet(str(folder / "peer-days"))
        return {"load_s": round(loaded - began, 2), "batch_s": round(time.monotonic() - loaded, 2)}
    finally:
        session.stop()


def _columns(names: list[str]) -> tuple[str, str, str]:
    """Names of the columns for meter, start and amount."""
    meter = next(name for name in names if "meter" in name)
    start = next(name for name in names if "start" in name or "time" in name)
    value = next(name for name in names if name in {"kwh", "value", "amount"} or "kwh" in name)
    return meter, start, value
