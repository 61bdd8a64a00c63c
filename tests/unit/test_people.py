"""Who gets in at the desk, who does not, how long for, and what is written down of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import sleep

import pytest
from argon2 import PasswordHasher

from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_people import SqlPeople
from meterlake.errors import Conflict, Denied, Invalid, MeterlakeError, NotFound, Overloaded
from meterlake.passwords import AT_ONCE, WAITING, Passwords
from meterlake.people import REFUSED, TRIES, TRIES_OF_ADDRESS, Desk, Hold, Role
from meterlake.throttle import network_of

GOOD, OTHER = "a blue bicycle bell", "nine green bottles"
ADA, HOME = "ada@example.com", "127.0.0.1"


class Clock:
    """Seconds that go where a test puts them."""

    def __init__(self):
        self.s = 1_767_268_800.0

    def __call__(self):
        return self.s


class Counted(SqlPeople):
    """People, with the questions about sessions counted."""

    asked = 0

    def session(self, sha256):
        self.asked += 1
        return super().session(sha256)


@pytest.fixture(autouse=True)
def passwords(monkeypatch):
    """Real hashes, of less work than a server's."""
    monkeypatch.setattr(Passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=1024))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def people():
    return Counted(SqlRegistry("sqlite://", create=True))


@pytest.fixture
def desk(people, clock):
    made = Desk(people, now=clock)
    yield made
    made.stop()


@pytest.fixture
def ada(desk):
    """The token of Ada's session."""
    return desk.use_link(desk.invite(ADA, Role.CUSTOMER, [Hold("P1")], None, name="Ada"), GOOD, HOME)


def whats(desk, **wanted):
    return [line.what for line in reversed(desk.trail(**wanted))]


def test_an_invited_customer_signs_in_and_out(desk, ada):
    first = desk.signed(ada)
    assert (first.account.email, first.account.name, first.holds) == (ADA, "Ada", (Hold("P1"),))
    token = desk.sign_in("  ADA@Example.com", GOOD, HOME)
    second = desk.signed(token)
    assert second.account == first.account
    assert len({first.csrf, second.csrf, first.session_id, second.session_id, ada, token}) == 6
    assert {one.id for one in desk.sessions(first.account.id)} == {first.session_id, second.session_id}
    desk.sign_out(token)
    desk.sign_out(token)
    assert desk.signed(token) is None
    assert desk.signed(ada) == first
    assert whats(desk) == ["invited as customer", "password set by link", "sign-in", "sign-out"]


@pytest.mark.parametrize("token", ["", "x", "é", "\ud800", "x" * 100_000])
def test_no_other_token_opens(desk, ada, token):
    assert desk.signed(token) is None
    assert desk.signed(ada + token) is None or not token
    assert desk.link(token) is None


def test_every_refusal_reads_the_same(desk, ada):
    account = desk.named(ADA)
    desk.invite("new@example.com", Role.ANALYST, [], None)
    tried = [
        (ADA, OTHER),
        ("nobody@example.com", GOOD),
        ("no address", GOOD),
        ("new@example.com", ""),
        (ADA, ""),
    ]
    tried += [(ADA, "x" * 10_000)]
    told = []
    for email, password in tried:
        with pytest.raises(Denied) as denied:
            desk.sign_in(email, password, HOME)
        told.append(str(denied.value))
    desk.close(account.id, None)
    with pytest.raises(Denied) as denied:
        desk.sign_in(ADA, GOOD, HOME)
    assert {*told, str(denied.value)} == {REFUSED}
    assert whats(desk, subject=account.id).count("sign-in refused") == 4
    assert len(desk.trail(subject="")) >= 2


def test_an_unknown_email_costs_the_same_work(desk, ada, monkeypatch):
    hasher, tried = type(desk._passwords._hasher), []
    verify = hasher.verify
    monkeypatch.setattr(hasher, "verify", lambda self, *args: tried.append(args[0]) or verify(self, *args))
    for email in (ADA, "nobody@example.com", "no address"):
        with pytest.raises(Denied):
            desk.sign_in(email, OTHER, HOME)
    assert len(tried) == 3
    assert len({stored.split("$")[3] for stored in tried}) == 1


def test_an_account_that_closes_during_a_sign_in_stays_shut(desk, ada, monkeypatch):
    opens, id_ = Passwords.opens, desk.named(ADA).id

    def while_it_closes(self, password, stored):
        desk.close(id_, None)
        return opens(self, password, stored)

    monkeypatch.setattr(Passwords, "opens", while_it_closes)
    with pytest.raises(Denied, match="e-mail or password"):
        desk.sign_in(ADA, GOOD, HOME)
    desk.reopen(id_, None)
    assert desk.sessions(id_) == []


