"""A registry written to without pause while its server is killed: what was acknowledged is counted, and looked for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Protocol

from meterlake.accounts import Entry
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.adapters.registry_people import SqlPeople
from meterlake.errors import Conflict, MeterlakeError, Overloaded
from meterlake.keys import make
from meterlake.testing.registry_contract import gained, meters

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.keys import StoredKey

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAUSE_S: Final = 0.05
"""How long a writer that was refused waits before it tries the same again."""


class Restarts(Protocol):
    """A server that can be cut off."""

    def restart(self) -> None:
        """Cut off everybody who is connected, and come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What became of the writes."""

    restarts: int
    acknowledged: int
    refused: int
    """Tries that were not acknowledged, each of which was made again."""
    unlike: int
    """Of those refused, how many were refused with anything else than that the server is away."""
    lost: int
    doubled: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


class _Writer:
    """Makes one write after the other until it is told to stop; each is tried until it is acknowledged."""

    def __init__(self, write: Callable[[int], None]) -> None:
        self.write = write
        self.acknowledged = self.refused = self.unlike = 0

    def run(self, stop: Event) -> None:
        while not stop.is_set():
            self._acknowledge(self.acknowledged + 1)

    def _acknowledge(self, number: int) -> None:
        while True:
            try:
                self.write(number)
            except Conflict:  # it was taken by a try whose answer was lost
                self.acknowledged += 1
                return
            except MeterlakeError as error:
                self.refused += 1
                self.unlike += not isinstance(error, Overloaded)
                time.sleep(PAUSE_S)
            else:
                self.acknowledged += 1
                return


def restarted(url: str, server: Restarts, times: int, between_s: float) -> Count:
    """Write series, meters, keys and lines of the trail to a new registry at ``url`` through ``times`` restarts."""
    registry = SqlRegistry(url, create=True)
    keys, people = SqlKeys(registry), SqlPeople(registry)
    made: dict[int, StoredKey] = {}

    def create(number: int) -> None:
        keys.create(made.setdefault(number, make(f"k{number}", {"read"})[1]))

    def tell(number: int) -> None:
        registry.import_tables({"meters": meters((f"told{number}", f"P{number}", "2024-01-01", None))})

    writers = {
        "series": _Writer(lambda number: _count(registry, number)),
        "meters": _Writer(tell),
        "keys": _Writer(create),
        "trail": _Writer(lambda number: people.note([Entry(at=NOON, what="saw", account="a", once=str(number))])),
    }  # fmt: skip
    stop = Event()
    with ThreadPoolExecutor(len(writers)) as pool:
        running = [pool.submit(writer.run, stop) for writer in writers.values()]
        try:
            for _ in range(times):
                time.sleep(between_s)
                server.restart()
            time.sleep(between_s)
        finally:
            stop.set()
        for one in running:
            one.result()
    held = {
        "series": sum(registry.series()["filled"].to_pylist()),
        "meters": sum(name.startswith("told") for name in registry.table("meters")["meter_id"].to_pylist()),
        "keys": len(keys.all()),
        "trail": len(people.entries(account=None, subject=None, before=None, limit=1_000_000)),
    }
    registry.close()
    gone = {name: writer.acknowledged - held[name] for name, writer in writers.items()}
    return Count(
        restarts=times,
        acknowledged=sum(writer.acknowledged for writer in writers.values()),
        refused=sum(writer.refused for writer in writers.values()),
        unlike=sum(writer.unlike for writer in writers.values()),
        lost=sum(max(0, n) for n in gone.values()),
        doubled=sum(max(0, -n) for n in gone.values()),
    )


def _count(registry: SqlRegistry, version: int) -> None:
    registry.update_series(gained((f"m{version % 7}", version, version, 1)), version)
