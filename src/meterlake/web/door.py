"""The way in and out: landing, sign-in, sign-out, and the one-time link that sets a password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import RedirectResponse, Response

from meterlake.errors import Denied, Invalid, MeterlakeError, NotFound, Overloaded
from meterlake.web.proxies import where
from meterlake.web.security import check_form, drop_session, keep_session
from meterlake.web.shell import HOMES, Anybody, Everybody, Page, local_path

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=1000)]


def to(path: str) -> Response:
    """Lead to another page after a form."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})


@router.get("/")
def landing(page: Anybody) -> Response:
    """Say what this is, or lead to the home of who is signed in."""
    if page.visitor is not None:
        return to(HOMES[page.visitor.account.role])
    return page.render("landing.html")


@router.get("/sign-in")
def sign_in(page: Anybody, next: str = "") -> Response:  # noqa: A002 - as browsers know it
    """Show the form to sign in."""
    if page.visitor is not None:
        return to(local_path(next) or HOMES[page.visitor.account.role])
    return page.render("sign_in.html", next=local_path(next) or "", email="", problem=None)


@router.post("/sign-in")
def signed_in(
    page: Anybody,
    email: Text = "",
    password: Text = "",
    csrf: Text = "",
    next: Text = "",  # noqa: A002
) -> Response:
    """Sign in, or say one sentence that fits every reason."""
    check_form(page.request, csrf, None)
    try:
        token = page.desk.sign_in(email, password, where(page.request))
        signed = page.desk.signed(token)
    except (Denied, Overloaded, Invalid) as error:
        status = 503 if isinstance(error, Overloaded) else 401
        answer = page.render(
            "sign_in.html", status, next=local_path(next) or "", email=email, problem=str(error)
        )
        if isinstance(error, Overloaded):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    assert signed is not None, "the session has just been made"
    response = to(local_path(next) or HOMES[signed.account.role])
    keep_session(page.request, response, token)
    return response


@router.post("/sign-out")
def sign_out(page: Everybody, csrf: Text = "") -> Response:
    """End this session."""
    check_form(page.request, csrf, page.signed.csrf)
    page.desk.sign_out(page.request.cookies["meterlake_session"])
    response = to("/")
    drop_session(response)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@router.get("/link/{token}")
def link(page: Anybody, token: str) -> Response:
    """Show the form in which a password is set."""
    account = page.desk.link(token)
    if account is None:
        return page.render("link_over.html", 404)
    return page.render("link.html", account=account, token=token, problem=None)


@router.post("/link/{token}")
def use_link(page: Anybody, token: str, password: Text = "", again: Text = "", csrf: Text = "") -> Response:
    """Set the password and sign in."""
    check_form(page.request, csrf, None if page.visitor is None else page.visitor.csrf)
    account = page.desk.link(token)
    if account is None:
        return page.render("link_over.html", 404)
    try:
        if password != again:
            raise Invalid("the two passwords differ; type the same one twice")
        session = page.desk.use_link(token, password, where(page.request))
    except NotFound:
        return page.render("link_over.html", 404)
    except MeterlakeError as error:
        return page.render("link.html", 400, account=account, token=token, problem=str(error))
    response = to(HOMES[account.role])
    keep_session(page.request, response, session)
    return response


@router.get("/account")
def account(page: Everybody) -> Response:
    """Show the account of who is signed in."""
    return _account(page)


def _account(
    page: Page, status: int = 200, *, problem: str | None = None, done: str | None = None
) -> Response:
    sessions = page.desk.sessions(page.signed.account.id)
    return page.render("account.html", status, sessions=sessions, problem=problem, done=done)


@router.post("/account/password")
def change_password(
    page: Everybody, old: Text = "", new: Text = "", again: Text = "", csrf: Text = ""
) -> Response:
    """Change the password; all other sessions end."""
    check_form(page.request, csrf, page.signed.csrf)
    try:
        if new != again:
            raise Invalid("the two new passwords differ; type the same one twice")
        page.desk.change_password(page.signed, old, new)
    except MeterlakeError as error:
        return _account(page, 400, problem=str(error))
    return _account(page, done="Your password is changed, and you are signed out everywhere else.")


@router.post("/account/locale")
def change_locale(page: Everybody, locale: Text = "", csrf: Text = "") -> Response:
    """Change how numbers and days are written."""
    check_form(page.request, csrf, page.signed.csrf)
    try:
        page.desk.set_locale(page.signed, locale.strip())
    except MeterlakeError as error:
        return _account(page, 400, problem=str(error))
    return to("/account")


@router.post("/account/everywhere")
def sign_out_everywhere(page: Everybody, csrf: Text = "") -> Response:
    """End all sessions but this one."""
    check_form(page.request, csrf, page.signed.csrf)
    page.desk.sign_out_everywhere(page.signed.account.id, page.signed.session_id)
    return _account(page, done="You are signed out everywhere else.")
