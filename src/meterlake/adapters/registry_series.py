"""Series in the registry's database: the place of every meter-channel, and what is kept of it.

Every nightly load touches every series, so they are kept in parts by the hash of the meter id, each a table of
Arrow bytes: ten million rows pass in seconds where as many SQL rows would take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import delete, func, insert, select

from meterlake.adapters.registry_schema import BUCKETS, SERIES, VERSIONS
from meterlake.partition import partition_of
from meterlake.registry import SERIES_STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from sqlalchemy import Connection

KEY: Final = ["meter_id", "channel", "interval_s"]
FIGURES: Final = ["first_s", "last_s", "filled"]

PARTITIONS: Final = 1024
"""ids.PARTITIONS, not imported because `ids` loads the compiler."""

PARTS: Final = 256
"""Parts of four partitions: small enough that a correction of few meters reads few, large enough to pack well."""

PARTS_AT_ONCE: Final = 32
"""Parts that are changed together, which bounds memory."""

PIECE: Final = 2 << 20
"""Bytes of a part, before they are packed, that one row of the table takes: MariaDB refuses rows of 16 MB.

Piece ``k`` of part ``p`` is the row ``p + k * PARTS``.
"""

ASKED_SINGLY: Final = 500
"""Parts of up to so many meters are found in plain Python, of more by the compiled hash."""


def read(connection: Connection, meter_ids: pa.Array | None) -> pa.Table:
    """Rows of SERIES_STATE of some meters, or of all."""
    if meter_ids is None:
        return _parts(connection, None)
    wanted = pc.unique(meter_ids)
    rows = _parts(connection, sorted(set(_parts_of(wanted).tolist())))
    return rows.filter(pc.is_in(rows["meter_id"], value_set=wanted))


def channels(rows: pa.Table) -> pa.Table:
    """Meters of SERIES_STATE ``rows`` and the channels of each: ``meter_id`` and ``channels``."""
    lists = (
        rows.sort_by("channel").group_by("meter_id", use_threads=False).aggregate([("channel", "distinct")])
    )
    texts = pc.binary_join(lists["channel_distinct"].combine_chunks(), ";")
    return pa.table({"meter_id": lists["meter_id"], "channels": texts}).sort_by("meter_id")


def take(connection: Connection, rows: pa.Table, buckets: int, *, whole: bool) -> int:
    """Add ``rows`` (merge.SERIES_SCHEMA) to what is known, or put them in its place; return how many are new."""
    part = _parts_of(rows["meter_id"].combine_chunks())
    order = np.argsort(part, kind="stable")
    borders = np.searchsorted(part[order], np.arange(PARTS + 1))
    given = np.zeros(buckets, np.int64)
    for bucket, count in connection.execute(select(BUCKETS.c.bucket, BUCKETS.c.rows)):
        given[bucket] = count
    before = int(given.sum())
    for low in range(0, PARTS, PARTS_AT_ONCE):
        own = range(low, low + PARTS_AT_ONCE)
        span = borders[low], borders[low + PARTS_AT_ONCE]
        if whole or span[1] > span[0]:
            touched = [p for p in own if whole or borders[p + 1] > borders[p]]
            known = _parts(connection, touched)
            added = _summed(rows.take(pa.array(order[span[0] : span[1]])))
            merged = _merged(known, added, given, whole=whole)
            _write(connection, merged, touched)
    connection.execute(delete(BUCKETS))
    connection.execute(insert(BUCKETS), [{"bucket": b, "rows": n} for b, n in enumerate(given.tolist())])
    return int(given.sum()) - before


def _summed(rows: pa.Table) -> pa.Table:
    """One row a series, with the names of SERIES_STATE."""
    once = rows.group_by(KEY).aggregate([("first_s", "min"), ("last_s", "max"), ("gained", "sum")])
    return once.rename_columns([*KEY, *FIGURES])


def _merged(known: pa.Table, added: pa.Table, given: npt.NDArray[np.int64], *, whole: bool) -> pa.Table:
    """Known series with ``added`` laid in, and new ones with their places; ``given`` counts these by bucket."""
    n = len(known)
    places = known.select(KEY).append_column("at", pa.array(np.arange(n)))
    added = added.append_column("order", pa.array(np.arange(len(added))))
    both = added.join(places, KEY, join_type="left outer").sort_by("order")
    at = both["at"].fill_null(-1).to_numpy()
    old, new = at >= 0, at < 0
    columns = {name: known[name].to_numpy().copy() for name in FIGURES}
    told = {name: both[name].to_numpy() for name in FIGURES}
    if whole:
        columns["filled"][:] = 0
    for name, change in (("first_s", np.minimum), ("last_s", np.maximum), ("filled", np.add)):
        now = columns[name][at[old]]
        columns[name][at[old]] = told[name][old] if whole else change(now, told[name][old])
    fresh = both.filter(pa.array(new))
    bucket, row = _places(fresh["meter_id"], given)
    arrays = [pa.chunked_array([*known[name].chunks, *fresh[name].chunks], known[name].type) for name in KEY]
    arrays += [
        pa.chunked_array([*known["bucket"].chunks, pa.array(bucket)], pa.int32()),
        pa.chunked_array([*known["row"].chunks, pa.array(row)], pa.int32()),
    ]
    arrays += [pa.chunked_array([pa.array(np.append(columns[name], told[name][new]))]) for name in FIGURES]
    return pa.Table.from_arrays(arrays, schema=SERIES_STATE)


def _places(meter_ids: pa.ChunkedArray, given: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """Bucket and row of new series, in their order within a bucket; ``given`` is counted up."""
    buckets = len(given)
    bucket = _partitions_of(meter_ids.combine_chunks()) * buckets // PARTITIONS
    counts = np.bincount(bucket, minlength=buckets)
    order = np.argsort(bucket, kind="stable")
    row = np.empty(len(bucket), np.int64)
    row[order] = np.arange(len(bucket)) - np.repeat(np.cumsum(counts) - counts, counts)
    row += given[bucket]
    given += counts
    return bucket.astype(np.int32), row.astype(np.int32)


def _partitions_of(meter_ids: pa.Array) -> npt.NDArray[np.int64]:
    if len(meter_ids) <= ASKED_SINGLY:
        return np.array([partition_of(name) for name in meter_ids.to_pylist()], np.int64)
    from meterlake.ids import MeterIds  # the compiler: only where a load has brought it

    ids = MeterIds()
    return ids.partitions(ids.codes_of(meter_ids)).astype(np.int64)


def _parts_of(meter_ids: pa.Array) -> npt.NDArray[np.int64]:
    return _partitions_of(meter_ids) * PARTS // PARTITIONS


def _parts(connection: Connection, parts: list[int] | None) -> pa.Table:
    query = select(SERIES.c.content).order_by(SERIES.c.part)
    if parts is not None:
        query = query.where(SERIES.c.part.in_(_pieces(connection, parts)))
    held = [pa.ipc.open_stream(content).read_all() for content in connection.execute(query).scalars()]
    return pa.concat_tables([SERIES_STATE.empty_table(), *held])


def _pieces(connection: Connection, parts: list[int]) -> list[int]:
    """Rows of the table where the pieces of ``parts`` are."""
    last = connection.execute(select(func.max(SERIES.c.part))).scalar() or 0
    return [part + first for first in range(0, last + 1, PARTS) for part in parts]


def _write(connection: Connection, rows: pa.Table, parts: list[int]) -> None:
    """Put ``rows`` in the place of all that ``parts`` held."""
    connection.execute(delete(SERIES).where(SERIES.c.part.in_(_pieces(connection, parts))))
    contents = list(_packed(rows))
    if contents:
        connection.execute(insert(SERIES), contents)


def _packed(rows: pa.Table) -> Iterator[dict[str, Any]]:
    part = _parts_of(rows["meter_id"].combine_chunks())
    order = np.argsort(part, kind="stable")
    borders = np.flatnonzero(np.diff(part[order], prepend=-1, append=PARTS))
    rows = rows.take(pa.array(order)).combine_chunks()
    for low, high in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        own = rows.slice(low, high - low)
        step = max(1, PIECE * len(own) // max(1, own.nbytes))
        for piece, at in enumerate(range(0, len(own), step)):
            yield {"part": int(part[order[low]]) + piece * PARTS, "content": _bytes(own.slice(at, step))}


def _bytes(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, SERIES_STATE, options=options) as writer:
        writer.write_table(rows)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


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
