"""The stays of one meter or at one service point: the short way that every question about one id takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from sqlalchemy import and_, bindparam, select, union

from meterlake.adapters import registry_series
from meterlake.adapters.registry_schema import METERS, POINTS, fetched
from meterlake.readings import UTC_US
from meterlake.registry import INSTALLATION_SCHEMA, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

Row = tuple[Any, ...]

_OWN: Final = tuple(SHAPES["meters"].columns)
_PLACE: Final = tuple(name for name in INSTALLATION_SCHEMA.names if name not in _OWN)
_FROM, _TO = _OWN.index("from"), _OWN.index("to")
_SINCE: Final = len(_OWN)
"""Where a row of the query has the start of its place's row, before the columns of the place itself."""
_EVER: Final = -(2**63)
_STORED: Final = pa.schema(
    [(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in INSTALLATION_SCHEMA]
)

_NAMED: Final = union(
    select(METERS.c.meter_id).where(METERS.c.meter_id == bindparam("meter")),
    select(METERS.c.meter_id).where(METERS.c.service_point_id == bindparam("point")),
).subquery("named")
_HERE: Final = and_(
    POINTS.c.service_point_id == METERS.c.service_point_id,
    POINTS.c.superseded.is_(None),
    POINTS.c["from"].is_distinct_from(POINTS.c.to) | POINTS.c["from"].is_(None),
)
QUERY: Final = (
    select(
        *(METERS.c[name] for name in _OWN),
        POINTS.c["from"].label("since"),
        *(POINTS.c[name] for name in _PLACE),
    )
    .select_from(_NAMED.join(METERS, METERS.c.meter_id == _NAMED.c.meter_id).outerjoin(POINTS, _HERE))
    .where(METERS.c.superseded.is_(None))
)
"""All stays of the meters that are, or were ever told to be at, an id, each with every row of its place."""


def stays(connection: Connection, query: str, id_: str) -> pa.Table:
    """Rows of INSTALLATION_SCHEMA of a meter or at a service point, by start; ``query`` is QUERY in SQL."""
    rows = fetched(connection, query, (id_, id_))
    held = [row for row in _followed(_newest_place(rows)) if id_ in row[:2]]
    if not held:
        held = list(_seen(connection, id_))
    held.sort(key=lambda row: (_EVER if row[_FROM] is None else row[_FROM], row[0]))
    columns = zip(*held, strict=True) if held else [()] * len(_STORED)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _STORED.types, strict=True)]
    for at in (_FROM, _TO):
        arrays[at] = arrays[at].view(UTC_US)
    return pa.Table.from_arrays(arrays, schema=INSTALLATION_SCHEMA)


def _newest_place(rows: Iterable[Row]) -> list[Row]:
    """One row a stay: that with the row of its place that begins last."""
    best: dict[tuple[str, int | None], Row] = {}
    for row in rows:
        held = best.setdefault((row[0], row[_FROM]), row)
        if held is not row and (row[_SINCE] or _EVER) > (held[_SINCE] or _EVER):
            best[row[0], row[_FROM]] = row
    return [(*row[:_SINCE], *row[_SINCE + 1 :]) for row in best.values()]


def _followed(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of a meter cut where its next begins, as `registry.successions` does it for a whole table."""
    meters: dict[str, list[Row]] = {}
    for row in rows:
        if row[_FROM] is None or row[_FROM] != row[_TO]:
            meters.setdefault(row[0], []).append(row)
    for told in meters.values():
        told.sort(key=lambda row: _EVER if row[_FROM] is None else row[_FROM])
        begins = [row[_FROM] for row in told[1:]]
        for row, after in zip(told, [*begins, None], strict=True):
            ends = [end for end in (row[_TO], after) if end is not None]
            yield (*row[:_TO], min(ends, default=None), *row[_TO + 1 :])


def _seen(connection: Connection, id_: str) -> Iterator[Row]:
    """The row of a meter that is known by its readings alone."""
    channels = registry_series.read(connection, pa.array([id_]))["channel"].to_pylist()
    if channels:
        known = {"meter_id": id_, "channels": ";".join(sorted(set(channels)))}
        yield tuple(known.get(name) for name in INSTALLATION_SCHEMA.names)
