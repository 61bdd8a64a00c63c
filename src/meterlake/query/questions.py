"""What can be asked of a lake, and how a question names its moments, its subject and its version."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from meterlake.errors import Invalid, NotFound
from meterlake.moments import Moment, back, day_start, day_starts, local_date, seconds_of, zone_of
from meterlake.query import single
from meterlake.query.answers import History, Usage
from meterlake.query.kept import BUDGET_BYTES, Kept
from meterlake.query.single import Asked, Piece
from meterlake.query.view import Memory, View
from meterlake.slots import page_of  # noqa: F401
from meterlake.usage import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from meterlake.ports import DataFile, Lake

RANGES: Final = ("1w", "1m", "3m", "6m", "1y")
ALWAYS: Final = (-(2**40), 2**40)


class Questions:
    def __init__(self, lake: Lake, registry: Any = None, *, kept_bytes: int = BUDGET_BYTES) -> None:
        self._lake, self._registry = lake, registry
        self._memory = Memory(Kept(kept_bytes))
        self._view: View | None = None

    def view(self) -> View:
        snapshot = self._lake.snapshot()
        view = self._view
        if view is None or view.version != snapshot.version:
            view = View(snapshot.version, snapshot.files, self._lake.blocks, self._memory, lambda: self._lake.records("deliveries"))
            self._view = view
        return view

    def history(self, id_, from_, to, *, channel=None, step="interval", zone="UTC", gaps="drop"):
        start, stop = seconds_of(from_, zone, "from"), seconds_of(to, zone, "to")
        asked = Asked(id=id_, start=start, stop=stop, zone=zone, step=step, channel=channel, gaps=gaps)
        return single.history(self.view(), [Piece(id_, ALWAYS, (ALWAYS,), None)], asked)

    def usage(self, id_, until=None, ranges=RANGES, zone=None):
        zone = zone or 'UTC'
        spans = {}
        stop = day_start(zone, until)
        for name in ranges:
            first = back(until, name)
            before = back(first, name)
            spans[name] = ((day_start(zone, first), stop), (day_start(zone, before), day_start(zone, first)))
        view = self.view()
        return Usage(id=id_, zone=zone, until=stop, version=view.version, channels=single.usage(view, [Piece(id_, ALWAYS, (ALWAYS,), None)], spans))
