"""Meters and service points as a list that can be searched: one row an id, by rising id, found from any place on."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.api.held import moment, parts, span_of
from meterlake.errors import Invalid
from meterlake.readings import channel_family
from meterlake.registry import CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.api.held import Span
    from meterlake.keys import ApiKey
    from meterlake.ports import Registry

FIRST_SLICE: Final = 4096
SLICE: Final = 1 << 20
KEPT: Final = 32
"""Sets of service points that are kept until the registry changes."""
EARTH_M: Final = 6_371_008.8
PLACE: Final = ("class", "latitude", "longitude", "geohash", "zone")
METER_COLUMNS: Final = ("meter_id", "service_point_id", "channels", "interval_s", "from", "to", *PLACE)
POINT_COLUMNS: Final = ("service_point_id", "from", "to", *PLACE, "tariff", "feeder", "transformer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a list is searched for; None: anything."""

    q: str | None = None
    near: tuple[float, float] | None = None
    """Latitude and longitude in degrees."""
    radius_m: float = 1000.0
    class_: str | None = None
    channel: str | None = None

    @classmethod
    def read(
        cls, q: str | None, near: str | None, radius_m: float, class_: str | None, channel: str | None
    ) -> Search:
        """Read the words of a request.

        Raises:
            Invalid: ``near`` is no place, or there is no such class.

        """
        if class_ is not None and class_ not in CLASSES:
            raise Invalid(f"class {class_[:40]!r}: write {' or '.join(CLASSES)}")
        place = None
        if near is not None:
            try:
                lat, lon = (float(word) for word in near.split(","))
            except ValueError:
                lat = lon = float("nan")
            if not (abs(lat) <= 90 and abs(lon) <= 180):
                raise Invalid(f"near {near[:40]!r}: write latitude,longitude in degrees, such as 51.5,-0.12")
            place = lat, lon
        return cls(q=q or None, near=place, radius_m=radius_m, class_=class_, channel=channel)


class Roster:
    """The lists of one registry, made anew when it has changed. Safe to share between threads."""

    def __init__(self, registry: Registry) -> None:
        """List what ``registry`` holds."""
        self._registry = registry
        self._lock = Lock()
        self._lists: Lists | None = None
        self._stamped: tuple[pa.Table, pa.Table] | None = None
        self._stamp = 0

    def lists(self) -> Lists:
        """Return the lists of now."""
        meters, points = self._registry.table("meters"), self._registry.table("service_points")
        with self._lock:
            lists = self._lists
            if lists is None or not lists.are_of(meters, points):
                self._lists = lists = Lists(meters, points)
            return lists

    def stamp(self) -> int:
        """Return a number that changes with the registry."""
        # The registry gives other tables whenever they change.
        meters, points = self._registry.table("meters"), self._registry.table("service_points")
        with self._lock:
            if self._stamped is None or self._stamped[0] is not meters or self._stamped[1] is not points:
                self._stamped = meters, points
                self._stamp += 1
            return self._stamp


