"""Whole merged blocks that wait beside the files: they stand for the rows of their keys until they are folded in.

Late readings touch few blocks of large files. Instead of writing those again for each seal, the merged blocks
are laid over them, and one `fold` a day, or before a job that rewrites files, puts them in.
"""

from __future__ import annotations

import json
import time
import uuid
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, KEY, sort_blocks
from meterlake.errors import ConcurrentCommit
from meterlake.ledger import Delivered, operation_row
from meterlake.ports import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meterlake.block_keys import BlockKeys
    from meterlake.ports import DataFile, Lake, Snapshot
    from meterlake.strips import Ints

_kept: WeakKeyDictionary[Any, tuple[int, pa.Table]] = WeakKeyDictionary()

NONE: Final = BLOCK_SCHEMA.empty_table()


def pending(lake: Lake, snapshot: Snapshot) -> pa.Table:
    """Blocks that stand over the files of ``snapshot``: BLOCK_SCHEMA, one row a key, in key order."""
    kept = _kept.get(lake)
    if kept is None or kept[0] != snapshot.version:
        kept = snapshot.version, _newest(lake, snapshot.version)
        _kept[lake] = kept
    return kept[1]


def waiting_rows(lake: Lake, version: int) -> pa.Table:
    """Rows of PENDING_SCHEMA that no fold up to ``version`` has taken."""
    rows = lake.records("pending_blocks")
    if not len(rows):
        return rows
    at = rows["version"]
    return rows.filter(pc.and_(pc.less_equal(at, version), pc.greater(at, folded_through(lake, version))))


def folded_through(lake: Lake, version: int) -> int:
    """Newest version whose pending blocks are in the files of ``version``."""
    operations = lake.records("operations")
    mine = pc.and_(pc.equal(operations["operation"], "fold"), pc.less_equal(operations["version"], version))
    receipts = operations.filter(mine)["receipt"].to_pylist()
    return max((json.loads(receipt)["pending_through"] for receipt in receipts), default=0)


def _newest(lake: Lake, version: int) -> pa.Table:
    rows = waiting_rows(lake, version)
    if not len(rows):
        return NONE
    order = [*((name, "ascending") for name in KEY), ("version", "descending")]
    rows = rows.take(pc.sort_indices(rows, order)).combine_chunks()
    again = np.ones(len(rows), bool)
    again[0] = False
    for name in KEY:
        again[1:] &= pc.equal(rows[name].slice(1), rows[name].slice(0, len(rows) - 1)).to_numpy()
    return rows.filter(pa.array(~again)).select(BLOCK_SCHEMA.names).cast(BLOCK_SCHEMA)


def of_meters(rows: pa.Table, meters: tuple[str, str] | None) -> pa.Table:
    """Rows, sorted by ``meter_id``, of meters within the closed range."""
    if meters is None or not len(rows):
        return rows
    ids = rows["meter_id"]
    low = bisect_left(ids, meters[0], key=_text)
    return rows.slice(low, bisect_right(ids, meters[1], lo=low, key=_text) - low)


def _text(scalar: Any) -> str:
    return str(scalar.as_py())


class Over:
    """The pending blocks of a snapshot, ready to be looked up by key."""

    def __init__(self, blocks: pa.Table, keys: BlockKeys | None = None) -> None:
        """Number the keys of ``blocks`` (BLOCK_SCHEMA in key order) by ``keys``."""
        from meterlake.block_keys import BlockKeys  # loads the compiler, which no question needs

        self.blocks = blocks
        self._keys = keys or BlockKeys()
        self.numbers: Ints = np.sort(self._keys.of(blocks))

    def covers(self, rows: pa.Table) -> Any:
        """Which of ``rows`` a pending block stands for: bool, one a row."""
        from meterlake.block_keys import among

        return among(self._keys.of(rows), self.numbers) if len(self.numbers) else np.zeros(len(rows), bool)

    def near(self, files: Iterable[DataFile]) -> Iterator[DataFile]:
        """Yield the files that may hold a row that a pending block stands for."""
        from meterlake.block_keys import near

        return near(files, self.blocks, self._keys)

    def left(self, rows: pa.Table) -> pa.Table:
        """Rows of a file that count: those that no pending block stands for."""
        covered = self.covers(rows)
        return rows.filter(pa.array(~covered)) if covered.any() else rows


