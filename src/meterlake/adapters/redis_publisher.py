"""A live side shown in Redis: what has changed since the last time, guarded by who shows it."""

from __future__ import annotations

import json
import struct
import time
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np
import pyarrow as pa

from meterlake.adapters.redis_keys import BEGIN, LOOKUPS, WRITE, client, failed, lake_key, redis
from meterlake.errors import Fenced
from meterlake.live.checkpoint import Saver, read_table, table_bytes
from meterlake.live.senders import DELIVERY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.live.live import Live
    from meterlake.ports import Publisher

CALL_BYTES: Final = 2 << 20
"""Of one call of a script, about."""
DERIVED_S: Final = 1.0
"""What is derived of all meters is shown no more often."""
NEWEST_S: Final = 30.0
LOOK_S: Final = 1.0
"""Whether it is still there is looked at so often, also while nothing changes."""
TOP: Final = 200
"""Meters of a channel that are told as the greatest."""
ROW: Final = struct.Struct("<ih")

Op = tuple[bytes | str, ...]


class RedisPublisher:
    """`ports.Publisher` of one shard; one thread uses it."""

    def __init__(self, url: str, lake: str, shard: str, generation: int | None) -> None:
        """Show ``shard`` of the lake at URL ``lake``; who has a higher ``generation`` shows it after us. None: we are alone."""
        self._url, self._shard, self._lake = url, shard, lake_key(lake)
        self._prefix = f"{self._lake}{shard}:"
        self._generation = generation
        self._redis, self._library = client(url), redis()
        self._begin, self._write = (self._redis.register_script(script) for script in (BEGIN, WRITE))
        self._saver: Saver | None = None
        self._live: Live | None = None
        self._columns: dict[str, set[str]] = {}
        self._rows: dict[str, int] = {}
        self._shown_s = self._newest_s = self._looked_s = -NEWEST_S
        self._epoch = self._derived_epoch = -1
        self._deliveries = 0
        """How often deliveries were written anew, because some are not needed any more."""

    def publish(self, live: Live) -> None:
        """Show what has changed since the last time; all of it where that is gone."""
        try:
            if self._saver is None or self._live is not live:
                self._take_over(live)
            assert self._saver is not None, "it was just begun"
            self._look()
            epoch = live.epoch
            if epoch != self._epoch:
                self._saver.save(live, self)
                self._epoch = epoch
            if self._derived_epoch != epoch and time.monotonic() - self._shown_s >= DERIVED_S:
                for some in _calls(list(self._derived())):
                    self._call(live.offset, some)
                self._derived_epoch, self._shown_s = epoch, time.monotonic()
                self._redis.publish(f"{self._lake}changed", self._shard)
        except self._library.RedisError as error:
            self._let_go()
            raise failed(self._url, error) from error
        except Gone:
            self._let_go()

    def _look(self) -> None:
        """Raise Gone where Redis has lost what was shown."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            if not self._redis.hexists(f"{self._prefix}guard", "generation"):
                raise Gone

    def _take_over(self, live: Live) -> None:
        self._let_go()
        told = -1 if self._generation is None else self._generation
        keys = [f"{self._prefix}guard", f"{self._lake}shards"]
        ours, generation = self._begin(keys, [told, int(time.time()), self._shard])
        if ours < 0:
            raise Fenced(f"{self._shard} is shown by another process, of generation {generation}")
        self._generation = int(generation)
        for some in self._batches(self._redis.scan_iter(f"{self._prefix}*", count=5000)):
            self._redis.unlink(
                *(key for key in some if not key.endswith(b":guard")), f"{self._prefix}nothing"
            )
        self._columns, self._rows = {}, {}
        self._shown_s = self._newest_s = -NEWEST_S
        self._live, self._saver = live, Saver(shows=True)
        self._epoch = self._derived_epoch = -1
        with live.lock:
            live.shown.append(self._saver)

    @staticmethod
    def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
        held: list[bytes] = []
        for key in keys:
            held.append(key)
            if len(held) == 5000:
                yield held
                held = []
        if held:
            yield held

    def _let_go(self) -> None:
        if self._live is not None and self._saver in self._live.shown:
            with self._live.lock:
                self._live.shown.remove(self._saver)
        self._saver = None

    # -- as the target of a save ---------------------------------------------------------------------

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Write what a save holds: first what cells refer to, then cells, then the state that names them."""
        told = json.loads(state)
        small, cells = [], []
        for name, data in pieces.items():
            if name.startswith("cells/"):
                cells += self._column(name, data)
            else:
                small += list(self._small(name, data))
        dropped = [op for name in gone for op in self._dropped(name)]
        offset = told["offset"]
        for some in _calls([*small, *cells]):
            self._call(offset, some)
        if any(name.startswith("deliveries/") for name in gone):
            dropped += self._needed(pieces)
        last: list[Op] = [*dropped, ("S", f"{self._prefix}state", self._state(told))]
        for some in _calls(last):
            self._call(offset, some)
        guard = {"offset": offset, "epoch": told["epoch"], "whole": 1}
        ops: list[Op] = [("H", f"{self._prefix}guard", name, str(value)) for name, value in guard.items()]
        self._call(offset, ops)
        self._redis.publish(f"{self._lake}changed", self._shard)

    def load(self) -> None:
        """Nothing is restored from what is shown."""

    @property
    def generation(self) -> int | None:
        """Generation of who shows it."""
        return self._generation

    def _call(self, offset: int, ops: Sequence[Op]) -> None:
        flat = [word for op in ops for word in op]
        done = self._write([f"{self._prefix}guard"], [self._generation, offset, *flat])
        if done == -2:
            raise Gone
        if done < 0:
            self._let_go()
            raise Fenced(f"{self._shard} is shown by another process now")

    def _column(self, name: str, data: bytes) -> list[Op]:
        _, plane, start, slot, chunk = name.split("/")
        self._columns.setdefault(f"{plane}/{start}", set()).add(f"{slot}/{chunk}")
        return [("S", f"{self._prefix}c/{plane}/{start}/{slot}/{chunk}", data)]

    def _small(self, name: str, data: bytes) -> Iterator[Op]:
        kind, *rest = name.split("/")
        if kind in {"versions", "losers"}:
            yield ("A", f"{self._prefix}{kind}/{rest[0]}/{rest[1]}", data)
        elif kind == "rows":
            yield ("A", f"{self._prefix}rows/{rest[0]}", data)
            yield from self._lookups(rest[0], data)
        elif kind == "deliveries":
            yield ("A", f"{self._prefix}deliveries/{self._deliveries}", data)
        else:
            yield ("H", f"{self._prefix}{kind}", rest[0], data)

    def _lookups(self, plane: str, data: bytes) -> Iterator[Op]:
        """Tell the rows of meters that are new in a plane."""
        table, first = read_table(data), self._rows.get(plane, 0)
        ids, phases = table["meter_id"].to_pylist(), table["phase"].to_pylist()
        self._rows[plane] = first + len(ids)
        for row, (meter, phase) in enumerate(zip(ids, phases, strict=True), first):
            yield ("H", f"{self._prefix}row/{plane}/{lookup(meter)}", meter, ROW.pack(row, phase))

    def _dropped(self, name: str) -> Iterator[Op]:
        kind, *rest = name.split("/")
        if kind == "cells":
            where = f"{rest[0]}/{rest[1]}"
            for column in self._columns.pop(where, ()):
                yield ("D", f"{self._prefix}c/{where}/{column}")
        elif kind in {"versions", "losers"}:
            yield ("D", f"{self._prefix}{kind}/{rest[0]}/{rest[1]}")
        elif kind == "deliveries":
            return
        else:
            yield ("h", f"{self._prefix}{kind}", rest[0])

    def _needed(self, pieces: Mapping[str, bytes]) -> list[Op]:
        """Write the deliveries anew that are needed still, of those that were told so far."""
        live, saver = self._live, self._saver
        assert live is not None, "it is being shown"
        assert saver is not None, "it saves"
        fresh = [
            np.frombuffer(data, DELIVERY) for name, data in pieces.items() if name.startswith("deliveries/")
        ]
        last = max([saver.delivered, *(int(rows["number"][-1]) for rows in fresh)])
        with live.lock:
            rows = live.deliveries.rows.view()
            data = rows[rows["number"] <= last].tobytes()
        self._deliveries += 1
        where = f"{self._prefix}deliveries/"
        return [("S", f"{where}{self._deliveries}", data), ("D", f"{where}{self._deliveries - 2}")]

    def _state(self, told: dict[str, Any]) -> bytes:
        """State of the save, and what of the rest there is."""
        live = self._live
        assert live is not None, "it is being shown"
        with live.lock:
            days = {n: [plane.day_s, len(plane.day_total)] for n, plane in enumerate(live.planes)}
            late = [batch.offset for batch in live.late]
        told |= {"days": days, "late": late, "dropped": self._deliveries, "sizes": live.sizes()}
        return json.dumps(told).encode()

    def _derived(self) -> Iterator[Op]:
        """Sums of regions, the greatest, days of sealed hours, and now and then the newest of every meter."""
        live, now = self._live, time.monotonic()
        assert live is not None, "it is being shown"
        now_s = int(time.time())
        yield ("S", f"{self._prefix}regions", table_bytes(live.regions(now_s)))
        for channel in {plane.channel for plane in live.planes}:
            yield ("H", f"{self._prefix}top", channel, table_bytes(live.top(TOP, channel, now_s)))
        yield ("H", f"{self._prefix}top", "", table_bytes(live.top(TOP, None, now_s)))
        with live.lock:
            for number, plane in enumerate(live.planes):
                if len(plane.day_total):
                    yield ("S", f"{self._prefix}day/{number}/total", plane.day_total.tobytes())
                    yield ("S", f"{self._prefix}day/{number}/filled", plane.day_filled.tobytes())
        if now - self._newest_s >= NEWEST_S:
            self._newest_s = now
            yield ("S", f"{self._prefix}newest", newest_bytes(live))

    def close(self) -> None:
        """Let go; what is shown stays until another process shows it anew."""
        self._let_go()
        self._redis.close()


class Gone(Exception):
    """Redis has lost what was shown: all is to be shown anew."""


def newest_bytes(live: Live) -> bytes:
    """Newest interval of each meter as an Arrow stream: ``meter`` and ``end`` (s)."""
    found = live.newest()
    some = np.flatnonzero(found.ends > 0)
    meters = live.ids.texts().take(pa.array(some))
    return table_bytes(pa.table({"meter": meters, "end": pa.array(found.ends[some])}))


def lookup(meter: str) -> int:
    """Part of a plane's meters that one is in."""
    return crc32(meter.encode()) % LOOKUPS


def _calls(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Cut writes into calls of about `CALL_BYTES`, in their order."""
    held: list[Op] = []
    size = 0
    for op in ops:
        held.append(op)
        size += len(op[-1]) + 64
        if size > CALL_BYTES or len(held) >= 1500:
            yield held
            held, size = [], 0
    if held:
        yield held


if TYPE_CHECKING:
    _CONFORMS: type[Publisher] = RedisPublisher
