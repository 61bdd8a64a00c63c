"""Every store of people keeps the contract."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_people import SqlPeople
from meterlake.errors import NotFound
from meterlake.ports import PeopleStore
from meterlake.testing.people_contract import PeopleContract, change, link, session, stored


class TestPeopleInMemory(PeopleContract):
    """In the database of a registry without a file."""

    @pytest.fixture
    def people(self) -> PeopleStore:
        return SqlPeople(SqlRegistry("sqlite://", create=True))


class TestPeopleInAFile(PeopleContract):
    """In the database of the default registry."""

    @pytest.fixture
    def people(self, tmp_path: Path) -> PeopleStore:
        return SqlPeople(SqlRegistry(f"sqlite:///{tmp_path}/registry.db", create=True))

    def test_an_account_made_elsewhere_is_seen(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/registry.db"
        a, b = (SqlPeople(SqlRegistry(url, create=True)) for _ in range(2))
        assert b.account(id_="a") is None
        change(a, "a", new=stored("a"))
        assert b.account(id_="a") == stored("a")

    def test_one_of_many_at_once_uses_a_link(self, tmp_path: Path) -> None:
        people = SqlPeople(SqlRegistry(f"sqlite:///{tmp_path}/registry.db", create=True))
        change(people, "a", new=stored("a"), link=link("a"))
        lost = []

        def use(number):
            try:
                change(people, "a", uses_link=link("a").sha256, session=session("a", number))
            except NotFound as error:
                lost.append(error)

        threads = [Thread(target=use, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(lost), len(people.sessions("a"))) == (7, 1)