def current(lake: Lake, snapshot: Snapshot, meters: tuple[str, str] | None = None) -> Iterator[pa.Table]:
    """Yield all blocks that count, at least those of meters within the range: file by file, then the pending."""
    waiting = pending(lake, snapshot)
    over = Over(waiting)
    for file in snapshot.files:
        if meters is None or (file.meters[0] <= meters[1] and meters[0] <= file.meters[1]):
            yield over.left(lake.blocks(file, meters=meters))
    yield of_meters(waiting, meters)


def folded(lake: Lake) -> Snapshot:
    """Fold what waits; return a snapshot over which nothing does."""
    while True:
        fold(lake)
        snapshot = lake.snapshot()
        if not len(pending(lake, snapshot)):
            return snapshot


def fold(lake: Lake) -> int:
    """Put all pending blocks into files, as one commit; return its version, or the newest where nothing waits."""
    while True:
        base = lake.snapshot()
        blocks = pending(lake, base)
        if not len(blocks):
            return base.version
        added, removed = _rewritten(lake, base, blocks)
        version = _commit(lake, base, added, removed)
        if version is not None:
            return version


def _commit(lake: Lake, base: Snapshot, added: list[DataFile], removed: list[DataFile]) -> int | None:
    """Commit a fold planned on ``base``; None where it must be planned again."""
    receipt = {"pending_through": base.version, "added": len(added), "removed": len(removed)}
    on, app = base, f"fold:{uuid.uuid4().hex}"
    while True:
        version = on.version + 1
        landed_us = Delivered.read(lake).next_us(time.time_ns() // 1000)
        records = {"operations": operation_row("fold", "", version, landed_us, receipt)}
        try:
            return lake.commit(Change(on, added, removed, app, version, records))
        except ConcurrentCommit:
            on = lake.snapshot()
            if not set(removed) <= set(on.files) or not only(
                lake, base.version, on.version, MOVES | {"seal"}
            ):
                return None


MOVES: Final = frozenset({"compact", "fold", "batch"})
"""Operations after which every reading is where it was, in other files perhaps."""


def only(lake: Lake, after: int, through: int, allowed: frozenset[str]) -> bool:
    """Whether all versions above ``after`` up to ``through`` were made by the ``allowed`` operations."""
    operations = lake.records("operations")
    mine = pc.and_(pc.greater(operations["version"], after), pc.less_equal(operations["version"], through))
    made = operations.filter(mine)
    return len(made) == through - after and set(made["operation"].to_pylist()) <= allowed


def _rewritten(lake: Lake, base: Snapshot, blocks: pa.Table) -> tuple[list[DataFile], list[DataFile]]:
    """Files with ``blocks`` in place of the rows of their keys, and the files that these are for."""
    from meterlake.block_keys import BlockKeys, among, near
    from meterlake.ids import PARTITIONS
    from meterlake.landing import put_by_month

    keys = BlockKeys()
    own = keys.of(blocks)
    order = np.argsort(own)
    fresh = np.ones(len(blocks), bool)
    added, removed = [], []
    for file in near(base.files, blocks, keys):
        rows = keys.of(lake.blocks(file, KEY))
        hit = among(rows, own[order])
        if not hit.any():
            continue
        mine = order[np.searchsorted(own[order], rows[hit])]
        fresh[mine] = False
        kept = lake.blocks(file).filter(pa.array(~hit))
        both = pa.concat_tables([kept, blocks.take(pa.array(mine))])
        added += put_by_month(lake, sort_blocks(both), file.partitions)
        removed.append(file)
    added += put_by_month(lake, blocks.filter(pa.array(fresh)), (0, PARTITIONS))
    return added, removed
