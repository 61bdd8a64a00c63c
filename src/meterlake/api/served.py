"""What every request finds: the node, who may ask, and the figures; and how one request is answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.held import stays
from meterlake.api.negotiate import JSON, NAMED, attachment, form_of, has_it, rendered, unchanged
from meterlake.api.signed import AGGREGATE, principal, signed_of
from meterlake.errors import Denied, Invalid, MeterlakeError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import ThreadPoolExecutor

    from anyio import CapacityLimiter

    from meterlake.api.body import Room
    from meterlake.api.events import Streams
    from meterlake.api.held import Span
    from meterlake.api.limits import ApiLimits
    from meterlake.api.metrics import Figures
    from meterlake.api.roster import Roster
    from meterlake.keys import ApiKey, KeyRing
    from meterlake.people import Desk, Signed
    from meterlake.server import Server

BEARER: Final = "bearer "
ID_MAX: Final = 256

Form = Annotated[
    Literal["json", "csv", "arrow", "parquet"] | None,
    Query(description="The answer as a file in this form, whatever the header Accept says."),
]


@dataclass(slots=True)
class Served:
    """What the routes share."""

    node: Server
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
    desk: Desk | None = None
    """Where people sign in; None: only keys are taken."""

    async def key_of(self, request: Request) -> ApiKey:
        """Return the key that a request shows, or that of who is signed in; a session may only read.

        Raises:
            Denied: it shows none, or none that is known.

        """
        shown = request.headers.get("authorization", "")
        if not shown and self.desk is not None and request.method == "GET":
            signed = await signed_of(self.desk, request)
            if signed is not None:
                own = principal(signed)
                request.scope.update({"meterlake.key": own.id, "meterlake.signed": signed})
                return own
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
    saved: bool = False
    """Whether the answer is to be kept as a file."""

    @property
    def node(self) -> Server:
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
            self.key.holds,
            more,
        )
        text = f"{stamp}\n{self.form}\n{scope['path']}\n".encode() + scope["query_string"]
        return f'W/"{blake2b(text, key=self.served.salt, digest_size=12).hexdigest()}"'

    def answer(
        self, make: Callable[[], Any], headers: Mapping[str, str] | None = None, more: tuple[object, ...] = ()
    ) -> Response:
        """Return what ``make`` gives in the form that was asked for, or 304 where the asker has it already.

        ``more`` is what the answer rests on beside lake, live readings and registry.
        """
        tag = self.tag(*more)
        if has_it(tag, self.request.headers.get("if-none-match")):
            return unchanged(tag)
        try:
            made = make()
        except (OverflowError, ValueError) as error:  # calendars end where Python's do
            raise Invalid("a moment is outside the years 1901 to 2200; ask for others") from error
        said = {"ETag": tag, **getattr(made, "headers", {}), **(headers or {})}
        if self.saved:
            said |= attachment(self.request, self.form)
        return rendered(made, self.form, said)

    async def work(self, make: Callable[[], Response]) -> Response:
        """Return what ``make`` gives in a thread of ours: with less ado than those of the framework."""
        return await asyncio.get_running_loop().run_in_executor(self.served.workers, make)

    def free(self) -> None:
        """Raise Denied where the key is bound to some meters: this is about all of them."""
        if self.key.meters is not None:
            raise Denied("this key is bound to some meters and cannot ask for all of them", known=True)

    async def still(self) -> bool:
        """Whether who asked may still ask, and the same."""
        try:
            return await self.served.key_of(self.request) == self.key
        except MeterlakeError:
            return False

    def within(self, id_: str) -> tuple[Span, ...] | None:
        """Return the times for which a service point is the asker's; None: all of it."""
        return None if self.key.holds is None else self.key.holds.get(id_, ())

    def visible(self, id_: str, kind: str) -> None:
        """Raise NotFound where ``id_`` does not exist for the key, and write down who looks at it."""
        if len(id_) > ID_MAX or not id_.isprintable() or not self._exists(id_, kind):
            raise unknown(id_, kind)
        self.looked(id_, kind)

    def looked(self, id_: str, kind: str) -> None:
        """Write down that who is signed in looked at ``id_``."""
        signed: Signed | None = self.request.scope.get("meterlake.signed")
        if signed is not None and self.served.desk is not None:
            self.served.desk.saw(signed, id_, f"{kind.replace('_', ' ')} by the API")

    def _exists(self, id_: str, kind: str) -> bool:
        """Whether ``id_`` exists for the key; what is not a customer's is not even looked for."""
        own, holds = self.key.meters, self.key.holds
        if kind == "meter":
            return own is None or id_ in own
        if holds is not None and id_ not in holds:
            return False
        there = [stay["meter_id"] for stay in self.stays(id_)]
        return bool(there) and (own is None or holds is not None or own.issuperset(there))

    def stays(self, service_point: str) -> list[dict[str, Any]]:
        """Return the meters that were at a service point, each for the part of its time that is the asker's."""
        return stays(self.node.lake.registry, service_point, self.within(service_point))


def unknown(id_: str, kind: str, channel: str | None = None) -> NotFound:
    """Return the error for what does not exist, or not for who asks: both look the same."""
    named = f"{kind.replace('_', ' ')} {id_[:ID_MAX]}"
    if channel is None:
        return NotFound(f"no {named}")
    return NotFound(f"no {named} with channel {channel[:ID_MAX]}")


def _asking(*scopes: str, events: bool = False) -> Any:
    """Dependency of a route that takes any of ``scopes``, or none."""

    async def asked(request: Request) -> Asked:
        served: Served = request.app.state.served
        key = await served.key_of(request)
        if scopes and key.scopes.isdisjoint(scopes):
            who = "this key has" if key.account is None else "your account has"
            raise Denied(f"{who} no scope {' or '.join(scopes)}; ask for one that has it", known=True)
        return Asked(request, served, key, JSON)

    async def formed(request: Request, form: Form = None) -> Asked:
        found = await asked(request)
        found.form = form_of(request.headers.get("accept")) if form is None else NAMED[form]
        found.saved = form is not None
        return found

    return asked if events else formed


Sends = Annotated[Asked, Depends(_asking("ingest", events=True))]
Reads = Annotated[Asked, Depends(_asking("read"))]
Operates = Annotated[Asked, Depends(_asking("operate"))]
Sums = Annotated[Asked, Depends(_asking(AGGREGATE, "operate"))]
Anyone = Annotated[Asked, Depends(_asking())]
Follows = Annotated[Asked, Depends(_asking("read", events=True))]
Watches = Annotated[Asked, Depends(_asking("operate", events=True))]