class Lists:
    """Meters and service points of one state of a registry."""

    def __init__(self, meters: pa.Table, points: pa.Table) -> None:
        """List these tables, each with all rows of an id as they follow one another."""
        self._meters, self._points = meters, points
        self._lock = Lock()
        self._sets: dict[Any, pa.Array] = {}

    def are_of(self, meters: pa.Table, points: pa.Table) -> bool:
        """Whether these are the tables that are listed."""
        return self._meters is meters and self._points is points

    @cached_property
    def meters(self) -> pa.Table:
        """The newest row of each meter, by id."""
        return _newest(self._meters, "meter_id")

    @cached_property
    def points(self) -> pa.Table:
        """The newest row of each service point, by id."""
        return _newest(self._points, "service_point_id")

    @cached_property
    def _dated(self) -> pa.Table:
        """All rows of each service point, by id and as they follow one another."""
        return _ordered(self._points, "service_point_id")

    @cached_property
    def _place(self) -> pa.Array:
        """Row of ``points`` of each of ``meters``."""
        return _whole(
            pc.index_in(self.meters["service_point_id"], value_set=_whole(self.points["service_point_id"]))
        )

    def meters_page(
        self, search: Search, key: ApiKey, after: str | None, limit: int
    ) -> tuple[pa.Table, str | None]:
        """Return up to ``limit`` meters (METER_COLUMNS) after an id, and the last id where there are more."""
        own = None if key.meters is None else pa.array(sorted(key.meters), pa.string())
        listed = self.meters if key.meters != frozenset() else self.meters.slice(0, 0)
        pages = _found(
            listed, "meter_id", after, limit, lambda low, rows: self._meter_hits(search, own, low, rows)
        )
        at = [np.arange(low, low + len(hits))[hits] for low, hits in pages]
        chosen = np.concatenate([np.empty(0, np.int64), *at])[: limit + 1]
        rows = self.meters.take(pa.array(chosen[:limit]))
        there = self.points.select(PLACE).take(self._place.take(pa.array(chosen[:limit])))
        for name in PLACE:
            rows = rows.append_column(name, there[name])
        return rows.select(METER_COLUMNS), _last(rows, "meter_id", more=len(chosen) > limit)

    def _meter_hits(self, search: Search, own: pa.Array | None, low: int, rows: pa.Table) -> pa.Array | None:
        masks = _by_id(rows["meter_id"], search, own)
        if search.channel is not None:
            masks.append(_has_channel(rows["channels"], search.channel))
        if search.class_ is not None or search.near is not None:
            there = self.points.select(["class", "latitude", "longitude"]).take(
                self._place.slice(low, len(rows))
            )
            masks += _by_place(there, search)
        return _all(masks)

    def points_page(
        self, search: Search, key: ApiKey, after: str | None, limit: int
    ) -> tuple[pa.Table, str | None]:
        """Return up to ``limit`` service points (POINT_COLUMNS) after an id, and the last id where there are more."""
        if key.holds is not None:
            return self._held_page(search, key.holds, after, limit)
        own = None if key.meters is None else self._kept(("own", key.meters), lambda: self._owned(key))
        with_channel = None
        if search.channel is not None:
            channel = search.channel if channel_family(search.channel) else ""
            with_channel = self._kept(("channel", channel), lambda: self._points_with(channel))

        def hits(_: int, rows: pa.Table) -> pa.Array | None:
            masks = _by_id(rows["service_point_id"], search, own)
            if with_channel is not None:
                masks.append(pc.is_in(rows["service_point_id"], value_set=with_channel))
            return _all([*masks, *_by_place(rows, search)])

        return _points_page(self.points, hits, after, limit)

    def _held_page(
        self, search: Search, holds: Mapping[str, tuple[Span, ...]], after: str | None, limit: int
    ) -> tuple[pa.Table, str | None]:
        """`points_page` of a customer: their service points, each as it was in their time."""
        key = tuple(sorted(holds.items()))

        def every() -> pa.Table:
            found = (self.held_point(id_, within) for id_, within in key)
            return pa.Table.from_pylist(
                [row for row in found if row is not None], self._points.select(POINT_COLUMNS).schema
            )

        own = self._kept(("held", key), every)
        with_channel = None
        if search.channel is not None:
            channel = search.channel if channel_family(search.channel) else ""
            with_channel = self._kept(("held", key, channel), lambda: self._held_with(channel, holds))

        def hits(_: int, rows: pa.Table) -> pa.Array | None:
            masks = _by_id(rows["service_point_id"], search, with_channel)
            return _all([*masks, *_by_place(rows, search)])

        return _points_page(own, hits, after, limit)

    def _held_with(self, channel: str, holds: Mapping[str, tuple[Span, ...]]) -> pa.Array:
        """Service points that had a meter of a channel in the time for which they are held."""
        there = pc.is_in(self._meters["service_point_id"], value_set=pa.array(sorted(holds), pa.string()))
        rows = self._meters.filter(pc.and_(there, _has_channel(self._meters["channels"], channel)))
        own = [
            row["service_point_id"]
            for row in rows.select(["service_point_id", "from", "to"]).to_pylist()
            if parts(span_of(row), holds[row["service_point_id"]])
        ]
        return pa.array(sorted(set(own)), pa.string())

    def meter(self, id_: str) -> dict[str, Any] | None:
        """Return a meter with its stays; None where it is not registered."""
        at = _place_of(_whole(self.meters["meter_id"]), id_)
        if at is None:
            return None
        (row,) = self.meters.slice(at, 1).to_pylist()
        there = self._place[at].as_py()
        place = {} if there is None else self.points.slice(there, 1).select(PLACE).to_pylist()[0]
        return {name: (row | place).get(name) for name in METER_COLUMNS}

    def point(self, id_: str) -> dict[str, Any] | None:
        """Return a service point; None where it is not registered."""
        at = _place_of(_whole(self.points["service_point_id"]), id_)
        if at is None:
            return None
        row: dict[str, Any] = self.points.slice(at, 1).select(POINT_COLUMNS).to_pylist()[0]
        return row

    def held_point(self, id_: str, within: Sequence[Span]) -> dict[str, Any] | None:
        """Return a service point as its customer of some times knows it; None where there is none."""
        ids = _whole(self._dated["service_point_id"])
        low, high = _run_of(ids, id_)
        rows: list[dict[str, Any]] = self._dated.slice(low, high - low).select(POINT_COLUMNS).to_pylist()
        for row in reversed(rows):
            own = parts(span_of(row), within)
            if own:
                mine = {"from": moment(own[0][0]), "to": moment(own[-1][1])}
                told: dict[str, Any] = row | mine | {"feeder": None, "transformer": None}
                return told
        return None

    def terms(self, id_: str) -> list[dict[str, Any]]:
        """Return from when to when a service point had which tariff."""
        low, high = _run_of(_whole(self._dated["service_point_id"]), id_)
        rows: list[dict[str, Any]] = (
            self._dated.slice(low, high - low).select(["from", "to", "tariff"]).to_pylist()
        )
        return rows

    def _kept(self, key: Any, make: Any) -> Any:
        with self._lock:
            if key in self._sets:
                return self._sets[key]
        made = make()
        with self._lock:
            if len(self._sets) >= KEPT:
                self._sets.clear()
            self._sets[key] = made
        return made

    def _points_with(self, channel: str) -> pa.Array:
        """Service points with a meter of a channel."""
        return _whole(
            self.meters["service_point_id"].filter(_has_channel(self.meters["channels"], channel))
        ).unique()

    def _owned(self, key: ApiKey) -> pa.Array:
        """Service points all of whose meters, past ones too, exist for ``key``."""
        mine = pc.is_in(self._meters["meter_id"], value_set=pa.array(sorted(key.meters or ()), pa.string()))
        points = self._meters["service_point_id"]
        own = _whole(points.filter(mine)).unique()
        others = _whole(points.filter(pc.invert(mine))).unique()
        return own.filter(pc.and_(pc.is_valid(own), pc.invert(pc.is_in(own, value_set=others))))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Column as one array; a copy only where it is several."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _newest(rows: pa.Table, key: str) -> pa.Table:
    """The last row of each id, by rising id; rows of one id follow one another already."""
    rows = _ordered(rows, key)
    ids = _whole(rows[key])
    last = np.append(pc.not_equal(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False), values=True)[: len(ids)]
    return (rows if last.all() else rows.filter(pa.array(last))).combine_chunks()


