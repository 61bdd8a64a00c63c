"""The whole API of one node, as an ASGI app."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import anyio
from fastapi import FastAPI

from meterlake import __version__
from meterlake.api import (
    costs,
    customers,
    deliveries,
    fleet,
    groups,
    health,
    live,
    meters,
    problems,
    pulse,
    readings,
    runs,
)
from meterlake.api.body import Room
from meterlake.api.described import description
from meterlake.api.events import Streams
from meterlake.api.ids import Whole
from meterlake.api.limits import ApiLimits
from meterlake.api.metrics import Figures
from meterlake.api.observe import Observed
from meterlake.api.roster import Roster
from meterlake.api.served import Served, salt
from meterlake.api.vitals import Vitals
from meterlake.keys import KeyRing
from meterlake.roles import ALL
from meterlake.tariff_file import TariffBook

if TYPE_CHECKING:
    from meterlake.people import Desk
    from meterlake.ports import Keys
    from meterlake.server import Server

QUIET: Final[Any] = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""Nothing goes to collectors that the environment names: FastAPI would tell them paths and messages."""

ANSWERING: Final = (deliveries, meters, customers, costs, fleet, groups, live, pulse, runs)


class Api(FastAPI):
    """FastAPI with our own description of what comes out."""

    def openapi(self) -> dict[str, Any]:
        """Return the description of all routes."""
        return description(self)


def make_app(
    node: Server,
    keys: Keys,
    limits: ApiLimits | None = None,
    desk: Desk | None = None,
    roles: frozenset[str] = ALL,
) -> Api:
    """Return the API of ``node``, which was started, for those who have one of ``keys`` or are signed in at ``desk``.

    Of a process that has not all roles it is the part that they need; how it is, every one tells.
    """
    limits = limits or ApiLimits()
    app = Api(
        title="Meterlake", version=__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False, telemetry=QUIET,
    )  # fmt: skip
    figures = Figures(node.status)
    app.state.served = Served(
        node=node, ring=KeyRing(keys), roster=Roster(node.lake.registry), figures=figures,
        streams=Streams(limits.streams, limits.streams_each, figures.streams), room=Room(node.settings.accept.waiting), limits=limits,
        senders=anyio.CapacityLimiter(limits.senders), salt=salt(), desk=desk,
        workers=ThreadPoolExecutor(limits.workers, "answer"),
    )  # fmt: skip
    app.state.latest = live.Latest()
    app.state.vitals = Vitals(node, figures)
    app.state.tariffs = TariffBook(node.lake.lake.store)
    taking = (readings,) if "ingest" in roles else ()
    answering = ANSWERING if "web" in roles else ()
    for part in (*taking, *answering, health):
        app.include_router(part.router)
    problems.install(
        app, [address for address in (node.lake.lake.url, node.lake.registry.url) if len(address) > 8]
    )
    app.state.failed = lambda _: problems.failed()
    app.add_middleware(Whole)
    app.add_middleware(
        Observed,
        figures=lambda: figures,
        failed=lambda scope: app.state.failed(scope),  # noqa: PLW0108 - pages put another there later
    )
    return app
