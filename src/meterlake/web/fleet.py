"""The operator's first pages: the fleet now and its silent meters; and what an analyst may ask."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from urllib.parse import urlencode

from babel.numbers import format_decimal, format_percent
from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.pulse import Region, after_of, cursor_after
from meterlake.api.vitals import SILENT_S
from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S
from meterlake.moments import local_date
from meterlake.silence import Asked
from meterlake.web.shell import Analyst, Operator  # noqa: TC001 - FastAPI reads the types
from meterlake.zones import zone_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.api.vitals import Vitals
    from meterlake.web.shell import Page

router = APIRouter(include_in_schema=False)

QUARTER_S: Final = 900
QUIET_S: Final = 120
"""Without a reading for so long nothing comes in any more."""
ROWS: Final = 50
REGIONS: Final = 12
REGION_DIGITS: Final = 5
SILENT_NAMES: Final = dict(zip(SILENT_S, ("1 hour", "6 hours", "1 day", "3 days", "1 week"), strict=True))
LENGTHS: Final = ((DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute"), (1, "second"))

ZoneName = Annotated[str | None, Query(max_length=64)]


class SilentMeter(NamedTuple):
    """A row of the list."""

    meter: str
    point: str | None
    region: str | None
    class_: str | None
    channels: str
    newest: int | None
    long: str


def long(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    parts: list[str] = []
    for size, name in LENGTHS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part) or "0 seconds"


def _zone(page: Page, asked: str | None) -> str:
    """Zone that is asked for, else that of most service points; Invalid where there is no such zone."""
    if asked:
        zone_table(asked)
    return asked or _vitals(page).zones()[0]


def _vitals(page: Page) -> Vitals:
    found: Vitals = page.request.app.state.vitals
    return found


def _numbers(page: Page) -> Callable[[float | None], str]:
    """Return what writes numbers as the visitor does; a dash for what is not known yet."""
    return lambda number: "–" if number is None else format_decimal(number, "#,##0.#", locale=page.locale)


@router.get("/fleet")
def fleet(page: Operator, zone: ZoneName = None) -> Response:
    """Show how the fleet and the server do now."""
    vitals = _vitals(page)
    zone = _zone(page, zone)
    told = vitals.told(zone)
    newest = told["newest_received_at"]
    return page.render(
        "fleet.html", zone=zone, zones=vitals.zones(), pulse=told, complete=_complete(told), quiet_s=QUIET_S,
        silent=_silent_day(told), spans=SILENT_NAMES, n=_numbers(page),
        percent=lambda share: "–" if share is None else format_percent(share, "#,##0.#\u00a0%", locale=page.locale),
        newest_s=None if newest is None else int(datetime.fromisoformat(newest).timestamp()),
    )  # fmt: skip


def _complete(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of today is there, and the step in which the fleet's load can be asked for."""
    known = told["completeness"] or {"share": None, "channels": []}
    longest = max((one["longest_s"] for one in known["channels"]), default=0)
    return known | {"step": "15min" if 0 < longest <= QUARTER_S else "interval"}


def _silent_day(told: Mapping[str, Any]) -> int | None:
    """Return how many meters have been silent for a day."""
    over = (told["silent"] or {"over": []})["over"]
    return next((int(one["meters"]) for one in over if one["seconds"] == DAY_S), None)


@router.get("/fleet/silent")
def silent(
    page: Operator, min_s: Annotated[int, Query(ge=0, le=10**10)] = DAY_S, region: Region = "",
    cursor: Annotated[str | None, Query(max_length=2000)] = None, zone: ZoneName = None,
) -> Response:  # fmt: skip
    """Show meters of which nothing came for a time, the longest silent first."""
    zone = _zone(page, zone)
    standing = _vitals(page).silence.at(int(time.time()))
    asked = Asked(min_s, None, region)
    rows, total, more = standing.page(asked, after_of(cursor), ROWS)
    regions = standing.regions(asked, max(len(region), REGION_DIGITS)).slice(0, REGIONS).to_pylist()
    counts = dict(zip(SILENT_S, standing.counts(SILENT_S), strict=True))

    def way(**changed: Any) -> str:
        return "/fleet/silent?" + urlencode({"min_s": min_s, "region": region, "zone": zone} | changed)

    return page.render(
        "silent.html", zone=zone, now=standing.now_s, meters=standing.meters, total=total, asked=asked,
        shown=[_row(row) for row in rows.to_pylist()], first=cursor is None, way=way,
        lengths=[(seconds, name, counts[seconds]) for seconds, name in SILENT_NAMES.items()],
        length=SILENT_NAMES.get(min_s) or long(min_s), regions=[one for one in regions if one["silent"]],
        more=cursor_after(standing, rows) if more else None, n=_numbers(page),
    )  # fmt: skip


def _row(row: Mapping[str, Any]) -> SilentMeter:
    silent_s = row["silent_s"]
    return SilentMeter(
        meter=row["meter_id"], point=row["service_point_id"], region=(row["geohash"] or "")[:REGION_DIGITS] or None,
        class_=row["class"], channels=(row["channels"] or "").replace(";", ", "), newest=row["newest"],
        long="unknown" if silent_s is None else long(silent_s),
    )  # fmt: skip


@router.get("/analysis")
def analysis(page: Analyst, zone: ZoneName = None) -> Response:
    """Show the form for sums of groups of homes; what it finds is asked for by its script."""
    zone = _zone(page, zone)
    first = local_date(zone, int(time.time())).replace(day=1)
    last = (first - timedelta(days=1)).replace(day=1)
    return page.render("analysis.html", zone=zone, last=last.isoformat()[:7], digits=(1, 2, 3, 4, 5))