def _ordered(rows: pa.Table, key: str) -> pa.Table:
    """Rows by rising id, those of one id as they are."""
    rows = rows.drop_columns([name for name in ("extra", "customer_id") if name in rows.column_names])
    ids = _whole(rows[key])
    if len(ids) < 2 or pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py():
        return rows
    order = pa.table({"id": ids, "at": pa.array(np.arange(len(ids)))})
    return rows.take(pc.sort_indices(order, [("id", "ascending"), ("at", "ascending")]))


def _points_page(points: pa.Table, hits: Any, after: str | None, limit: int) -> tuple[pa.Table, str | None]:
    pages = _found(points, "service_point_id", after, limit, hits)
    at = [np.arange(low, low + len(mask))[mask] for low, mask in pages]
    chosen = np.concatenate([np.empty(0, np.int64), *at])[: limit + 1]
    rows = points.take(pa.array(chosen[:limit])).select(POINT_COLUMNS)
    return rows, _last(rows, "service_point_id", more=len(chosen) > limit)


def _run_of(ids: pa.Array, id_: str) -> tuple[int, int]:
    """First row of an id and the one after its last."""
    at = range(len(ids))
    low, high = (
        side(at, id_, key=lambda i: ids[i].as_py()) for side in (bisect.bisect_left, bisect.bisect_right)
    )
    return low, high


