"""What every engine is asked, and how its answers are compared.

Fairness. A peer keeps ``readings(meter, channel, start, value)`` sorted by these columns, with its best codecs and types
(enumerated or dictionary-encoded meters, 32-bit values). It is told beforehand that no value is finer than `GRAIN`
and how long the intervals are, which Meterlake finds out. A load ends when everything is on disk (fsync), every
value was read strictly, rows off the grid or beyond `VALUE_MAX` were left out, and a plain query sees each
reading once. Peers need not count what became of each row, name the refused lines, or keep what was replaced.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

NAMES: Final = ("meterlake", "duckdb", "clickhouse", "polars")
LIBRARIES: Final = {"meterlake": "meterlake", "duckdb": "duckdb", "clickhouse": "chdb", "polars": "polars"}
"""What must be importable for an engine."""

Layout = Literal["long", "wide", "london"]

CHANNEL: Final = "electricity.import"
RANGES: Final = ("1w", "1m", "3m", "6m", "1y")
INTERVAL_S: Final = 1800
SLOTS: Final = 48
GRAIN: Final = 1000
"""Milli units in one unit of a peer's value column: 1 Wh."""
VALUE_MAX: Final = 2_000_000
"""kWh in one interval that still fit into a peer's 32-bit column."""


class Engine(Protocol):
    """One engine with one store. Moments are aware UTC; amounts are integers in units of ``grain`` milli units."""

    grain: int

    def load(self, paths: Sequence[Path], layout: Layout) -> None:
        """Read CSV files into the empty store: durable, validated, each reading once."""

    def correct(self, paths: Sequence[Path]) -> None:
        """Read long CSV files over what is stored: their values stand from then on. Durable."""

    def settle(self) -> None:
        """Do what is done at night so that the store is small and quick to read."""

    def sizes(self) -> Mapping[str, int]:
        """Bytes on disk by variant of the store; the smallest counts."""

    def history(self, meter: str, start: datetime, stop: datetime) -> pa.Table:
        """Values of one meter in time order: start, amount."""

    def usage(self, meter: str, until: date) -> Sequence[int]:
        """Sums of one meter over each of `RANGES`."""

    def month_totals(self, start: datetime, stop: datetime) -> pa.Table:
        """Sum of every meter, in any order: meter, amount."""

    def load_curve(self, start: datetime, stop: datetime) -> pa.Table:
        """Sum of all meters by interval, in any order: start, amount."""

    def close(self) -> None:
        """Let go of the store."""


def is_installed(name: str) -> bool:
    """Whether the library of an engine is there."""
    return find_spec(LIBRARIES[name]) is not None


def open_engine(name: str, folder: Path) -> Engine:
    """Open, or make, the store of engine ``name`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    engine: Engine = import_module(f"bench.engines.{name}").open_store(folder)
    return engine


def digest(answer: pa.Table | Sequence[int], grain: int) -> str:
    """Hash of an answer in milli units, the same for every engine: rows ordered by their first column."""
    if not isinstance(answer, pa.Table):
        return _hash(np.array(answer, np.int64) * grain)
    key, amount = answer.column(0), answer.column(1)
    if pa.types.is_timestamp(key.type):
        key = key.cast(pa.timestamp("us", key.type.tz)).cast(pa.int64())
        key = pa.chunked_array([key.to_numpy() // 1_000_000])
    else:
        key = key.cast(pa.int64() if pa.types.is_integer(key.type) else pa.string())
    rows = pa.table({"key": key, "amount": amount.cast(pa.int64())}).sort_by("key")
    keys = (
        rows["key"].to_numpy()
        if rows["key"].type == pa.int64()
        else "\n".join(rows["key"].to_pylist()).encode()
    )
    return _hash(keys, rows["amount"].to_numpy() * grain)


def _hash(*parts: np.ndarray | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes) else np.ascontiguousarray(part, np.int64).tobytes())
    return total.hexdigest()[:16]
