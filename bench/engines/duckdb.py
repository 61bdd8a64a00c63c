"""DuckDB: a database file, sorted rows, meters as an ENUM, prepared statements.

Of the ways to load that were tried, this one was fastest: read into a temporary table, sort by the ENUM's codes, and
keep rows that differ from the one before (GROUP BY and DISTINCT ON took 1.3 to 3 times as long). A primary key
would make loads slower and helps no question here: sorted rows are found by the minima and maxima of row groups.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from bench.engines import CHANNEL, GRAIN, INTERVAL_S, RANGES, SLOTS, VALUE_MAX
from meterlake.moments import back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from bench.engines import Layout

OWN = f"channel = '{CHANNEL}'::channel_t"
SPAN = "start >= ?::TIMESTAMP AND start < ?::TIMESTAMP"
QUESTIONS = {
    "history": f"SELECT start, value FROM readings WHERE meter = ?::meter_t AND {OWN} AND {SPAN} ORDER BY start",
    "month_totals": f"SELECT meter, sum(value)::BIGINT FROM readings WHERE {OWN} AND {SPAN} GROUP BY meter",
    "load_curve": f"SELECT start, sum(value)::BIGINT FROM readings WHERE {OWN} AND {SPAN} GROUP BY start",
    "usage": "SELECT "
    + ", ".join(["coalesce(sum(value) FILTER (start >= ?::TIMESTAMP), 0)::BIGINT"] * len(RANGES))
    + f" FROM readings WHERE meter = ?::meter_t AND {OWN} AND {SPAN}",
}


class DuckDB:
    """One table in one file."""

    grain = GRAIN

    def __init__(self, folder: Path) -> None:
        """Open the database."""
        self._file = folder / "readings.duckdb"
        self._connection = duckdb.connect(str(self._file))
        self._connection.execute(
            "SET TimeZone = 'UTC'; SET enable_progress_bar = false; SET preserve_insertion_order = false"
        )
        self._prepared: set[str] = set()

    def load(self, paths: Sequence[Path], layout: Layout) -> None:
        """Read, sort, drop repeats, checkpoint."""
        run = self._connection.execute
        run(f"CREATE TEMP TABLE raw AS {_readings(paths, layout)}")
        run("CREATE TYPE meter_t AS ENUM (SELECT DISTINCT meter FROM raw ORDER BY 1)")
        run("CREATE TYPE channel_t AS ENUM (SELECT DISTINCT channel FROM raw ORDER BY 1)")
        run("SET preserve_insertion_order = true")
        run(
            "CREATE TEMP TABLE sorted AS SELECT meter::meter_t AS meter, channel::channel_t AS channel, start, value "
            "FROM raw ORDER BY 1, 2, 3"
        )
        run(
            "CREATE TABLE readings AS SELECT meter, channel, start, value FROM (SELECT *, lag(start) OVER () AS s, "
            "lag(meter) OVER () AS m, lag(channel) OVER () AS c FROM sorted) "
            "WHERE s IS DISTINCT FROM start OR m <> meter OR c <> channel"
        )
        run("CHECKPOINT")

    def correct(self, paths: Sequence[Path]) -> None:
        """Merge by key, checkpoint."""
        run = self._connection.execute
        run(
            "MERGE INTO readings r USING (SELECT DISTINCT ON (meter, channel, start) meter::meter_t AS meter, "
            f"channel::channel_t AS channel, start, value FROM ({_readings(paths, 'long')})) c "
            "ON r.meter = c.meter AND r.channel = c.channel AND r.start = c.start "
            "WHEN MATCHED THEN UPDATE SET value = c.value "
            "WHEN NOT MATCHED THEN INSERT VALUES (c.meter, c.channel, c.start, c.value)"
        )
        run("CHECKPOINT")

    def settle(self) -> None:
        """Nothing is left to do."""

    def sizes(self) -> Mapping[str, int]:
        """The database file."""
        return {"database file": self._file.stat().st_size}

    def _ask(self, name: str, *values: object) -> duckdb.DuckDBPyConnection:
        """Run a statement that was prepared once: the parameters of a plain call are planned anew each time."""
        if name not in self._prepared:
            self._connection.execute(f"PREPARE {name} AS {QUESTIONS[name]}")
            self._prepared.add(name)
        return self._connection.execute(f"EXECUTE {name}({', '.join(_literal(value) for value in values)})")

    def history(self, meter: str, start: datetime, stop: datetime) -> pa.Table:
        """Look up one meter."""
        return self._ask("history", meter, start, stop).to_arrow_table()

    def usage(self, meter: str, until: date) -> Sequence[int]:
        """Sum five ranges in one pass over the longest."""
        starts = [back(until, name) for name in RANGES]
        row: tuple[int, ...] | None = self._ask("usage", *starts, meter, min(starts), until).fetchone()
        return row or ()

    def month_totals(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by meter."""
        return self._ask("month_totals", start, stop).to_arrow_table()

    def load_curve(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by start."""
        return self._ask("load_curve", start, stop).to_arrow_table()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _literal(value: object) -> str:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(tzinfo=None)
    return f"'{value}'"


def _readings(paths: Sequence[Path], layout: Layout) -> str:
    """Select the valid readings of CSV files: meter, channel, start, value."""
    files = "[" + ", ".join(f"'{path}'" for path in paths) + "]"
    names = [f"c{slot}" for slot in range(SLOTS)]
    types = {"meter": "VARCHAR", "channel": "VARCHAR", "start": "TIMESTAMP", "value": "DOUBLE"}
    if layout == "london":
        del types["channel"]
    if layout == "wide":
        types = {"meter": "VARCHAR", "channel": "VARCHAR", "day": "TIMESTAMP"} | dict.fromkeys(
            names, "DOUBLE"
        )
    columns = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in types.items()) + "}"
    source = f"read_csv({files}, header = true, auto_detect = false, delim = ',', columns = {columns})"
    if layout == "london":
        source = f"(SELECT meter, '{CHANNEL}' AS channel, start, value FROM {source})"
    if layout == "wide":
        source = (
            f"(SELECT meter, channel, day + to_seconds({INTERVAL_S} * unnest(range({SLOTS}))) AS start, "
            f"unnest([{', '.join(names)}]) AS value FROM {source})"
        )
    return (
        f"SELECT meter, channel, start, round(value * 1000)::INTEGER AS value FROM {source} WHERE value IS NOT NULL "
        f"AND abs(value) <= {VALUE_MAX} AND epoch(start)::BIGINT % {INTERVAL_S} = 0"
    )


def open_store(folder: Path) -> DuckDB:
    """Open the database in ``folder``."""
    return DuckDB(folder)
