"""The side tables of a lake: who delivered what, what lost, what was refused, and which commits were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, Sender
from meterlake.nightly.tables import ADJUSTMENT_SCHEMA, COMPLETENESS_SCHEMA, DAILY_SCHEMA
from meterlake.readings import REASONS, UTC_US

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from meterlake.ports import Lake
    from meterlake.strips import Ints, Rejects

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

STAGING: Final = "staging"
"""Folder of a lake for what tasks of a load put away."""

SUPERSEDED_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("interval_s", pa.int32()),
        pa.field("start", UTC_US),
        pa.field("count", pa.int32()),
        pa.field("quality", pa.int8()),
        pa.field("delivery", pa.int32()),
        pa.field("stamp", UTC_US),
        pa.field("amounts", pa.list_(pa.int64())),
        pa.field("version", pa.int64()),
    ]
)
"""One row a run of ``count`` slots from ``start`` on; ``amounts`` is null where they are the winners'."""

DELIVERY_SCHEMA: Final = pa.schema(
    [
        pa.field("number", pa.int32()),
        pa.field("load_id", pa.string()),
        pa.field("path", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("content", pa.string()),
        pa.field("source", pa.string()),
        pa.field("feed", pa.string()),
        pa.field("received_at", UTC_US),
        pa.field("landed_at", UTC_US),
        pa.field("version", pa.int64()),
        pa.field("precedence", pa.int8()),
        pa.field("first", UTC_US),
        pa.field("last", UTC_US),
        pa.field("received", pa.int64()),
        pa.field("stored", pa.int64()),
    ]
)
"""One row a delivery: a file of a load, or a batch of the log, whose ``path`` is empty and whose ``load_id`` is
its batch id. ``content`` is the hash of its decoded bytes and of how they were read; ``precedence`` is set for
authoritative feeds only; ``first`` and ``last`` span its readings. ``version`` is the commit that wrote the row."""

OPERATION_SCHEMA: Final = pa.schema(
    [
        pa.field("operation", pa.string()),
        pa.field("load_id", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("landed_at", UTC_US),
        pa.field("receipt", pa.string()),
    ]
)
"""One row a commit: ``load``, ``undo``, ``compact``, ``seal`` or ``fold``, the version it made, what it told.

``load_id`` is that of a load; of a seal the shard, empty for the log of a server alone."""

QUARANTINE_SCHEMA: Final = pa.schema(
    [
        pa.field("load_id", pa.string()),
        pa.field("delivery", pa.int32()),
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("count", pa.int32()),
    ]
)
"""One row a refused reading, or ``count`` of them where one line refused more for one reason."""

PENDING_SCHEMA: Final = BLOCK_SCHEMA.append(pa.field("version", pa.int64()))
"""One row a block that stands for the row of its key in the files, and the version that wrote it: of one key
the newest counts, until a ``fold`` has put it into the files."""

RECORD_SCHEMAS: Final = {
    "superseded": SUPERSEDED_SCHEMA,
    "deliveries": DELIVERY_SCHEMA,
    "operations": OPERATION_SCHEMA,
    "quarantine": QUARANTINE_SCHEMA,
    "pending_blocks": PENDING_SCHEMA,
    "adjustments": ADJUSTMENT_SCHEMA,
    "completeness": COMPLETENESS_SCHEMA,
    "daily_totals": DAILY_SCHEMA,
}
"""The side tables of a lake by name."""


def operation_row(operation: str, load_id: str, version: int, landed_us: int, receipt: object) -> pa.Table:
    """One row of OPERATION_SCHEMA."""
    row = {
        "operation": operation, "load_id": load_id, "version": version,
        "landed_at": landed_us, "receipt": json.dumps(receipt),
    }  # fmt: skip
    return pa.Table.from_pylist([row], schema=OPERATION_SCHEMA)


LOST_SCHEMA: Final = SUPERSEDED_SCHEMA.remove(len(SUPERSEDED_SCHEMA) - 1)
"""Rows of SUPERSEDED_SCHEMA whose version is not known yet."""


def superseded(lost: pa.Table, version: int) -> pa.Table:
    """Rows of SUPERSEDED_SCHEMA that lose in ``version``."""
    return lost.append_column(SUPERSEDED_SCHEMA.field("version"), pa.array(np.full(len(lost), version)))


T = TypeVar("T")


class _ByNumber(Mapping[int, T]):
    """Values by delivery number, made when asked for and then kept."""

    def __init__(self, numbers: Ints, value: Callable[[int], T], more: Mapping[int, T]) -> None:
        """``value`` takes a row of ``numbers`` (rising); ``more`` is asked for numbers that are not among them."""
        self._numbers, self._value, self._more = numbers, value, more
        self._made: dict[int, T] = {}

    def __getitem__(self, number: int) -> T:
        made = self._made.get(number)
        if made is None:
            at = int(np.searchsorted(self._numbers, number))
            known = at < len(self._numbers) and self._numbers[at] == number
            made = self._made[number] = self._value(at) if known else self._more[number]
        return made

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self._numbers.tolist(), *self._more}))

    def __len__(self) -> int:
        return len({*self._numbers.tolist(), *self._more})


