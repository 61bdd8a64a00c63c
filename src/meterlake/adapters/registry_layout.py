"""Which layout the tables of a registry have: made, migrated, or refused."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, inspect, select, text, update

from meterlake.adapters.registry_database import PEOPLE, REGISTRY, WAIT_S, shown, transaction
from meterlake.adapters.registry_schema import METADATA, STATE, VERSIONS
from meterlake.errors import Conflict, NotFound, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

LAYOUT: Final = 2
"""Number of the tables' layout; a registry of a later one is refused, of an earlier one it is migrated."""

REVISION: Final = "0001"
"""Newest migration."""

BUCKETS: Final = 64
"""Buckets of a lake that does not say how many it has."""

_LOCK: Final = 7_304_265
"""Number of the lock under which tables are made and migrated."""


def settled(engine: Engine, url: str, buckets: int | None) -> dict[str, int]:
    """Return the numbers of `STATE` of tables that have this version's layout; with ``buckets``, make them so.

    A file of SQLite is brought up to date by whoever opens it; a server's database by those who may make it.

    Raises:
        Conflict: a later Meterlake wrote them.
        NotFound: they are missing or of an earlier layout, and ``buckets`` is not given.

    """
    with transaction(engine, f"registry {shown(url)}") as connection:
        state = layout_of(connection)
    layout = state.get("layout", 0)
    if layout > LAYOUT:
        raise Conflict(
            f"{shown(url)} was written by a later Meterlake: install that version or name another registry"
        )
    if layout == LAYOUT:
        return state
    if buckets is None and (engine.dialect.name != "sqlite" or not state):
        what = f"has layout {layout} of an earlier Meterlake" if state else "holds no registry yet"
        raise NotFound(f"{shown(url)} {what}: run `meterlake registry migrate`")
    with transaction(engine, f"registry {shown(url)}", "layout") as connection, _locked(connection):
        state = layout_of(connection)
        if not state:
            _make(connection, BUCKETS if buckets is None else buckets)
        elif state["layout"] < LAYOUT:
            _migrate(connection)
        state = layout_of(connection)
        connection.commit()
    return state


def layout_of(connection: Connection) -> dict[str, int]:
    """Return the numbers of `STATE`; none where the tables are not there."""
    if not inspect(connection).has_table(STATE.name):
        return {}
    return {
        name: int(number) for name, number in connection.execute(select(STATE.c.name, STATE.c.number)).all()
    }


def import_all() -> None:
    """Let `METADATA` know of every table."""
    from meterlake.adapters import registry_keys, registry_people  # noqa: F401 - their tables are meant


def _make(connection: Connection, buckets: int) -> None:
    """Make all tables of a new registry, as the migrations would; also where that was cut off before."""
    import_all()
    METADATA.create_all(connection)
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    )
    connection.execute(text("DELETE FROM alembic_version"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:it)"), {"it": REVISION})
    state = {"layout": LAYOUT, "buckets": buckets, REGISTRY: 0, PEOPLE: 0}
    connection.execute(insert(VERSIONS).values(version=0))
    connection.execute(insert(STATE), [{"name": name, "number": number} for name, number in state.items()])


def _migrate(connection: Connection) -> None:
    """Bring the tables to the newest layout."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.execute(update(STATE).where(STATE.c.name == "layout").values(number=LAYOUT))
    if PEOPLE not in layout_of(connection):
        connection.execute(insert(STATE).values(name=PEOPLE, number=0))


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """Let one process at a time make or migrate the tables; those of MariaDB commit as they are made."""
    match connection.dialect.name:
        case "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield
        case "mysql" | "mariadb":
            name = f"concat('meterlake-{_LOCK}-', database())"
            if connection.execute(text(f"SELECT GET_LOCK({name}, {WAIT_S})")).scalar() != 1:
                raise Overloaded(
                    f"another process migrates the registry for more than {WAIT_S} s: wait for it to end"
                )
            try:
                yield
            finally:
                if not connection.invalidated:
                    connection.rollback()
                    connection.execute(text(f"SELECT RELEASE_LOCK({name})"))
        case _:
            yield
