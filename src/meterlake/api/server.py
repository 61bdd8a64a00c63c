"""One server process: listen, answer, and end in order when told to."""

from __future__ import annotations

import gc
import logging
import signal
import socket as sockets
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meterlake.errors import MeterlakeError
from meterlake.logs import log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from meterlake.api.limits import ApiLimits

BACKLOG: Final = 2048
SWITCH_S: Final = 0.0005
"""How long a thread computes while another waits: one long answer must not hold up all the short ones."""
GARBAGE: Final = 50_000
"""Objects that are made before those of them are looked for that hold each other."""
IDLE_S: Final = 30
"""Seconds that a connection may be without a request."""


class _Prompt(HttpToolsProtocol):
    """Closes connections that do not say what they want: uvicorn alone waits for headers without end."""

    headers_s: float
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        self._heard()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.headers_s, self.transport.close)

    def _heard(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Ends event streams when it stops, tells its address when it has started, and leaves with status 0."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._told, self._stopping = started, stopping

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()

    async def shutdown(self, sockets: list[sockets.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, without raising them again at the end as uvicorn does."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals go to the main thread
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


class _Lines(logging.Handler):
    """Takes what uvicorn has to say into our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "server", said=record.getMessage())


def listen(host: str, port: int) -> sockets.socket:
    """Return a socket that listens; MeterlakeError where that cannot be."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    try:
        return sockets.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise MeterlakeError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; give another --port"
        ) from error


def url_of(socket: sockets.socket) -> str:
    """Return the address at which ``socket`` is reached."""
    host, port = socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(
    app: FastAPI, limits: ApiLimits, socket: sockets.socket, ready: Callable[[str], Any]
) -> uvicorn.Server:
    """Return the server of an app; ``ready`` is told the address once it answers."""
    config = uvicorn.Config(
        app, loop="uvloop", http=type("Prompt", (_Prompt,), {"headers_s": limits.headers_s}), ws="none", lifespan="off", access_log=False, log_config=None,
        server_header=False, proxy_headers=False, limit_concurrency=limits.connections,
        timeout_keep_alive=IDLE_S, timeout_graceful_shutdown=limits.stop_s,
    )  # fmt: skip
    return _Server(config, lambda: ready(url_of(socket)), app.state.served.streams.close)


def run(app: FastAPI, limits: ApiLimits, socket: sockets.socket, ready: Callable[[str], Any]) -> None:
    """Serve an app, whose node was started, until SIGINT or SIGTERM."""
    server = server_of(app, limits, socket, ready)
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(GARBAGE)
    logger, lines = logging.getLogger("uvicorn.error"), _Lines(logging.WARNING)
    logger.addHandler(lines)
    logger.propagate = False
    try:
        server.run([socket])
    finally:
        logger.removeHandler(lines)
