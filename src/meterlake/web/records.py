"""What was done and what was refused: loads, batches, nightly runs, quarantine; and the search over everything."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import pyarrow.compute as pc
from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.customers import found
from meterlake.api.roster import Search
from meterlake.errors import NotFound
from meterlake.readings import REASONS
from meterlake.web.shell import Operator  # noqa: TC001 - FastAPI reads the types
from meterlake.work import jobs

if TYPE_CHECKING:
    from meterlake.api.roster import Lists
    from meterlake.web.shell import Page

router = APIRouter(prefix="/fleet", include_in_schema=False)

ROWS: Final = 50
FEW: Final = 20
COUNTS: Final = ("received", "stored", "duplicate", "superseded", "conflict", "rejected", "replaced")
DIGITS: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
PLACE: Final = re.compile(f"(?=.*[a-z])[{DIGITS}]{{4,8}}")
RADII: Final = {4: 22_000.0, 5: 3_500.0, 6: 700.0, 7: 110.0, 8: 22.0}
"""Metres from the middle of a cell to its corners, by the digits of its geohash."""
Word = Annotated[str, Query(max_length=200)]
At = Annotated[int | None, Query(ge=0, lt=2**62)]


def shortened(at: Any) -> str:
    """Write a moment, told as text or as such, to the minute."""
    if isinstance(at, datetime):
        return at.strftime("%Y-%m-%d %H:%M")
    return str(at or "–")[:16].replace("T", " ")


@router.get("/loads")
def loads(page: Operator, before: At = None) -> Response:
    """List the loads of files, newest first."""
    items = [one for one in page.node.lake.loads() if before is None or one["version"] < before]
    more = items[ROWS - 1]["version"] if len(items) > ROWS else None
    return page.render(
        "loads.html", items=items[:ROWS], more=more, first=before is None, at=shortened, work=_work(page)
    )


def _work(page: Page) -> list[dict[str, Any]]:
    return jobs(page.node.lake.lake.store, time.time())


@router.get("/load")
def load(page: Operator, id: Annotated[str, Query(max_length=256)]) -> Response:  # noqa: A002 - as the page is asked for
    """Show the receipt of a load: it adds up."""
    one = next((one for one in page.node.lake.loads() if one["load_id"] == id), None)
    if one is None:
        raise NotFound("no such load")
    sums = {name: one.get(name, 0) for name in COUNTS}
    adds_up = sums["received"] == sum(sums[name] for name in COUNTS[1:-1])
    return page.render("load.html", one=one, sums=sums, adds_up=adds_up, at=shortened, text=json.dumps)


@router.get("/batches")
def batches(page: Operator, before: At = None) -> Response:
    """List what came over HTTP, newest first."""
    items = page.node.batches(ROWS + 1, before)
    more = items[ROWS - 1]["number"] if len(items) > ROWS else None
    return page.render("batches.html", items=items[:ROWS], more=more, first=before is None, at=shortened)


@router.get("/runs")
def runs(page: Operator) -> Response:
    """List the runs of the nightly batch, newest first."""
    return page.render("runs.html", items=list(page.node.runs())[:ROWS], at=shortened, work=_work(page))


@router.get("/quarantine")
def quarantine(page: Operator, reason: Word = "", load_id: Word = "", first: At = None) -> Response:
    """List refused readings by reason and load, newest first."""
    rows = page.node.lake.quarantine()
    counted = (
        {row["values"]: row["counts"] for row in pc.value_counts(rows["reason"]).to_pylist()}
        if len(rows)
        else {}
    )
    if reason:
        rows = rows.filter(pc.equal(rows["reason"], reason))
    if load_id:
        rows = rows.filter(pc.equal(rows["load_id"], load_id))
    end = len(rows) - (first or 0)
    items = rows.slice(max(0, end - ROWS), max(0, min(ROWS, end))).to_pylist()[::-1]
    return page.render(
        "quarantine.html", items=items, total=len(rows), counted=counted, reasons=[one for one in REASONS if one in counted],
        reason=reason, load_id=load_id, more=(first or 0) + ROWS if end > ROWS else None, first=not first,
    )  # fmt: skip


@router.get("/search")
def search(
    page: Operator, q: Word = "", kind: Word = "", after: Annotated[str | None, Query(max_length=256)] = None
) -> Response:
    """Find meters, service points and customers by a part of an id, name, e-mail or geohash."""
    lists, asked = page.served.roster.lists(), q.strip()
    kinds = [kind] if kind in FINDERS else list(FINDERS)
    limit = ROWS if kind in FINDERS else FEW
    parts = []
    for name in kinds if asked else ():
        rows, last = FINDERS[name](page, lists, asked, after, limit)
        parts.append({"kind": name, "rows": rows, "more": last})
    if asked:
        page.desk.saw(page.signed, f"search: {asked}", "search")
    return page.render("search.html", q=asked, parts=parts, kind=kind, first=after is None)


def _meters(
    page: Operator, lists: Lists, q: str, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    rows, last = lists.meters_page(asked_of(q), _key(page), after, limit)
    return rows.to_pylist(), last


def _points(
    page: Operator, lists: Lists, q: str, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    rows, last = lists.points_page(asked_of(q), _key(page), after, limit)
    return rows.to_pylist(), last


def _customers(
    page: Operator, _: Lists, q: str, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    rows, last = found(page.node.lake.registry, q, after, limit)
    points = page.node.lake.registry.table("service_points").select(["service_point_id", "customer_id"])
    mine = points.filter(pc.is_in(points["customer_id"], value_set=rows["customer_id"].combine_chunks()))
    at: dict[str, list[str]] = {}
    for row in mine.to_pylist():
        at.setdefault(row["customer_id"], []).append(row["service_point_id"])
    return [row | {"points": sorted(set(at.get(row["customer_id"], [])))} for row in rows.to_pylist()], last


def _key(page: Operator) -> Any:
    from meterlake.api.signed import principal

    return principal(page.signed)


def asked_of(q: str) -> Search:
    """Return what is searched for: around a place (``51.5,-0.12``, or a geohash), else a part of an id."""
    try:
        latitude, longitude = (float(word) for word in q.split(","))
    except ValueError:
        found = PLACE.fullmatch(q)
        return Search(q=q) if found is None else Search(near=middle_of(q), radius_m=RADII[len(q)])
    return (
        Search(near=(latitude, longitude)) if abs(latitude) <= 90 and abs(longitude) <= 180 else Search(q=q)
    )


def middle_of(hash_: str) -> tuple[float, float]:
    """Latitude and longitude of the middle of a geohash's cell; see `registry.geohash` for the way there."""
    reach = [[-180.0, 180.0], [-90.0, 90.0]]
    bits = "".join(f"{DIGITS.index(digit):05b}" for digit in hash_)
    for at, bit in enumerate(bits):
        axis = reach[at % 2]
        axis[0 if bit == "1" else 1] = sum(axis) / 2
    return sum(reach[1]) / 2, sum(reach[0]) / 2


FINDERS: Final = {"meters": _meters, "service points": _points, "customers": _customers}
