"""Take what the live side cut off into the lake: one commit, once, whatever is cut off on the way.

Blocks of which the lake holds nothing become files by month. Blocks that it holds already are merged and wait
beside the files (`pending`), as do few blocks that only late readings touched. What lost, what was refused and the
batches themselves are recorded in the same commit, so that a batch is in the lake's record whole or not at all.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import ConcurrentCommit
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.landing import put_by_month
from meterlake.lay import lay
from meterlake.ledger import (
    DELIVERY_SCHEMA,
    LOST_SCHEMA,
    PENDING_SCHEMA,
    QUARANTINE_SCHEMA,
    Delivered,
    operation_row,
    superseded,
)
from meterlake.live.part import Part
from meterlake.merge import SERIES_SCHEMA
from meterlake.pending import MOVES, NONE, fold, folded_through, only, pending
from meterlake.ports import Change, Sweeps
from meterlake.series import resettle, series_of, summed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.live.cut import Cut, EntryNote
    from meterlake.ports import DataFile, Lake, Registry, Snapshot

BLOCKS_AT_ONCE: Final = 400_000
"""Blocks merged at once: about 200 MB of quarter-hours."""

PENDING_MAX: Final = 200_000
"""Blocks that may wait beside the files; more are folded in at once."""

GATHER_EVERY: Final = 64
"""After so many seals their small files in the side tables are gathered."""

LATE_FILE_MIN: Final = 4_096
"""New blocks of late readings that are worth files of their own; fewer wait with the pending ones."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """How far the lake covers the log."""

    sequence: int
    """Number of the seal."""
    offset: int
    """Log offset after the last batch that it covers."""
    number: int
    """Last delivery that it recorded."""
    floors: Mapping[int, int]
    """By block span (s): blocks that begin before this hold everything of those batches."""


@dataclass(slots=True)
class SealReceipt:
    """What a seal did."""

    sequence: int
    offset: int
    number: int
    floors: dict[int, int]
    sets: list[tuple[str, int, int]]
    """(channel, interval_s, start_s) of the blocks that are no longer open."""
    batches: int = 0
    """Batches recorded."""
    fresh: int = 0
    """Blocks that became rows of files."""
    pending: int = 0
    """Blocks that wait to be folded into files."""
    gained: int = 0
    """Slots filled that were empty."""
    lost: int = 0
    """Readings that hold no slot, now recorded."""
    off_grid: int = 0
    """Readings beside the phase of their block, now in quarantine."""
    version: int = 0
    seconds: float = 0.0
    replayed: bool = False
    """Whether it had landed before: then nothing was written."""
    shard: str = ""
    """Shard whose log it covers; empty for the log of a server alone."""

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> SealReceipt:
        """Return the receipt that `to_json` wrote."""
        told["floors"] = {int(span): start for span, start in told["floors"].items()}
        told["sets"] = [(channel, interval_s, start_s) for channel, interval_s, start_s in told["sets"]]
        return cls(**told)

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


def sealed(lake: Lake, shard: str = "") -> Sealed | None:
    """Return what the newest landed seal of a shard covers; None where there was none."""
    receipt = newest_seal(lake, shard)
    if receipt is None:
        return None
    return Sealed(receipt.sequence, receipt.offset, receipt.number, receipt.floors)


def newest_seal(lake: Lake, shard: str = "") -> SealReceipt | None:
    """Return the receipt of the newest landed seal of a shard; None where there was none."""
    operations = lake.records("operations")
    mine = pc.and_(pc.equal(operations["operation"], "seal"), pc.equal(operations["load_id"], shard))
    seals = operations.filter(mine)
    if not len(seals):
        return None
    at = int(np.argmax(seals["version"].to_numpy()))
    return SealReceipt.from_json(json.loads(seals["receipt"][at].as_py()))


def seal(lake: Lake, registry: Registry, cut: Cut, shard: str = "") -> SealReceipt:
    """Commit ``cut``; where it has landed already, change nothing and return the receipt of what covers it.

    Who has taken a shard over may find that the one before it, given up for lost, has still landed a seal: the batches
    that it recorded are left out, and where it has the number of ``cut``, this one takes the next.
    """
    started = time.monotonic()
    while True:
        resettle(lake, registry)
        base = lake.snapshot()
        newest = newest_seal(lake, shard)
        if newest is not None:
            if newest.sequence >= cut.sequence and covers(newest, cut):
                newest.replayed = True
                return newest
            later = [note for note in cut.entries if note.number > newest.number]
            cut = replace(cut, sequence=max(cut.sequence, newest.sequence + 1), entries=later)
        plan = _Plan(lake, base, cut, shard)
        plan.run()
        plan.receipt.seconds = time.monotonic() - started
        if plan.commit():
            break
    # Cut off here, the registry is told by the next job.
    registry.update_series(plan.series, plan.receipt.version)
    if len(pending(lake, lake.snapshot())) > PENDING_MAX:
        fold(lake)
        resettle(lake, registry)
    if cut.sequence % GATHER_EVERY == 0 and isinstance(lake, Sweeps):
        lake.gather(folded_through(lake, lake.snapshot().version))
    return plan.receipt


def covers(landed: SealReceipt, cut: Cut) -> bool:
    """Whether a landed seal of the same log holds all that ``cut`` does.

    Whoever seals a shard began with the checkpoint that the one before it saved ahead of its last seal, so of two seals
    the one that reaches further in the log, or as far and to later blocks, holds what the other does.
    """
    further = all(landed.floors.get(span, start) >= start for span, start in cut.floors.items())
    return landed.offset > cut.offset or (landed.offset == cut.offset and further)


@dataclass(slots=True)
class _Plan:
    """What a seal writes, merged with the lake at ``base``."""

    lake: Lake
    base: Snapshot
    cut: Cut
    shard: str = ""
    known: Delivered = field(init=False)
    receipt: SealReceipt = field(init=False)
    added: list[DataFile] = field(default_factory=list)
    waiting: list[pa.Table] = field(default_factory=list)
    lost: list[pa.Table] = field(default_factory=list)
    beside: list[pa.Table] = field(default_factory=list)
    series: pa.Table = field(default_factory=SERIES_SCHEMA.empty_table)

    def __post_init__(self) -> None:
        cut = self.cut
        self.known = Delivered.read(self.lake)
        self.receipt = SealReceipt(
            cut.sequence, cut.offset, cut.number, dict(cut.floors), list(cut.sets), batches=len(cut.entries),
            shard=self.shard,
        )  # fmt: skip

    def run(self) -> None:
        """Merge run after run of partitions, and put the files."""
        reach = []
        for low, high, part in _runs(self.cut.part, PARTITIONS // self.lake.buckets):
            laid = lay(self.lake, self.base, self.known, part, lost=True)
            filled = laid.blocks["filled"].to_numpy().astype(np.int64)
            self._place(laid.blocks, laid.fresh, laid.late, laid.changed, (low, high))
            self.lost.append(laid.lost)
            self.beside.append(laid.beside)
            self.receipt.gained += int((filled - laid.held).sum())
            grown = filled > laid.held
            if grown.any():
                reach.append(
                    series_of(laid.blocks.filter(pa.array(grown)), pa.array((filled - laid.held)[grown]))
                )
        if reach:
            self.series = summed(pa.concat_tables(reach))
        self.receipt.lost = sum(int(pc.sum(rows["count"]).as_py() or 0) for rows in self.lost)

    def _place(self, blocks: pa.Table, fresh: Any, late: Any, changed: Any, run: tuple[int, int]) -> None:
        """Put new blocks into files, and let the others wait."""
        own = fresh & ~late if int((fresh & late).sum()) < LATE_FILE_MIN else fresh
        whole = bool(own.all())
        files = put_by_month(self.lake, blocks if whole else blocks.filter(pa.array(own)), run)
        rest = NONE if whole else blocks.filter(pa.array(changed & ~own))
        self.added += files
        self.waiting.append(rest)
        self.receipt.fresh += int(own.sum())
        self.receipt.pending += len(rest)

    def commit(self) -> bool:
        """Commit; False where it must be planned again, because readings landed in between."""
        on, app, quarantine = self.base, self._app(), self._quarantine()
        lost = pa.concat_tables([LOST_SCHEMA.empty_table(), *self.lost])
        waiting = pa.concat_tables([NONE, *self.waiting])
        while True:
            version = self.receipt.version = on.version + 1
            landed_us = Delivered.read(self.lake).next_us(time.time_ns() // 1000)
            records = {
                "superseded": superseded(lost, version),
                "pending_blocks": waiting.append_column(
                    PENDING_SCHEMA.field("version"), pa.array(np.full(len(waiting), version))
                ),
                "quarantine": quarantine,
                "deliveries": _delivery_rows(self.cut.entries, version),
                "operations": operation_row("seal", self.shard, version, landed_us, self.receipt.to_json()),
            }
            change = Change(on, self.added, [], app, int.from_bytes(os.urandom(6)), records)
            try:
                self.lake.commit(change)
            except ConcurrentCommit:
                on = self.lake.snapshot()
                if not only(self.lake, self.base.version, on.version, MOVES):
                    return False
                continue
            return True

    def _app(self) -> str:
        return f"seal:{self.shard}:{self.cut.sequence}" if self.shard else f"seal:{self.cut.sequence}"

    def _quarantine(self) -> pa.Table:
        """Refused lines of the batches, and the readings that lie beside their blocks' phase."""
        rows = [entry.rejects for entry in self.cut.entries if len(entry.rejects)]
        beside = pa.concat_tables([LOST_SCHEMA.empty_table(), *self.beside])
        self.receipt.off_grid = int(pc.sum(beside["count"]).as_py() or 0)
        if len(beside):
            rows.append(_off_grid(beside, self._batch_ids(beside["delivery"])))
        return pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *rows])

    def _batch_ids(self, numbers: pa.ChunkedArray) -> list[str | None]:
        known = self.known.rows
        known = known.filter(pc.is_in(known["number"], value_set=numbers.combine_chunks()))
        recorded = dict(zip(known["number"].to_pylist(), known["load_id"].to_pylist(), strict=True))
        named = recorded | {entry.number: entry.batch_id for entry in self.cut.entries}
        return [named.get(number) for number in numbers.to_pylist()]


