"""Which meters have gone silent, and for how long: the newest reading of each, of the lake or live.

A meter is silent since the end of its newest interval, of whatever channel; one that never sent anything, since it
was installed. Meters that are installed now count, and those of the lake that nobody registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.live.views import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.live.part import LiveView
    from meterlake.live.views import Newest
    from meterlake.merge import Bools
    from meterlake.ports import Registry
    from meterlake.strips import Codes, Ints

EVER_S: Final = 2**40
"""A time (s) that is neither over nor begins."""
COLUMNS: Final = ("meter_id", "service_point_id", "class", "geohash", "zone", "channels")
SCHEMA: Final = pa.schema(
    [*[(name, pa.string()) for name in COLUMNS], ("newest", pa.int64()), ("silent_s", pa.int64())]
)
"""``newest`` is the end (s since 1970 UTC) of the newest interval; null where there never was one. ``silent_s`` is
null where it is not known since when."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which silent meters are asked for."""

    min_s: int
    max_s: int | None = None
    """Silent for at least and below so many seconds; None: however long."""
    region: str = ""
    """What their geohash begins with."""


@dataclass(frozen=True, slots=True)
class Roll:
    """Meters with their stays, a row a stay that is not over, by rising meter id; and what the lake has of them."""

    stamp: tuple[Any, ...]
    rows: pa.Table
    """`COLUMNS`."""
    code: Codes
    """Of the meter."""
    since: Ints
    until: Ints
    ends: Ints
    """End of the newest interval in the lake; 0 for none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How long every meter has been silent at one moment."""

    now_s: int
    roll: Roll
    here: Bools
    """Which rows are installed now."""
    newest: Ints
    """By row: end of the newest interval; 0 for none."""
    quiet_since: Ints
    """By row: moment since which it is silent; -EVER_S where nobody knows."""

    @property
    def meters(self) -> int:
        """How many are installed."""
        return int(np.count_nonzero(self.here))

    def which(self, asked: Asked) -> Bools:
        """Rows that are silent as asked."""
        some: Bools = self._inside(asked.region) & (self.quiet_since <= self.now_s - asked.min_s)
        if asked.max_s is not None:
            some &= self.quiet_since > self.now_s - asked.max_s
        return some

    def _inside(self, region: str) -> Bools:
        """Rows that are installed in a region."""
        if not region:
            return self.here
        begins = pc.starts_with(self.roll.rows["geohash"], region).fill_null(fill_value=False)
        inside: Bools = self.here & begins.to_numpy()
        return inside

    def counts(self, lengths: Sequence[int]) -> list[int]:
        """How many have been silent for at least each of ``lengths`` (s, rising)."""
        since = np.sort(self.now_s - self.quiet_since[self.here])
        found: list[int] = (len(since) - np.searchsorted(since, np.array(lengths), "left")).tolist()
        return found

    @property
    def never(self) -> int:
        """How many never sent anything."""
        return int(np.count_nonzero(self.here & (self.newest == 0)))

    def page(self, asked: Asked, after: tuple[int, str] | None, limit: int) -> tuple[pa.Table, int, int]:
        """Return rows of SCHEMA, the longest silent first; how many there are in all; how many come after these.

        ``after`` is (`quiet_since`, meter id) of the last row of the page before.
        """
        at = np.flatnonzero(self.which(asked))
        total = len(at)
        since = self.quiet_since[at]
        if after is not None:
            ids = self.roll.rows["meter_id"]
            equal = np.flatnonzero(since == after[0])
            behind = pc.greater(ids.take(pa.array(at[equal])), after[1]).to_numpy()
            later = since > after[0]
            later[equal[behind]] = True
            at, since = at[later], since[later]
        chosen = at[first_of(since, limit)]
        rows = self.roll.rows.take(pa.array(chosen))
        newest, quiet = self.newest[chosen], self.quiet_since[chosen]
        silent = self.now_s - quiet
        rows = rows.append_column(SCHEMA.field("newest"), pa.array(newest, mask=newest == 0))
        rows = rows.append_column(SCHEMA.field("silent_s"), pa.array(silent, mask=quiet == -EVER_S))
        return rows, total, len(at) - len(chosen)

    def regions(self, asked: Asked, digits: int) -> pa.Table:
        """Meters installed and silent by region, those with most silent first: region, meters, silent."""
        regions = pc.utf8_slice_codeunits(self.roll.rows["geohash"], 0, digits).combine_chunks()
        coded = regions.dictionary_encode("encode")
        code = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        n = len(coded.dictionary)
        meters = np.bincount(code[self._inside(asked.region)], minlength=n)
        silent = np.bincount(code[self.which(asked)], minlength=n)
        order = np.lexsort((np.arange(n), -silent))
        order = order[meters[order] > 0]
        return pa.table(
            {
                "region": coded.dictionary.take(pa.array(order)).cast(pa.string()),
                "meters": pa.array(meters[order]),
                "silent": pa.array(silent[order]),
            }
        )


