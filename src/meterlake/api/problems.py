"""Errors as application/problem+json (RFC 9457): what, why, and what to do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from meterlake.errors import (
    Conflict,
    Denied,
    Invalid,
    LogFailed,
    MeterlakeError,
    NotFound,
    Overloaded,
    TooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

MEDIA: Final = "application/problem+json"
ERRORS_SHOWN: Final = 5
LOG_FAILED_S: Final = 30

KINDS: Final[Mapping[int, tuple[str, str, str]]] = {
    400: ("invalid", "Not possible as asked", "see /v1/openapi.json for what can be asked"),
    401: ("no-key", "No valid key", "send the header Authorization: Bearer KEY"),
    403: ("denied", "Not allowed for this key", "ask for a key with the scope that this needs"),
    404: ("not-found", "Not found", "see /v1/openapi.json for the routes, /v1/meters for the meters"),
    405: ("method", "Method not allowed", "use a method of the header Allow"),
    406: ("not-acceptable", "No such form", "send one of the forms in the header Accept"),
    408: ("too-slow", "Too slow", "send the whole body sooner, or smaller batches"),
    409: ("conflict", "Conflict", "look at what is there, then decide anew"),
    413: ("too-large", "Too large", "send smaller batches"),
    415: ("media-type", "Form not taken", "send one of the forms that are named"),
    422: ("parameters", "Parameters cannot be read", "see /v1/openapi.json for the parameters"),
    500: ("failed", "Failed", "try again; the server's log says what happened"),
    503: ("overloaded", "Come again later", "send the same again after the time in Retry-After"),
}
"""Word of the type, title and remedy by status."""


_STATUSES: Final = (
    (Invalid, 400), (NotFound, 404), (Conflict, 409), (TooLarge, 413), (Overloaded, 503), (LogFailed, 503),
)  # fmt: skip


class Refused(MeterlakeError):
    """A request that HTTP itself has a status for."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with ``status`` and extra ``headers``."""
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


def problem(
    status: int,
    detail: str,
    remedy: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> Response:
    """Return the answer for an error."""
    word, title, usual = KINDS.get(status, KINDS[500 if status >= 500 else 400])
    told = {
        "type": f"/problems/{word}", "title": title, "status": status, "detail": detail, "remedy": remedy or usual,
    }  # fmt: skip
    if errors:
        told["errors"] = list(errors)
    extra = {"Cache-Control": "no-store", **(headers or {})}
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(told, ensure_ascii=False) + "\n", status, extra, MEDIA)


def status_of(error: MeterlakeError) -> int:
    """HTTP status of an error of ours."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, Denied):
        return 403 if error.known else 401
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def problem_of(error: MeterlakeError, hidden: Sequence[str] = ()) -> Response:
    """Return the answer for an error of ours; ``hidden`` are addresses that nobody outside needs."""
    status = status_of(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, LogFailed):
        return problem(
            503, "the log's disk failed: nothing is acknowledged any more",
            "send the same again once the server was started anew", headers={"Retry-After": str(LOG_FAILED_S)},
        )  # fmt: skip
    if status == 500:
        return failed()
    message = str(error)
    for address in hidden:
        message = message.replace(address, "the lake")
    detail, remedy = _parted(message)
    return problem(status, detail, remedy, headers=headers)


def failed() -> Response:
    """Return the answer where something unexpected happened; what it was stands in the log."""
    return problem(500, "the server could not answer this")


def _parted(message: str) -> tuple[str, str | None]:
    """Split a message into what is wrong and the remedy after the last semicolon or, without one, colon."""
    for mark in ("; ", ": "):
        what, found, remedy = message.rpartition(mark)
        if found:
            return what, remedy
    return message, None


def install(app: FastAPI, hidden: Sequence[str]) -> None:
    """Let ``app`` answer every error as a problem."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def ours(_: Request, error: Exception) -> Response:
        return problem_of(error, hidden) if isinstance(error, MeterlakeError) else failed()

    app.add_exception_handler(MeterlakeError, ours)
    app.add_exception_handler(RequestValidationError, _unreadable)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _of_http)  # type: ignore[arg-type]


async def _unreadable(_: Request, error: RequestValidationError) -> Response:
    told = [f"{' '.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return problem(422, "; ".join(told[:ERRORS_SHOWN]))


async def _of_http(_: Request, error: HTTPException) -> Response:
    detail = {404: "no such route", 405: "this route has no such method"}.get(error.status_code, error.detail)
    return problem(error.status_code, detail, headers=error.headers)