def test_wrong_passwords_are_slowed_by_account(desk, ada, clock, monkeypatch):
    monkeypatch.setattr(Passwords, "opens", lambda _, password, stored: (password == GOOD and stored, None))
    for n in range(TRIES):
        with pytest.raises(Denied):
            desk.sign_in(ADA, OTHER, f"10.0.0.{n}")
    for password in (OTHER, GOOD):
        with pytest.raises(Overloaded) as slowed:
            desk.sign_in(f" {ADA.upper()}", password, "10.1.0.1")
        assert slowed.value.retry_after_s == 91
    with pytest.raises(Denied):
        desk.sign_in("somebody@example.com", OTHER, "10.0.0.1")
    clock.s += 91
    assert desk.sign_in(ADA, GOOD, "10.1.0.1")
    assert desk.sign_in(ADA, GOOD, "10.1.0.1"), "a good one does not count"


def test_wrong_passwords_are_slowed_by_address(desk, ada, monkeypatch):
    monkeypatch.setattr(Passwords, "opens", lambda *_: (False, None))
    for n in range(TRIES_OF_ADDRESS):
        with pytest.raises(Denied):
            desk.sign_in(f"{n}@example.com", OTHER, f"2001:db8::{n:x}")
    with pytest.raises(Overloaded):
        desk.sign_in(ADA, GOOD, "2001:db8::abcd")
    with pytest.raises(Denied):
        desk.sign_in(ADA, GOOD, "2001:db8:0:1::1")


def test_addresses_are_counted_by_whose_they_are():
    told = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2:3", "testclient", ""]
    assert [network_of(where) for where in told] == [
        "10.0.0.1", "10.0.0.1", "2001:db8::/64", "2001:db8::/64", "testclient", "",
    ]  # fmt: skip


def test_few_passwords_are_tried_at_once_and_few_wait(monkeypatch):
    passwords = Passwords()
    for _ in range(AT_ONCE):
        passwords._turn.acquire()
    with ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(passwords.opens, "", None) for _ in range(WAITING)]
        while passwords._inside < WAITING:
            sleep(0.01)
        with pytest.raises(Overloaded):
            passwords.opens("", None)
        monkeypatch.setattr(Passwords, "_hasher", Quick())
        for _ in range(AT_ONCE):
            passwords._turn.release()
        assert [one.result() for one in waiting] == [(False, None)] * WAITING
    assert passwords.opens("", None) == (False, None)


class Quick:
    """Hashes that cost nothing."""

    def hash(self, password):
        return password

    def verify(self, stored, password):
        pass


def test_a_session_ends_when_nobody_uses_it(desk, ada, clock, people):
    clock.s += 11.9 * 3600
    desk._kept.clear()
    assert desk.signed(ada) is not None
    desk._notes.flush()
    assert people.sessions(desk.named(ADA).id)[0].seen_at == datetime.fromtimestamp(clock.s, UTC)
    for hours, lives in ((11.9, True), (12, False)):
        clock.s += hours * 3600
        desk._kept.clear()
        assert (desk.signed(ada) is not None) == lives
        desk._notes.flush()
    assert desk.sessions(desk.named(ADA).id) == []


def test_a_session_ends_after_thirty_days_of_use(desk, ada, clock):
    lived = 0
    while desk.signed(ada) is not None:
        desk._notes.flush()
        desk._kept.clear()
        clock.s += 6 * 3600
        lived += 1
    assert lived == 30 * 4


def test_a_session_is_kept_between_requests_and_never_past_its_end(desk, ada, people):
    assert desk.kept(ada) is None
    signed = desk.signed(ada)
    assert desk.kept(ada) == desk.signed(ada) == signed
    assert people.asked == 1
    desk.sign_out_everywhere(signed.account.id)
    assert desk.kept(ada) is None
    assert desk.signed(ada) is None


def test_what_was_read_before_a_change_is_not_kept_after_it(desk, ada, people, monkeypatch):
    account, session = desk.named(ADA), people.session

    def while_it_ends(sha256):
        found = session(sha256)
        desk.sign_out_everywhere(account.id)
        return found

    monkeypatch.setattr(people, "session", while_it_ends)
    desk.signed(ada)
    monkeypatch.undo()
    assert desk.kept(ada) is None
    assert desk.signed(ada) is None


def test_a_new_password_ends_all_other_sessions_and_links(desk, ada):
    signed = desk.signed(ada)
    others = [desk.sign_in(ADA, GOOD, HOME), desk.sign_in(ADA, GOOD, HOME)]
    link = desk.reset(signed.account.id, None)
    with pytest.raises(Denied):
        desk.change_password(signed, OTHER, OTHER)
    with pytest.raises(Invalid):
        desk.change_password(signed, GOOD, "short")
    desk.change_password(signed, GOOD, OTHER)
    assert [desk.signed(token) for token in others] == [None, None]
    assert desk.signed(ada).session_id == signed.session_id
    assert desk.link(link) is None
    with pytest.raises(Denied):
        desk.sign_in(ADA, GOOD, HOME)
    assert desk.sign_in(ADA, OTHER, HOME)


