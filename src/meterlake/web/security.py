"""What keeps a page safe in a browser: headers on every answer, cookies, and proof that a form is one of ours."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from meterlake.api.problems import Refused

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "meterlake_session"
FORM_COOKIE: Final = "meterlake_form"
"""Token of forms of those who are not signed in."""
SESSION_S: Final = 30 * 86_400
FORM_S: Final = 3_600
FORM_BYTES: Final = 256 << 10
"""A form that is longer is not read."""
UNREAD: Final = (408, 413)
"""After these the rest of a body is not wanted."""
PUBLIC: Final = "METERLAKE_PUBLIC_URL"
MAP_STYLE: Final = "METERLAKE_MAP_STYLE"

PLAIN: Final = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}
HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


def policy() -> str:
    """Return the Content-Security-Policy: all from this server, but for the host of the map's tiles where one is set.

    plotly writes styles into its drawings and starts workers from blobs; nothing needs eval.
    """
    style = urlsplit(os.environ.get(MAP_STYLE, ""))
    tiles = f" {style.scheme}://{style.netloc}" if style.netloc else ""
    return "; ".join(
        (
            "default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", f"img-src 'self' data: blob:{tiles}",
            "font-src 'self'", f"connect-src 'self'{tiles}", "worker-src blob:", "manifest-src 'self'", "base-uri 'none'",
            "form-action 'self'", "frame-ancestors 'none'",
        )
    )  # fmt: skip


class Guarded:
    """An ASGI app whose answers all carry the headers above, and whose forms come within a time."""

    def __init__(self, app: ASGIApp, form_s: float) -> None:
        """Guard ``app``; who sends a form has ``form_s`` seconds for it."""
        self._app, self._form_s = app, form_s
        self._headers = {**PLAIN, b"content-security-policy": policy().encode()}
        if os.environ.get(PUBLIC, "").startswith("https:"):
            self._headers |= dict([HTTPS_ONLY])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() not in self._headers]
                closes = [(b"connection", b"close")] if message["status"] in UNREAD else []
                message["headers"] = [*kept, *self._headers.items(), *closes]
            await send(message)

        if scope["path"].startswith("/v1/"):
            await self._app(scope, receive, guarded)
        elif scope["method"] == "HEAD":  # the server sends no body for it
            await self._app({**scope, "method": "GET"}, receive, guarded)
        else:
            await self._app(scope, _within(receive, self._form_s), guarded)


def _within(receive: Receive, seconds: float) -> Receive:
    """Return ``receive`` with ``seconds`` for the whole of a body."""
    until, more = asyncio.get_running_loop().time() + seconds, True

    async def heard() -> Message:
        nonlocal more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        more = message.get("more_body", False)
        return message

    return heard


def is_safe(request: Request) -> bool:
    """Whether cookies of this request go over https alone."""
    return os.environ.get(PUBLIC, "").startswith("https:") or request.url.scheme == "https"


def keep_session(request: Request, response: Response, token: str) -> None:
    """Sign in the browser that asked."""
    response.set_cookie(
        COOKIE, token, max_age=SESSION_S, path="/", secure=is_safe(request), httponly=True, samesite="lax"
    )
    response.delete_cookie(FORM_COOKIE, path="/")


def drop_session(response: Response) -> None:
    """Forget the session in the browser."""
    response.delete_cookie(COOKIE, path="/")


def form_token(request: Request) -> str:
    """Return the token for forms of who is not signed in: the one of the cookie, or a new one to be kept there."""
    token: str | None = request.scope.get("meterlake.form") or request.cookies.get(FORM_COOKIE)
    if not token:
        token = secrets.token_urlsafe(24)
    request.scope["meterlake.form"] = token
    return token


def keep_form_token(request: Request, response: Response) -> None:
    """Send the token of the forms on this page to the browser."""
    token = request.scope.get("meterlake.form")
    if token and request.cookies.get(FORM_COOKIE) != token:
        response.set_cookie(
            FORM_COOKIE,
            token,
            max_age=FORM_S,
            path="/",
            secure=is_safe(request),
            httponly=True,
            samesite="strict",
        )


def check_form(request: Request, told: str, expected: str | None) -> None:
    """Raise Refused where a form was not sent from a page of ours.

    Args:
        request: with the headers in which browsers say where a form came from.
        told: token in the form.
        expected: that of the session; None: that of the form cookie.

    """
    own = expected if expected is not None else request.cookies.get(FORM_COOKIE, "")
    origin = request.headers.get("origin")
    here = {request.headers.get("host"), urlsplit(os.environ.get(PUBLIC, "")).netloc} - {None, ""}
    foreign = origin is not None and urlsplit(origin).netloc not in here  # "null" is nobody's page
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        foreign = True
    if foreign or not own or not hmac.compare_digest(own.encode(), told.encode()):
        raise Refused(
            403, "this form is too old, or was not sent from here; open the page again and send it once more"
        )
