"""Customers, found by their id, name or e-mail."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.described import answers
from meterlake.api.meters import Q  # noqa: TC001 - FastAPI reads the types
from meterlake.api.paging import Cursor, Limit, Page, cursor_of, read_cursor
from meterlake.api.served import Operates  # noqa: TC001 - FastAPI reads the types

if TYPE_CHECKING:
    from meterlake.ports import Registry

router = APIRouter(prefix="/v1")

COLUMNS = ("customer_id", "name", "email", "locale")
LOOKED_AT = 1 << 18
"""Rows that are looked at together."""


def found(registry: Registry, q: str | None, after: str | None, limit: int) -> tuple[pa.Table, str | None]:
    """Return up to ``limit`` customers after an id, by rising id, and the last id where there are more.

    ``q`` is a part of the id, name or e-mail, in any case.
    """
    rows = registry.table("customers").select(COLUMNS).combine_chunks()
    ids = rows["customer_id"]
    if len(rows) and not pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py():
        rows = rows.sort_by("customer_id")
        ids = rows["customer_id"]
    low = 0 if after is None else bisect.bisect_right(range(len(ids)), after, key=lambda at: ids[at].as_py())
    pieces, n = [rows.slice(0, 0)], 0
    while low < len(rows) and n <= limit:
        some = rows.slice(low, LOOKED_AT)
        if q:
            hits = [pc.match_substring(some[name], q, ignore_case=True) for name in COLUMNS[:3]]
            some = some.filter(pc.fill_null(pc.or_kleene(pc.or_kleene(*hits[:2]), hits[2]), False))
        pieces.append(some.slice(0, limit + 1 - n))
        n += len(pieces[-1])
        low += LOOKED_AT
    whole = pa.concat_tables(pieces)
    return whole.slice(0, limit), whole["customer_id"][limit - 1].as_py() if n > limit else None


@router.get("/customers", summary="List customers", responses=answers("Items"))
def customers(asked: Operates, limit: Limit = 100, cursor: Cursor = None, q: Q = None) -> Response:
    """Return registered customers, by id."""
    asked.free()

    def make() -> Page:
        after = read_cursor("customers", cursor, str)
        rows, last = found(asked.node.lake.registry, q, after, limit)
        return Page(rows.to_pylist(), None if last is None else cursor_of("customers", last), COLUMNS)

    return asked.answer(make)
