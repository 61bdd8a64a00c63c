"""The database of a registry: how it is reached, and who writes when."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, select, update
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from meterlake.adapters.registry_schema import STATE
from meterlake.errors import Invalid, MeterlakeError, MissingExtra, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import URL, Connection, Engine

WAIT_S: Final = 60
"""How long a writer waits for another one."""

REACH_S: Final = 10
"""How long a server may take to answer a connection."""

PASSWORD: Final = "METERLAKE_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable

DRIVERS: Final = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
"""Databases, and the way to each that was tried."""

EXTRAS: Final = {"psycopg": "postgres", "pymysql": "mysql"}

POOL: Final = {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 10, "pool_timeout": WAIT_S}
"""A connection that the server cut off is made anew before it is used."""

MARIADB_SESSION: Final = f"SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO', innodb_lock_wait_timeout = {WAIT_S}"
"""What does not fit is refused, never cut, whatever the server is set to."""

MARIADB_PACKET: Final = 8 << 20
"""What a message to MariaDB must be allowed to have: a piece of the series, in quotes."""

NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}

REGISTRY: Final = "revision"
"""Row of `STATE` that belongs to who writes customers, places, meters or series."""

PEOPLE: Final = "people"
"""Row of `STATE` that belongs to who writes accounts, sessions or keys: nobody's sign-in waits for an import."""

POSTGRES_AWAY: Final = frozenset({"53300", "57P01", "57P02", "57P03"})
"""SQLSTATEs of a server that is full, starts or ends; those that begin with 08 are of the connection."""

MARIADB_AWAY: Final = frozenset({1040, 1053, 2002, 2003, 2006, 2013})
"""The same of MariaDB and its driver."""

REMEDIES: Final = {
    ("locked", "lock timeout", "lock wait"): "another process holds it: wait for that one to end",
    ("full", "disk i/o"): "look at its disk",
    ("read-only", "read only"): "give the server that may be written, not its copy",
    ("readonly", "unable to open"): "check that its folder exists and may be written",
    ("too long",): "MariaDB keeps ids of up to 255 characters: shorten it",
    ("permission denied", "command denied"): "give its user the right to make and write tables",
    ("password", "access denied"): f"set {PASSWORD}",
}
"""What to do about what a driver says."""

_EXAMPLE: Final = (
    "write a database URL such as sqlite:///folder/registry.db or postgresql+psycopg://user@host/name"
)
_SECRET: Final = re.compile(r"(?<=//)([^:/?#]*):.*@|((?:password|passwd|sslpassword)=)[^&]*", re.DOTALL)


def address(url: str, environment: Mapping[str, str] = os.environ) -> URL:
    """Return where a database is; its password is the environment's where the URL has none.

    Raises:
        Invalid: the URL is not one of a database that this version knows.

    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Invalid(f"registry {shown(url)!r} is no URL of a database: {_EXAMPLE}") from error
    kind, _, driver = found.drivername.partition("+")
    kind = {"postgres": "postgresql"}.get(kind, kind)
    known = DRIVERS.get(kind)
    if known is None or driver not in {"", known}:
        names = ", ".join(f"{name}+{way}" if name != "sqlite" else name for name, way in DRIVERS.items())
        raise Invalid(f"registry {shown(url)!r}: {found.drivername} is none of {names}; {_EXAMPLE}")
    found = found.set(drivername=f"{kind}+{known}")
    secret = environment.get(PASSWORD)
    if secret and found.username and found.password is None:
        return found.set(password=secret)
    return found


def shown(url: str) -> str:
    """Return a URL as it may be seen: without its password."""
    return _SECRET.sub(lambda hit: f"{hit[1]}@" if hit[2] is None else f"{hit[2]}***", url)


def engine_of(url: str) -> Engine:
    """Return the pool of connections of a database.

    Raises:
        Invalid: the URL is not one of a database.
        MissingExtra: its driver is not installed.

    """
    where = address(url)
    kind, driver = where.get_backend_name(), where.get_driver_name()
    options: dict[str, Any] = {}
    if kind != "sqlite":
        # A reader sees one state through all its queries.
        options = POOL | {"paramstyle": "format", "isolation_level": "REPEATABLE READ"}
        options["connect_args"] = {"connect_timeout": REACH_S}
    elif not _file(where):
        # The one connection is the database: threads take it in turn.
        options = {"pool_size": 1, "max_overflow": 0, "connect_args": {"check_same_thread": False}}
    if driver == "pymysql":
        options["connect_args"] |= {"charset": "utf8mb4", "init_command": MARIADB_SESSION}
    try:
        engine = create_engine(where, poolclass=QueuePool, **options)
    except ImportError as error:
        raise MissingExtra(f"registry {shown(url)}: {driver}", EXTRAS.get(driver, driver)) from error
    except SQLAlchemyError as error:
        raise Invalid(f"registry {shown(url)!r}: {reason(error)}; {_EXAMPLE}") from error
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_writing)
    if kind == "postgresql":
        event.listen(engine, "connect", _prepare_postgres)
    return engine


def _file(where: URL) -> str | None:
    return None if where.database in {None, "", ":memory:"} else where.database


def missing_file(engine: Engine) -> bool:
    """Whether this is a SQLite file that is not there: to connect would make an empty one."""
    file = _file(engine.url)
    return engine.dialect.name == "sqlite" and file is not None and not Path(file).exists()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    connection.execute(f"PRAGMA busy_timeout = {WAIT_S * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")


def _prepare_postgres(connection: Any, _: Any) -> None:
    connection.execute(f"SET lock_timeout = '{WAIT_S}s'")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    """Lock at once where something will be written: a lock that is raised later cannot wait."""
    writes = connection.get_execution_options().get("meterlake_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Let writers wait for each other: one row is theirs in turn."""
    turn = connection.get_execution_options().get("meterlake_writes")
    if turn in {REGISTRY, PEOPLE}:
        connection.execute(select(STATE.c.number).where(STATE.c.name == turn).with_for_update())


