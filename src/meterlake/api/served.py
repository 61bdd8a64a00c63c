"""What every request finds: the node, who may ask, and the figures; and how one request is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.negotiate import JSON, form_of, has_it, rendered, unchanged
from meterlake.errors import Denied, Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import ThreadPoolExecutor

    from anyio import CapacityLimiter

    from meterlake.api.body import Room
    from meterlake.api.events import Streams
    from meterlake.api.limits import ApiLimits
    from meterlake.api.metrics import Figures
    from meterlake.api.roster import Roster
    from meterlake.keys import ApiKey, KeyRing
    from meterlake.node import Node

BEARER: Final = "bearer "
ID_MAX: Final = 256


@dataclass(slots=True)
class Served:
    """What the routes share."""

    node: Node
    ring: KeyRing
    roster: Roster
    figures: Figures
    streams: Streams
    room: Room
    limits: ApiLimits
    senders: CapacityLimiter
    """Threads that accept batches."""
    workers: ThreadPoolExecutor
    """Threads that answer questions about one thing."""
    salt: bytes
    """Of the tags of this process: epochs begin anew with each."""

    async def key_of(self, request: Request) -> ApiKey:
        """Return the key that a request shows.

        Raises:
            Denied: it shows none, or none that is known.

        """
        shown = request.headers.get("authorization", "")
        if shown[: len(BEARER)].lower() != BEARER:
            raise Denied("no key was sent; send the header Authorization: Bearer KEY")
        token = shown[len(BEARER) :].strip()
        key = self.ring.kept(token)
        if key is None:
            key = await run_sync(self.ring.asked, token)
        request.scope["meterlake.key"] = key.id
        return key


def salt() -> bytes:
    """Draw what makes the tags of a process its own."""
    return token_bytes(16)


@dataclass(slots=True)
class Asked:
    """One request by a key that may ask it."""

    request: Request
    served: Served
    key: ApiKey
    form: str

    @property
    def node(self) -> Node:
        """The node that is asked."""
        return self.served.node

    def tag(self, *more: object) -> str:
        """Return the weak tag of this question now: of the lake, what is live, the registry and ``more``."""
        node, scope = self.node, self.request.scope
        stamp = (
            node.lake.lake.snapshot().version,
            node.live.epoch,
            self.served.roster.stamp(),
            self.key.id,
            more,
        )
        text = f"{stamp}\n{self.form}\n{scope['path']}\n".encode() + scope["query_string"]
        return f'W/"{blake2b(text, key=self.served.salt, digest_size=12).hexdigest()}"'

    def answer(self, make: Callable[[], Any], headers: Mapping[str, str] | None = None) -> Response:
        """Return what ``make`` gives in the form that was asked for, or 304 where the asker has it already."""
        tag = self.tag()
        if has_it(tag, self.request.headers.get("if-none-match")):
            return unchanged(tag)
        try:
            made = make()
        except (OverflowError, ValueError) as error:  # calendars end where Python's do
            raise Invalid("a moment is outside the years 1901 to 2200; ask for others") from error
        return rendered(made, self.form, {"ETag": tag, **getattr(made, "headers", {}), **(headers or {})})

    async def work(self, make: Callable[[], Response]) -> Response:
        """Return what ``make`` gives in a thread of ours: with less ado than those of the framework."""
        return await asyncio.get_running_loop().run_in_executor(self.served.workers, make)

    def free(self) -> None:
        """Raise Denied where the key is bound to some meters: this is about all of them."""
        if self.key.meters is not None:
            raise Denied("this key is bound to some meters and cannot ask for all of them", known=True)

    def visible(self, id_: str, kind: str) -> None:
        """Raise NotFound where ``id_`` does not exist for the key."""
        if len(id_) > ID_MAX or not id_.isprintable():
            raise unknown(id_, kind)
        own = self.key.meters
        if kind == "meter":
            if own is not None and id_ not in own:
                raise unknown(id_, kind)
            return
        stays = self.node.lake.registry.installations(id_)
        there = [
            stay["meter_id"]
            for stay in stays.select(["meter_id", "service_point_id"]).to_pylist()
            if stay["service_point_id"] == id_
        ]
        if not there or (own is not None and not own.issuperset(there)):
            raise unknown(id_, kind)


def unknown(id_: str, kind: str, channel: str | None = None) -> NotFound:
    """Return the error for what does not exist, or not for who asks: both look the same."""
    named = f"{kind.replace('_', ' ')} {id_[:ID_MAX]}"
    if channel is None:
        return NotFound(f"no {named}")
    return NotFound(f"no {named} with channel {channel[:ID_MAX]}")


def _asking(scope: str, *, events: bool = False) -> Any:
    async def asked(request: Request) -> Asked:
        served: Served = request.app.state.served
        key = await served.key_of(request)
        if scope and scope not in key.scopes:
            raise Denied(f"this key has no scope {scope}; ask for one that has it", known=True)
        return Asked(request, served, key, JSON if events else form_of(request.headers.get("accept")))

    return asked


Sends = Annotated[Asked, Depends(_asking("ingest", events=True))]
Reads = Annotated[Asked, Depends(_asking("read"))]
Operates = Annotated[Asked, Depends(_asking("operate"))]
Anyone = Annotated[Asked, Depends(_asking(""))]
Follows = Annotated[Asked, Depends(_asking("read", events=True))]
Watches = Annotated[Asked, Depends(_asking("operate", events=True))]
