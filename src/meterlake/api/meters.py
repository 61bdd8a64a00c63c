"""Meters and service points: found, shown, and asked for their history and usage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.bounds import check_history
from meterlake.api.described import answers
from meterlake.api.ids import Named
from meterlake.api.paging import Cursor, Limit, Page, cursor_of, read_cursor
from meterlake.api.roster import METER_COLUMNS, POINT_COLUMNS, Search
from meterlake.api.served import Asked, Reads, unknown
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

RANGES: Final = "1w,1m,3m,6m,1y"
MANY_RANGES: Final = 20

router = APIRouter(prefix="/v1", route_class=Named)

Word = Annotated[str | None, Query(max_length=200)]
Q = Annotated[str | None, Query(max_length=200, description="Part of the id.")]
Near = Annotated[str | None, Query(max_length=100, description="latitude,longitude in degrees.")]
Radius = Annotated[float, Query(gt=0, le=20_100_000, description="Metres around `near`.")]
Class = Annotated[str | None, Query(alias="class", max_length=40, description="residential or business.")]
From = Annotated[str, Query(alias="from", max_length=64, description="First moment, or a date.")]
To = Annotated[str, Query(max_length=64, description="End, exclusive.")]
Zone = Annotated[str, Query(max_length=64, description="IANA time zone of the answer and of dates.")]
AsOf = Annotated[
    str | None, Query(max_length=64, description="The answer as it was at a moment or version of the lake.")
]


class One:
    """One thing with what belongs to it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Answer with ``told``."""
        self._told = dict(told)

    def to_json(self) -> Any:
        """Return it as an object."""
        return Page([self._told], None).to_json()["items"][0]

    def to_arrow(self) -> pa.Table:
        """Return it as one row."""
        return Page([self._told], None).to_arrow()


def _listed(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as objects; channels as a list."""
    items: list[dict[str, Any]] = rows.to_pylist()
    for item in items:
        if "channels" in item:
            item["channels"] = (item["channels"] or "").split(";") if item["channels"] else []
    return items


@router.get("/meters", summary="List meters", responses=answers("Meters"))
def meters(  # noqa: PLR0913 - the options of one question
    asked: Reads, limit: Limit = 100, cursor: Cursor = None, q: Q = None, near: Near = None,
    radius_m: Radius = 1000.0, class_: Class = None, channel: Word = None,
) -> Response:  # fmt: skip
    """Return meters that are registered or were met by their readings, by id."""

    def make() -> Page:
        after = read_cursor("meters", cursor, str)
        search = Search.read(q, near, radius_m, class_, channel)
        rows, last = asked.served.roster.lists().meters_page(search, asked.key, after, limit)
        return Page(_listed(rows), None if last is None else cursor_of("meters", last), METER_COLUMNS)

    return asked.answer(make)


@router.get("/service-points", summary="List service points", responses=answers("ServicePoints"))
def service_points(  # noqa: PLR0913 - the options of one question
    asked: Reads, limit: Limit = 100, cursor: Cursor = None, q: Q = None, near: Near = None,
    radius_m: Radius = 1000.0, class_: Class = None, channel: Word = None,
) -> Response:  # fmt: skip
    """Return registered service points, by id; with `channel` those that have a meter of it."""

    def make() -> Page:
        after = read_cursor("service-points", cursor, str)
        search = Search.read(q, near, radius_m, class_, channel)
        rows, last = asked.served.roster.lists().points_page(search, asked.key, after, limit)
        return Page(_listed(rows), None if last is None else cursor_of("service-points", last), POINT_COLUMNS)

    return asked.answer(make)


@router.get("/meters/{id}", summary="Show a meter", responses=answers("Meter"))
def meter(asked: Reads, id: str) -> Response:  # noqa: A002 - as the route calls it
    """Return a meter with the service points at which it was."""
    asked.visible(id, "meter")

    def make() -> One:
        found = asked.served.roster.lists().meter(id)
        if found is None:
            now = asked.node.live.meter(id, int(time.time()))
            if now is None:
                raise unknown(id, "meter")
            held = sorted(set(now["channel"].to_pylist()))
            found = dict.fromkeys(METER_COLUMNS) | {"meter_id": id, "channels": ";".join(held)}
        stays = asked.node.lake.registry.installations(id).to_pylist()
        own = [stay for stay in stays if stay["meter_id"] == id and stay["service_point_id"]]
        told = [{name: stay[name] for name in ("service_point_id", "from", "to")} for stay in own]
        channels = found["channels"].split(";") if found["channels"] else []
        return One(found | {"channels": channels, "stays": told})

    return asked.answer(make)


@router.get("/service-points/{id}", summary="Show a service point", responses=answers("ServicePoint"))
def service_point(asked: Reads, id: str) -> Response:  # noqa: A002 - as the route calls it
    """Return a service point with the meters that were there; to a customer, as it was in their time."""

    def make() -> One:
        lists, within = asked.served.roster.lists(), asked.within(id)
        found = lists.point(id) if within is None else lists.held_point(id, within)
        there, own = asked.stays(id), asked.key.meters
        if found is None or (
            within is None
            and own is not None
            and not (there and own.issuperset(s["meter_id"] for s in there))
        ):
            raise unknown(id, "service_point")
        asked.looked(id, "service_point")
        told = [{name: stay[name] for name in ("meter_id", "from", "to")} for stay in there]
        return One(found | {"meters": told})

    return asked.answer(make)


def _of_id(asked: Asked, id_: str, kind: str, channel: str | None, make: Callable[[], Any]) -> Response:
    """Answer about one id; where nothing is known of it, as where it does not exist for the key."""
    asked.visible(id_, kind)
    try:
        return asked.answer(make)
    except NotFound as error:
        raise unknown(id_, kind, channel) from error


def _asks(kind: str, name: str) -> None:
    """Add the questions about one kind of id."""

    async def history(  # noqa: PLR0913 - the options of one question
        asked: Reads, id: str, from_: From, to: To, channel: Word = None, step: Word = "interval",  # noqa: A002
        zone: Zone = "UTC", gaps: Word = "drop", as_of: AsOf = None,
    ) -> Response:  # fmt: skip
        """Return all values between two moments in time order; several channels are a list."""
        how = step or "interval", gaps or "drop", zone

        def make() -> Any:
            check_history(asked, id, kind, (from_, to), how)
            return asked.node.lake.history(
                id, from_, to, channel=channel, step=how[0], gaps=how[1], zone=zone, kind=kind, as_of=as_of,
                within=asked.within(id),
            )  # fmt: skip

        return await asked.work(lambda: _of_id(asked, id, kind, channel, make))

    async def usage(
        asked: Reads, id: str, until: Word = None, ranges: Word = RANGES, zone: Word = None,  # noqa: A002
        as_of: AsOf = None,
    ) -> Response:  # fmt: skip
        """Return sums over ranges that end at a date, each with that of the equal period before."""
        lake = asked.node.lake
        named = [word.strip() for word in (ranges or RANGES).split(",") if word.strip()][:MANY_RANGES]
        return await asked.work(lambda: _of_id(asked, id, kind, None, lambda: lake.usage(
            id, until=until, ranges=named, zone=zone, kind=kind, as_of=as_of, within=asked.within(id)
        )))  # fmt: skip

    said = kind.replace("_", " ")
    router.get(f"/{name}/{{id}}/history", summary=f"History of a {said}", responses=answers("History"))(
        history
    )
    router.get(f"/{name}/{{id}}/usage", summary=f"Usage of a {said}", responses=answers("Usage"))(usage)


_asks("meter", "meters")
_asks("service_point", "service-points")
