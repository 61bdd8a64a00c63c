"""The run: files of readings in threads, the registry, and the truth beside them."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S
from meterlake.simulate.batches import batches, channels_of, first_second, readings_expected
from meterlake.simulate.faults import TRUTH_SCHEMA, Faults
from meterlake.simulate.fleet import plan
from meterlake.simulate.loads import CHANNELS, scene
from meterlake.simulate.options import Simulated, check_format
from meterlake.simulate.registry import write_registry
from meterlake.simulate.sheets import open_sheet, suffix
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from meterlake.simulate.batches import Batch
    from meterlake.simulate.fleet import Fleet
    from meterlake.simulate.loads import Scene
    from meterlake.simulate.options import SimulateOptions
    from meterlake.simulate.sheets import Sheet

Ints = npt.NDArray[np.int64]

FILE_READINGS: Final = 4_000_000
"""Readings of one file, about: 25 MB of wide text; two files at least, so that they can be loaded at once."""


@dataclass(slots=True)
class _Tally:
    """What went into one file and its late companion. ``count`` and ``total`` are (channel x UTC day)."""

    count: Ints
    total: Ints
    received: int = 0
    filled: int = 0
    truth: list[pa.Table] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    def add(self, batch: Batch, first_day: int) -> None:
        """Count what ``batch`` holds, each slot once."""
        filled = batch.amounts != MISSING
        known = batch.amounts if filled.all() else np.where(filled, batch.amounts, 0)
        day = (batch.series.start_s + np.arange(known.shape[1]) * batch.series.interval_s) // DAY_S
        days, begins = np.unique(day - first_day, return_index=True)
        into = batch.channel[:, None], days[None, :]
        np.add.at(self.count, into, np.add.reduceat(filled, begins, axis=1, dtype=np.int64))
        np.add.at(self.total, into, np.add.reduceat(known, begins, axis=1))

    def add_written(self, batch: Batch, order: Ints) -> None:
        """Count the records of ``batch`` that were written, as often as they were."""
        self.received += len(order) * batch.record_slots
        self.filled += int((batch.records() != MISSING).sum(1)[order].sum())


class _Progress:
    """Adds up what the threads have made and tells the caller."""

    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0
        self._lock = threading.Lock()

    def add(self, readings: int) -> None:
        with self._lock:
            self._done += readings
            if self._tell:
                self._tell(self._done, self._total)


def simulate(
    out: Path,
    options: SimulateOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
) -> Simulated:
    """Write ``readings/``, ``registry/`` and ``truth/`` of a simulated fleet into the folder ``out``.

    The same options give the same bytes, whatever the number of ``threads`` (None: one a processor).
    ``progress`` is called with readings made and readings in all, from any thread, one call at a time.
    Raises Invalid where the options cannot be simulated or ``out`` already holds a simulation.
    """
    begin = time.perf_counter()
    fleet = plan(options)
    check_format(options)
    _make_folders(out)
    write_registry(fleet, out / "registry")
    slots = options.days * DAY_S // options.interval_s
    first_slot = first_second(options) // options.interval_s
    scenes = {name: scene(fleet, name, first_slot, slots) for name in fleet.loads}
    expected = readings_expected(fleet, slice(None))
    meter = _Progress(progress, expected)
    bounds = _bounds(options, expected)

    def write(number: int) -> _Tally:
        points = slice(int(bounds[number]), int(bounds[number + 1]))
        return _write_file(out / "readings", number, fleet, scenes, points, meter)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        tallies = list(pool.map(write, range(len(bounds) - 1)))
    totals = _write_truth(out / "truth", fleet, tallies)
    files = tuple(sorted(path for tally in tallies for path in tally.paths))
    return Simulated(
        out, sum(tally.received for tally in tallies), sum(path.stat().st_size for path in files), files,
        time.perf_counter() - begin, totals,
    )  # fmt: skip


def _make_folders(out: Path) -> None:
    for name in ("readings", "registry", "truth"):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Invalid(f"{folder} already holds files: remove them or name another folder")


def _bounds(options: SimulateOptions, expected: int) -> Ints:
    """First point of each file, and the end of the last."""
    files = options.files or min(options.points, max(2, -(-expected // FILE_READINGS)))
    return np.asarray(np.arange(files + 1, dtype=np.int64) * options.points // files)


def _write_file(
    folder: Path, number: int, fleet: Fleet, scenes: Mapping[str, Scene], points: slice, progress: _Progress
) -> _Tally:
    options = fleet.options
    first_day = first_second(options) // DAY_S
    shape = (len(CHANNELS), options.days + 1)
    tally = _Tally(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    faults, sheets = Faults(fleet), dict[str, "Sheet"]()
    # "late" sorts after "fleet", so that files taken in the order of their names come as they would.
    names = {kind: folder / f"{kind}-{number:04d}{suffix(options.format)}" for kind in ("fleet", "late")}
    try:
        for batch in batches(fleet, scenes, points):
            tally.truth += faults.values(batch)
            rows, truth = faults.rows(
                batch, keep_blank=options.format == "lcl-raw", within_series=options.format == "nem12"
            )
            tally.truth += truth
            for kind, order in (("fleet", rows.main), ("late", rows.late)):
                if kind not in sheets and (len(order) or kind == "fleet"):
                    sheets[kind] = open_sheet(names[kind], fleet)
                if len(order):
                    sheets[kind].write(batch, order)
                    tally.add_written(batch, order)
            tally.add(batch, first_day)
            progress.add(batch.amounts.size)
    finally:
        for sheet in sheets.values():
            sheet.close()
    tally.paths = [names[kind] for kind in sheets]
    return tally


def _write_truth(folder: Path, fleet: Fleet, tallies: list[_Tally]) -> dict[str, int]:
    """Write the truth, and return the totals by channel."""
    tables = [TRUTH_SCHEMA.empty_table(), *(table for tally in tallies for table in tally.truth)]
    truth = pa.concat_tables(tables)
    pq.write_table(truth.combine_chunks(), folder / "faults.parquet", compression="zstd")
    count = sum((tally.count for tally in tallies), np.zeros_like(tallies[0].count))
    total = sum((tally.total for tally in tallies), np.zeros_like(tallies[0].total))
    names = list(CHANNELS)
    present = [(names.index(channel), channel) for channel in channels_of(fleet.options)]
    present = [(code, channel) for code, channel in present if channel in _channels_present(fleet)]
    totals = {channel: int(total[code].sum()) for code, channel in present}
    received, filled = sum(t.received for t in tallies), sum(t.filled for t in tallies)
    distinct = int(count.sum())
    summary: dict[str, Any] = {
        "received": received,
        "blank": received - filled,
        "repeated": filled - distinct,
        "filled": distinct,
        "totals": totals,
        "counts": {channel: int(count[code].sum()) for code, channel in present},
        "days": {channel: _days(fleet, count[code], total[code]) for code, channel in present},
    }
    (folder / "totals.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return totals


def _channels_present(fleet: Fleet) -> set[str]:
    return {channel for channel in CHANNELS if channel != "electricity.export" or fleet.solar.any()}


def _days(fleet: Fleet, count: Ints, total: Ints) -> dict[str, dict[str, int]]:
    """Filled slots and their sum by UTC day."""
    first_day = first_second(fleet.options) // DAY_S
    return {
        datetime.fromtimestamp((first_day + day) * DAY_S, UTC).date().isoformat(): {
            "count": int(count[day]), "total": int(total[day])
        }
        for day in range(len(count)) if count[day]
    }  # fmt: skip
