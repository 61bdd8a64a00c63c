"""SQL over a lake: DuckDB, read only, over views that speak of readings and days instead of blocks.

Views: ``readings(meter, channel, start, seconds, value, quality, received_at, source)``, a row a filled
slot; ``blocks``, as stored, with those that wait to be folded into files in their place; ``days(meter, channel, day, value, filled, expected)``, a row a UTC day (of
several lengths that a meter-channel has on a day it is the longest); ``meters`` and ``service_points``, as
the registry has them; ``deliveries``, what arrived when.
"""

from __future__ import annotations

import tempfile
from threading import Timer
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset as pads

from meterlake.blocks import BLOCK_SCHEMA, KEY
from meterlake.errors import Invalid
from meterlake.pending import pending
from meterlake.ports import OnFiles
from meterlake.readings import QUALITY_NAMES
from meterlake.registry import SHAPES

if TYPE_CHECKING:
    from meterlake.ports import Lake, Registry

ROWS_MAX: Final = 20_000_000
"""Rows of an answer; more would not fit in memory beside everything else."""

SECONDS_MAX: Final = 600.0
MEMORY_MAX: Final = "4GB"
BLOCK_FOLDER: Final = "interval_blocks"
"""Folder of the blocks' Delta table within a store."""

_VALUE: Final = "CAST({} AS DECIMAL(19, 0)) * CAST('0.000001' AS DECIMAL(7, 6))"
_NAMES: Final = ", ".join(f"'{name}'" for name in QUALITY_NAMES)

BLOCKS_OVER: Final = f"""
CREATE VIEW blocks AS
SELECT * FROM stored ANTI JOIN pending USING ({", ".join(KEY)}) UNION ALL SELECT * FROM pending
"""  # noqa: S608 - the text is all ours

READINGS: Final = f"""
CREATE VIEW readings AS
WITH slots AS (
    SELECT meter_id, channel, interval_s, start, offset_s, scale, quality, qualities, delivery, origin,
           unnest(coalesce(CAST("values" AS BIGINT[]), wide_values)) AS mantissa,
           generate_subscripts(coalesce(CAST("values" AS BIGINT[]), wide_values), 1) - 1 AS slot
    FROM blocks
), marked AS (
    SELECT *, coalesce(delivery, list_filter(origin, o -> slot >= o.first AND slot < o.first + o.count)[1].delivery)
              AS number
    FROM slots WHERE mantissa IS NOT NULL
)
SELECT meter_id AS meter, channel,
       start + to_seconds(offset_s + slot * interval_s) AS start,
       interval_s AS seconds,
       {_VALUE.format("mantissa * CAST(10 ** scale AS BIGINT)")} AS value,
       [{_NAMES}][coalesce(quality, qualities[slot + 1]) + 1] AS quality,
       d.received_at, d.source
FROM marked LEFT JOIN deliveries d USING (number)
"""  # noqa: S608 - the text is all ours

DAYS: Final = f"""
CREATE VIEW days AS
WITH lengths AS (
    SELECT meter_id, channel, CAST(start AS DATE) AS day,
           CASE WHEN interval_s IN (82800, 90000) THEN 86400 ELSE interval_s END AS seconds,
           sum(total) AS total, sum(filled) AS filled
    FROM blocks GROUP BY ALL
)
SELECT meter_id AS meter, channel, day,
       {_VALUE.format("arg_max(total, seconds)")} AS value,
       CAST(arg_max(filled, seconds) AS BIGINT) AS filled,
       86400 // max(seconds) AS expected
FROM lengths GROUP BY meter_id, channel, day
"""  # noqa: S608 - the text is all ours


def run(lake: Lake, registry: Registry | None, query: str, *, seconds_max: float = SECONDS_MAX) -> pa.Table:
    """Answer one SELECT.

    The query sees the views, the lake's own files and nothing else: no other file, no network, no setting.

    Raises:
        Invalid: the text is not one SELECT, DuckDB refuses it, or the answer is too large or too late.

    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="meterlake-sql-") as folder, duckdb.connect() as connection:
        _check_select(duckdb, query)
        connection.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{MEMORY_MAX}'")
        connection.execute(f"SET temp_directory = '{_quoted(folder)}'")
        _register(connection, lake, registry)
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        timer = Timer(seconds_max, connection.interrupt)
        timer.start()
        try:
            return _fetched(connection, query)
        except duckdb.InterruptException:
            raise Invalid(
                f"the query took more than {seconds_max:g} s: ask for less time or fewer meters"
            ) from None
        except duckdb.Error as error:
            raise Invalid(f"DuckDB refuses the query: {error}") from error
        finally:
            timer.cancel()


def _check_select(duckdb: Any, query: str) -> None:
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise Invalid(f"DuckDB cannot read the query: {error}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid("write one SELECT: the lake is read only here")


def _register(connection: Any, lake: Lake, registry: Registry | None) -> None:
    """Make the views. Files are read by pyarrow, which knows every encoding that they are written in."""
    snapshot = lake.snapshot()
    files, waiting = snapshot.files, pending(lake, snapshot)
    store = lake.store
    connection.execute("SET python_enable_replacements = false")
    if files and isinstance(store, OnFiles):
        paths = [store.path(f"{BLOCK_FOLDER}/{file.path}") for file in files]
        stored = pads.dataset(paths, schema=BLOCK_SCHEMA, format="parquet", filesystem=store.filesystem)
    else:
        stored = pa.concat_tables([BLOCK_SCHEMA.empty_table(), *(lake.blocks(file) for file in files)])
    if len(waiting):
        connection.register("stored", stored)
        connection.register("pending", waiting)
        connection.execute(BLOCKS_OVER)
    else:
        connection.register("blocks", stored)
    connection.register("deliveries", lake.records("deliveries"))
    for name in ("meters", "service_points"):
        table = SHAPES[name].schema.empty_table() if registry is None else registry.table(name)
        connection.register(name, table)
    connection.execute(READINGS)
    connection.execute(DAYS)


def _fetched(connection: Any, query: str) -> pa.Table:
    reader = connection.execute(query).to_arrow_reader()
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows > ROWS_MAX:
            raise Invalid(f"the answer has more than {ROWS_MAX:,} rows: add a LIMIT or sum it up")
    return pa.Table.from_batches(batches, reader.schema)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