@pytest.mark.parametrize(
    ("password", "why"),
    [("", "short"), ("elevenchars", "short"), ("x" * 1001, "long"), (f"{ADA.upper()}", "guessed"),
     ("Password1234", "guessed"), ("QWERTYUIOP12", "guessed")],
)  # fmt: skip
def test_a_weak_password_is_refused_and_the_link_stays(desk, password, why):
    token = desk.invite(ADA, Role.CUSTOMER, [], None)
    with pytest.raises(Invalid, match=why) as refused:
        desk.use_link(token, password, HOME)
    assert not password or password not in str(refused.value)
    assert desk.link(token).email == ADA


def test_the_same_letters_in_another_form_are_the_same_password(desk):
    token = desk.invite(ADA, Role.CUSTOMER, [], None)
    desk.use_link(token, "cafe\u0301 au lait, twice", HOME)
    assert desk.sign_in(ADA, "caf\u00e9 au lait, twice", HOME)


def test_a_link_works_once_and_for_its_time(desk, clock):
    token = desk.invite(ADA, Role.OPERATOR, [], None)
    desk.use_link(token, GOOD, HOME)
    with pytest.raises(NotFound):
        desk.use_link(token, OTHER, HOME)
    id_ = desk.named(ADA).id
    first, second = desk.reset(id_, None), desk.reset(id_, None)
    assert (desk.link(first), desk.link(second).id) == (None, id_)
    clock.s += 86_400
    assert desk.link(second) is None
    invited = desk.invite("b@example.com", Role.ANALYST, [], None)
    clock.s += 7 * 86_400 - 1
    assert desk.link(invited) is not None
    clock.s += 1
    with pytest.raises(NotFound):
        desk.use_link(invited, GOOD, HOME)


def test_a_link_sets_the_password_and_ends_all_sessions(desk, ada):
    id_ = desk.named(ADA).id
    token = desk.use_link(desk.reset(id_, None), OTHER, HOME)
    assert desk.signed(ada) is None
    assert desk.signed(token).account.id == id_


def test_a_closed_account_is_shut_until_it_is_opened_again(desk, ada):
    id_ = desk.named(ADA).id
    link = desk.reset(id_, None)
    desk.close(id_, "boss")
    assert (desk.signed(ada), desk.link(link)) == (None, None)
    with pytest.raises(Conflict):
        desk.reset(id_, None)
    assert desk.account(id_).closed_at is not None
    desk.reopen(id_, "boss")
    assert desk.signed(ada) is None
    assert desk.sign_in(ADA, GOOD, HOME)
    assert whats(desk, account="boss", subject=id_) == ["account closed", "account opened again"]


def test_new_holds_count_at_once(desk, ada):
    id_ = desk.named(ADA).id
    assert desk.signed(ada).holds == (Hold("P1"),)
    desk.set_holds(id_, [Hold("P2", 20, 30), Hold("P2", 5, 20), Hold("P0")], None)
    assert desk.signed(ada).holds == desk.holds_of(id_) == (Hold("P0"), Hold("P2", 5, 30))
    desk.set_locale(desk.signed(ada), "en_GB")
    assert desk.signed(ada).account.locale == "en-GB"


def test_what_is_not_there_is_not_changed(desk, ada):
    for act in (desk.reset, desk.close, desk.reopen):
        with pytest.raises(NotFound):
            act("nobody", None)
    with pytest.raises(NotFound):
        desk.holds_of("nobody")
    with pytest.raises(NotFound, match="users list"):
        desk.named("nobody@example.com")
    with pytest.raises(Conflict):
        desk.invite(ADA.upper(), Role.CUSTOMER, [], None)
    assert desk.account("nobody") is None


def test_a_look_is_written_down_once_an_hour(desk, ada, clock):
    signed = desk.signed(ada)
    for _ in range(3):
        for subject in ("P1", "P2"):
            desk.saw(signed, subject, "home")
    clock.s += 3600
    desk.saw(signed, "P1", "home")
    looks = [line for line in desk.trail(account=signed.account.id) if line.what == "saw home"]
    assert [line.subject for line in looks] == ["P1", "P2", "P1"]
    assert [line.email for line in looks] == [ADA] * 3


