"""Who is asked about: an id becomes meters for a time, and a fleet becomes meters at labelled places."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import Invalid, NotFound
from meterlake.query.places import ALWAYS, NOWHERE, UNKNOWN, Places
from meterlake.query.single import Piece
from meterlake.query.sums import codes_of
from meterlake.registry import GEOHASH_DIGITS
from meterlake.slots import id_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Registry
    from meterlake.strips import Ints

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)

KINDS: Final = ("service_point", "meter")
KEYS: Final = ("channel", "region", "class")
"""What a fleet may be split by; the channel always splits it, because units differ."""


KEPT_SUBJECTS: Final = 10_000
"""Subjects kept; beyond it all are made anew."""


class Subject(NamedTuple):
    """What an id stands for."""

    pieces: list[Piece]
    zone: str
    registered: bool


def seconds(column: pa.ChunkedArray, instead: int) -> Ints:
    """Seconds since 1970 of a column of timestamps; ``instead`` where it is null."""
    filled = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).fill_null(instead * 1_000_000)
    moments: Ints = -(-filled.to_numpy() // 1_000_000)
    return moments


def _second(moment: datetime | None, instead: int) -> int:
    """Second since 1970 of a moment, rounded up; ``instead`` where there is none."""
    return instead if moment is None else math.ceil((moment - _EPOCH) / _SECOND)


def subject(registry: Registry | None, id_: str, kind: str | None) -> Subject:
    """Meters that ``id_`` stands for: those of a service point, else the meter of that name.

    A meter is asked for all time and expected to send while it was installed anywhere.
    """
    if kind not in {None, *KINDS}:
        raise Invalid(f"kind {kind!r}: write service_point or meter")
    return _subject(None if registry is None else registry.installations(id_), id_, kind)


class Subjects:
    """Subjects by id and kind, made anew when the registry gives another table of stays than before."""

    def __init__(self, registry: Registry | None) -> None:
        """Ask ``registry``; None: every id is a meter of that name."""
        self._registry = registry
        self._made: dict[tuple[str, str | None], tuple[pa.Table, Subject]] = {}

    def subject(self, id_: str, kind: str | None) -> Subject:
        """Return what `subject` does."""
        if self._registry is None or kind not in {None, *KINDS}:
            return subject(self._registry, id_, kind)
        stays = self._registry.installations(id_)
        known, found = self._made.get((id_, kind), (None, None))
        if known is stays and found is not None:
            return found
        found = _subject(stays, id_, kind)
        if len(self._made) >= KEPT_SUBJECTS:
            self._made = {}  # threads that still write to the one before only lose what they made
        self._made[id_, kind] = stays, found
        return found


def _subject(stays: pa.Table | None, id_: str, kind: str | None) -> Subject:
    if stays is None or not len(stays):
        return Subject([Piece(id_, ALWAYS, (ALWAYS,), None)], "UTC", registered=False)
    rows = stays.select(["meter_id", "service_point_id", "from", "to", "interval_s", "zone"]).to_pylist()
    start = [_second(row["from"], ALWAYS[0]) for row in rows]
    stop = [_second(row["to"], ALWAYS[1]) for row in rows]
    at_point = [i for i, row in enumerate(rows) if row["service_point_id"] == id_]
    zone = next((row["zone"] for row in rows if row["zone"]), "UTC")
    if at_point and kind != "meter":
        pieces = [
            Piece(rows[i]["meter_id"], (start[i], stop[i]), ((start[i], stop[i]),), rows[i]["interval_s"])
            for i in at_point
        ]
        return Subject(pieces, zone, registered=True)
    if kind == "service_point":
        raise NotFound(f"no service point {id_}: it is a meter, ask with kind meter")
    own = [i for i, row in enumerate(rows) if row["meter_id"] == id_]
    installed = tuple((start[i], stop[i]) for i in own) or (ALWAYS,)
    billing = next((rows[i]["interval_s"] for i in own if rows[i]["interval_s"]), None)
    return Subject([Piece(id_, ALWAYS, installed, billing)], zone, registered=bool(own))


class Atlas:
    """Places by what they are split by, made anew whenever the registry gives other tables than before."""

    def __init__(self, registry: Registry | None) -> None:
        """Ask ``registry``; None: nothing is known of any meter."""
        self._registry = registry
        self._tables: tuple[pa.Table, pa.Table | None] | None = None
        self._made: dict[tuple[tuple[str, ...], int], Places] = {}

    def places(self, by: Sequence[str], digits: int) -> Places:
        """Stays of all registered meters, labelled with the keys of ``by`` that are about places."""
        unknown = [key for key in by if key not in KEYS]
        if unknown:
            raise Invalid(f"by {', '.join(unknown)}: write any of {', '.join(KEYS)}")
        if not 1 <= digits <= GEOHASH_DIGITS:
            raise Invalid(f"region digits {digits}: write 1 to {GEOHASH_DIGITS}")
        keys = tuple(key for key in by if key != "channel")
        if self._registry is None:
            return replace(NOWHERE, labels=[(None,) * len(keys)])
        meters, points = self._registry.table("meters"), self._registry.table("service_points")
        if self._tables is None or self._tables[0] is not meters or self._tables[1] is not points:
            self._tables, self._made = (meters, points), {}
        made = self._made
        if (keys, digits) not in made:
            made[keys, digits] = _places(meters, points, keys, digits)
        return made[keys, digits]


def _places(meters: pa.Table, points: pa.Table, keys: Sequence[str], digits: int) -> Places:
    labels, codes = labels_of(points, keys, digits)
    return stays_at(meters, labels, np.append(codes[::-1], UNKNOWN)[homes_of(meters, points)])


def homes_of(meters: pa.Table, points: pa.Table) -> Ints:
    """Newest row of the service point of each stay, counted from the last row of all; -1 where it is not known."""
    backwards = points["service_point_id"].combine_chunks()[::-1]
    homes: Ints = pc.index_in(meters["service_point_id"], value_set=backwards).fill_null(-1).to_numpy()
    return homes


def stays_at(meters: pa.Table, labels: Sequence[tuple[str | None, ...]], label: Ints) -> Places:
    """Places of all stays, each with its label."""
    names = id_bytes(meters["meter_id"].combine_chunks())
    start, stop = seconds(meters["from"], ALWAYS[0]), seconds(meters["to"], ALWAYS[1])
    billed = meters["interval_s"].cast(pa.int64()).fill_null(0).to_numpy()
    order = np.lexsort((start, names))
    return Places(labels, names[order], start[order], stop[order], label[order], billed[order])


def labels_of(
    points: pa.Table, keys: Sequence[str], digits: int
) -> tuple[list[tuple[str | None, ...]], Ints]:
    """Distinct labels, that of an unknown place first, and the code of each service point's."""
    labels: list[tuple[str | None, ...]] = [(None,) * len(keys)]
    columns = {"region": pc.utf8_slice_codeunits(points["geohash"], 0, digits), "class": points["class"]}
    encoded = [columns[key].combine_chunks().dictionary_encode("encode") for key in keys]
    code, one = (
        codes_of(*(column.indices.to_numpy(zero_copy_only=False) for column in encoded))
        if keys
        else (None, None)
    )
    if code is None or one is None:
        return labels, np.zeros(len(points), np.int64)
    texts = [column.dictionary.to_pylist() for column in encoded]
    labels += [
        tuple(text[column.indices[row].as_py()] for text, column in zip(texts, encoded, strict=True))
        for row in one.tolist()
    ]
    return labels, code + 1
