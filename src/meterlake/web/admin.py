"""For admins: the accounts, and the trail of who signed in and who looked at whose data."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Form, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.accounts import role_of
from meterlake.errors import Invalid, MeterlakeError, NotFound
from meterlake.holds import held_now
from meterlake.people import Hold, Role
from meterlake.web.door import to
from meterlake.web.security import PUBLIC, check_form
from meterlake.web.shell import Admin, Page  # noqa: TC001 - FastAPI reads the types

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meterlake.people import Account, Entry

router = APIRouter(prefix="/admin", include_in_schema=False)

Text = Annotated[str, Form(max_length=10_000)]
SHOWN: Final = 50
TRAIL: Final = 100
LATELY: Final = 20
HOLD: Final = re.compile(r"(\S+)(?:\s+(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?)?")
ACTS: Final = ("reset", "close", "reopen", "sign-out", "holds")


@router.get("/users")
def users(page: Admin, q: Annotated[str, Query(max_length=200)] = "", after: str | None = None) -> Response:
    """List accounts, a page at a time."""
    return _users(page, q, after)


def _users(
    page: Page, q: str = "", after: str | None = None, status: int = 200, *, problem: str | None = None,
    link: tuple[str, str] | None = None,
) -> Response:  # fmt: skip
    found = page.desk.accounts(q, after, SHOWN + 1)
    more = found[SHOWN - 1].email if len(found) > SHOWN else None
    return page.render(
        "users.html",
        status,
        accounts=found[:SHOWN],
        q=q,
        more=more,
        problem=problem,
        link=link,
        roles=list(Role),
    )


def _address(page: Page, token: str) -> str:
    base = os.environ.get(PUBLIC, "").rstrip("/") or str(page.request.base_url).rstrip("/")
    return f"{base}/link/{token}"


@router.post("/users")
def invite(
    page: Admin, email: Text = "", role: Text = "", name: Text = "", points: Text = "", csrf: Text = ""
) -> Response:
    """Make an account; its link is shown once."""
    check_form(page.request, csrf, page.signed.csrf)
    try:
        kind = Role(role)
        ids = [word for word in re.split(r"[\s,;]+", points) if word]
        holds = held_now(page.node.lake.registry, ids, datetime.now(UTC)) if kind == Role.CUSTOMER else ()
        token = page.desk.invite(email, kind, holds, page.signed.account.id, name=name)
    except ValueError:
        return _users(page, status=400, problem="choose a role")
    except MeterlakeError as error:
        return _users(page, status=400, problem=str(error))
    return _users(page, link=(email, _address(page, token)))


def _one(page: Page, id_: str) -> Account:
    found = page.desk.account(id_)
    if found is None:
        raise NotFound("no such account")
    return found


@router.get("/users/{id}")
def user(page: Admin, id: str) -> Response:  # noqa: A002 - as the route calls it
    """Show an account."""
    return _user(page, _one(page, id))


def _user(
    page: Page,
    account: Account,
    status: int = 200,
    *,
    problem: str | None = None,
    link: tuple[str, str] | None = None,
) -> Response:
    return page.render(
        "user.html", status, account=account, holds=[_told(hold) for hold in page.desk.holds_of(account.id)], problem=problem,
        link=link, roles=list(Role), trail=_lately(page, account.id), sessions=page.desk.sessions(account.id),
    )  # fmt: skip


def _lately(page: Page, id_: str) -> list[Entry]:
    """Return the newest lines of what an account did and of what was done to it."""
    lines = [*page.desk.trail(account=id_, limit=LATELY), *page.desk.trail(subject=id_, limit=LATELY)]
    return sorted({line.number: line for line in lines}.values(), key=lambda line: -line.number)[:LATELY]


def _told(hold: Hold) -> str:
    """Write a hold as one line: the service point, and its days where they end."""
    days = [
        "" if at is None else datetime.fromtimestamp(at, UTC).date().isoformat()
        for at in (hold.from_s, hold.to_s)
    ]
    return " ".join([hold.service_point, *([f"{days[0]}..{days[1]}"] if any(days) else [])])


def holds_in(text: str) -> Iterable[Hold]:
    """Read a hold a line: ``SP1``, ``SP1 2024-01-01..`` or ``SP1 2024-01-01..2025-01-01`` (days at UTC, the last exclusive).

    Raises:
        Invalid: a line is none of these.

    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = HOLD.fullmatch(line.strip())
        if found is None:
            raise Invalid(f"line {number}: write a service point, and its days as 2024-01-01..2025-01-01")
        yield Hold(found[1], _second(found[2], number), _second(found[3], number))


def _second(day: str | None, line: int) -> int | None:
    try:
        return None if not day else (date.fromisoformat(day) - date(1970, 1, 1)) // timedelta(seconds=1)
    except ValueError:
        raise Invalid(f"line {line}: {day} is no day") from None


@router.post("/users/{id}/change")
def change(page: Admin, id: str, role: Text = "", email: Text = "", csrf: Text = "") -> Response:  # noqa: A002
    """Give an account another role or e-mail."""
    check_form(page.request, csrf, page.signed.csrf)
    account = _one(page, id)
    try:
        page.desk.change(id, page.signed.account.id, role=role_of(role), email=email)
    except MeterlakeError as error:
        return _user(page, account, 400, problem=str(error))
    return to(f"/admin/users/{id}")


@router.post("/users/{id}/{act}")
def act(page: Admin, id: str, act: str, holds: Text = "", csrf: Text = "") -> Response:  # noqa: A002
    """Reset, close, reopen or sign out an account, or change what it holds."""
    check_form(page.request, csrf, page.signed.csrf)
    if act not in ACTS:
        raise NotFound("no such page")
    account, by = _one(page, id), page.signed.account.id
    try:
        match act:
            case "reset":
                return _user(page, account, link=(account.email, _address(page, page.desk.reset(id, by))))
            case "close":
                page.desk.close(id, by)
            case "reopen":
                page.desk.reopen(id, by)
            case "sign-out":
                page.desk.sign_out_everywhere(id, by=by)
            case _:
                page.desk.set_holds(id, list(holds_in(holds)), by)
    except MeterlakeError as error:
        return _user(page, account, 400, problem=str(error))
    return to(f"/admin/users/{id}")


@router.get("/audit")
def audit(
    page: Admin, account: str | None = None, subject: Annotated[str | None, Query(max_length=256)] = None,
    before: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
) -> Response:  # fmt: skip
    """Show the trail, newest first."""
    found = page.desk.trail(account=account or None, subject=subject or None, before=before, limit=TRAIL + 1)
    more = found[TRAIL - 1].number if len(found) > TRAIL else None
    return page.render(
        "audit.html", trail=found[:TRAIL], account=account or "", subject=subject or "", more=more
    )
