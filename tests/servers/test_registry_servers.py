"""The registry, its keys and its accounts keep their contracts on PostgreSQL and MariaDB as they do on SQLite."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from meterlake.adapters.registry import TRUST_S, SqlRegistry
from meterlake.adapters.registry_database import PASSWORD
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.adapters.registry_layout import LAYOUT, REVISION, import_all
from meterlake.adapters.registry_people import SqlPeople
from meterlake.adapters.registry_schema import METADATA
from meterlake.errors import MeterlakeError, NotFound
from meterlake.testing.keys_contract import KeysContract
from meterlake.testing.people_contract import PeopleContract
from meterlake.testing.registry_contract import RegistryContract, gained, meters, spans

SERVERS = ("postgres", "mariadb")


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def url(server):
    return server.database()


@pytest.fixture
def registry(url):
    made = SqlRegistry(url, create=True)
    yield made
    made.close()


class TestRegistry(RegistryContract):
    def test_another_process_sees_every_change(self, registry, url):
        other = SqlRegistry(url)
        assert len(other.installations("P1")) == 0
        registry.import_tables({"meters": meters(("m1", "P1", "2024-01-01", None))})
        time.sleep(TRUST_S)
        assert spans(other.installations("P1")) == [("m1", "P1", "2024-01-01", None)]
        other.close()

    def test_writers_wait_for_each_other(self, registry, url):
        def write(version):
            own = SqlRegistry(url)
            own.update_series(gained(*((f"m{n}", version, version, 1) for n in range(300))), version)
            own.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(1, 9)))
        assert registry.series_version() == 8
        assert set(registry.series()["filled"].to_pylist()) == {8}

    def test_ids_differ_by_case_accents_and_blanks(self, registry):
        ids = ["Ä1", "ä1", "a1", "A1", "a1 ", "ａ1"]
        registry.import_tables({"meters": meters(*((id_, f"P{id_}", "2024-01-01", None) for id_ in ids))})
        for id_ in ids:
            assert spans(registry.installations(id_)) == [(id_, f"P{id_}", "2024-01-01", None)]


class TestKeys(KeysContract):
    @pytest.fixture
    def keys(self, registry):
        return SqlKeys(registry)


class TestPeople(PeopleContract):
    @pytest.fixture
    def people(self, registry):
        return SqlPeople(registry)


def test_many_processes_may_make_it_at_once(url):
    def make(_):
        made = SqlRegistry(url, create=True)
        made.close()
        return made.buckets

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(make, range(12))) == [64] * 12


def test_the_migrations_make_what_a_new_registry_has(server):
    fresh, migrated = (SqlRegistry(server.database(), create=True) for _ in range(2))
    with migrated._engine.begin() as connection:
        for table in ("links", "trail", "api_keys", "alembic_version"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE state SET number = 1 WHERE name = 'layout'"))
    again = SqlRegistry(migrated.connects, create=True)
    import_all()
    for one in (fresh, again):
        with one._engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
            assert (
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == REVISION
            )
            layout = text("SELECT number FROM state WHERE name = 'layout'")
            assert connection.execute(layout).scalar_one() == LAYOUT
    for one in (fresh, migrated, again):
        one.close()


def test_what_is_not_there_is_not_made_by_asking(url):
    with pytest.raises(NotFound, match="registry migrate"):
        SqlRegistry(url)


def test_the_password_is_the_environments_and_never_shown(url, registry, server, monkeypatch):
    bare = url.replace(f":{server.password}", "")
    assert server.password not in registry.url
    with pytest.raises(MeterlakeError) as told:
        SqlRegistry(bare)
    assert server.password not in str(told.value)
    monkeypatch.setenv(PASSWORD, server.password)
    other = SqlRegistry(bare)
    assert server.password not in other.url
    assert other.buckets == registry.buckets
    other.close()


def test_a_restart_in_service_loses_nothing_that_was_acknowledged(registry, server):
    """Versions are taken over one by one while the server is killed; what was acknowledged is there once."""
    acknowledged = []
    for version in range(1, 31):
        if version % 10 == 0:
            server.restart()
        for _ in range(50):
            try:
                registry.update_series(gained(("m1", version, version, 1)), version)
            except MeterlakeError:
                time.sleep(0.1)
                continue
            acknowledged.append(version)
            break
    assert acknowledged == list(range(1, 31))
    assert registry.series_version() == 30
    assert registry.series()["filled"].to_pylist() == [30]
