"""Ids in addresses: one that has a slash in it is written with %2F, and found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from fastapi.routing import APIRoute

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MARK: Final = "\ufdd0"
"""Stands for a slash within an id, so that it parts no words of a path; no letter."""
_QUOTED: Final = quote(MARK).encode()
_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)


class Whole:
    """An ASGI app in whose paths a slash that was sent as %2F is part of a word."""

    def __init__(self, app: ASGIApp) -> None:
        """Pass on to ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and _SLASH.search(raw):
            scope = {**scope, "path": unquote(_SLASH.sub(_QUOTED, raw).decode("latin-1"))}
        await self._app(scope, receive, send)


class Named(APIRoute):
    """A route whose parameters have their slashes again."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["path_params"] = {
            name: word.replace(MARK, "/") if isinstance(word, str) else word
            for name, word in scope["path_params"].items()
        }
        await super().handle(scope, receive, send)
