"""What goes wrong, as a page for people and as a problem for programs."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from meterlake.api.problems import status_of
from meterlake.api.signed import signed_of
from meterlake.errors import MeterlakeError, Overloaded
from meterlake.web.shell import Page, SignIn, to_sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Scope

PROGRAMS: Final = ("/v1/", "/healthz", "/readyz", "/metrics", "/static/")

WORDS: Final = {
    400: ("That did not work", "What was sent cannot be used as it is."),
    403: ("Not from here", "This form is too old, or was not sent from this site. Open the page again and send it once more."),
    404: ("Nothing here", "There is no such page, or it is not yours to see."),
    405: ("Nothing here", "There is no such page, or it is not yours to see."),
    408: ("Too slow", "What was sent did not arrive in time. Try again."),
    413: ("Too much", "What was sent is longer than any form of ours. Send less."),
    422: ("That did not work", "A part of the address cannot be read."),
    500: ("Something went wrong", "The server could not make this page. The log says why; try again in a moment."),
    503: ("A moment, please", "The server has too much to do right now. Try again in a moment."),
}  # fmt: skip
"""Title and sentence by status; what there is and what is somebody else's read the same."""


def install(app: FastAPI) -> None:
    """Let ``app`` answer people with pages, and programs as before."""
    known = app.exception_handlers
    kinds = (MeterlakeError, HTTPException, RequestValidationError)
    for kind, told in ((kind, known[kind]) for kind in kinds):
        app.add_exception_handler(kind, _either(told))
    app.add_exception_handler(SignIn, _sign_in)
    program = app.state.failed
    app.state.failed = lambda scope: program(scope) if scope["path"].startswith(PROGRAMS) else _broken(scope)


def _broken(scope: Scope) -> Response:
    """Return the page for what nobody thought of."""
    return _page(Request(scope), HTTPException(500))


async def _sign_in(request: Request, _: Exception) -> Response:
    return to_sign_in(request)


def _either(program: Any) -> Callable[[Request, Exception], Any]:
    async def told(request: Request, error: Exception) -> Response:
        if request.url.path.startswith(PROGRAMS):
            answer: Response = await program(request, error)
            return answer
        await _look(request)
        return _page(request, error)

    return told


async def _look(request: Request) -> None:
    """Find out who asks for what no page knows, so that it looks to them as what they may not see."""
    served = request.app.state.served
    if "meterlake.signed" not in request.scope:
        with suppress(MeterlakeError):
            request.scope["meterlake.signed"] = await signed_of(served.desk, request)


def _page(request: Request, error: Exception) -> Response:
    if isinstance(error, MeterlakeError):
        status = status_of(error)
    else:
        status = error.status_code if isinstance(error, HTTPException) else 422
    status = 404 if status in {401, 405} else status
    title, sentence = WORDS.get(status, WORDS[500])
    page = Page(request, request.app.state.served, request.scope.get("meterlake.signed"), time.perf_counter())
    answer = page.render("error.html", status, title=title, sentence=sentence)
    if isinstance(error, Overloaded):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer
