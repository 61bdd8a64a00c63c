"""Where a meter's readings came from: the loads and batches that brought those that stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.described import answers
from meterlake.api.ids import Named
from meterlake.api.meters import From, To, Zone  # noqa: TC001 - FastAPI reads the types
from meterlake.api.paging import Page
from meterlake.api.served import Operates, unknown
from meterlake.errors import NotFound

if TYPE_CHECKING:
    from meterlake.server import Server

router = APIRouter(prefix="/v1", route_class=Named)

COLUMNS = ("number", "load_id", "kind", "source", "path", "received_at", "landed_at", "readings")


def listed(node: Server, meter: str, from_: str, to: str, zone: str) -> list[dict[str, Any]]:
    """Return the deliveries whose readings stand for a meter in a span, newest first, with how many of them do."""
    counts = node.lake.sources(meter, from_, to, zone=zone)
    known = node.lake.lake.records("deliveries")
    known = known.filter(pc.is_in(known["number"], value_set=pa.array(list(counts), pa.int32())))
    items = {
        row["number"]: {
            "number": row["number"], "load_id": row["load_id"], "kind": "load" if row["path"] else "batch", "source": row["source"],
            "path": row["path"], "received_at": row["received_at"], "landed_at": row["landed_at"],
        }
        for row in known.to_pylist()
    }  # fmt: skip
    for note in node.live.notes().values():
        if note.number in counts:
            row = note.row()
            items.setdefault(note.number, {
                "number": note.number, "load_id": row["batch_id"], "kind": "batch", "source": row["source"], "path": "",
                "received_at": row["received_at"], "landed_at": row["received_at"],
            })  # fmt: skip
    return [
        items.get(number, {"number": number}) | {"readings": counts[number]}
        for number in sorted(counts, reverse=True)
    ]


@router.get(
    "/meters/{id}/deliveries", summary="Where a meter's readings came from", responses=answers("Items")
)
def deliveries(asked: Operates, id: str, from_: From, to: To, zone: Zone = "UTC") -> Response:  # noqa: A002
    """Return the loads and batches whose readings stand for a meter on the days of a span, newest first."""
    asked.visible(id, "meter")

    def make() -> Page:
        try:
            return Page(listed(asked.node, id, from_, to, zone), None, COLUMNS)
        except NotFound as error:
            raise unknown(id, "meter") from error

    return asked.answer(make)
