"""The shards that this process holds: taken and released as processes come and go, read, saved and sealed.

One thread reads all of them in turn, another saves and seals. Where reading fails for whatever reason, all shards are
released, others may take them, and this process asks for a share again a little later.
"""

from __future__ import annotations

import time
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import Fenced, Overloaded
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.chores import Chores
    from meterlake.live.live import Live
    from meterlake.live.together import Together
    from meterlake.node_settings import NodeSettings
    from meterlake.ports import Append, Logs, Member, Record, Registry
    from meterlake.shard import Shard

POLL_S: Final = 0.2
SAY_S: Final = 5.0
"""Offsets are told to those who watch the log so often."""

TRIES: Final = 5
"""Times that a shard is taken anew because the process before us saved once more."""

REGION_DIGITS: Final = 5


class Holding:
    """`ports.Shards`: this process's share of all shards."""

    def __init__(  # noqa: PLR0913 - what it works with
        self, logs: Logs, make: Callable[[str], Shard], live: Together, registry: Registry, settings: NodeSettings,
        chores: Chores, changed: Callable[[int], None],
    ) -> None:  # fmt: skip
        """``make`` makes a shard by its name; ``changed`` is told the live epoch when something came."""
        self.live, self.shards = live, dict[str, "Shard"]()
        self._logs, self._make, self._registry = logs, make, registry
        self._settings, self._chores, self._changed = settings, chores, changed
        self._parts = logs.partitions()
        self._placed: tuple[object, object] | None = None
        self._said_s = 0.0
        self.joined = False
        """Whether this process has been given its share, be it none."""
        self._threads = [
            Thread(target=self._read, name="read", daemon=True),
            Thread(target=self._keep, name="keep", daemon=True),
        ]

    def start(self) -> None:
        """Ask for a share, and work on it."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until all shards are saved and released; the chores were told to stop."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    # -- shards come and go; all in the thread that reads --------------------------------------------

    def taken(self, shards: Sequence[str]) -> Mapping[str, int]:
        """Restore ``shards``; return the offsets to read them from."""
        offsets = {}
        for name in shards:
            shard, offsets[name] = self._restored(name)
            self._place([shard])
            self.shards = {**self.shards, name: shard}
            self.live.add(name, shard.live)
        self._changed(self.live.epoch)
        return offsets

    def _restored(self, name: str) -> tuple[Shard, int]:
        for again in range(TRIES):
            shard = self._make(name)
            try:
                return shard, shard.restore()
            except Fenced:
                shard.checkpoints.close()
                if again == TRIES - 1:
                    raise
            except BaseException:
                shard.checkpoints.close()
                raise
        raise AssertionError("the last try returns or raises")

    def released(self, shards: Sequence[str], *, lost: bool) -> None:
        """Save ``shards`` and let them go."""
        for name in shards:
            shard = self.shards.get(name)
            if shard is None:
                continue
            self.shards = {other: one for other, one in self.shards.items() if other != name}
            self.live.remove(name)
            try:
                shard.let_go(lost=lost)
            except Exception as error:  # noqa: BLE001 - whoever takes it next reads a little more of the log
                log.error("shard not saved", shard=name, why=str(error))
        self._changed(self.live.epoch)

    def shown(self) -> Mapping[str, tuple[Live, int | None]]:
        """Live sides of the shards that are ours, and the generation of our holding them."""
        return {
            name: (shard.live, shard.checkpoints.generation)
            for name, shard in self.shards.items()
            if not shard.fenced
        }

    # -- reading -------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._chores.stop.is_set():
            self._chores.attempt("log", self._share)

    def _share(self) -> None:
        """Be a member until told to stop, or until something fails."""
        member = self._logs.join(self)
        try:
            while not self._chores.stop.is_set():
                self._step(member)
        finally:
            try:
                member.close()
            finally:
                self.released(list(self.shards), lost=False)

    def _step(self, member: Member) -> None:
        records = member.poll(POLL_S)
        self.joined = self.joined or bool(self.shards)
        by_shard: dict[str, list[Record]] = {}
        for record in records:
            by_shard.setdefault(record.shard, []).append(record)
        mine = [(self.shards[name], some) for name, some in by_shard.items() if name in self.shards]
        self._forward([one for shard, some in mine for one in shard.foreign(some, self._parts)])
        for shard, some in mine:
            shard.take(some)
        if mine:
            self._chores.trouble.pop("log", None)
            self._changed(self.live.epoch)
        if time.monotonic() - self._said_s > SAY_S:
            self._said_s = time.monotonic()
            member.done({name: shard.live.saved_offset for name, shard in self.shards.items()})

    def _forward(self, batches: Sequence[tuple[str, Append]]) -> None:
        """Send what other programs wrote where it belongs; nothing is passed before that is durable."""
        while batches:
            try:
                self._logs.append(batches)
            except Overloaded as error:
                self._chores.trouble["log"] = str(error)
                if self._chores.stop.wait(error.retry_after_s):
                    raise
            else:
                return

    # -- what goes on beside -------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._chores.stop.wait(0.5):
            pressure = self.live.pressure()
            for shard in list(self.shards.values()):
                if not shard.fenced:
                    self._chores.attempt(f"shard {shard.name}", partial(self._tend, shard, pressure))
            self._chores.attempt("registry", self.place)

    def _tend(self, shard: Shard, pressure: float) -> None:
        """Seal or save a shard where that is due."""
        try:
            if shard.due(int(time.time()), pressure):
                if shard.seal(pressure) is not None:
                    self._changed(self.live.epoch)
            elif time.monotonic() - shard.saved_s >= self._settings.checkpoint_s:
                shard.checkpoint()
        except Fenced as error:
            log.warning("shard lost", shard=shard.name, why=str(error))
            self.live.remove(shard.name)

    def place(self) -> None:
        """Tell the live sides where their meters are, when the registry has changed."""
        meters, points = self._registry.table("meters"), self._registry.table("service_points")
        before = self._placed
        if before is not None and before[0] is meters and before[1] is points:
            return
        self._place(list(self.shards.values()))
        self._placed = meters, points

    def _place(self, shards: Sequence[Shard]) -> None:
        if shards:
            told = places(self._registry)
            for shard in shards:
                shard.live.set_places(*told)


def places(registry: Registry) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Meters that are installed now, and the region and class of the service point of each."""
    meters, points = registry.table("meters"), registry.table("service_points")
    at = pc.index_in(meters["service_point_id"], value_set=points["service_point_id"].combine_chunks())
    here = pc.and_(pc.is_valid(at), pc.is_null(meters["to"]))
    chosen = pc.filter(at, here)
    region = pc.utf8_slice_codeunits(points["geohash"], 0, REGION_DIGITS).take(chosen)
    return (
        _one(meters["meter_id"].filter(here)),
        _one(region),
        _one(points["class"].take(chosen)),
    )


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column
