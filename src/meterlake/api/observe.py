"""What is noted of every request: a log line and a figure, never what was asked or answered."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect

from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meterlake.api.metrics import Figures

NO_ROUTE: Final = "(none)"
METHODS: Final = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
GONE: Final = 499
"""Status in the log of a request whose sender went away."""
FRAMES: Final = 8


class Observed:
    """An ASGI app whose requests are counted and logged, and whose failures are answered."""

    def __init__(
        self, app: ASGIApp, figures: Callable[[], Figures], failed: Callable[[Scope], ASGIApp]
    ) -> None:
        """Count in ``figures``; ``failed`` gives the answer to a request that came to nothing."""
        self._app, self._figures, self._failed = app, figures, failed
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent = 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except ClientDisconnect:
            status = status or GONE
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets an answer and the server goes on
            log.error("failed", error=type(error).__name__, where=_where(error), route=route_of(scope))
            if not status:
                await self._failed(scope)(scope, receive, counted)
        finally:
            self._note(scope, status or GONE, time.perf_counter() - began, sent)

    def _note(self, scope: Scope, status: int, seconds: float, sent: int) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        if not route.endswith("/events"):
            self._figures().request(method, route, status, seconds)
        self._log.info(
            "request", method=method, route=route, status=status, ms=round(seconds * 1e3, 2),
            key=scope.get("meterlake.key"), bytes=sent,
        )  # fmt: skip


def route_of(scope: Scope) -> str:
    """Return the template of the route that was asked, without any value."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or NO_ROUTE


def _where(error: Exception) -> list[str]:
    """Return the places of a failure; its message may hold what nobody shall read in a log."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{frame.name}:{frame.lineno}" for frame in frames]
