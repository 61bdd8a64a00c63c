"""ClickHouse inside the process (chDB): a ReplacingMergeTree ordered by meter, channel and start.

The table that is asked has T64 and LZ4 values, which was faster than T64 and ZSTD in every question; its size is measured on copies
with each codec of `CODECS`, of which the smallest counts. Inserting into a ReplacingMergeTree and
merging it at once was the fastest way to load each reading once (DISTINCT, GROUP BY and LIMIT BY took longer).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from chdb.session import Session

from bench.engines import CHANNEL, GRAIN, INTERVAL_S, RANGES, SLOTS, VALUE_MAX
from meterlake.adapters.files import LEVEL_FINAL
from meterlake.moments import back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from bench.engines import Layout

FAST = "T64, LZ4"
CODECS = (
    "T64, ZSTD(3)",
    *(
        f"{codec}ZSTD({LEVEL_FINAL})"
        for codec in ("T64, ", "T64('bit'), ", "Delta, ", "DoubleDelta, ", "Gorilla, ", "")
    ),
)
"""Tried for size: at the zstd level of our compacted files, which is named."""

SETTINGS = (
    "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, "
    "min_compressed_bytes_to_fsync_after_merge = 1"
)
SESSION = (
    "max_insert_threads = 2, max_insert_block_size = 1048576, min_insert_block_size_rows = 1048576, "
    "min_insert_block_size_bytes = 1000000000, date_time_input_format = 'best_effort', "
    "input_format_with_names_use_header = 0, use_uncompressed_cache = 1, allow_suspicious_codecs = 1"
)


class ClickHouse:
    """One table of one database."""

    grain = GRAIN

    def __init__(self, folder: Path) -> None:
        """Open the session; one at a time may be open in a process."""
        self._session: Any = Session(str(folder))  # type: ignore[no-untyped-call]
        self._final = ""
        self._run(f"SET {SESSION}")
        self._run("CREATE DATABASE IF NOT EXISTS bench")
        self._make("readings", FAST)

    def _run(self, query: str) -> Any:
        return self._session.query(query)

    def _make(self, table: str, codec: str) -> None:
        moments = "DoubleDelta, " + codec.rpartition(", ")[2]
        self._run(
            f"CREATE TABLE IF NOT EXISTS bench.{table} (meter LowCardinality(String), channel LowCardinality(String), "
            f"start DateTime('UTC') CODEC({moments}), value Int32 CODEC({codec})) ENGINE = ReplacingMergeTree "
            f"ORDER BY (meter, channel, start) SETTINGS {SETTINGS}"
        )

    def load(self, paths: Sequence[Path], layout: Layout) -> None:
        """Insert, then merge the parts, which drops repeats."""
        self._run(f"INSERT INTO bench.readings {_readings(paths, layout)}")
        self._run("OPTIMIZE TABLE bench.readings FINAL")

    def correct(self, paths: Sequence[Path]) -> None:
        """Insert; from here on questions read FINAL, which took less than merging all parts and asking once."""
        self._run(f"INSERT INTO bench.readings {_readings(paths, 'long')}")
        self._final = " FINAL"

    def settle(self) -> None:
        """Merge all parts."""
        self._run("OPTIMIZE TABLE bench.readings FINAL")
        self._final = ""

    def sizes(self) -> Mapping[str, int]:
        """Active parts by codec of the value; metadata beside the parts are not counted."""
        found = {FAST: self._bytes("readings")}
        for codec in CODECS:
            self._make("copy", codec)
            self._run("INSERT INTO bench.copy SELECT * FROM bench.readings ORDER BY meter, channel, start")
            self._run("OPTIMIZE TABLE bench.copy FINAL")
            found[codec] = self._bytes("copy")
            self._run("DROP TABLE bench.copy SYNC")
        return found

    def _bytes(self, table: str) -> int:
        parts = f"FROM system.parts WHERE active AND database = 'bench' AND table = '{table}'"
        return int(str(self._run(f"SELECT sum(bytes_on_disk) {parts}")))

    def _ask(self, what: str, where: str, start: date, stop: date, *, tail: str) -> pa.Table:
        return self._session.query(
            f"SELECT {what} FROM bench.readings{self._final} WHERE {where}channel = '{CHANNEL}' "
            f"AND start >= {_moment(start)} AND start < {_moment(stop)} {tail}",
            "ArrowTable",
        )

    def history(self, meter: str, start: datetime, stop: datetime) -> pa.Table:
        """Look up one meter."""
        return self._ask("start, value", f"meter = '{meter}' AND ", start, stop, tail="ORDER BY start")

    def usage(self, meter: str, until: date) -> Sequence[int]:
        """Sum five ranges in one pass over the longest."""
        starts = [back(until, name) for name in RANGES]
        sums = ", ".join(f"sumIf(value, start >= {_moment(start)}) AS s{i}" for i, start in enumerate(starts))
        row = self._ask(sums, f"meter = '{meter}' AND ", min(starts), until, tail="").to_pylist()[0]
        return [int(value) for value in row.values()]

    def month_totals(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by meter."""
        return self._ask("meter, sum(value) AS amount", "", start, stop, tail="GROUP BY meter")

    def load_curve(self, start: datetime, stop: datetime) -> pa.Table:
        """Group by start."""
        return self._ask("start, sum(value) AS amount", "", start, stop, tail="GROUP BY start")

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _moment(moment: date) -> str:
    """Write a moment, or the midnight that begins a date, as text that is compared as a DateTime('UTC')."""
    if isinstance(moment, datetime):
        moment = moment.astimezone(UTC).replace(tzinfo=None)
        return f"'{moment}'"
    return f"'{moment} 00:00:00'"


def _readings(paths: Sequence[Path], layout: Layout) -> str:
    """Select the valid readings of CSV files in one folder: meter, channel, start, value."""
    files = f"{paths[0].parent}/{{{','.join(path.name for path in paths)}}}"
    names = [f"c{slot}" for slot in range(SLOTS)]
    columns = "meter String, channel String, start DateTime(''UTC''), value Float64"
    channel, start, source = "channel", "start", ""
    if layout == "london":
        columns, channel = columns.replace("channel String, ", ""), f"'{CHANNEL}'"
    if layout == "wide":
        columns = "meter String, channel String, day Date, " + ", ".join(
            f"{name} Nullable(Float64)" for name in names
        )
        start = f"toDateTime(day, 'UTC') + {INTERVAL_S} * slot"
        source = f" ARRAY JOIN [{', '.join(names)}] AS value, range({SLOTS}) AS slot"
    return (
        f"SELECT meter, {channel}, {start}, toInt32(round(assumeNotNull(value) * 1000)) "
        f"FROM file('{files}', 'CSVWithNames', '{columns}'){source} WHERE value IS NOT NULL "
        f"AND abs(value) <= {VALUE_MAX} AND toUnixTimestamp({start}) % {INTERVAL_S} = 0"
    )


def open_store(folder: Path) -> ClickHouse:
    """Open the session in ``folder``."""
    return ClickHouse(folder)
