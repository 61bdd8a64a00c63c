"""Server-sent events: what is now at once, then what has changed, ten times a second at most."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from anyio.to_thread import run_sync
from fastapi.sse import ServerSentEvent

from meterlake.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from prometheus_client import Gauge

    from meterlake.changes import Changes

GAP_S: Final = 0.1
COME_AGAIN_S: Final = 30


class Streams:
    """The open event streams of a server: at most so many, few of them one person's, and all end when it stops."""

    def __init__(self, most: int, each: int, gauge: Gauge) -> None:
        """Bear ``most`` streams at once, ``each`` of an account, shown by ``gauge``."""
        self._most, self._each, self._gauge = most, each, gauge
        self._open: dict[asyncio.Event, str | None] = {}

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def enter(self, account: str | None) -> asyncio.Event:
        """Count one more, which is over when the event returned is set; Overloaded beyond a limit.

        ``account`` is whose it is; None: that of a key, of which any number may be open.
        """
        if account is not None and list(self._open.values()).count(account) >= self._each:
            raise Overloaded(
                f"{self._each} event streams of your account are open already; close some of its pages",
                COME_AGAIN_S,
            )
        if len(self._open) >= self._most:
            raise Overloaded(
                f"{self._most} event streams are open already; come again when one has ended", COME_AGAIN_S
            )
        over = asyncio.Event()
        self._open[over] = account
        self._gauge.set(len(self._open))
        return over

    def leave(self, over: asyncio.Event) -> None:
        """Count one less."""
        self._open.pop(over, None)
        self._gauge.set(len(self._open))

    def close(self) -> None:
        """End all that are open."""
        for over in self._open:
            over.set()


async def events(
    changes: Changes, over: asyncio.Event, text: Callable[[], str], may: Callable[[], Awaitable[bool]]
) -> AsyncIterator[ServerSentEvent]:
    """Yield ``text`` (worked out in a thread) as it is, and again whenever it has changed, until ``over``.

    It ends too when who asked ``may`` not any more.
    """
    watch = cast("AsyncGenerator[int]", changes.watch(GAP_S))
    ended = asyncio.ensure_future(over.wait())
    last: str | None = None
    waiting: Any = None
    try:
        while not over.is_set():
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return
            epoch = waiting.result()
            now = await run_sync(text)
            if now != last:
                last = now
                if not await may():
                    return
                yield ServerSentEvent(raw_data=now.rstrip("\n"), event="state", id=str(epoch))
    finally:
        ended.cancel()
        if waiting is not None and not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})
        await watch.aclose()
