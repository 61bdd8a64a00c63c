"""Every registry adapter keeps the registry contract."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from meterlake.adapters.registry import TRUST_S, SqlRegistry
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.adapters.registry_layout import import_all
from meterlake.adapters.registry_schema import METADATA
from meterlake.errors import Conflict, Invalid, MeterlakeError, NotFound
from meterlake.ports import Registry
from meterlake.testing.registry_contract import RegistryContract, gained, meters, spans


class TestSqliteInMemory(RegistryContract):
    """SQLite without a file."""

    @pytest.fixture
    def registry(self) -> Registry:
        return SqlRegistry("sqlite://", create=True)


class TestSqliteFile(RegistryContract):
    """The default."""

    @pytest.fixture
    def registry(self, tmp_path: Path) -> Registry:
        return SqlRegistry(f"sqlite:///{tmp_path}/registry.db", create=True)

    def test_a_second_handle_sees_every_change_once_it_no_longer_trusts_what_it_keeps(
        self, tmp_path: Path
    ) -> None:
        a, b = (SqlRegistry(f"sqlite:///{tmp_path}/registry.db", create=True) for _ in range(2))
        assert len(b.installations("P1")) == 0
        a.import_tables({"meters": meters(("m1", "P1", "2024-01-01", None))})
        assert len(a.installations("P1")) == 1
        time.sleep(TRUST_S)
        assert (
            spans(b.installations("P1")) == spans(a.installations("P1")) == [("m1", "P1", "2024-01-01", None)]
        )
        assert b.table("meters").equals(a.table("meters"))

    def test_writers_wait_for_each_other(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/registry.db"
        SqlRegistry(url, create=True)

        def write(version: int) -> None:
            SqlRegistry(url).update_series(
                gained(*((f"m{n}", version, version, 1) for n in range(300))), version
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(1, 9)))
        registry = SqlRegistry(url)
        assert registry.series_version() == 8
        assert set(registry.series()["filled"].to_pylist()) == {8}

    def test_what_is_not_there_is_not_made_by_asking(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="meterlake init"):
            SqlRegistry(f"sqlite:///{tmp_path}/registry.db")
        assert not list(tmp_path.iterdir())

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "registry.db").write_text("not a database, and longer than a page header " * 20)
        with pytest.raises(MeterlakeError, match=r"registry\.db"):
            SqlRegistry(f"sqlite:///{tmp_path}/registry.db")

    def test_a_later_layout_is_refused(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/registry.db"
        registry = SqlRegistry(url, create=True)
        with registry._writing() as connection:
            connection.exec_driver_sql("UPDATE state SET number = 99 WHERE name = 'layout'")
        with pytest.raises(Conflict, match="later Meterlake"):
            SqlRegistry(url)

    def test_an_earlier_layout_is_brought_up_to_date_and_keeps_what_it_holds(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/registry.db"
        registry = SqlRegistry(url, create=True)
        registry.import_tables({"meters": meters(("m1", "P1", "2024-01-01", None))})
        with registry._writing() as connection:  # as version 0.3 left it
            for table in ("api_keys", "trail", "alembic_version"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql("UPDATE state SET number = 1 WHERE name = 'layout'")
        registry.close()
        later = SqlRegistry(url)
        assert spans(later.installations("P1")) == [("m1", "P1", "2024-01-01", None)]
        assert SqlKeys(later).all() == []
        import_all()
        with later._reading() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []

    @pytest.mark.parametrize("url", ["nothing", "nosuch://x", "postgresql+nodriver://x/y"])
    def test_a_url_that_is_none_says_what_one_looks_like(self, url: str) -> None:
        with pytest.raises(Invalid, match="sqlite:///"):
            SqlRegistry(url, create=True)