@contextmanager
def transaction(engine: Engine, where: str, writes: str | None = None) -> Iterator[Connection]:
    """One transaction that sees one state; with ``writes`` it is whole or absent, and waits for its turn.

    Raises:
        Overloaded: the database does not answer for now; ``where`` says what it is.
        MeterlakeError: it refuses.

    """
    try:
        with engine.connect() as connection:
            if writes is not None:
                connection.execution_options(meterlake_writes=writes)
                if engine.dialect.name == "postgresql":
                    # In its turn a writer sees what those before it have written.
                    connection.execution_options(isolation_level="READ COMMITTED")
            yield connection
            if writes is not None:
                connection.commit()
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise _told(error, where) from error


def _told(error: Exception, where: str) -> MeterlakeError:
    what = f"{where}: {reason(error)}; {remedy(error)}"
    return Overloaded(what) if _is_away(error) else MeterlakeError(what)


def _is_away(error: Exception) -> bool:
    """Whether the server is not there for now, or has no connection left."""
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    origin = getattr(error, "orig", None) or error
    code = getattr(origin, "sqlstate", None)
    if isinstance(code, str):
        return code.startswith("08") or code in POSTGRES_AWAY
    if type(origin).__module__.startswith("pymysql"):
        return bool(origin.args) and origin.args[0] in MARIADB_AWAY
    # PostgreSQL gives no code where the connection failed, the password's being wrong included.
    told = str(error).lower()
    return type(origin).__name__ in {"OperationalError", "ConnectionTimeout"} and (
        type(origin).__module__.startswith("psycopg")
        and not any(sign in told for sign in ("password", "authentication", "does not exist", "no pg_hba"))
    )


def reason(error: Exception) -> str:
    """First line of what a driver says."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def remedy(error: Exception) -> str:
    """Say what to do about it."""
    told = str(error).lower()
    for signs, what in REMEDIES.items():
        if any(sign in told for sign in signs):
            return what
    if _is_away(error):
        return "start the database, wait until it is back, or check the URL"
    return "check the URL, or make a registry with `meterlake init`"


def examined(engine: Engine, where: str) -> str:
    """Say which database it is; nothing is changed.

    Raises:
        MeterlakeError: it does not answer, may not be written, or is set too small.

    """
    with transaction(engine, where, REGISTRY) as connection:
        connection.execute(update(STATE).where(STATE.c.name == REGISTRY).values(number=STATE.c.number))
        connection.rollback()
        dialect = connection.dialect
        if isinstance(dialect, MySQLDialect):
            most = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
            if most < MARIADB_PACKET:
                raise MeterlakeError(
                    f"{where}: max_allowed_packet is {most:,} bytes: set it to {MARIADB_PACKET:,} or more"
                )
        kind = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
        return f"{NAMES[kind]} {'.'.join(map(str, dialect.server_version_info or ()))}, can be written"