class Counted:
    """The deliveries that count in some state of the lake: a container of their numbers."""

    def __init__(self, counts: Callable[[int], bool]) -> None:
        """``counts`` decides of one number."""
        self._counts = counts

    def __contains__(self, number: object) -> bool:
        """Whether the readings of a delivery count."""
        return isinstance(number, int) and self._counts(number)

    def without(self, gone: Container[int]) -> Counted:
        """Return the same but for the deliveries ``gone``."""
        return Counted(lambda number: number not in gone and number in self)


Landed = tuple[int, int, int]
"""Place in the order of landing: moment (µs), and what orders deliveries of one moment."""


class Delivered:
    """What is known of all deliveries: who sent each, when it landed and, if so, was withdrawn.

    The files of a load land when its commit does, all as one; a batch of the log lands when it is acknowledged,
    whatever seal takes its readings to the lake. This order is the one in which readings are folded.
    """

    senders: Mapping[int, Sender]
    order: Mapping[int, Landed]
    """Place of each delivery in the order of landing."""
    withdrawn: Mapping[int, int]
    """Version that withdrew a delivery, of those that were."""
    newest_us: int
    """When the last delivery or commit landed."""

    def __init__(self, deliveries: pa.Table, operations: pa.Table) -> None:
        """Take rows of DELIVERY_SCHEMA and OPERATION_SCHEMA."""
        rows = deliveries.take(pc.sort_indices(deliveries["number"]))
        self.rows = rows
        self.numbers: Ints = rows["number"].to_numpy().astype(np.int64)
        self._landed_us, self._received_us = _moments(rows["landed_at"]), _moments(rows["received_at"])
        self._version: Ints = pc.fill_null(rows["version"], 0).to_numpy()
        self._is_batch = pc.fill_null(pc.equal(rows["path"], ""), False).to_numpy()
        self._made = operations["version"].to_numpy()
        self._made_us = _moments(operations["landed_at"])
        self.newest_us = int(max(self._landed_us.max(initial=0), self._made_us.max(initial=0)))
        undone = operations.filter(pc.equal(operations["operation"], "undo"))
        by = pc.index_in(rows["load_id"], value_set=undone["load_id"].combine_chunks())
        hit = np.flatnonzero(by.is_valid().to_numpy())
        undo = by.take(pa.array(hit)).to_numpy()
        gone = self.numbers[hit].tolist()
        self.withdrawn = dict(zip(gone, undone["version"].to_numpy()[undo].tolist(), strict=True))
        self._withdrawn_us = dict(zip(gone, _moments(undone["landed_at"])[undo].tolist(), strict=True))
        self._more: Mapping[int, int] = {}
        self.senders = _ByNumber(self.numbers, self._sender, {})
        self.order = _ByNumber(self.numbers, self._place, {})

    @classmethod
    def read(cls, lake: Lake) -> Delivered:
        """Read the side tables of ``lake``; kept until its next version."""
        version = lake.snapshot().version
        kept = _known.get(lake)
        if kept is None or kept[0] != version:
            kept = version, cls(lake.records("deliveries"), lake.records("operations"))
            _known[lake] = kept
        return kept[1]

    def including(self, senders: Mapping[int, Sender], landed_us: Mapping[int, int]) -> Delivered:
        """Return what is known together with batches that are not recorded yet."""
        more = copy(self)
        more._more = landed_us  # noqa: SLF001 - our own
        more.senders = _ByNumber(self.numbers, self._sender, senders)
        more.order = _ByNumber(self.numbers, self._place, _Acknowledged(landed_us))
        return more

    def _sender(self, at: int) -> Sender:
        source, precedence = self.rows["source"][at].as_py(), self.rows["precedence"][at].as_py()
        return Sender(source, int(self._received_us[at]), precedence)

    def _place(self, at: int) -> Landed:
        landed_us = int(self._landed_us[at])
        if self._is_batch[at]:
            return landed_us, 1, int(self.numbers[at])
        return landed_us, 0, int(self._version[at])

    def _row(self, number: int) -> int:
        at = int(np.searchsorted(self.numbers, number))
        return at if at < len(self.numbers) and self.numbers[at] == number else -1

    @property
    def standing(self) -> Counted:
        """Deliveries that are not withdrawn."""
        return Counted(lambda number: number not in self.withdrawn)

    def visible(self, version: int) -> Counted:
        """Deliveries that were recorded and not withdrawn at ``version``."""

        def counts(number: int) -> bool:
            at = self._row(number)
            recorded = at >= 0 and self._version[at] <= version
            return bool(recorded and self.withdrawn.get(number, version + 1) > version)

        return Counted(counts)

    def visible_at(self, moment: datetime) -> Counted:
        """Deliveries that had landed and were not withdrawn at ``moment``."""
        us = _us(moment)

        def counts(number: int) -> bool:
            at = self._row(number)
            landed_us = int(self._landed_us[at]) if at >= 0 else self._more.get(number, us + 1)
            return landed_us <= us and self._withdrawn_us.get(number, us + 1) > us

        return Counted(counts)

    def version_at(self, moment: datetime) -> int:
        """Last version committed at or before ``moment``; versions that changed no reading are passed over."""
        return int(self._made[self._made_us <= _us(moment)].max(initial=0))

    def next_us(self, now_us: int) -> int:
        """When a commit lands that is made now: after everything that has landed."""
        return max(now_us, self.newest_us + 1)


