"""The registry in a SQL database, by default a SQLite file in the lake's folder.

Facts are only added: an import dates the rows that it supersedes and never rewrites what they said. Series
figures are kept, not recounted; they follow the lake by its versions.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import bindparam, func, select, update

from meterlake.adapters import registry_series
from meterlake.adapters.registry_database import (
    REGISTRY,
    engine_of,
    examined,
    missing_file,
    shown,
    transaction,
)
from meterlake.adapters.registry_layout import settled
from meterlake.adapters.registry_schema import BUCKETS, STATE, TABLES, fetch, fetched, put, run
from meterlake.adapters.registry_stays import QUERY, stays
from meterlake.errors import MeterlakeError, NotFound
from meterlake.registry import (
    SHAPES,
    TableReceipt,
    shape_of,
    successions,
    valid_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Connection

    from meterlake.ports import Registry

TRUST_S: Final = 0.1
"""How long what is kept holds before the database is asked whether another process has changed it."""

KEPT_ANSWERS: Final = 10_000
"""Answers kept in memory until the registry changes."""

MANY: Final = 1000
"""Rows of an import that change how PostgreSQL had better look for one."""


OF_IMPORTS: Final = ("customers", "service_points")
"""Tables that readings add nothing to."""

STATE_QUERY: Final = select(
    STATE.c.number, select(func.coalesce(func.sum(BUCKETS.c.rows), 0)).scalar_subquery()
).where(STATE.c.name == "revision")
"""Revision of what was imported, and how many series there are: both rise with every change."""


class _Meters(NamedTuple):
    """Meters of one revision, as the series were when they were asked."""

    revision: int
    registered: pa.Table
    bare: pa.Table
    whole: pa.Table


class SqlRegistry:
    """`ports.Registry` in a database that SQLAlchemy reaches by ``url``, such as ``sqlite:///lake/registry.db``."""

    def __init__(self, url: str, *, create: bool = False, buckets: int = 64) -> None:
        """Open the registry; with ``create`` make its tables where they are missing, for a lake of ``buckets``.

        Raises:
            NotFound: there is none and ``create`` is not set.
            Invalid: the URL is not one of a database, or its driver is not installed.
            Conflict: a later Meterlake wrote it.
            MeterlakeError: the database cannot be reached or read.

        """
        self.url = shown(url)
        self.connects = url
        """As it was told, for another process that opens it."""
        self._engine = engine_of(url)
        self._stays = str(QUERY.compile(dialect=self._engine.dialect))
        self._lock = Lock()
        self._state = str(STATE_QUERY.compile(self._engine, compile_kwargs={"literal_binds": True}))
        self._revision, self._n_series, self._trusted_until = -1, 0, 0.0
        self._kept: OrderedDict[Any, pa.Table] = OrderedDict()
        self._meters: _Meters | None = None
        if not create and missing_file(self._engine):
            raise NotFound(f"{self.url}: no registry there; check the URL, or make one with `meterlake init`")
        try:
            self.buckets = settled(self._engine, url, buckets if create else None)["buckets"]
        except MeterlakeError:
            self.close()
            raise

    def _reading(self) -> AbstractContextManager[Connection]:
        """One transaction that sees one state."""
        return transaction(self._engine, f"registry {self.url}")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction that is whole or absent; writers wait for each other."""
        with transaction(self._engine, f"registry {self.url}", REGISTRY) as connection:
            yield connection
        self._trusted_until = 0.0

    def examined(self) -> str:
        """Say which database it is; MeterlakeError where it cannot be written."""
        return examined(self._engine, f"registry {self.url}")

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _changed(self, connection: Connection) -> None:
        revision = STATE.c.name == "revision"
        connection.execute(update(STATE).where(revision).values(number=STATE.c.number + 1))

    def _remembered(self, key: Any, make: Callable[[Connection], pa.Table]) -> pa.Table:
        """Answer of ``make``, kept until the registry changes."""
        with self._lock:
            if key in self._kept and time.monotonic() < self._trusted_until:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._reading() as connection:
            revision, n_series = fetched(connection, self._state)[0]
            with self._lock:
                self._look(revision, n_series)
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            answer = make(connection)
        with self._lock:
            if (revision, n_series) == (self._revision, self._n_series):
                self._kept[key] = answer
                if len(self._kept) > KEPT_ANSWERS:
                    self._kept.popitem(last=False)
        return answer

    def _look(self, revision: int, n_series: int) -> None:
        """Forget what has changed since: all by a revision, what tells of meters where there are more series."""
        self._trusted_until = time.monotonic() + TRUST_S
        if revision != self._revision:
            self._kept.clear()
        elif n_series != self._n_series:
            self._kept = OrderedDict((key, rows) for key, rows in self._kept.items() if key in OF_IMPORTS)
        self._revision, self._n_series = revision, n_series

    def _all_meters(self, connection: Connection) -> pa.Table:
        """Return the registered meters and those known by readings alone; the same table until one of them changes."""
        revision = fetched(connection, self._state)[0][0]
        known = self._meters
        if known is not None and known.revision != revision:
            known = None
        rows = successions("meters", _standing(connection, "meters")) if known is None else known.registered
        bare = _bare(connection, rows)
        if known is None or not bare.equals(known.bare):
            whole = pa.concat_tables([rows, bare]).combine_chunks()
        else:
            whole = known.whole
        self._meters = _Meters(revision, rows, bare, whole)
        return whole

    # -- customers, service points, meters -------------------------------------------------------------

    def table(self, name: str, at: datetime | None = None) -> pa.Table:
        """Return all rows of a table as they follow one another, or those that hold at ``at``."""
        shape_of(name)
        if name == "meters":
            rows = self._remembered(name, self._all_meters)
        else:
            rows = self._remembered(name, lambda asked: successions(name, _standing(asked, name)))
        return rows if at is None else valid_at(name, rows, int(at.timestamp() * 1_000_000))

    def installations(self, id_: str) -> pa.Table:
        """Return the stays of a meter or at a service point, by start."""
        return self._remembered(("stays", id_), lambda connection: stays(connection, self._stays, id_))

    def import_tables(self, tables: Mapping[str, pa.Table]) -> Mapping[str, TableReceipt]:
        """Take over rows by table, all of them or none.

        ``tables`` have the schemas of `registry.SHAPES` and at most one row an id and ``from``.
        """
        now_us = time.time_ns() // 1000
        with self._writing() as connection:
            receipts = {name: _take(connection, name, rows, now_us) for name, rows in tables.items()}
            self._changed(connection)
            if self._engine.dialect.name == "postgresql" and any(
                len(rows) > MANY for rows in tables.values()
            ):
                # Else it guesses, until it counts on its own a minute later, and reads all for one.
                connection.exec_driver_sql(f"ANALYZE {', '.join(TABLES)}")
        return receipts

    # -- series ----------------------------------------------------------------------------------------

    def series(self, meter_ids: pa.Array | None = None) -> pa.Table:
        """Return what is known of the series of some meters, or of all, by meter, channel and interval."""
        with self._reading() as connection:
            return registry_series.read(connection, meter_ids)

    def update_series(self, rows: pa.Table, version: int, *, whole: bool = False) -> int:
        """Take over what a version of the lake did to its series; return how many are new."""
        with self._writing() as connection:
            if (
                registry_series.covered(connection) >= version
                or registry_series.holds(connection, version) > whole
            ):
                return 0
            new = registry_series.take(connection, rows, self.buckets, whole=whole)
            registry_series.mark(connection, version, whole=whole)
        return new

    def series_version(self) -> int:
        """Newest version of the lake that the series cover without a gap; 0 for none."""
        with self._reading() as connection:
            return registry_series.covered(connection)


def _standing(connection: Connection, name: str, *more: pa.Field) -> pa.Table:
    """Rows of a table as told, those that were not superseded; ``more`` columns last."""
    table, schema = TABLES[name], pa.schema([*SHAPES[name].schema, *more])
    query = select(*(table.c[column] for column in schema.names)).where(table.c.superseded.is_(None))
    return fetch(connection, query, schema)


def _bare(connection: Connection, registered: pa.Table) -> pa.Table:
    """Meters that have readings and are not ``registered``, as rows like theirs."""
    seen = registry_series.read(connection, None)
    is_known = pc.is_in(seen["meter_id"], value_set=registered["meter_id"].combine_chunks())
    unknown = registry_series.channels(seen.filter(pc.invert(is_known)))
    empty = {field.name: pa.nulls(len(unknown), field.type) for field in registered.schema}
    own = {column: unknown[column] for column in ("meter_id", "channels")}
    return pa.table(empty | own, schema=registered.schema)


def _take(connection: Connection, name: str, rows: pa.Table, now_us: int) -> TableReceipt:
    """Insert the rows that say something new, and date those that they take the place of."""
    table, shape = TABLES[name], SHAPES[name]
    keys = [shape.key, "from"] if shape.dated else [shape.key]
    if connection.execute(select(table.c.number).limit(1)).first() is None:
        new, replaced = rows, pa.nulls(0, pa.int64())
    else:
        standing = _standing(connection, name, pa.field("number", pa.int64()))
        new = rows.take(_unlike(rows, standing, shape.schema.names))
        replaced = standing["number"].take(_like(standing, new, keys))
    ends = pa.table([replaced, pa.array(np.full(len(replaced), now_us))], names=["its_number", "until"])
    its_own = table.c.number == bindparam("its_number")
    run(connection, update(table).where(its_own).values(superseded=bindparam("until")), ends)
    put(connection, table, new.append_column("recorded", pa.array(np.full(len(new), now_us))))
    return TableReceipt(rows=len(rows), added=len(new) - len(replaced), changed=len(replaced))


def _plain(rows: pa.Table, columns: list[str]) -> pa.Table:
    """Columns without nulls, so that a join takes two empty ones as equal, and row numbers."""
    plain = []
    for column in columns:
        values = rows[column]
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        nothing = "\0" if pa.types.is_string(values.type) else -(2**31)
        plain.append(values.fill_null(nothing))
    return pa.table([*plain, pa.array(np.arange(len(rows)))], names=[*columns, "_at"])


def _like(rows: pa.Table, others: pa.Table, columns: list[str]) -> pa.Array:
    """Numbers of the ``rows`` that ``others`` has too, by ``columns``."""
    return _joined(rows, others, columns, "left semi")


def _unlike(rows: pa.Table, others: pa.Table, columns: list[str]) -> pa.Array:
    """Numbers of the ``rows`` that ``others`` does not have."""
    return _joined(rows, others, columns, "left anti")


def _joined(rows: pa.Table, others: pa.Table, columns: list[str], kind: str) -> pa.Array:
    right = _plain(others, columns).drop_columns("_at")
    at = _plain(rows, columns).join(right, columns, join_type=kind)["_at"]
    return pc.sort_indices(at) if not len(at) else at.combine_chunks().sort()


if TYPE_CHECKING:
    _CONFORMS: type[Registry] = SqlRegistry