def first_of(values: Ints, limit: int) -> Ints:
    """Places of the ``limit`` smallest values, equal ones in their order, without sorting all."""
    if len(values) <= limit:
        return np.argsort(values, kind="stable")
    border = np.partition(values, limit - 1)[limit - 1]
    below, equal = np.flatnonzero(values < border), np.flatnonzero(values == border)
    below = below[np.argsort(values[below], kind="stable")]
    found: Ints = np.append(below, equal[: limit - len(below)])
    return found


class Silence:
    """Keeps watch over all meters of a node. Safe to share between threads."""

    def __init__(self, registry: Registry, live: LiveView) -> None:
        """Watch the meters of ``registry`` and of ``live``."""
        self._registry, self._live = registry, live
        self._lock = Lock()
        self._roll: Roll | None = None
        self._newest: Newest = NOTHING
        self._standing: Standing | None = None

    def at(self, now_s: int) -> Standing:
        """Return how all meters stand at a moment; worked out once a second for all who ask."""
        with self._lock:
            known = self._standing
            if known is None or known.now_s != now_s or not self._holds(known.roll):
                self._newest = self._live.newest(self._newest)  # first: what is sealed meanwhile is in both
                known = self._standing = standing(self._rolled(), self._newest.ends, now_s)
            return known

    def _holds(self, roll: Roll) -> bool:
        """Whether lake and registry are as they were when a roll was read."""
        version, meters, points = roll.stamp
        tables = self._registry.table("meters"), self._registry.table("service_points")
        return version == self._registry.series_version() and tables[0] is meters and tables[1] is points

    def _rolled(self) -> Roll:
        if self._roll is None or not self._holds(self._roll):
            version = self._registry.series_version()
            tables = self._registry.table("meters"), self._registry.table("service_points")
            self._roll = self._read(version, *tables)
        return self._roll

    def _read(self, version: int, meters: pa.Table, points: pa.Table) -> Roll:
        since, until = _seconds(meters["from"], -EVER_S), _seconds(meters["to"], EVER_S)
        series, ids = self._registry.series(), self._live.ids
        owner = ids.codes_of(series["meter_id"])
        code = ids.codes_of(meters["meter_id"])
        ends = np.zeros(len(ids), np.int64)
        reach = series["last_s"].to_numpy() + series["interval_s"].to_numpy()
        np.maximum.at(ends, owner, reach)
        order = _by_id(meters["meter_id"])
        backwards = points.select(["service_point_id", "class", "geohash", "zone"]).combine_chunks()[::-1]
        at = pc.index_in(meters["service_point_id"], value_set=_whole(backwards["service_point_id"]))
        there = backwards.drop_columns("service_point_id").take(
            _whole(at)
        )  # the last row of a point is its newest
        rows = pa.table({name: (meters if name in meters.column_names else there)[name] for name in COLUMNS})
        rows = rows.take(pa.array(order)).combine_chunks()
        stamp = version, meters, points
        return Roll(stamp, rows, code[order], since[order], until[order], ends[code[order]])


def standing(roll: Roll, live: Ints, now_s: int) -> Standing:
    """Say how all meters stand; ``live`` are the ends of the newest live intervals by meter code, 0 for none."""
    known = roll.code < len(live)
    held = np.zeros(len(roll.code), np.int64)
    held[known] = live[roll.code[known]]
    newest = np.maximum(roll.ends, held)
    here = (roll.since <= now_s) & (now_s < roll.until)
    quiet = np.where(newest > 0, newest, roll.since)
    return Standing(now_s, roll, here, newest, quiet)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _seconds(column: pa.ChunkedArray, instead: int) -> Ints:
    seconds: Ints = column.cast(pa.int64()).fill_null(instead * 1_000_000).to_numpy() // 1_000_000
    return seconds


def _by_id(ids: pa.ChunkedArray) -> Ints:
    """Order of rows by rising id, those of one id as they are."""
    whole = _whole(ids)
    if len(whole) < 2 or pc.all(pc.less_equal(whole[:-1], whole[1:])).as_py():
        return np.arange(len(whole))
    told = pa.table({"id": whole, "at": pa.array(np.arange(len(whole)))})
    order: Ints = pc.sort_indices(told, [("id", "ascending"), ("at", "ascending")]).to_numpy()
    return order.astype(np.int64)
