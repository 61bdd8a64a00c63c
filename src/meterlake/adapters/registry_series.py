"""Series in the registry's database: the place of every meter-channel, and what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import bindparam, delete, insert, select, update

from meterlake.adapters.registry_schema import BUCKETS, SERIES, VERSIONS, fetch, put, run
from meterlake.registry import SERIES_STATE

if TYPE_CHECKING:
    from sqlalchemy import Connection

KEY: Final = ["meter_id", "channel", "interval_s"]
FIGURES: Final = ["first_s", "last_s", "filled"]

ASKED_SINGLY: Final = 500
"""Up to so many meters are looked up by name; for more, all series are read and filtered."""


def read(connection: Connection, meter_ids: pa.Array | None) -> pa.Table:
    """Rows of SERIES_STATE of some meters, or of all, in the order of their keys."""
    query = select(*(SERIES.c[name] for name in SERIES_STATE.names)).order_by(*(SERIES.c[name] for name in KEY))
    if meter_ids is None:
        return fetch(connection, query, SERIES_STATE)
    wanted = pc.unique(meter_ids)
    if len(wanted) <= ASKED_SINGLY:
        return fetch(connection, query.where(SERIES.c.meter_id.in_(wanted.to_pylist())), SERIES_STATE)
    every = fetch(connection, query, SERIES_STATE)
    return every.filter(pc.is_in(every["meter_id"], value_set=wanted))


def channels(connection: Connection, meter_id: str | None = None) -> pa.Table:
    """Meters that sent readings and the channels of each, ``meter_id`` and ``channels``."""
    schema = pa.schema([("meter_id", pa.string()), ("channel", pa.string())])
    query = select(SERIES.c.meter_id, SERIES.c.channel).distinct().order_by(SERIES.c.meter_id, SERIES.c.channel)
    if meter_id is not None:
        query = query.where(SERIES.c.meter_id == meter_id)
    rows = fetch(connection, query, schema).combine_chunks()
    ids = rows["meter_id"].combine_chunks().dictionary_encode()
    borders = np.searchsorted(ids.indices.to_numpy(), np.arange(len(ids.dictionary) + 1)).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(borders), rows["channel"].combine_chunks())
    return pa.table({"meter_id": ids.dictionary, "channels": pc.binary_join(lists, ";")})


def take(connection: Connection, rows: pa.Table, buckets: int, *, whole: bool) -> int:
    """Add ``rows`` (merge.SERIES_SCHEMA) to what is known, or put them in its place; return how many are new."""
    if whole:
        connection.execute(update(SERIES).values(filled=0))
    added = rows.group_by(KEY).aggregate([("first_s", "min"), ("last_s", "max"), ("gained", "sum")])
    added = added.rename_columns([*KEY, *FIGURES])
    known = read(connection, added["meter_id"].combine_chunks() if not whole else None)
    both = added.join(known, KEY, join_type="left outer", right_suffix="_before")
    is_new = pc.is_null(both["bucket"])
    _insert(connection, both.filter(is_new), buckets)
    _update(connection, both.filter(pc.invert(is_new)), whole=whole)
    return int(pc.sum(is_new).as_py() or 0)


def _insert(connection: Connection, rows: pa.Table, buckets: int) -> None:
    """Give new series their places, in the order of their keys within a bucket."""
    if not len(rows):
        return
    from meterlake.ids import PARTITIONS, MeterIds  # the compiler's side: only a load comes here

    ids = MeterIds()
    rows = rows.sort_by([(name, "ascending") for name in KEY])
    partition = ids.partitions(ids.codes_of(rows["meter_id"])).astype(np.int64)
    bucket = partition * buckets // PARTITIONS
    given = dict(connection.execute(select(BUCKETS.c.bucket, BUCKETS.c.rows)).tuples().all())
    counts = np.bincount(bucket, minlength=buckets)
    order = np.argsort(bucket, kind="stable")
    row = np.empty(len(rows), np.int64)
    row[order] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    row += np.array([given.get(b, 0) for b in range(buckets)], np.int64)[bucket]
    totals = [{"bucket": b, "rows": int(n) + given.get(b, 0)} for b, n in enumerate(counts) if n]
    connection.execute(delete(BUCKETS).where(BUCKETS.c.bucket.in_([t["bucket"] for t in totals])))
    connection.execute(insert(BUCKETS), totals)
    placed = rows.select([*KEY, *FIGURES]).append_column("bucket", pa.array(bucket)).append_column("row", pa.array(row))
    put(connection, SERIES, placed)


def _update(connection: Connection, rows: pa.Table, *, whole: bool) -> None:
    """Write the figures of known series that have changed."""
    if not len(rows):
        return
    if whole:
        first, last, filled = (rows[name] for name in FIGURES)
    else:
        first = pc.min_element_wise(rows["first_s"], rows["first_s_before"])
        last = pc.max_element_wise(rows["last_s"], rows["last_s_before"])
        filled = pc.add(rows["filled"], rows["filled_before"])
        same = pc.and_(pc.equal(first, rows["first_s_before"]), pc.equal(last, rows["last_s_before"]))
        changed = pc.invert(pc.and_(same, pc.equal(rows["filled"], 0)))
        rows, first, last, filled = (column.filter(changed) for column in (rows, first, last, filled))
    told = pa.table([first, last, filled, *(rows[name] for name in KEY)], names=[*FIGURES, *(f"is_{k}" for k in KEY)])
    conditions = [SERIES.c[name] == bindparam(f"is_{name}") for name in KEY]
    statement = update(SERIES).where(*conditions).values({name: bindparam(name) for name in FIGURES})
    run(connection, statement, told.sort_by("is_meter_id"))


def covered(connection: Connection) -> int:
    """Newest version that is held with all before it."""
    versions = connection.execute(select(VERSIONS.c.version).order_by(VERSIONS.c.version)).scalars().all()
    reach = next((n for n, version in enumerate(versions) if version != versions[0] + n), len(versions))
    return int(versions[reach - 1])


def holds(connection: Connection, version: int) -> bool:
    """Whether the series have taken ``version`` over."""
    versions = connection.execute(select(VERSIONS.c.version)).scalars().all()
    return version <= min(versions) or version in versions


def mark(connection: Connection, version: int, *, whole: bool) -> None:
    """Note that ``version`` is held; with ``whole``, all before it and none after it."""
    if whole:
        connection.execute(delete(VERSIONS))
    connection.execute(insert(VERSIONS).values(version=version))
    connection.execute(delete(VERSIONS).where(VERSIONS.c.version < covered(connection)))