def test_looks_are_written_at_the_end_and_wait_for_the_database(people, clock, monkeypatch):
    desk = Desk(people, now=clock)
    signed = desk.signed(desk.use_link(desk.invite(ADA, Role.OPERATOR, [], None), GOOD, HOME))

    def away(_):
        raise MeterlakeError("away")

    monkeypatch.setattr(people, "note", away)
    desk.saw(signed, "P1", "meter")
    assert not desk._notes.flush()
    monkeypatch.undo()
    desk.stop()
    assert Desk(people).trail(account=signed.account.id)[0].subject == "P1"


def test_a_look_reaches_the_database_by_itself(people, clock):
    desk = Desk(people, now=clock)
    signed = desk.signed(desk.use_link(desk.invite(ADA, Role.OPERATOR, [], None), GOOD, HOME))
    desk.saw(signed, "P1", "meter")
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while not people.entries(account=None, subject="P1", before=None, limit=1):
        assert datetime.now(UTC) < deadline
        sleep(0.01)
    desk.stop()


def test_an_old_hash_is_made_anew(desk, ada, people):
    id_ = desk.named(ADA).id
    desk._change(
        id_, desk._entry("test", None), password=PasswordHasher(time_cost=1, memory_cost=64).hash(GOOD)
    )
    old = people.account(id_=id_).password
    desk.sign_in(ADA, GOOD, HOME)
    new = people.account(id_=id_).password
    assert "m=64," in old
    assert new.startswith("$argon2id$")
    assert "m=64," not in new
    assert desk.sign_in(ADA, GOOD, HOME)


def test_a_server_makes_the_hashes_that_the_library_advises(monkeypatch):
    monkeypatch.undo()
    made = Passwords().made(GOOD)
    assert made.startswith("$argon2id$")
    assert not PasswordHasher().check_needs_rehash(made)
    assert Passwords().opens(GOOD, made) == (True, None)
    assert Passwords().opens(OTHER, made) == (False, None)
    assert Passwords().opens(GOOD, "no hash") == (False, None)


def test_nothing_secret_is_kept(people, desk, ada):
    token = desk.reset(desk.named(ADA).id, None)
    with people._engine.connect() as connection:
        kept = "\n".join(connection.connection.driver_connection.iterdump())
    for secret in (ada, token, GOOD):
        assert secret not in kept
        assert secret.encode().hex() not in kept.lower()
    assert "argon2id" in kept


def test_another_role_or_email_ends_sessions_and_links_and_is_written_down(desk, ada):
    by = desk.named(desk_admin(desk)).id
    id_ = desk.named(ADA).id
    link = desk.reset(id_, None)
    changed = desk.change(id_, by, role=Role.OPERATOR, email=" Ada@New.example ")
    assert (changed.role, changed.email) == (Role.OPERATOR, "ada@new.example")
    assert desk.signed(ada) is None
    assert desk.link(link) is None
    assert desk.holds_of(id_) == ()
    (line,) = [one for one in desk.trail(subject=id_) if "changed from" in one.what]
    assert (
        line.what == f"role changed from customer to operator; e-mail changed from {ADA} to ada@new.example"
    )
    assert line.account == by
    signed = desk.signed(desk.sign_in("ada@new.example", GOOD, HOME))
    assert signed.account.role is Role.OPERATOR
    with pytest.raises(Denied):
        desk.sign_in(ADA, GOOD, HOME)


def desk_admin(desk):
    """E-mail of an admin."""
    desk.invite("root@example.com", Role.ADMIN, (), None)
    return "root@example.com"


def test_an_email_alone_leaves_what_is_held(desk, ada):
    id_ = desk.named(ADA).id
    desk.change(id_, None, email="ada@new.example")
    assert desk.holds_of(id_) == (Hold("P1"),)


def test_a_change_that_is_none_or_cannot_be_changes_nothing(desk, ada):
    id_, by = desk.named(ADA).id, desk.named(desk_admin(desk)).id
    for wrong, error in (
        ({}, Invalid), ({"role": Role.CUSTOMER, "email": ADA.upper()}, Invalid), ({"email": "no"}, Invalid), ({"email": "root@example.com"}, Conflict),
    ):  # fmt: skip
        with pytest.raises(error):
            desk.change(id_, by, **wrong)
    assert desk.signed(ada) is not None
    with pytest.raises(Conflict, match="another admin"):
        desk.change(by, by, role=Role.OPERATOR)
    with pytest.raises(Conflict, match="another admin"):
        desk.close(by, by)
    assert desk.named("root@example.com").role is Role.ADMIN
    assert desk.change(by, by, email="own@example.com").email == "own@example.com"


def test_who_signs_somebody_out_everywhere_is_written_down(desk, ada):
    id_, by = desk.named(ADA).id, desk.named(desk_admin(desk)).id
    desk.sign_out_everywhere(id_, by=by)
    assert desk.signed(ada) is None
    newest = desk.trail(limit=1)[0]
    assert (newest.what, newest.account, newest.subject) == ("sign-out everywhere", by, id_)
