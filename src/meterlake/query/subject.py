"""Who is asked about: an id becomes meters for a time, and a fleet becomes meters at labelled places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.query.places import ALWAYS, NOWHERE, UNKNOWN, Places
from meterlake.query.single import Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Registry
    from meterlake.strips import Ints

KINDS: Final = ("service_point", "meter")
KEYS: Final = ("channel", "region", "class")
"""What a fleet may be split by; the channel always splits it, because units differ."""


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


def subject(registry: Registry | None, id_: str, kind: str | None) -> Subject:
    """Meters that ``id_`` stands for: those of a service point, else the meter of that name.

    A meter is asked for all time and expected to send while it was installed anywhere.
    """
    if kind not in {None, *KINDS}:
        raise Invalid(f"kind {kind!r}: write service_point or meter")
    rows = [] if registry is None else registry.installations(id_).to_pylist()
    spans = registry.installations(id_) if rows and registry is not None else None
    if spans is None:
        return Subject([Piece(id_, ALWAYS, (ALWAYS,), None)], "UTC", registered=False)
    start, stop = seconds(spans["from"], ALWAYS[0]).tolist(), seconds(spans["to"], ALWAYS[1]).tolist()
    at_point = [i for i, row in enumerate(rows) if row["service_point_id"] == id_]
    zone = next((row["zone"] for row in rows if row.get("zone")), "UTC")
    if at_point and kind != "meter":
        pieces = [
            Piece(rows[i]["meter_id"], (start[i], stop[i]), ((start[i], stop[i]),), rows[i]["interval_s"])
            for i in at_point
        ]
        return Subject(pieces, zone, registered=True)
    own = [i for i, row in enumerate(rows) if row["meter_id"] == id_]
    installed = tuple((start[i], stop[i]) for i in own) or (ALWAYS,)
    billing = next((rows[i]["interval_s"] for i in own if rows[i]["interval_s"]), None)
    return Subject([Piece(id_, ALWAYS, installed, billing)], zone, registered=bool(own))


def places(registry: Registry | None, by: Sequence[str], digits: int) -> Places:
    """Stays of all registered meters, labelled with the keys of ``by`` that are about places."""
    unknown = [key for key in by if key not in KEYS]
    if unknown:
        raise Invalid(f"by {', '.join(unknown)}: write any of {', '.join(KEYS)}")
    if not 1 <= digits <= 12:  # noqa: PLR2004 - a geohash has 1 to 12 characters
        raise Invalid(f"region digits {digits}: write 1 to 12")
    keys = [key for key in by if key != "channel"]
    if registry is None:
        return NOWHERE if not keys else _empty(keys)
    meters = registry.table("meters")
    if not len(meters):
        return _empty(keys)
    labels, codes = _point_labels(registry, keys, digits)
    points = meters["service_point_id"].to_pylist()
    label = np.array([codes.get(point, UNKNOWN) for point in points], np.int64)
    names = np.array([name.encode() for name in meters["meter_id"].to_pylist()])
    start, stop = seconds(meters["from"], ALWAYS[0]), seconds(meters["to"], ALWAYS[1])
    order = np.lexsort((start, names))
    billing = {
        name: length
        for name, length in zip(meters["meter_id"].to_pylist(), meters["interval_s"].to_pylist(), strict=True)
        if length
    }
    return Places(labels, names[order], start[order], stop[order], label[order], billing)


def _empty(keys: Sequence[str]) -> Places:
    return Places([(None,) * len(keys)], NOWHERE.meters, NOWHERE.start, NOWHERE.stop, NOWHERE.label, {})


def _point_labels(
    registry: Registry, keys: Sequence[str], digits: int
) -> tuple[list[tuple[str | None, ...]], dict[str, int]]:
    """Distinct labels, and the code of each service point's."""
    labels: list[tuple[str | None, ...]] = [(None,) * len(keys)]
    if not keys:
        return labels, {}
    points = registry.table("service_points")
    columns: dict[str, list[Any]] = {
        "region": [hash_ and hash_[:digits] for hash_ in points["geohash"].to_pylist()],
        "class": points["class"].to_pylist(),
    }
    known = {labels[0]: UNKNOWN}
    codes = {}
    for name, *label in zip(points["service_point_id"].to_pylist(), *(columns[key] for key in keys), strict=True):
        code = known.setdefault(tuple(label), len(labels))
        if code == len(labels):
            labels.append(tuple(label))
        codes[name] = code
    return labels, codes
