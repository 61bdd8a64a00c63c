"""The live sides of several shards as one: parts side by side, sums added up, the greatest of all."""

from __future__ import annotations

from collections import ChainMap
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa

from meterlake.blocks import sort_blocks
from meterlake.live import views
from meterlake.live.live import ID_BYTES
from meterlake.live.part import Part
from meterlake.live.tables import NO_BLOCKS, NONE_LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.ids import MeterIds
    from meterlake.live.cut import EntryNote
    from meterlake.live.limits import LiveLimits
    from meterlake.live.live import Live

_PLACE: Final = ["region", "class", "channel", "interval_s"]


class Together:
    """All shards that are held here. Safe to share between threads."""

    def __init__(self, ids: MeterIds, limits: LiveLimits) -> None:
        """Hold none yet; ``ids`` number the meters of all of them."""
        self.ids, self.limits = ids, limits
        self._lives: dict[str, Live] = {}
        self._lock = RLock()
        self._past = 0
        """Epochs of shards that were here."""
        self._newest: dict[str, views.Newest] = {}

    def add(self, shard: str, live: Live) -> None:
        """Answer for a shard from now on."""
        with self._lock:
            self._lives = {**self._lives, shard: live}
            self._past += 1

    def remove(self, shard: str) -> None:
        """Answer for a shard no more."""
        with self._lock:
            live = self._lives.get(shard)
            if live is not None:
                self._past += live.epoch + 1
                self._lives = {name: one for name, one in self._lives.items() if name != shard}
                self._newest.pop(shard, None)

    @property
    def lives(self) -> Sequence[Live]:
        """The live sides that are here now."""
        return list(self._lives.values())

    @property
    def epoch(self) -> int:
        """Rises with everything that changes an answer."""
        with self._lock:
            return self._past + sum(live.epoch for live in self.lives)

    def touched(self, meters: Sequence[str]) -> int:
        """Return a number that rises whenever something of ``meters`` comes or a shard comes or goes."""
        with self._lock:
            return self._past + sum(live.touched(meters) for live in self.lives)

    def reaches(self, meters: Sequence[str], start_s: int, stop_s: int) -> bool:
        """Whether `part` may have anything of ``meters``; False is certain."""
        return any(live.reaches(meters, start_s, stop_s) for live in self.lives)

    def part(self, meters: Sequence[str] | None, start_s: int, stop_s: int) -> Part | None:
        """Readings of some meters (None: all) in blocks that may hold slots of ``[start_s, stop_s)``; None for none."""
        found = [live.part(meters, start_s, stop_s) for live in self.lives]
        parts = [part for part in found if part is not None]
        if len(parts) < 2:
            return parts[0] if parts else None
        return Part(
            sort_blocks(pa.concat_tables([NO_BLOCKS, *(part.blocks for part in parts)])),
            pa.concat_tables([NONE_LOST, *(part.lost for part in parts)]),
            pa.concat_tables([NONE_LOST, *(part.late for part in parts)]),
            _chained([part.senders for part in parts]),
            _chained([part.landed_us for part in parts]),
        )

    def meter(self, meter_id: str, now_s: int) -> pa.Table | None:
        """How a meter stands: a row of `views.METER_SCHEMA` by channel and interval; None where nothing is held."""
        rows = [rows for live in self.lives if (rows := live.meter(meter_id, now_s)) is not None]
        return pa.concat_tables(rows) if rows else None

    def recent(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Slots of a meter that began in the last ``seconds``: rows of `views.RECENT_SCHEMA`."""
        rows = [live.recent(meter_id, now_s, seconds) for live in self.lives]
        return pa.concat_tables([views.RECENT_SCHEMA.empty_table(), *rows])

    def quarters(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Quarter hours that a meter's shorter intervals add up to, of the last ``seconds``: `views.QUARTER_SCHEMA`."""
        rows = [live.quarters(meter_id, now_s, seconds) for live in self.lives]
        return pa.concat_tables([views.QUARTER_SCHEMA.empty_table(), *rows])

    def regions(self, now_s: int) -> pa.Table:
        """Sums by region, class, channel and interval: rows of `views.REGION_SCHEMA`."""
        return regions_of([live.regions(now_s) for live in self.lives])

    def fleet(self, now_s: int) -> pa.Table:
        """Sums by channel and interval: rows of `views.FLEET_SCHEMA`."""
        return views.fleet(self.regions(now_s))

    def top(self, n: int, channel: str | None, now_s: int | None = None) -> pa.Table:
        """The ``n`` meters with the greatest power in their latest slot: rows of `views.TOP_SCHEMA`."""
        return top_of([live.top(n, channel, now_s) for live in self.lives], n)

    def newest(self, known: views.Newest = views.NOTHING) -> views.Newest:
        """Newest interval of each meter, with what was ``known`` of those that were released since."""
        with self._lock:
            now = dict(self._lives)
            for shard, live in now.items():
                self._newest[shard] = live.newest(self._newest.get(shard, views.NOTHING))
            found = [known.ends, *(self._newest[shard].ends for shard in now)]
        ends = np.zeros(max(map(len, found)), np.int64)
        for own in found:
            np.maximum(ends[: len(own)], own, out=ends[: len(own)])
        return views.Newest(ends, self.epoch, 0)

    def set_places(self, meter_ids: pa.Array, region: pa.Array, class_: pa.Array) -> None:
        """Say where meters are (others: nowhere)."""
        for live in self.lives:
            live.set_places(meter_ids, region, class_)

    # -- batches that no seal has recorded yet -------------------------------------------------------------

    def notes(self) -> Mapping[str, EntryNote]:
        """Batches that no seal has recorded yet, by batch id and shard."""
        lives = self._lives
        return {
            f"{batch_id} {shard}": note for shard, live in lives.items() for batch_id, note in live.notes().items()
        }  # fmt: skip

    def notes_of(self, batch_id: str) -> list[EntryNote]:
        """What became of the parts of a batch that no seal has recorded yet."""
        found = (live.note(batch_id) for live in self.lives)
        return [note for note in found if note is not None]

    # -- how much there is ---------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Bytes of memory that readings and rows take; ids are held once for all."""
        lives = self.lives
        return sum(live.used_bytes for live in lives) - ID_BYTES * len(self.ids) * max(0, len(lives) - 1)

    def pressure(self) -> float:
        """Return the larger of used memory and late readings, each as a share of its limit."""
        late = sum(live.sizes()["late"] for live in self.lives)
        return max(self.used_bytes / self.limits.bytes, late / self.limits.late_slots)

    def sizes(self) -> dict[str, int]:
        """Return how much is held: bytes, rows, open sets, late readings, batches not yet recorded."""
        summed = {"bytes": 0, "rows": 0, "sets": 0, "late": 0, "batches": 0}
        for live in self.lives:
            for name, n in live.sizes().items():
                summed[name] += n
        return summed | {"bytes": self.used_bytes}

    @property
    def newest_us(self) -> int:
        """Arrival of the newest batch."""
        return self.most(lambda live: live.last_us)

    def most(self, value: Callable[[Live], int]) -> int:
        """Return the greatest ``value`` of the live sides; 0 for none."""
        return max((value(live) for live in self.lives), default=0)


def regions_of(parts: Sequence[pa.Table]) -> pa.Table:
    """Add up the regions of several shards."""
    rows = pa.concat_tables([views.REGION_SCHEMA.empty_table(), *parts])
    how = [(name, "max" if name == "last_s" else "sum") for name in rows.column_names if name not in _PLACE]
    grouped = rows.group_by(_PLACE, use_threads=False).aggregate(how)
    columns = [grouped[name] for name in _PLACE] + [grouped[f"{name}_{f}"] for name, f in how]
    return pa.Table.from_arrays(columns, schema=views.REGION_SCHEMA)


def top_of(parts: Sequence[pa.Table], n: int) -> pa.Table:
    """Return the ``n`` greatest of several shards."""
    whole = pa.concat_tables([views.TOP_SCHEMA.empty_table(), *parts])
    return whole.sort_by([("power_w", "descending"), ("meter", "ascending")]).slice(0, n)


def _chained(maps: Sequence[Mapping[int, Any]]) -> Mapping[int, Any]:
    """One mapping of all; each delivery is in one of them."""
    return ChainMap(*cast("list[dict[int, Any]]", maps))