def _runs(part: Part, align: int) -> Iterator[tuple[int, int, Part]]:
    """Cut a part by runs of partitions, each a multiple of ``align`` wide, into pieces that fit memory well."""
    tables = [part.blocks, part.lost, part.late]
    size = len(part.blocks) + sum(int(pc.sum(rows["count"]).as_py() or 0) for rows in tables[1:]) // 32
    n = min(PARTITIONS // align, max(1, -(-size // BLOCKS_AT_ONCE)))
    if n == 1:
        yield 0, PARTITIONS, part
        return
    borders = (np.arange(n + 1) * (PARTITIONS // align) // n * align).tolist()
    ids = MeterIds()
    places = [ids.partitions(ids.codes_of(rows["meter_id"])) for rows in tables]
    orders = [np.argsort(place, kind="stable") for place in places]
    cuts = [np.searchsorted(place[order], borders) for place, order in zip(places, orders, strict=True)]
    for i, (low, high) in enumerate(pairwise(borders)):
        blocks, lost, late = (
            rows.take(pa.array(np.sort(order[cut[i] : cut[i + 1]])))
            for rows, order, cut in zip(tables, orders, cuts, strict=True)
        )
        yield low, high, Part(blocks, lost, late, part.senders, part.landed_us)


def _delivery_rows(entries: Sequence[EntryNote], version: int) -> pa.Table:
    """Rows of DELIVERY_SCHEMA, one a batch."""
    n = len(entries)
    landed = [entry.received_us for entry in entries]
    columns = {
        "number": [entry.number for entry in entries],
        "load_id": [entry.batch_id for entry in entries],
        "path": [""] * n,
        "sha256": [""] * n,
        "content": [entry.content for entry in entries],
        "source": [entry.source for entry in entries],
        "feed": [None] * n,
        "received_at": landed,
        "landed_at": landed,
        "version": [version] * n,
        "precedence": [entry.precedence for entry in entries],
        "first": [_us(entry.first_s) for entry in entries],
        "last": [_us(entry.last_s) for entry in entries],
        "received": [entry.received for entry in entries],
        "stored": [entry.accepted for entry in entries],
    }
    return pa.table({name: pa.array(columns[name], DELIVERY_SCHEMA.field(name).type) for name in columns})


def _us(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1_000_000


def _off_grid(beside: pa.Table, batch_ids: list[str | None]) -> pa.Table:
    """Rows of QUARANTINE_SCHEMA for runs of readings, which say where they lie."""
    n = len(beside)
    parts = [beside["meter_id"], beside["channel"], pc.cast(beside["start"], pa.string()), _seconds(beside)]
    columns = [
        pa.array(batch_ids, pa.string()),
        beside["delivery"],
        pa.array([""] * n, pa.string()),
        pa.array(np.zeros(n, np.int64)),
        pc.binary_join_element_wise(*parts, ","),
        pa.array(["off_grid"] * n, pa.string()),
        beside["count"],
    ]
    return pa.Table.from_arrays(columns, schema=QUARANTINE_SCHEMA)


def _seconds(beside: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(beside["interval_s"].cast(pa.string()), pa.scalar("s"), "")
