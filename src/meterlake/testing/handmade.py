"""Blocks made by hand for tests: the plainest way from single readings to rows of BLOCK_SCHEMA."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa

from meterlake.adapters.memory import MemoryLake
from meterlake.blocks import BLOCK_SCHEMA
from meterlake.ids import PARTITIONS
from meterlake.intervals import block_slots, block_span_s
from meterlake.ledger import DELIVERY_SCHEMA
from meterlake.ports import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

RECEIVED_S: Final = {1: 1_700_000_000, 2: 1_700_100_000, 3: 1_700_050_000}
"""When the deliveries of handmade readings were received."""


class Reading(NamedTuple):
    """One slot: start and interval in seconds, amount in milli units."""

    meter: str
    channel: str
    interval: int
    start: int
    amount: int
    quality: int = 4
    delivery: int = 1


def scale_of(amounts: list[int]) -> int:
    """Largest decimal exponent up to 9 that divides all amounts."""
    scale = 0
    while scale < 9 and all(a % 10 ** (scale + 1) == 0 for a in amounts):
        scale += 1
    return scale


def block_table(readings: list[Reading]) -> pa.Table:
    """Rows of BLOCK_SCHEMA, sorted by key; at most one reading a slot."""
    blocks: defaultdict[tuple[str, str, int, int], dict[int, Reading]] = defaultdict(dict)
    for r in readings:
        start = r.start - r.start % block_span_s(r.interval)
        blocks[r.meter, r.channel, r.interval, start][r.start] = r
    return pa.Table.from_pylist(
        [_row(*key, slots) for key, slots in sorted(blocks.items())], schema=BLOCK_SCHEMA
    )


def _row(meter: str, channel: str, interval: int, start: int, slots: dict[int, Reading]) -> dict[str, object]:
    n = block_slots(interval)
    offset = min(slots) - start if n == 1 else (min(slots) - start) % interval
    cells = [slots.get(start + offset + k * interval) for k in range(n)]
    held = [c for c in cells if c]
    scale = scale_of([c.amount for c in held])
    values = [c.amount // 10**scale if c else None for c in cells]
    narrow = all(v is None or abs(v) < 2**31 for v in values)
    qualities = {c.quality for c in held}
    deliveries = {c.delivery for c in held}
    runs = [{"first": k, "count": 1, "delivery": c.delivery, "stamp": 0} for k, c in enumerate(cells) if c]
    return {
        "meter_id": meter, "channel": channel, "interval_s": interval, "start": start * 1_000_000,
        "offset_s": offset, "scale": scale,
        "values": values if narrow else None, "wide_values": None if narrow else values,
        "quality": qualities.pop() if len(qualities) == 1 else None,
        "qualities": None if len({c.quality for c in held}) == 1 else [c.quality if c else 0 for c in cells],
        "delivery": deliveries.pop() if len(deliveries) == 1 else None,
        "stamp": 0 if len({c.delivery for c in held}) == 1 else None,
        "origin": None if len({c.delivery for c in held}) == 1 else runs,
        "filled": len(held), "total": sum(c.amount for c in held),
    }  # fmt: skip


def lake_of(readings: list[Reading], cuts: Sequence[int] = ()) -> MemoryLake:
    """A lake of ``readings``, in one file, or in several cut at the moments ``cuts`` (midnights, seconds)."""
    lake = MemoryLake()
    edges = [-(10**12), *cuts, 10**12]
    piles = [
        [r for r in readings if low <= r.start - r.start % block_span_s(r.interval) < high]
        for low, high in pairwise(edges)
    ]
    files = [lake.put(block_table(pile), (0, PARTITIONS)) for pile in piles if pile]
    rows = [{"number": number, "received_at": at * 1_000_000} for number, at in RECEIVED_S.items()]
    deliveries = pa.Table.from_pylist(rows, schema=DELIVERY_SCHEMA)
    lake.commit(Change(lake.snapshot(), files, [], "handmade", 1, {"deliveries": deliveries}))
    return lake
