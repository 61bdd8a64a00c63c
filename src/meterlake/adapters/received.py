"""Messages of shards as a Delta table of a lake, as they were received: what a stream job takes out of the log for good.

How far each shard has come is an application transaction of the commit that brought its files, so that a message is there
once, whatever is killed when. Files hold messages of one shard by rising offset; none is ever changed.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from meterlake.adapters.delta_place import Place
from meterlake.adapters.delta_records import make_table
from meterlake.errors import ConcurrentCommit
from meterlake.messages import BATCH_HEADER, SOURCE_HEADER
from meterlake.ports import Received, ReceivedFile, Record
from meterlake.readings import UTC_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deltalake import DeltaTable

    from meterlake.adapters.store_folder import FolderStore
    from meterlake.adapters.store_s3 import S3Store

TABLE: Final = "received"
LAYOUT: Final = "layout"
GROUP_BYTES: Final = 32 << 20
"""Bytes of messages in a row group, about, which is what readers hold at once."""

HEADER: Final = pa.struct([pa.field("name", pa.string()), pa.field("value", pa.binary())])
RECEIVED_SCHEMA: Final = pa.schema(
    [
        pa.field("shard", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("at", UTC_US),
        pa.field("batch_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(HEADER)),
    ]
)
"""One message a row; ``batch_id`` and ``source`` are null for what another program wrote."""


def write(store: FolderStore | S3Store, records: Sequence[Record]) -> ReceivedFile:
    """Write messages of one shard, by rising offset, as one file; durable, and nothing until a commit names it."""
    path, first, last = f"{uuid.uuid4().hex}.parquet", records[0], records[-1]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, RECEIVED_SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for some in _groups(records):
            writer.write_table(_table(some))
    data = sink.getvalue()
    store.write(f"{TABLE}/{path}", data)
    newest = max(record.at_us for record in records)
    return ReceivedFile(path, data.size, first.shard, first.offset, last.offset, len(records), newest)


def _groups(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    ends = np.cumsum([len(record.data) for record in records]) // GROUP_BYTES
    borders = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(records)]
    for low, high in itertools.pairwise(borders):
        yield records[low:high]


def _table(records: Sequence[Record]) -> pa.Table:
    told = [dict(record.headers) for record in records]
    columns = [
        [record.shard for record in records],
        [record.offset for record in records],
        [record.at_us for record in records],
        [_text(one.get(BATCH_HEADER)) for one in told],
        [_text(one.get(SOURCE_HEADER)) for one in told],
        [record.data for record in records],
        [[{"name": name, "value": value} for name, value in record.headers] for record in records],
    ]
    arrays = [pa.array(one, field.type) for one, field in zip(columns, RECEIVED_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=RECEIVED_SCHEMA)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


class DeltaReceived:
    """`ports.Received` beside a lake. Safe to share between threads."""

    def __init__(self, store: FolderStore | S3Store) -> None:
        """Find the table in ``store``; it is made by the first commit."""
        self.store, self._place = store, Place(store)
        self._held: DeltaTable | None = None
        self._lock = Lock()

    def _table(self) -> DeltaTable | None:
        """The table as it is now; None where there is none."""
        if self._held is None and self._place.has(TABLE):
            self._held = self._place.open(TABLE)
        if self._held is not None:
            self._held.update_incremental()
        return self._held

    def bounds(self, shard: str) -> tuple[int, int] | None:
        """Return the offset that a shard was received from, and that after the last; None for nothing."""
        with self._lock:
            table = self._table()
            end = None if table is None else table.transaction_version(_until(shard))
            if table is None or end is None:
                return None
            return int(table.transaction_version(_since(shard)) or 0), int(end)

    def commit(self, files: Sequence[ReceivedFile], since: Mapping[str, int]) -> None:
        """Make ``files`` part of the table; ``since`` tells where shards begin of which it has nothing.

        Raises:
            ConcurrentCommit: another job was faster; ask for `bounds` again.
            MeterlakeError: the store did not answer; it may have landed or not.

        """
        with self._lock:
            table = self._table()
            if table is None:
                make_table(self._place, TABLE, RECEIVED_SCHEMA)
                table = self._table()
            assert table is not None, "it was made"
            transactions = {LAYOUT: int(table.transaction_version(LAYOUT) or 0) + 1}
            for shard, first in since.items():
                if table.transaction_version(_until(shard)) is None:
                    transactions[_since(shard)] = first
            for file in files:
                known = table.transaction_version(_until(file.shard))
                if known is not None and file.first < known:
                    raise ConcurrentCommit(f"{file.shard} is received up to {known} by now")
                transactions[_until(file.shard)] = max(transactions.get(_until(file.shard), 0), file.last + 1)
            self._place.commit(table, [_add(file) for file in files], transactions)
            self._place.sync(TABLE, table.version())

    def files(self) -> list[ReceivedFile]:
        """Return the files of the table by shard and offset."""
        with self._lock:
            table = self._table()
            if table is None:
                return []
            listed = pa.table(table.get_add_actions(flatten=True))
        newest = pc.cast(listed["max.at"], pa.int64()).to_pylist()
        names = ("path", "size_bytes", "min.shard", "min.offset", "max.offset", "num_records")
        rows = zip(*(listed[name].to_pylist() for name in names), newest, strict=True)
        return sorted((ReceivedFile(*row) for row in rows), key=lambda one: (one.shard, one.first))

    def read(self, shard: str, offset: int) -> Iterator[Sequence[Record]]:
        """Yield the messages of a shard from ``offset`` on, some at a time."""
        for file in self.files():
            if file.shard != shard or file.last < offset:
                continue
            held = pq.ParquetFile(self.store.opened(f"{TABLE}/{file.path}"), page_checksum_verification=True)
            for group in range(held.num_row_groups):
                records = [one for one in _records(held.read_row_group(group)) if one.offset >= offset]
                if records:
                    yield records

    def drop(self, goes: Callable[[ReceivedFile], bool]) -> list[ReceivedFile]:
        """Take the files out of the table for which ``goes`` says so, and delete them; return them."""
        while True:
            old = [file for file in self.files() if goes(file)]
            if not old:
                return []
            now_ms = time.time_ns() // 1_000_000
            gone = [RemoveAction(file.path, True, now_ms, file.bytes, {}) for file in old]
            with self._lock, suppress(ConcurrentCommit):
                table = self._table()
                assert table is not None, "it has files"
                self._place.commit(table, gone, {LAYOUT: int(table.transaction_version(LAYOUT) or 0) + 1})
                self._place.sync(TABLE, table.version())
                break
        for file in old:
            self.store.delete(f"{TABLE}/{file.path}")
        return old


def _records(rows: pa.Table) -> list[Record]:
    at_us = pc.cast(rows["at"], pa.int64()).to_pylist()
    headers = [[(one["name"], one["value"]) for one in some] for some in rows["headers"].to_pylist()]
    columns = (rows["shard"].to_pylist(), rows["offset"].to_pylist(), at_us, rows["value"].to_pylist())
    return [Record(*row) for row in zip(*columns, headers, strict=True)]


def _add(file: ReceivedFile) -> AddAction:
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(file.newest_us // 1_000_000))
    high = {
        "shard": file.shard,
        "offset": file.last,
        "at": f"{at}.{file.newest_us // 1000 % 1000:03d}Z",
    }
    low: dict[str, Any] = {"shard": file.shard, "offset": file.first}
    stats = {
        "numRecords": file.rows, "minValues": low, "maxValues": high, "nullCount": {"shard": 0, "offset": 0, "at": 0},
    }  # fmt: skip
    return AddAction(file.path, file.bytes, {}, time.time_ns() // 1_000_000, True, json.dumps(stats))


def _until(shard: str) -> str:
    return f"{TABLE}:{shard}"


def _since(shard: str) -> str:
    return f"{TABLE}-since:{shard}"


_CONFORMS: type[Received] = DeltaReceived
