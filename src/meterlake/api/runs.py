"""What was done: loads, batches, nightly runs, and what was refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.described import answers
from meterlake.api.ids import Named
from meterlake.api.meters import One, Word
from meterlake.api.negotiate import rendered
from meterlake.api.paging import Cursor, Limit, Page, cursor_of, read_cursor
from meterlake.api.served import Anyone, Operates  # noqa: TC001 - FastAPI reads the types
from meterlake.errors import NotFound
from meterlake.work import jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

router = APIRouter(prefix="/v1", route_class=Named)

JOB_COLUMNS = (
    "id", "kind", "what", "phase", "done", "total", "rate", "seconds_left", "began_at", "told_at", "cut_off",
)  # fmt: skip
REFUSED = ("load_id", "file", "line", "text", "reason", "count")
HIDDEN = ("content",)
"""What is known of a batch and nobody's business outside."""


def _page(what: str, items: Sequence[Mapping[str, Any]], name: str, cursor: str | None, limit: int) -> Page:
    """Return a page of items that are ordered by falling ``name``."""
    after = read_cursor(what, cursor, int)
    rest = items if after is None else [item for item in items if item[name] < after]
    more = cursor_of(what, rest[limit - 1][name]) if len(rest) > limit else None
    return Page(rest[:limit], more, (name,))


@router.get("/loads", summary="Past loads", responses=answers("Items"))
def loads(asked: Operates, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Return receipts of loads, newest first."""
    asked.free()
    return asked.answer(lambda: _page("loads", asked.node.lake.loads(), "version", cursor, limit))


@router.get("/work", summary="What is being done now", responses=answers("Items"))
def work(asked: Operates) -> Response:
    """Return the loads, nightly runs and compactions that are going on, and how far each has come."""
    asked.free()
    items = jobs(asked.node.lake.lake.store, time.time())
    return rendered(Page(items, None, JOB_COLUMNS), asked.form, {"Cache-Control": "no-store"})


@router.get("/runs", summary="Nightly batches", responses=answers("Items"))
def runs(asked: Operates, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Return receipts of the nightly batch, newest first."""
    asked.free()

    def make() -> Page:
        items = list(asked.node.runs())
        after = read_cursor("runs", cursor, str)
        at = (
            next((i + 1 for i, item in enumerate(items) if item["run_id"] == after), len(items))
            if after
            else 0
        )
        rest = items[at:]
        more = cursor_of("runs", str(rest[limit - 1]["run_id"])) if len(rest) > limit else None
        return Page(rest[:limit], more, ("run_id",))

    return asked.answer(make)


@router.get("/batches", summary="Accepted batches", responses=answers("Items"))
def batches(asked: Operates, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Return batches that were accepted, newest first."""
    asked.free()

    def make() -> Page:
        before = read_cursor("batches", cursor, int)
        items = asked.node.batches(limit + 1, before)
        more = cursor_of("batches", items[limit - 1]["number"]) if len(items) > limit else None
        return Page(items[:limit], more, ("number", "batch_id"))

    return asked.answer(make)


@router.get("/batches/{id}", summary="Show a batch", responses=answers("Batch"))
def batch(asked: Anyone, id: str) -> Response:  # noqa: A002 - as the route calls it
    """Return what became of a batch; to the key that sent it, or one with `operate`."""

    def make() -> One:
        try:
            told = asked.node.batch(id)
        except NotFound:
            told = None
        everybody = "operate" in asked.key.scopes and asked.key.meters is None
        if told is None or not (everybody or told["owner"] == asked.key.id):
            raise NotFound(f"no batch {id[:200]}")
        return One({name: value for name, value in told.items() if name not in HIDDEN})

    return asked.answer(make)


@router.get("/quarantine", summary="Refused readings", responses=answers("Items"))
def quarantine(asked: Operates, limit: Limit = 100, cursor: Cursor = None, load_id: Word = None) -> Response:
    """Return readings that were refused, with line, text and reason, in the order in which they landed."""
    asked.free()

    def make() -> Page:
        first = read_cursor("quarantine", cursor, int) or 0
        rows: pa.Table = asked.node.lake.quarantine()
        if load_id is not None:
            rows = rows.filter(pc.equal(rows["load_id"], load_id))
        more = cursor_of("quarantine", first + limit) if len(rows) > first + limit >= limit else None
        return Page(rows.slice(max(first, 0), limit).to_pylist(), more, REFUSED)

    return asked.answer(make)
