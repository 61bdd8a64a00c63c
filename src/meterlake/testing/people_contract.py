"""The contract of `ports.PeopleStore`: subclass it with a ``people`` fixture and every adapter keeps the same promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meterlake.accounts import (
    Account,
    Entry,
    Hold,
    PeopleChange,
    Role,
    StoredAccount,
    StoredLink,
    StoredSession,
)
from meterlake.errors import Conflict, NotFound

if TYPE_CHECKING:
    from meterlake.ports import PeopleStore

NOON = datetime(2026, 1, 1, 12, 0, 0, 125, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stored(id_: str, email: str = "", *holds: Hold, name: str = "") -> StoredAccount:
    """Return an account as it would be made."""
    account = Account(
        id=id_, email=email or f"{id_}@example.com", role=Role.CUSTOMER, created_at=NOON, name=name
    )
    return StoredAccount(account=account, holds=holds)


def session(account_id: str, number: int = 1, at: datetime = NOON) -> StoredSession:
    """Return a session that begins at a moment."""
    return StoredSession(
        sha256=bytes([number]) * 32, id=f"s{number}", account_id=account_id, csrf=f"c{number}",
        signed_in_at=at, seen_at=at, where="127.0.0.1",
    )  # fmt: skip


def link(account_id: str, number: int = 1) -> StoredLink:
    """Return a link of one hour."""
    return StoredLink(sha256=bytes([number]) * 32, account_id=account_id, until=NOON + HOUR)


def change(people: PeopleStore, account_id: str, at: datetime = NOON, **what: Any) -> None:
    """Make a change at a moment."""
    people.change(PeopleChange(account_id=account_id, at=at, **what))


class PeopleContract:
    """What every store of people promises; ``people`` is a fixture that gives an empty one."""

    def test_a_new_store_knows_nobody(self, people: PeopleStore) -> None:
        """And says so without having been written to."""
        assert people.account(id_="a") is None
        assert people.account(email="a@example.com") is None
        assert list(people.accounts("", None, 10)) == []
        assert people.session(b"1" * 32) is None
        assert list(people.sessions("a")) == []
        assert people.link(b"1" * 32) is None
        assert list(people.entries(account=None, subject=None, before=None, limit=10)) == []

    def test_an_account_reads_back_as_it_was_made(self, people: PeopleStore) -> None:
        """By id and by e-mail, with its holds in order and open ends."""
        made = stored("a", "ä@example.com", Hold("p/2"), Hold("p1", -5, 9), name="<b>Å</b>")
        change(people, "a", new=made)
        change(people, "b", new=stored("b"))
        assert people.account(id_="a") == people.account(email="ä@example.com") == made
        assert people.account(email="A@example.com") is None

    def test_an_email_has_one_account(self, people: PeopleStore) -> None:
        """The second is refused whole: neither its holds nor its line stay."""
        change(people, "a", new=stored("a", "same@example.com"))
        entry = Entry(at=NOON, what="invited", subject="b")
        with pytest.raises(Conflict):
            change(people, "b", new=stored("b", "same@example.com", Hold("p")), entry=entry)
        assert people.account(id_="b") is None
        assert list(people.entries(account=None, subject=None, before=None, limit=10)) == []

    def test_accounts_are_listed_by_email_in_pages(self, people: PeopleStore) -> None:
        """Each once, whatever the size of a page."""
        for id_ in "dbca":
            change(people, id_, new=stored(id_))
        pages, after = [], None
        while page := people.accounts("", after, 3):
            pages.append([account.id for account in page])
            after = page[-1].email
        assert pages == [["a", "b", "c"], ["d"]]

    def test_accounts_are_found_by_name_email_and_service_point(self, people: PeopleStore) -> None:
        """In small or large letters; signs of a pattern stand for themselves."""
        change(people, "a", new=stored("a", "x_1@example.com", Hold("SP%1"), name="Åse Ærlig"))
        change(people, "b", new=stored("b", "xy1@example.com", Hold("SP11"), name="Bob"))
        found = {
            q: [a.id for a in people.accounts(q, None, 10)]
            for q in ("åSE", "x_1", "%", "SP%1", "BOB", "example")
        }
        assert found == {
            "åSE": ["a"], "x_1": ["a"], "%": [], "SP%1": ["a"], "BOB": ["b"], "example": ["a", "b"],
        }  # fmt: skip

    def test_what_is_set_is_set_alone(self, people: PeopleStore) -> None:
        """A new password leaves the holds, and new holds leave the password."""
        change(people, "a", new=stored("a", "", Hold("p")))
        change(people, "a", password="hash")  # noqa: S106 - no password
        change(people, "a", holds=(Hold("q", 1, 2), Hold("r")))
        change(people, "a", locale="en-GB")
        found = people.account(id_="a")
        assert found is not None
        assert (found.password, found.holds) == ("hash", (Hold("q", 1, 2), Hold("r")))
        assert (found.account.has_password, found.account.locale) == (True, "en-GB")

    def test_another_role_and_email_are_set_and_found(self, people: PeopleStore) -> None:
        """Where the e-mail is free; else nothing of the change happens."""
        for id_ in "ab":
            change(people, id_, new=stored(id_, "", Hold("p"), name="Ada Árnyék"))
        change(people, "a", role=Role.ANALYST, email="new@example.com", holds=())
        (found,) = people.accounts("new@", None, 10)
        assert (found.id, found.role, found.email) == ("a", Role.ANALYST, "new@example.com")
        assert {one.id for one in people.accounts("ÁRNYÉK", None, 10)} == {"a", "b"}
        assert people.account(email="a@example.com") is None
        with pytest.raises(Conflict):
            change(people, "b", email="new@example.com", role=Role.ADMIN, holds=())
        kept = people.account(id_="b")
        assert kept is not None
        assert (kept.account.role, kept.holds) == (Role.CUSTOMER, (Hold("p"),))

    def test_a_closed_account_stays_closed_as_it_was(self, people: PeopleStore) -> None:
        """Until it is opened again."""
        change(people, "a", new=stored("a"))
        for hours in (1, 2):
            change(people, "a", NOON + hours * HOUR, closed=True)
        found = people.account(id_="a")
        assert found is not None
        assert found.account.closed_at == NOON + HOUR
        change(people, "a", closed=False)
        assert people.account(id_="a") == stored("a")

    def test_nothing_happens_to_an_account_that_is_not_there(self, people: PeopleStore) -> None:
        """Not even a session begins."""
        with pytest.raises(NotFound):
            change(people, "a", session=session("a"), entry=Entry(at=NOON, what="sign-in"))
        assert people.session(session("a").sha256) is None

    def test_a_password_that_changed_meanwhile_opens_nothing(self, people: PeopleStore) -> None:
        """Nor does one of an account that was closed meanwhile."""
        change(people, "a", new=replace(stored("a"), password="old"))  # noqa: S106 - no password
        change(people, "a", knows="old", password="new")  # noqa: S106 - no password
        with pytest.raises(Conflict):
            change(people, "a", knows="old", session=session("a"))
        change(people, "a", closed=True)
        with pytest.raises(Conflict):
            change(people, "a", knows="new", session=session("a"))
        assert list(people.sessions("a")) == []

    def test_sessions_begin_are_seen_and_end(self, people: PeopleStore) -> None:
        """One, all, or all but one; those of others stay."""
        for id_ in "ab":
            change(people, id_, new=stored(id_))
        own = [session("a", number, NOON + number * HOUR) for number in (1, 2, 3, 4)]
        for one in (*own, session("b", 9)):
            change(people, one.account_id, session=one)
        assert people.session(own[0].sha256) == (own[0], stored("a"))
        change(people, "a", NOON + 9 * HOUR, seen_session="s1")
        change(people, "b", NOON + 8 * HOUR, seen_session="s2", ends_session="s3")
        assert list(people.sessions("a")) == [*own[:0:-1], replace(own[0], seen_at=NOON + 9 * HOUR)]
        change(people, "a", ends_session="s4")
        change(people, "a", ends_sessions=True, keeps_session="s2")
        assert [one.id for one in people.sessions("a")] == ["s2"]
        change(people, "a", ends_sessions=True, session=session("a", 5))
        assert [one.id for one in people.sessions("a")] == ["s5"]
        assert [one.id for one in people.sessions("b")] == ["s9"]

    def test_a_link_is_used_once(self, people: PeopleStore) -> None:
        """By its own account, before it is over; a second use changes nothing at all."""
        for id_ in "ab":
            change(people, id_, new=stored(id_), link=link(id_, ord(id_)))
        own = link("a", ord("a"))
        assert people.link(own.sha256) == own
        for id_, at in (("b", NOON), ("a", NOON + HOUR)):
            with pytest.raises(NotFound):
                change(people, id_, at, uses_link=own.sha256, password="x")  # noqa: S106 - no password
        change(people, "a", uses_link=own.sha256, password="first")  # noqa: S106 - no password
        with pytest.raises(NotFound):
            change(people, "a", uses_link=own.sha256, password="second", session=session("a"))  # noqa: S106
        found = people.account(id_="a")
        assert found is not None
        assert found.password == "first"  # noqa: S105 - no password
        assert list(people.sessions("a")) == []
        assert people.link(own.sha256) == replace(own, used_at=NOON)

    def test_links_that_wait_end(self, people: PeopleStore) -> None:
        """Those of the account; one that begins in the same change stays."""
        for id_ in "ab":
            change(people, id_, new=stored(id_), link=link(id_, ord(id_)))
        change(people, "a", ends_links=True, link=link("a", 7))
        assert people.link(link("a", ord("a")).sha256) is None
        assert people.link(link("a", 7).sha256) == link("a", 7)
        assert people.link(link("b", ord("b")).sha256) is not None

    def test_the_trail_tells_the_newest_first(self, people: PeopleStore) -> None:
        """In pages, with the e-mail of who did it; by who did it and whom it was done to."""
        entry = Entry(at=NOON, what="invited", subject="a", where="::1")
        change(people, "a", new=stored("a"), entry=entry)
        people.note([Entry(at=NOON, what=f"w{n}", account="a", subject=f"p{n % 2}") for n in range(3)])
        told = people.entries(account=None, subject=None, before=None, limit=10)
        assert [line.what for line in told] == ["w2", "w1", "w0", "invited"]
        assert [line.email for line in told] == ["a@example.com"] * 3 + [""]
        assert replace(told[-1], number=0) == entry
        older = people.entries(account=None, subject=None, before=told[1].number, limit=1)
        assert list(older) == [told[2]]
        own = people.entries(account="a", subject="p0", before=None, limit=10)
        assert [line.what for line in own] == ["w2", "w0"]

    def test_lines_go_at_their_age(self, people: PeopleStore) -> None:
        """Those before a moment, and no other."""
        assert people.forget(NOON) == people.forget(NOON, dry_run=True) == 0
        people.note([Entry(at=NOON + n * HOUR, what=f"w{n}") for n in range(4)])
        assert people.forget(NOON + 2 * HOUR, dry_run=True) == 2
        assert people.forget(NOON + 2 * HOUR) == 2
        told = people.entries(account=None, subject=None, before=None, limit=10)
        assert [line.what for line in told] == ["w3", "w2"]

    def test_a_line_that_comes_once_comes_once(self, people: PeopleStore) -> None:
        """However often it is noted, within one call or in several."""
        once = Entry(at=NOON, what="saw", account="a", subject="p", once="a p noon")
        for _ in range(2):
            people.note([once, replace(once, at=NOON + HOUR), replace(once, once=None)])
        told = people.entries(account=None, subject=None, before=None, limit=10)
        assert [line.once for line in told] == [None, None, "a p noon"]
