"""What a server does beside answering: work that is tried again where it fails, and the nightly batch."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from meterlake.errors import MeterlakeError
from meterlake.logs import log
from meterlake.nightly.history import due_days

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.app import Meterlake
    from meterlake.node_settings import NodeSettings

FAILED_TRY_AGAIN_S: Final = 10.0

ZONES: Final = 2
"""Time zones, those of most homes, whose sums of groups are made before somebody asks."""


class Chores:
    """Work of several threads, and what of it fails right now."""

    def __init__(self) -> None:
        """Begin with nothing that fails."""
        self.trouble: dict[str, str] = {}
        """What does not work right now, by the name of the work."""
        self.stop = Event()

    def attempt(self, name: str, work: Callable[[], object]) -> bool:
        """Do some work; where it fails, say so, wait, and return False: it is to be done again."""
        try:
            work()
        except MeterlakeError as error:
            self._troubled(name, str(error))
        except Exception as error:  # noqa: BLE001 - the work of one thread must not end with its first failure
            self._troubled(name, f"{type(error).__name__}: {error}")
        else:
            self.trouble.pop(name, None)
            return True
        return False

    def _troubled(self, name: str, why: str) -> None:
        if self.trouble.get(name) != why:
            log.error(f"{name} failed", why=why)
        self.trouble[name] = why
        self.stop.wait(FAILED_TRY_AGAIN_S)


class Nights:
    """The nightly batch of every day that is due."""

    def __init__(self, lake: Meterlake, settings: NodeSettings, chores: Chores) -> None:
        """Work on ``lake`` until the ``chores`` stop."""
        self._lake, self._settings, self._chores = lake, settings, chores
        self._grouped: Any = None

    def run(self) -> None:
        """Look every few seconds whether a day is due."""
        while not self._chores.stop.wait(5.0):
            self._chores.attempt("groups", self.prepare_groups)
            now = datetime.now(UTC)
            if self._settings.batch and now.hour * 3600 + now.minute * 60 >= self._settings.batch_at_s:
                self._chores.attempt("batch", self.due)

    def prepare_groups(self) -> None:
        """Have the sums of groups of the last month ready, where most homes are; anew when the registry has changed."""
        points = self._lake.registry.table("service_points")
        if points is not self._grouped and len(points):
            counted = pc.value_counts(points["zone"].drop_null())
            for zone in counted.sort("descending", by="counts").field("values")[:ZONES].to_pylist():
                self._lake.prepare_groups(zone)
            self._grouped = points

    def due(self) -> None:
        """Run the batch of every day that is due, the oldest first, then compact."""
        days = due_days(self._lake.lake, datetime.now(UTC), self._settings.batch_grace_s)
        for day in days:
            if self._chores.stop.is_set():
                return
            receipt = self._lake.batch(day)
            log.info("batch", day=receipt.day, run=receipt.run_id, seconds=receipt.seconds)
        if days:
            compacted = self._lake.compact()
            log.info("compacted", files=compacted.files_after, seconds=round(compacted.seconds, 3))