class _Acknowledged(Mapping[int, Landed]):
    """Places of batches by their moments."""

    def __init__(self, landed_us: Mapping[int, int]) -> None:
        self._landed_us = landed_us

    def __getitem__(self, number: int) -> Landed:
        return self._landed_us[number], 1, number

    def __iter__(self) -> Iterator[int]:
        return iter(self._landed_us)

    def __len__(self) -> int:
        return len(self._landed_us)


_known: WeakKeyDictionary[Any, tuple[int, Delivered]] = WeakKeyDictionary()


def _moments(column: pa.ChunkedArray) -> Ints:
    moments: Ints = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return moments


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def open_from(operations: pa.Table) -> Mapping[int, int]:
    """By block span (s): start (s) from which on blocks may miss readings of recorded batches; none before a seal.

    Of the newest seals of several shards the least counts.
    """
    seals = operations.filter(pc.equal(operations["operation"], "seal"))
    seals = seals.take(pc.sort_indices(seals["version"]))
    newest = dict(zip(seals["load_id"].to_pylist(), range(len(seals)), strict=True))
    least: dict[int, int] = {}
    for at in newest.values():
        for span, start in json.loads(seals["receipt"][at].as_py())["floors"].items():
            least[int(span)] = min(least.get(int(span), int(start)), int(start))
    return least


def quarantine_rows(delivery: int, path: str, rejects: Rejects) -> pa.Table:
    """Rows of QUARANTINE_SCHEMA for what was refused of a file; the load is named when it is committed."""
    n = len(rejects)
    columns = [
        pa.nulls(n, pa.string()),
        pa.array(np.full(n, delivery, np.int32)),
        pa.array([path] * n, pa.string()),
        pa.array(rejects.line),
        pa.array(rejects.text, pa.string()),
        pa.array(["", *REASONS]).take(pa.array(rejects.reason)),
        pa.array(rejects.count),
    ]
    return pa.Table.from_arrays(columns, schema=QUARANTINE_SCHEMA)


def of_load(quarantine: pa.Table, load_id: str) -> pa.Table:
    """Name the load in rows of QUARANTINE_SCHEMA."""
    return quarantine.set_column(
        0, QUARANTINE_SCHEMA.field("load_id"), pa.array([load_id] * len(quarantine), pa.string())
    )