def _found(rows: pa.Table, key: str, after: str | None, limit: int, hits: Any) -> Iterator[tuple[int, Any]]:
    """Yield slices from the id after ``after`` on: first row and which rows are hit, until there are enough."""
    ids = _whole(rows[key])
    low = 0 if after is None else bisect.bisect_right(range(len(ids)), after, key=lambda at: ids[at].as_py())
    size, n = max(FIRST_SLICE, limit + 1), 0
    while low < len(ids) and n <= limit:
        some = rows.slice(low, size)
        mask = hits(low, some)
        hit = np.ones(len(some), bool) if mask is None else mask.to_numpy(zero_copy_only=False).astype(bool)
        yield low, hit
        n += int(hit.sum())
        low += len(some)
        size = min(size * 4, SLICE)


def _last(rows: pa.Table, key: str, *, more: bool) -> str | None:
    last: str | None = rows[key][-1].as_py() if more and len(rows) else None
    return last


def _place_of(ids: pa.Array, id_: str) -> int | None:
    at = bisect.bisect_left(range(len(ids)), id_, key=lambda at: ids[at].as_py())
    return at if at < len(ids) and ids[at].as_py() == id_ else None


def _all(masks: list[pa.Array]) -> pa.Array | None:
    """Rows that every mask has; null is no."""
    if not masks:
        return None
    together = masks[0]
    for mask in masks[1:]:
        together = pc.and_(_whole(together), _whole(mask))
    return _whole(together).fill_null(fill_value=False)


def _by_id(ids: pa.ChunkedArray, search: Search, own: pa.Array | None) -> list[pa.Array]:
    masks = []
    if own is not None:
        masks.append(pc.is_in(ids, value_set=own))
    if search.q is not None:
        masks.append(pc.match_substring(ids, search.q))
    return masks


def _by_place(rows: pa.Table, search: Search) -> list[pa.Array]:
    masks = []
    if search.class_ is not None:
        masks.append(pc.equal(rows["class"], search.class_))
    if search.near is not None:
        lat, lon = (rows[name].to_numpy().astype(np.float64) for name in ("latitude", "longitude"))
        masks.append(pa.array(_distance_m(search.near, lat, lon) <= search.radius_m))
    return masks


def _distance_m(near: tuple[float, float], latitude: Any, longitude: Any) -> Any:
    """Great-circle distance (m) of places (degrees) from one; NaN where a place is not known."""
    lat, lon, lat0, lon0 = (np.radians(x) for x in (latitude, longitude, *near))
    with np.errstate(invalid="ignore"):
        a = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin((lon - lon0) / 2) ** 2
        return 2 * EARTH_M * np.arcsin(np.sqrt(np.minimum(a, 1.0)))


def _has_channel(channels: pa.ChunkedArray, channel: str) -> pa.Array:
    return _whole(pc.match_substring_regex(channels, f"(^|;){re.escape(channel)}(;|$)"))
