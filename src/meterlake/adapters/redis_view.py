"""The live sides of all shards as they are shown in Redis: a question reads what it needs and keeps next to nothing.

Of the meters of a question a small `Live` is made from their cells alone; it answers as the one does that is shown.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.adapters.redis_keys import CELLS, client, failed, lake_key, redis
from meterlake.adapters.redis_publisher import ROW, lookup
from meterlake.adapters.redis_shards import Moved, Reader, Rows, Shown
from meterlake.ids import MeterIds
from meterlake.live import views
from meterlake.live.checkpoint import notes_of, read_table
from meterlake.live.together import Together, regions_of, top_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from meterlake.live.cut import EntryNote
    from meterlake.live.limits import LiveLimits
    from meterlake.live.live import Live
    from meterlake.live.part import Part

LOOK_S: Final = 0.2
"""How often heads are looked at where nothing is told."""
KEPT: Final = 64
"""Small live sides that are kept until the next change."""
WHOLE_S: Final = 2.0
"""How long a live side of all meters serves the questions about all of them."""
TRIES: Final = 10
GENERATION: Final = 1 << 32
"""Epochs of one generation of a shard."""
REBUILT: Final = "the live view is being rebuilt: answers are those of the lake until then"


class RedisView:
    """What a process without shards of its own knows of what is live. Safe to share between threads."""

    def __init__(self, url: str, lake: str, limits: LiveLimits) -> None:
        """Look at what is shown of the lake at URL ``lake``."""
        self.url, self.limits = url, limits
        self.ids = MeterIds()
        self._lake, self._redis, self._library = lake_key(lake), client(url), redis()
        self._reader = Reader(self._redis, self._redis.register_script(CELLS), limits)
        self._shards: dict[str, Shown] = {}
        self._epoch = 0
        self._kept: OrderedDict[tuple[str, ...], tuple[int, Together]] = OrderedDict()
        self._whole: tuple[int, float, Together] | None = None
        self._lock = RLock()
        self._stop = Event()
        self._thread: Thread | None = None
        self.trouble: dict[str, str] = {}
        """Why answers are those of the lake alone, where they are."""

    # -- what changes --------------------------------------------------------------------------------

    def start(self, trouble: dict[str, str], changed: Callable[[int], None]) -> None:
        """Follow what is shown; ``changed`` is told the epoch, ``trouble`` what is wrong."""
        self.trouble = trouble
        self.look()
        self._thread = Thread(target=self._follow, args=(changed,), name="live view", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._redis.close()

    def _follow(self, changed: Callable[[int], None]) -> None:
        told = -1
        while not self._stop.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as heard:
                    heard.subscribe(f"{self._lake}changed")
                    while not self._stop.is_set():
                        heard.get_message(timeout=LOOK_S)
                        self.look()
                        if told != self._epoch:
                            told = self._epoch
                            changed(told)
            except (self._library.RedisError, OSError) as error:
                self.trouble["live view"] = (
                    f"{failed(self.url, error)}; answers are those of the lake until then"
                )
                self._stop.wait(1.0)

    def look(self) -> None:
        """Look how far each shard is shown."""
        try:
            names = sorted(name.decode() for name in self._redis.smembers(f"{self._lake}shards"))
            with self._redis.pipeline(transaction=False) as line:
                for name in names:
                    line.hmget(f"{self._lake}{name}:guard", "generation", "epoch", "whole")
                heads = line.execute()
        except (self._library.RedisError, OSError) as error:
            self.trouble["live view"] = f"{failed(self.url, error)}; answers are those of the lake until then"
            return
        with self._lock:
            epoch, whole = 0, bool(names)
            for name, head in zip(names, heads, strict=True):
                generation, at = int(head[0] or 0), int(head[1] or 0)
                whole = whole and head[2] == b"1"
                shard = self._shards.setdefault(name, Shown(name, f"{self._lake}{name}:"))
                if generation != shard.generation:
                    shard.forget(generation)
                shard.epoch = at
                epoch += generation * GENERATION + at
            self._shards = {name: self._shards[name] for name in names}
            if epoch != self._epoch:
                self._kept.clear()
            self._epoch = epoch
        if whole:
            self.trouble.pop("live view", None)
        else:
            self.trouble["live view"] = REBUILT

    # -- what is read --------------------------------------------------------------------------------

    def _few(self, meters: Sequence[str]) -> Together:
        """Live sides of some meters, as they are shown now."""
        key = tuple(sorted(set(meters)))
        with self._lock:
            epoch, held = self._epoch, self._kept.get(key)
            if held is not None and held[0] == epoch:
                self._kept.move_to_end(key)
                return held[1]
            found = self._read(lambda: self._minis(key))
            if "live view" not in self.trouble:
                self._kept[key] = epoch, found
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return found

    def _read(self, read: Callable[[], Together]) -> Together:
        """Return what ``read`` gives, again where it changed meanwhile; nothing where Redis does not answer."""
        try:
            for _ in range(TRIES):
                try:
                    return read()
                except Moved:
                    continue
            self.trouble["live view"] = REBUILT
        except (self._library.RedisError, OSError) as error:
            self.trouble["live view"] = f"{failed(self.url, error)}; answers are those of the lake until then"
        return Together(MeterIds(), self.limits)

    def _minis(self, meters: tuple[str, ...]) -> Together:
        found = Together(MeterIds(), self.limits)
        for shard, rows in self._rows(meters):
            found.add(shard.name, self._reader.some(shard, rows, meters))
        return found

    def _states(self) -> list[Shown]:
        """Shards that are shown, with the state of now."""
        shards = list(self._shards.values())
        with self._redis.pipeline(transaction=False) as line:
            for shard in shards:
                line.get(f"{shard.prefix}state")
            for shard, state in zip(shards, line.execute(), strict=True):
                shard.state = json.loads(state) if state else {}
        return [shard for shard in shards if shard.state]

    def _rows(self, meters: Sequence[str]) -> list[tuple[Shown, Rows]]:
        """Shards that know some of the meters, or hold late readings, and the rows of these."""
        found: list[tuple[Shown, Rows]] = [(shard, {}) for shard in self._states()]
        asked = [
            (shard, rows, plane, meter)
            for shard, rows in found for plane in range(len(shard.state["planes"])) for meter in meters
        ]  # fmt: skip
        with self._redis.pipeline(transaction=False) as line:
            for shard, _, plane, meter in asked:
                line.hget(f"{shard.prefix}row/{plane}/{lookup(meter)}", meter)
            answers = line.execute() if asked else []
        for (_, rows, plane, meter), packed in zip(asked, answers, strict=True):
            if packed is not None:
                rows.setdefault(plane, []).append((meter, *ROW.unpack(packed)))
        return [(shard, rows) for shard, rows in found if rows or shard.state["late"]]

    def _all(self) -> Together:
        """Live sides of all meters, made anew when they are some seconds old."""
        with self._lock:
            held = self._whole
            if held is not None and (held[0] == self._epoch or time.monotonic() - held[1] < WHOLE_S):
                return held[2]
            epoch = self._epoch
            found = self._read(self._wholes)
            if "live view" not in self.trouble:
                self._whole = epoch, time.monotonic(), found
        return found

    def _wholes(self) -> Together:
        found = Together(MeterIds(), self.limits)
        for shard in self._states():
            found.add(shard.name, self._reader.whole(shard))
        return found

    # -- what is asked -------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Rises with everything that changes an answer."""
        return self._epoch

    def touched(self, meters: Sequence[str]) -> int:  # noqa: ARG002 - whatever came, it may be theirs
        """Return the epoch: of single meters it is not told."""
        return self._epoch

    def reaches(self, meters: Sequence[str], start_s: int, stop_s: int) -> bool:  # noqa: ARG002 - likewise
        """Whether `part` may have anything; False is certain."""
        return bool(self._shards)

    def part(self, meters: Sequence[str] | None, start_s: int, stop_s: int) -> Part | None:
        """Readings of some meters (None: all) in blocks that may hold slots of ``[start_s, stop_s)``; None for none."""
        return (self._all() if meters is None else self._few(meters)).part(meters, start_s, stop_s)

    def meter(self, meter_id: str, now_s: int) -> pa.Table | None:
        """How a meter stands: a row of `views.METER_SCHEMA` by channel and interval; None where nothing is held."""
        return self._few([meter_id]).meter(meter_id, now_s)

    def recent(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Slots of a meter that began in the last ``seconds``: rows of `views.RECENT_SCHEMA`."""
        return self._few([meter_id]).recent(meter_id, now_s, seconds)

    def quarters(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Quarter hours that a meter's shorter intervals add up to, of the last ``seconds``: `views.QUARTER_SCHEMA`."""
        return self._few([meter_id]).quarters(meter_id, now_s, seconds)

    def regions(self, now_s: int) -> pa.Table:  # noqa: ARG002 - they are as they were shown, seconds ago at most
        """Sums by region, class, channel and interval: rows of `views.REGION_SCHEMA`."""
        return regions_of(self._told("regions"))

    def fleet(self, now_s: int) -> pa.Table:
        """Sums by channel and interval: rows of `views.FLEET_SCHEMA`."""
        return views.fleet(self.regions(now_s))

    def top(self, n: int, channel: str | None, now_s: int | None = None) -> pa.Table:  # noqa: ARG002 - as `regions`
        """The ``n`` meters with the greatest power in their latest slot: rows of `views.TOP_SCHEMA`."""
        return top_of(self._told("top", channel or ""), n)

    def newest(self, known: views.Newest = views.NOTHING) -> views.Newest:
        """Newest interval of each meter, as it was shown half a minute ago at most, with what was ``known``."""
        ends = known.ends
        for rows in self._told("newest"):
            codes = self.ids.codes_of(rows["meter"])
            if len(self.ids) > len(ends):
                ends = np.concatenate([ends, np.zeros(len(self.ids) - len(ends), np.int64)])
            np.maximum.at(ends, codes, rows["end"].to_numpy())
        return views.Newest(ends, self._epoch, 0)

    def _told(self, name: str, field: str | None = None) -> list[pa.Table]:
        """Tables of that name of all shards."""
        try:
            with self._redis.pipeline(transaction=False) as line:
                for shard in list(self._shards.values()):
                    key = f"{shard.prefix}{name}"
                    line.get(key) if field is None else line.hget(key, field)
                return [read_table(data) for data in line.execute() if data]
        except (self._library.RedisError, OSError) as error:
            self.trouble["live view"] = f"{failed(self.url, error)}; answers are those of the lake until then"
            return []

    # -- batches, and how much there is ---------------------------------------------------------------

    @property
    def lives(self) -> Sequence[Live]:
        """None: they are other processes'."""
        return []

    def notes(self) -> Mapping[str, EntryNote]:
        """Batches that no seal has recorded yet, by batch id and shard."""
        found: dict[str, EntryNote] = {}
        try:
            for shard in list(self._shards.values()):
                for data in self._redis.hvals(f"{shard.prefix}notes"):
                    found |= {f"{note.batch_id} {shard.name}": note for note in notes_of(data)}
        except (self._library.RedisError, OSError) as error:
            self.trouble["live view"] = f"{failed(self.url, error)}; answers are those of the lake until then"
        return found

    def notes_of(self, batch_id: str) -> list[EntryNote]:
        """What became of the parts of a batch that no seal has recorded yet."""
        return [note for note in self.notes().values() if note.batch_id == batch_id]

    def sizes(self) -> dict[str, int]:
        """Return how much other processes hold: bytes, rows, open sets, late readings, batches not yet recorded."""
        summed = {"bytes": 0, "rows": 0, "sets": 0, "late": 0, "batches": 0}
        for shard in list(self._shards.values()):
            for name, n in shard.state.get("sizes", {}).items():
                summed[name] += n
        return summed

    @property
    def newest_us(self) -> int:
        """Arrival of the newest batch."""
        return max((shard.state.get("last_us", 0) for shard in list(self._shards.values())), default=0)
