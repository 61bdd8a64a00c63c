"""The side tables of a lake: who delivered what, what lost, what was refused, and which commits were made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from meterlake.blocks import Sender
from meterlake.readings import REASONS, UTC_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.ports import Lake
    from meterlake.strips import Rejects

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
"""One row a delivery: a file of a load. ``content`` is the hash of its decoded bytes and of how they were
read; ``precedence`` is set for authoritative feeds only; ``first`` and ``last`` span its readings."""

OPERATION_SCHEMA: Final = pa.schema(
    [
        pa.field("operation", pa.string()),
        pa.field("load_id", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("landed_at", UTC_US),
        pa.field("receipt", pa.string()),
    ]
)
"""One row a commit: ``load``, ``undo`` or ``compact``, the version it made, and what it told the caller."""

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

RECORD_SCHEMAS: Final = {
    "superseded": SUPERSEDED_SCHEMA,
    "deliveries": DELIVERY_SCHEMA,
    "operations": OPERATION_SCHEMA,
    "quarantine": QUARANTINE_SCHEMA,
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


@dataclass(frozen=True, slots=True)
class Delivered:
    """What is known of all deliveries: versions at which each landed and, if so, was withdrawn."""

    senders: Mapping[int, Sender]
    landed: Mapping[int, int]
    withdrawn: Mapping[int, int]
    landed_at: Mapping[int, int]
    """Moment (µs) by version of each operation."""

    @classmethod
    def read(cls, lake: Lake) -> Delivered:
        """Read the side tables of ``lake``."""
        rows = lake.records("deliveries").select(
            ["number", "load_id", "source", "received_at", "version", "precedence"]
        )
        rows = rows.set_column(3, "received_at", rows["received_at"].cast(pa.int64()))
        listed = rows.to_pylist()
        operations = lake.records("operations").to_pylist()
        undone = {o["load_id"]: o["version"] for o in operations if o["operation"] == "undo"}
        return cls(
            {r["number"]: Sender(r["source"], r["received_at"], r["precedence"]) for r in listed},
            {r["number"]: r["version"] for r in listed},
            {r["number"]: undone[r["load_id"]] for r in listed if r["load_id"] in undone},
            {o["version"]: int(o["landed_at"].timestamp() * 1_000_000) for o in operations},
        )

    def visible(self, version: int) -> frozenset[int]:
        """Deliveries that had landed and were not withdrawn at ``version``."""
        late = version + 1
        return frozenset(
            n for n, v in self.landed.items() if v <= version and self.withdrawn.get(n, late) > version
        )

    def version_at(self, moment: datetime) -> int:
        """Last version committed at or before ``moment``; versions that changed no reading are passed over."""
        us = int(moment.astimezone(UTC).timestamp() * 1_000_000)
        return max((version for version, at in self.landed_at.items() if at <= us), default=0)


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
