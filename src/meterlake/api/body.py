"""The body of a batch: read within a time, unpacked within a size, and never more at once than there is room for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from meterlake.api.problems import Refused
from meterlake.errors import Invalid, Overloaded, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

MEDIA: Final = ("application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream")
PACKINGS: Final = ("gzip", "zstd")
PIECE: Final = 1 << 20
CLOSE: Final = {"Connection": "close"}
"""The rest of the body is not wanted."""


class Room:
    """Memory for bodies on their way in. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        """Hold at most ``limit`` bytes."""
        self._limit, self._used, self._lock = limit, 0, Lock()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Give a place that is empty again at the end."""
        place = Place(self)
        try:
            yield place
        finally:
            with self._lock:
                self._used -= place.size

    def take(self, size: int) -> None:
        """Take ``size`` bytes; Overloaded where there is no room."""
        with self._lock:
            if self._used and self._used + size > self._limit:
                raise Overloaded("more is being sent than there is memory for; send this again in a moment")
            self._used += size


class Place:
    """What one request holds of a `Room`."""

    def __init__(self, room: Room) -> None:
        """Hold nothing."""
        self._room, self.size = room, 0

    def add(self, size: int) -> None:
        """Hold ``size`` bytes more; Overloaded where there is no room."""
        self._room.take(size)
        self.size += size


def media_of(request: Request) -> str:
    """Return the form of a body; Refused (415) where it is none that is taken."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise Refused(
            415, f"Content-Type {media[:80] or 'is missing'}; send one of {', '.join(MEDIA)}",
            {"Accept-Post": ", ".join(MEDIA), **CLOSE},
        )  # fmt: skip
    return media


def packing_of(request: Request) -> str | None:
    """Return how a body is packed, None for not at all; Refused (415) where that is unknown."""
    packing = request.headers.get("content-encoding", "").strip().lower()
    if packing in {"", "identity"}:
        return None
    if packing not in PACKINGS:
        raise Refused(
            415, f"Content-Encoding {packing[:80]}; send {', '.join(PACKINGS)} or none",
            {"Accept-Encoding": ", ".join(PACKINGS), **CLOSE},
        )  # fmt: skip
    return packing


async def read(request: Request, most: int, seconds: float, place: Place) -> bytes:
    """Return the whole body as it was sent.

    Raises:
        TooLarge: it has more than ``most`` bytes.
        Refused: 408, it took longer than ``seconds``.

    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        raise Refused(413, f"a body of {told} bytes; at most {most} are taken, send smaller batches", CLOSE)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise Refused(413, f"a body of more than {most} bytes; send smaller batches", CLOSE)
                place.add(len(piece))
                pieces.append(piece)
    except TimeoutError:
        raise Refused(
            408, f"the body was not here after {seconds:g} s; send it sooner, or in smaller batches", CLOSE
        ) from None
    return b"".join(pieces)


def unpacked(body: bytes, packing: str | None, most: int, place: Place) -> bytes:
    """Return the body unpacked; it is cut off as soon as it has more than ``most`` bytes.

    Raises:
        TooLarge: it has.
        Invalid: it is not packed so, or broken.

    """
    if packing is None:
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), packing) as stream:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > most:
                    raise TooLarge(f"the body unpacks to more than {most} bytes; send smaller batches")
                place.add(len(piece))
                pieces.append(piece)
    except (OSError, pa.ArrowException) as error:
        raise Invalid(f"the body is no whole {packing} stream; pack it again") from error
    return b"".join(pieces)
