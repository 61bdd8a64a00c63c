"""The database of a registry: how it is reached, who writes when, and which layout its tables have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from meterlake.adapters.registry_schema import METADATA, STATE, VERSIONS
from meterlake.errors import Conflict, Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import URL, Connection, Engine

LAYOUT: Final = 2
"""Number of the tables' layout; a registry of a later one is refused, of an earlier one it is migrated."""

REVISION: Final = "0001"
"""Newest migration."""

WAIT_S: Final = 60
"""How long a writer waits for another one."""

PASSWORD: Final = "METERLAKE_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable
EXTRAS: Final = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
POOL: Final = {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 24, "pool_timeout": WAIT_S}
"""A connection that the server cut off is made anew before it is used."""

_LOCK: Final = 7_304_265
"""Number of the lock under which tables are made and migrated."""


def address(url: str, environment: Mapping[str, str] = os.environ) -> URL:
    """Return where a database is; its password is the environment's where the URL has none.

    Raises:
        Invalid: the URL is not one of a database.

    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Invalid(
            f"registry {url!r}: {reason(error)}; write a database URL such as sqlite:///folder/registry.db"
        ) from error
    secret = environment.get(PASSWORD)
    if secret and found.username and found.password is None:
        return found.set(password=secret)
    return found


def shown(url: str) -> str:
    """Return a URL as it may be seen: without its password."""
    try:
        return make_url(url).set(password=None).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


def engine_of(url: str) -> Engine:
    """Return the pool of connections of a database.

    Raises:
        Invalid: the URL is not one of a database, or its driver is not installed.

    """
    where = address(url)
    kind = where.get_backend_name()
    options: dict[str, Any] = dict(POOL) if kind != "sqlite" else {}
    if kind == "sqlite" and not _file(where):
        # The one connection is the database: threads take it in turn.
        options = {"pool_size": 1, "max_overflow": 0, "connect_args": {"check_same_thread": False}}
    if kind != "sqlite":
        options |= {"paramstyle": "format", "isolation_level": "READ COMMITTED"}
    try:
        engine = create_engine(where, poolclass=QueuePool, **options)
    except ImportError as error:
        extra = EXTRAS.get(kind)
        if extra is None:
            raise Invalid(
                f"registry {shown(url)!r}: {error}; write a URL such as sqlite:///folder/registry.db"
            ) from error
        raise Invalid(
            f"registry {shown(url)!r} needs the extra {extra}: pip install 'meterlake[{extra}]'; "
            "or write sqlite:///folder/registry.db"
        ) from error
    except (ArgumentError, SQLAlchemyError) as error:
        raise Invalid(
            f"registry {shown(url)!r}: {reason(error)}; write a database URL such as sqlite:///folder/registry.db"
        ) from error
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_writing)
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


def _begin_sqlite(connection: Connection) -> None:
    """Lock at once where something will be written: a lock that is raised later cannot wait."""
    writes = connection.get_execution_options().get("meterlake_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Let writers wait for each other: one row is theirs in turn."""
    if connection.get_execution_options().get("meterlake_writes"):
        connection.execute(select(STATE.c.number).where(STATE.c.name == "revision").with_for_update())


def reason(error: Exception) -> str:
    """First line of what a driver says."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def remedy(error: Exception) -> str:
    """Say what to do about it."""
    told = str(error).lower()
    if "locked" in told:
        return "another process holds it: wait for that one to end"
    if "full" in told or "disk i/o" in told:
        return "look at its disk"
    if "readonly" in told or "unable to open" in told:
        return "check that its folder exists and may be written"
    if "password" in told or "access denied" in told:
        return f"set {PASSWORD}"
    return "check the URL, or make a registry with `meterlake init`"


def layout_of(connection: Connection) -> dict[str, int]:
    """Return the numbers of `STATE`; none where the tables are not there."""
    if not inspect(connection).has_table(STATE.name):
        return {}
    return {
        name: int(number) for name, number in connection.execute(select(STATE.c.name, STATE.c.number)).all()
    }


def check_layout(state: Mapping[str, int], url: str) -> None:
    """Raise Conflict for tables of a later Meterlake."""
    if state.get("layout", 0) > LAYOUT:
        raise Conflict(
            f"{shown(url)} was written by a later Meterlake: install that version or name another registry"
        )


def make_tables(connection: Connection, buckets: int) -> None:
    """Make all tables of a new registry, as the migrations would."""
    import_all()
    METADATA.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:it)"), {"it": REVISION})
    state = {"layout": LAYOUT, "buckets": buckets, "revision": 0}
    connection.execute(insert(STATE), [{"name": name, "number": number} for name, number in state.items()])
    connection.execute(insert(VERSIONS).values(version=0))


def import_all() -> None:
    """Let `METADATA` know of every table."""
    from meterlake.adapters import registry_keys, registry_people  # noqa: F401 - their tables are meant


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest layout, or leave them where they have it."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def lock_layout(connection: Connection) -> None:
    """Let one process at a time make or migrate the tables; the lock ends with the transaction or connection."""
    match connection.dialect.name:
        case "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        case "mysql" | "mariadb":
            connection.execute(text(f"SELECT GET_LOCK('meterlake-{_LOCK}', {WAIT_S})"))


def unlock_layout(connection: Connection) -> None:
    """Give back what `lock_layout` took, where the end of the transaction does not."""
    if connection.dialect.name in {"mysql", "mariadb"}:
        connection.execute(text(f"SELECT RELEASE_LOCK('meterlake-{_LOCK}')"))
