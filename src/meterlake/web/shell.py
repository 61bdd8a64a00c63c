"""What every page has: who looks at it, its words and numbers, and how long the server took for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from starlette.responses import HTMLResponse, RedirectResponse

from meterlake import __version__
from meterlake.api.signed import principal, signed_of
from meterlake.errors import Denied, NotFound
from meterlake.people import Role
from meterlake.web import words
from meterlake.web.security import form_token, keep_form_token
from meterlake.web.static_files import asset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from babel import Locale
    from jinja2.runtime import Context
    from starlette.responses import Response

    from meterlake.api.served import Served
    from meterlake.people import Desk, Signed
    from meterlake.server import Server

HOMES: Final = {
    Role.CUSTOMER: "/home",
    Role.OPERATOR: "/fleet",
    Role.ANALYST: "/analysis",
    Role.ADMIN: "/fleet",
}
"""Where each role begins."""

FLEET: Final = (
    ("/fleet", "Fleet"), ("/fleet/map", "Map"), ("/fleet/silent", "Silent"), ("/fleet/search", "Search"),
    ("/fleet/loads", "Loads"), ("/fleet/batches", "Batches"), ("/fleet/runs", "Runs"), ("/fleet/quarantine", "Quarantine"),
)  # fmt: skip
NAV: Final = {
    Role.CUSTOMER: (("/home", "Home"),),
    Role.OPERATOR: FLEET,
    Role.ANALYST: (("/analysis", "Analysis"),),
    Role.ADMIN: (*FLEET, ("/analysis", "Analysis"), ("/admin/users", "People"), ("/admin/audit", "Audit")),
}
MADE: Final = "\x00made\x00"
"""Stands in a page for how long the server took, until it is known."""


class SignIn(Exception):
    """Nobody is signed in: the way to this page leads over the door."""


@cache
def templates() -> Environment:
    """Return the environment of all templates: whatever is put into a page is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals.update(asset=asset, version=__version__)
    for name in ("rounded", "exactly", "money", "clock", "when"):
        made.filters[name] = _localised(getattr(words, name))
    return made


def _localised(write: Callable[..., str]) -> Callable[..., str]:
    """Return a filter that writes in the locale of the page."""

    @pass_context
    def told(context: Context, value: Any, *more: Any) -> str:
        return write(value, *more, context["told_locale"])

    return told


@dataclass(slots=True)
class Page:
    """One request for a page."""

    request: Request
    served: Served
    visitor: Signed | None
    began: float

    @property
    def signed(self) -> Signed:
        """Who is signed in."""
        assert self.visitor is not None, "this page is for those who are signed in"
        return self.visitor

    @property
    def node(self) -> Server:
        """The node that is asked."""
        return self.served.node

    @property
    def desk(self) -> Desk:
        """Where people sign in."""
        assert self.served.desk is not None, "there are no pages without"
        return self.served.desk

    @property
    def locale(self) -> Locale:
        """How this visitor writes numbers and days."""
        own = "" if self.visitor is None else self.visitor.account.locale
        return words.locale_of(
            *([own] if own else []), *words.accepted(self.request.headers.get("accept-language", ""))
        )

    def render(self, template: str, status: int = 200, /, **told: Any) -> Response:
        """Return a page with what is ``told`` to its template."""
        locale = self.locale
        known: dict[str, Any] = {
            "signed": self.visitor, "nav": () if self.visitor is None else NAV[self.visitor.account.role],
            "here": self.request.url.path, "csrf": self._csrf(), "zone": "UTC", "locale": str(locale).replace("_", "-"),
            "made": MADE, "behind": "live view" in self.request.app.state.served.node.trouble,
        }  # fmt: skip
        text = templates().get_template(template).render(known | told | {"told_locale": locale})
        spent = f"{(time.perf_counter() - self.began) * 1000:.1f}"
        response = HTMLResponse(
            text.replace(MADE, spent), status, headers={"Cache-Control": "no-store", "Vary": "Cookie"}
        )
        keep_form_token(self.request, response)
        return response

    def _csrf(self) -> str:
        return form_token(self.request) if self.visitor is None else self.visitor.csrf


def page_for(*roles: Role, anybody: bool = False) -> Callable[[Request], Awaitable[Page]]:
    """Return the dependency of a page for some roles; for ``anybody`` also of who is not signed in."""

    async def page(request: Request) -> Page:
        began = time.perf_counter()
        served: Served = request.app.state.served
        assert served.desk is not None, "there are no pages without"
        try:
            signed = await signed_of(served.desk, request)
        except Denied:
            signed = None
        if signed is None and not anybody:
            raise SignIn
        if signed is not None:
            request.scope["meterlake.key"] = principal(signed).id
            request.scope["meterlake.signed"] = signed
            if not anybody and signed.account.role not in roles:
                raise NotFound("no such page")
        return Page(request, served, signed, began)

    return page


Anybody = Annotated[Page, Depends(page_for(anybody=True))]
Everybody = Annotated[Page, Depends(page_for(*Role))]
Customer = Annotated[Page, Depends(page_for(Role.CUSTOMER))]
Operator = Annotated[Page, Depends(page_for(Role.OPERATOR, Role.ADMIN))]
Analyst = Annotated[Page, Depends(page_for(Role.ANALYST, Role.OPERATOR, Role.ADMIN))]
Admin = Annotated[Page, Depends(page_for(Role.ADMIN))]


def to_sign_in(request: Request) -> Response:
    """Lead to the door, and back to what was asked."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(
        f"/sign-in?next={quote(asked, safe='')}", 303, headers={"Cache-Control": "no-store"}
    )


def local_path(path: str | None) -> str | None:
    """Return a path of this server that a visitor may be led to; None for anything else."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return None
    return path
