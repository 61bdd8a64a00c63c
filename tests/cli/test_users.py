"""The commands of accounts: a link is printed once and works, lists are read by scripts."""

from __future__ import annotations

import json

import pytest

from meterlake.app import open_lake, people_of
from meterlake.cli import run
from meterlake.people import Hold

ADA = "ada@example.com"


@pytest.fixture
def users(tmp_path, monkeypatch, capfd):
    """Run a command; return its status, what it answered, and what it said on standard error."""
    monkeypatch.setenv("METERLAKE_LAKE", str(tmp_path / "lake"))
    for name in ("METERLAKE_REGISTRY", "METERLAKE_PUBLIC_URL", "METERLAKE_SMTP_URL"):
        monkeypatch.delenv(name, raising=False)

    def told(*words):
        status = run(["users", *words])
        return status, *capfd.readouterr()

    return told


@pytest.fixture
def desk(tmp_path):
    """The desk of the same lake, made when it is there."""
    return lambda: people_of(open_lake(str(tmp_path / "lake")).registry)


def test_an_account_is_made_with_a_link_that_works(users, desk, monkeypatch):
    words = ("--role", "customer", "--service-point", "P1", "--service-point", "P2", "--name", "Ada")
    status, out, err = users("create", "Ada@Example.com", *words, "--output", "json")
    told = json.loads(out)
    assert (status, err, told["email"], told["role"]) == (0, "", ADA, "customer")
    start, _, token = told["link"].rpartition("/")
    assert start == "/link"
    account = desk().link(token)
    assert (account.id, account.name) == (told["id"], "Ada")
    assert desk().holds_of(account.id) == (Hold("P1"), Hold("P2"))
    monkeypatch.setenv("METERLAKE_PUBLIC_URL", "https://meters.example/")
    for more, host in (((), "https://meters.example"), (("--url", "http://here"), "http://here")):
        status, out, _ = users("reset", ADA, *more, "-o", "json")
        assert status == 0
        assert json.loads(out)["link"].startswith(f"{host}/link/")
    assert desk().link(token) is None
    assert "shown once" in users("reset", ADA)[2]


def test_accounts_are_listed_closed_and_opened_again(users):
    for email, role in (("b@example.com", "admin"), (ADA, "analyst")):
        assert users("create", email, "--role", role)[0] == 0
    listed = json.loads(users("list", "-o", "json")[1])["items"]
    assert [(one["email"], one["role"], one["closed_at"]) for one in listed] == [
        (ADA, "analyst", None),
        ("b@example.com", "admin", None),
    ]
    assert json.loads(users("close", ADA, "-o", "json")[1])["items"][0]["closed_at"] is not None
    status, _, err = users("reset", ADA)
    assert (status, "closed" in err) == (1, True)
    assert json.loads(users("reopen", ADA, "-o", "json")[1])["items"][0]["closed_at"] is None


def test_what_cannot_be_says_why(users):
    assert users("create", ADA, "--role", "admin")[0] == 0
    for words, why in (
        (("create", ADA, "--role", "admin"), "has an account already"),
        (("create", "b@example.com", "--role", "root"), "customer, operator, analyst, admin"),
        (("create", "b@example.com", "--role", "admin", "--service-point", "P1"), "only customers"),
        (("create", "nothing", "--role", "admin"), "ada@example.com"),
        (("close", "b@example.com"), "users list"),
    ):
        status, out, err = users(*words)
        assert (status, out) == (1, "")
        assert why in err


def test_an_account_gets_another_role_and_email(users, desk):
    assert users("create", ADA, "--role", "customer", "--service-point", "SP1")[0] == 0
    status, out, _ = users("change", ADA, "--role", "analyst", "--email", "ada@new.example", "-o", "json")
    assert status == 0
    (told,) = json.loads(out)["items"]
    assert (told["email"], told["role"]) == ("ada@new.example", "analyst")
    assert users("change", ADA, "--role", "admin")[0] == 1
    for words in ((), ("--role", "queen"), ("--email", "nobody")):
        assert users("change", "ada@new.example", *words)[0] == 1
