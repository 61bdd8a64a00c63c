"""Meters at a service point for as long as it is somebody's."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meterlake.query.places import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Registry

Span = tuple[int, int]

STAY: Final = ("meter_id", "service_point_id", "from", "to", "channels", "interval_s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


def second(moment: datetime | None, instead: int) -> int:
    """Second since 1970 of a moment, rounded up; ``instead`` where there is none."""
    return instead if moment is None else math.ceil((moment - _EPOCH) / _SECOND)


def moment(seconds: int) -> datetime | None:
    """Moment of a second since 1970; None beyond all time."""
    return _EPOCH + timedelta(seconds=seconds) if ALWAYS[0] < seconds < ALWAYS[1] else None


def span_of(row: dict[str, Any]) -> Span:
    """Seconds from ``from`` to before ``to`` of a row."""
    return second(row["from"], ALWAYS[0]), second(row["to"], ALWAYS[1])


def parts(span: Span, within: Sequence[Span] | None) -> list[Span]:
    """Parts of a span within some times; the whole for None."""
    if within is None:
        return [span]
    both = ((max(span[0], low), min(span[1], high)) for low, high in sorted(within))
    return [(start, stop) for start, stop in both if start < stop]


def stays(registry: Registry, service_point: str, within: Sequence[Span] | None) -> list[dict[str, Any]]:
    """Return the meters that were at a service point, each for the part of its time that is ``within``."""
    rows = registry.installations(service_point).select(STAY).to_pylist()
    return [
        row | {"from": moment(start), "to": moment(stop)}
        for row in rows
        if row["service_point_id"] == service_point
        for start, stop in parts(span_of(row), within)
    ]


def now_there(
    registry: Registry, service_point: str, within: Sequence[Span] | None, now_s: int
) -> list[tuple[str, int]]:
    """Return the meters that are at a service point now, each with the second since when it counts."""
    found = []
    for row in stays(registry, service_point, within):
        start, stop = span_of(row)
        if start <= now_s < stop:
            found.append((row["meter_id"], start))
    return found
