"""The registry's tables in SQL, and the way between their rows and Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
)
from sqlalchemy.dialects import mysql

from meterlake.registry import SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Dialect
    from sqlalchemy.sql import Executable

ROWS_AT_ONCE: Final = 50_000
"""Rows that cross between Arrow and the database at once."""


class Exact(TypeDecorator[str]):
    """Text that is equal only to itself, character by character, and sorts so: in every database alike.

    MariaDB wants to know how long one may be that is looked for (``length``); its usual rules take letters of
    either case, and blanks at the end, as the same. PostgreSQL's usual order changes with the system's library.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        """Give a ``length`` to what is looked for."""
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type that a database has for it."""
        if dialect.name == "postgresql":
            return Text(collation="C")
        if dialect.name not in {"mysql", "mariadb"}:
            return Text()
        rules = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"  # type: ignore[attr-defined]
        return (
            mysql.LONGTEXT(collation=rules) if self.length is None else String(self.length, collation=rules)
        )


ID: Final = Exact(255)
WORDS: Final = Exact()
BYTES: Final = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
HASH: Final = LargeBinary(32).with_variant(mysql.BINARY(32), "mysql", "mariadb")
NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")
"""What a database counts; SQLite's are as long and called otherwise."""

_KINDS: Final[Mapping[pa.DataType, Any]] = {
    pa.string(): WORDS,
    pa.float64(): Double,
    pa.int32(): Integer,
    pa.int64(): BigInteger,
    pa.timestamp("us", tz="UTC"): BigInteger,
}
"""Moments are kept as microseconds since 1970 UTC."""

METADATA: Final = MetaData()


def _dated(name: str) -> Table:
    """Table of rows told at ``recorded`` (µs) and held until ``superseded``, null for those that stand."""
    shape = SHAPES[name]
    looked_for = {shape.key, "service_point_id"}
    columns: list[Column[Any]] = [
        Column(column, ID if column in looked_for else _KINDS[kind]) for column, kind in shape.columns.items()
    ]
    return Table(
        name,
        METADATA,
        Column("number", NUMBER, primary_key=True, autoincrement=True),
        *columns,
        Column("extra", WORDS),
        Column("recorded", BigInteger, nullable=False),
        Column("superseded", BigInteger),
        Index(f"{name}_by_key", shape.key),
    )


TABLES: Final = {name: _dated(name) for name in SHAPES}
METERS, POINTS = TABLES["meters"], TABLES["service_points"]
Index("meters_by_point", METERS.c.service_point_id)

SERIES: Final = Table(
    "series",
    METADATA,
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("content", BYTES, nullable=False),
)
"""Arrow bytes (registry.SERIES_STATE) of the series of one part of the meters."""

BUCKETS: Final = Table(
    "buckets",
    METADATA,
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
)
"""How many rows each bucket has given."""

VERSIONS: Final = Table(
    "versions", METADATA, Column("version", BigInteger, primary_key=True, autoincrement=False)
)
"""Versions of the lake that the series hold; the least one stands for all before it."""

STATE: Final = Table(
    "state",
    METADATA,
    Column("name", ID, primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""``layout`` of these tables, ``buckets`` of the lake, and ``revision``, raised by every change."""


def fetch(connection: Connection, query: Executable, schema: pa.Schema) -> pa.Table:
    """Answer of ``query`` as Arrow; its columns are those of ``schema``, in order."""
    result = connection.execute(query, execution_options={"stream_results": True})
    batches = []
    while rows := result.fetchmany(ROWS_AT_ONCE):
        columns = zip(*rows, strict=True)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, _stored(schema), strict=True)]
        batches.append(
            pa.record_batch([a.cast(t) for a, t in zip(arrays, schema.types, strict=True)], schema=schema)
        )
    return pa.Table.from_batches(batches, schema)


def fetched(connection: Connection, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Rows of a short query, straight from the driver: a question about one id waits for nothing else."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query, values)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def _stored(schema: pa.Schema) -> list[pa.DataType]:
    return [pa.int64() if pa.types.is_timestamp(kind) else kind for kind in schema.types]


def tuples(table: pa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of an Arrow table as the database takes them, some at a time."""
    stored = table.cast(pa.schema(list(zip(table.column_names, _stored(table.schema), strict=True))))
    for batch in stored.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def put(connection: Connection, into: Table, rows: pa.Table) -> None:
    """Insert ``rows`` by position: the columns of ``into`` that ``rows`` has."""
    names: Sequence[str] = rows.column_names
    if connection.dialect.name == "postgresql":
        _copy(connection, into, names, rows)
    else:
        run(connection, insert(into).values(dict.fromkeys(names)), rows)


def _copy(connection: Connection, into: Table, names: Sequence[str], rows: pa.Table) -> None:
    """Insert as PostgreSQL takes most at once."""
    quoted = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quoted(name) for name in names)
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(f"COPY {quoted(into.name)} ({columns}) FROM STDIN") as copy:
            for part in tuples(rows):
                for row in part:
                    copy.write_row(row)
    finally:
        cursor.close()


def run(connection: Connection, statement: Any, rows: pa.Table) -> None:
    """Execute ``statement`` once a row of ``rows``, whose columns are its parameters."""
    compiled = statement.compile(dialect=connection.dialect)
    order = compiled.positiontup or list(compiled.params)
    if rows.num_rows:
        for part in tuples(rows.select(order)):
            connection.exec_driver_sql(str(compiled), part)
