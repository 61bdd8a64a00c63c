"""What the batch found in one bucket, and the file that keeps it until all buckets are done."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from meterlake.blocks import BLOCK_SCHEMA, KEY
from meterlake.completeness import Counts, added
from meterlake.nightly.daily import UNDATED
from meterlake.nightly.tables import ADJUSTMENT_SCHEMA

KEY_SCHEMA: Final = pa.schema([BLOCK_SCHEMA.field(name) for name in KEY])
ADJUSTED: Final = ADJUSTMENT_SCHEMA.remove(0).remove(0)
"""Rows of ADJUSTMENT_SCHEMA without run and day."""

SCHEMAS: Final = {"adjustments": ADJUSTED, "daily_totals": UNDATED, "broken": KEY_SCHEMA}

Split = dict[tuple[str | None, str], Counts]
"""Counts by name (region or source) and channel."""


@dataclass(slots=True)
class Sums:
    """One channel and length of a day, milli units."""

    published: int = 0
    amount: int = 0
    adjusted: int = 0
    """Series that differ from what was published."""

    def add(self, more: Sums) -> None:
        """Add another part of the day."""
        self.published += more.published
        self.amount += more.amount
        self.adjusted += more.adjusted


@dataclass(slots=True)
class Outcome:
    """What was found in some buckets."""

    tables: dict[str, list[pa.Table]] = field(
        default_factory=lambda: {name: [schema.empty_table()] for name, schema in SCHEMAS.items()}
    )
    """``adjustments``, ``daily_totals``, and the keys of blocks that were ``broken``."""
    channels: dict[tuple[str, int], Sums] = field(default_factory=lambda: defaultdict(Sums))
    regions: Split = field(default_factory=dict)
    sources: Split = field(default_factory=dict)
    blocks: int = 0
    readings: int = 0

    def add(self, more: Outcome) -> None:
        """Add what was found in other buckets."""
        for name, tables in more.tables.items():
            self.tables[name] += tables
        for key, sums in more.channels.items():
            self.channels[key].add(sums)
        added(self.regions, more.regions)
        added(self.sources, more.sources)
        self.blocks += more.blocks
        self.readings += more.readings

    def table(self, name: str) -> pa.Table:
        """All rows of one of the tables."""
        return pa.concat_tables(self.tables[name])

    def to_bytes(self) -> pa.Buffer:
        """Return it as bytes that `of` reads."""
        told = {
            "channels": [[*key, s.published, s.amount, s.adjusted] for key, s in self.channels.items()],
            "regions": [[*key, *counts] for key, counts in self.regions.items()],
            "sources": [[*key, *counts] for key, counts in self.sources.items()],
            "blocks": self.blocks, "readings": self.readings,
        }  # fmt: skip
        sink = pa.BufferOutputStream()
        for name, schema in SCHEMAS.items():
            marked = schema.with_metadata({"found": json.dumps(told)})
            with pa.ipc.new_stream(sink, marked) as stream:
                stream.write_table(self.table(name).replace_schema_metadata(marked.metadata))
        return sink.getvalue()

    @classmethod
    def of(cls, data: bytes) -> Outcome | None:
        """Return what `to_bytes` gave; None where it cannot be read."""
        source = pa.BufferReader(data)
        try:
            tables = {name: pa.ipc.open_stream(source).read_all() for name in SCHEMAS}
        except (OSError, pa.ArrowException):
            return None
        told = json.loads(tables["broken"].schema.metadata[b"found"])
        found = cls(blocks=told["blocks"], readings=told["readings"])
        found.tables = {name: [table.replace_schema_metadata()] for name, table in tables.items()}
        for channel, interval_s, *sums in told["channels"]:
            found.channels[channel, interval_s] = Sums(*sums)
        found.regions, found.sources = (
            {(name, channel): tuple(counts) for name, channel, *counts in told[which]}
            for which in ("regions", "sources")
        )
        return found
