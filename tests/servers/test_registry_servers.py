"""The registry, its keys and its accounts keep their contracts on PostgreSQL and MariaDB as they do on SQLite."""

from __future__ import annotations

import gc
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url, text

from meterlake.accounts import Entry
from meterlake.adapters import registry_series
from meterlake.adapters.registry import TRUST_S, SqlRegistry
from meterlake.adapters.registry_database import PASSWORD
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.adapters.registry_layout import LAYOUT, REVISION, import_all
from meterlake.adapters.registry_people import SqlPeople
from meterlake.adapters.registry_schema import METADATA, fetched
from meterlake.errors import MeterlakeError, NotFound, Overloaded
from meterlake.keys import make
from meterlake.testing.keys_contract import KeysContract
from meterlake.testing.people_contract import PeopleContract
from meterlake.testing.registry_contract import RegistryContract, gained, meters, rows, spans
from meterlake.testing.restarts import NOON, restarted

SERVERS = ("postgres", "mariadb")


@pytest.fixture
def away():
    """For tests whose server is away: MariaDB's client leaves its socket to the collector where it is refused."""
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("away")
def test_restarts_in_service_lose_nothing_that_was_acknowledged(url, server):
    """Series, meters, keys and the trail are written while the server is killed."""
    count = restarted(url, server, times=3, between_s=0.5)
    assert count.acknowledged > 20
    assert (count.lost, count.doubled, count.unlike) == (0, 0, 0)


def test_one_of_many_is_found_by_index(registry, server):
    """Also right after the import that brought the many."""
    many = [(f"m{n}", f"P{n}", "2024-01-01", None) for n in range(5000)]
    points = rows("service_points", *({"service_point_id": p, "from": "2024-01-01"} for _, p, _, _ in many))
    registry.import_tables({"meters": meters(*many), "service_points": points})
    with registry._reading() as connection:
        lines = fetched(connection, f"EXPLAIN {registry._stays}", ("P7", "P7"))
    if registry._engine.dialect.name == "postgresql":
        assert "Seq Scan" not in "\n".join(line for (line,) in lines)
    else:
        assert [line[2] for line in lines if line[3] == "ALL" and not line[2].startswith("<")] == []


def test_ids_that_a_database_cannot_keep_whole_are_refused(registry):
    told = {"meters": meters(("m" * 300, "P1", None, None), ("m2", "P1", None, None))}
    if registry._engine.dialect.name == "postgresql":
        assert registry.import_tables(told)["meters"].added == 2
        return
    with pytest.raises(MeterlakeError, match="255 characters"):
        registry.import_tables(told)
    assert len(registry.table("meters")) == 0


def test_who_signs_in_does_not_wait_for_an_import(registry):
    with registry._writing():
        SqlPeople(registry).note([Entry(at=NOON, what="signed_in", account="a")])
        SqlKeys(registry).create(make("desk", {"read"})[1])


def test_a_copy_that_cannot_be_written_answers_questions_and_is_named(postgres):
    url = postgres.database()
    made = SqlRegistry(url, create=True)
    with made._engine.begin() as connection:
        connection.execute(
            text(f"ALTER DATABASE {made._engine.url.database} SET default_transaction_read_only = on")
        )
    made.close()
    copy = SqlRegistry(url)
    assert len(copy.table("meters")) == 0
    with pytest.raises(MeterlakeError, match="may be written"):
        copy.examined()
    copy.close()


def test_a_reader_sees_one_state(registry):
    with registry._reading() as connection:
        before = registry_series.read(connection, None)
        registry.update_series(gained(("m1", 0, 0, 1)), 1)
        assert registry_series.read(connection, None).equals(before)
    assert len(registry.series()) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("away")
def test_a_user_without_rights_is_told_so(url, registry, server):
    """A server that is away, and one that refuses, are told apart."""
    wrong = make_url(url).set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(MeterlakeError, match=PASSWORD) as told:
        SqlRegistry(wrong)
    assert not isinstance(told.value, Overloaded)
    server.stop()
    try:
        with pytest.raises(Overloaded, match="start the database"):
            registry.series()
        with pytest.raises(Overloaded, match="start the database"):
            SqlRegistry(url)
    finally:
        server.start()
    assert len(registry.series()) == 0
