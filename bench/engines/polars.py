"""Polars: one Parquet file sorted by meter, channel and start, read lazily.

Row groups of 100,000 rows and zstd 3 were the quickest to ask. Repeats are rows equal to the one before
after sorting, which took half the time of ``unique``.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from bench.engines import CHANNEL, GRAIN, INTERVAL_S, RANGES, SLOTS, VALUE_MAX
from meterlake.moments import back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from bench.engines import Layout

KEY = ("meter", "channel", "start")
GROUP_ROWS = 100_000
OWN = pl.col("channel") == CHANNEL
SUM = pl.col("value").cast(pl.Int64).sum()


class Polars:
    """One file."""

    grain = GRAIN

    def __init__(self, folder: Path) -> None:
        """Remember where the file is."""
        self._file = folder / "readings.parquet"

    def load(self, paths: Sequence[Path], layout: Layout) -> None:
        """Read, sort, drop repeats, write and sync."""
        self._write(_distinct(_readings(paths, layout)))

    def correct(self, paths: Sequence[Path]) -> None:
        """Write the file again with the new values."""
        new = _distinct(_readings(paths, "long")).rename({"value": "new"}).lazy()
        rows = self._scan().join(new, on=KEY, how="left", maintain_order="left")
        value = pl.coalesce("new", "value").alias("value")
        self._write(rows.with_columns(value).drop("new").collect(engine="streaming"))

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._file)

    def _write(self, rows: pl.DataFrame) -> None:
        """Replace the file by a durable one."""
        fresh = self._file.with_suffix(".new")
        rows.write_parquet(fresh, compression="zstd", compression_level=3, row_group_size=GROUP_ROWS)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.rename(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def settle(self) -> None:
        """Nothing is left to do."""

    def sizes(self) -> Mapping[str, int]:
        """The file."""
        return {"parquet, zstd 3": self._file.stat().st_size}

    def _meter(self, meter: str, start: pl.Expr, stop: pl.Expr) -> pl.LazyFrame:
        mine = (pl.col("meter") == meter) & OWN & (pl.col("start") >= start) & (pl.col("start") < stop)
        return self._scan().filter(mine)

    def history(self, meter: str, start: datetime, stop: datetime) -> pa.Table:
        """Look up one meter; rows are in order as they stand."""
        return self._meter(meter, _moment(start), _moment(stop)).select("start", "value").collect().to_arrow()

    def usage(self, meter: str, until: date) -> Sequence[int]:
        """Sum five ranges in one pass over the longest."""
        starts = [back(until, name) for name in RANGES]
        value = pl.col("value").cast(pl.Int64)
        sums = [
            value.filter(pl.col("start") >= _moment(start)).sum().alias(str(i))
            for i, start in enumerate(starts)
        ]
        return self._meter(meter, _moment(min(starts)), _moment(until)).select(sums).collect().row(0)

    def _all(self, key: str, start: datetime, stop: datetime) -> pa.Table:
        mine = OWN & (pl.col("start") >= _moment(start)) & (pl.col("start") < _moment(stop))
        return self._scan().filter(mine).group_by(key).agg(SUM).collect(engine="streaming").to_arrow()

    def month_totals(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by meter."""
        return self._all("meter", start, stop)

    def load_curve(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by start."""
        return self._all("start", start, stop)

    def close(self) -> None:
        """Nothing is held."""


def _moment(moment: date) -> pl.Expr:
    naive = moment.replace(tzinfo=None) if isinstance(moment, datetime) else datetime(*moment.timetuple()[:3])  # noqa: DTZ001
    return pl.lit(naive).cast(pl.Datetime("us"))


def _scan_csv(paths: Sequence[Path], schema: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
    return pl.scan_csv(list(paths), has_header=False, skip_rows=1, schema=dict(schema))


def _readings(paths: Sequence[Path], layout: Layout) -> pl.LazyFrame:
    """Scan the valid readings of CSV files: meter, channel, start, value."""
    names = [f"c{slot}" for slot in range(SLOTS)]
    match layout:
        case "long":
            rows = _scan_csv(
                paths, {"meter": pl.String, "channel": pl.String, "start": pl.String, "value": pl.Float64}
            )
            start = pl.col("start").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
        case "london":
            rows = _scan_csv(paths, {"meter": pl.String, "start": pl.String, "value": pl.String})
            rows = rows.with_columns(
                pl.col("value").str.strip_chars().cast(pl.Float64), channel=pl.lit(CHANNEL)
            )
            start = pl.col("start").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
        case "wide":
            head = {"meter": pl.String, "channel": pl.String, "day": pl.Date}
            rows = _scan_csv(paths, head | dict.fromkeys(names, pl.Float64))
            slots = pl.lit(pl.Series([list(range(SLOTS))], dtype=pl.List(pl.Int64))).alias("slot")
            rows = rows.select(
                "meter", "channel", "day", slots, pl.concat_list(names).alias("value")
            ).explode("slot", "value")
            start = pl.col("day").cast(pl.Datetime("us")) + pl.duration(seconds=pl.col("slot") * INTERVAL_S)
    value = pl.col("value")
    rows = rows.filter(value.is_not_null() & (value.abs() <= VALUE_MAX))
    rows = rows.select("meter", "channel", start.alias("start"), (value * 1000).round().cast(pl.Int32))
    return rows.filter(pl.col("start").dt.epoch("s") % INTERVAL_S == 0)


def _distinct(readings: pl.LazyFrame) -> pl.DataFrame:
    """Sort by key and keep the first row of each."""
    rows = readings.sort(KEY).collect(engine="streaming")
    changes = [(pl.col(name) != pl.col(name).shift()).fill_null(value=True) for name in KEY]
    return rows.filter(pl.any_horizontal(changes))


def open_store(folder: Path) -> Polars:
    """Open the file in ``folder``."""
    return Polars(folder)
