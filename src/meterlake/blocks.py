"""Interval blocks: the unit of storage, one row for all slots of a (meter, channel, day).

A block's key is (meter_id, channel, interval_s, start). ``start`` is the UTC midnight (below a minute:
the UTC hour) that the block covers; slot k starts at ``start + offset_s + k * interval_s`` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.readings import PRECEDENCE, UTC_US
from meterlake.strips import MISSING, Codes, Ints, Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.ids import MeterIds

GROUP_SLOTS: Final = 65_536
"""Slots of one Parquet row group: what a point read decodes at least, and a page that compresses well."""

KEY: Final = ("meter_id", "channel", "interval_s", "start")

ORIGIN_RUN: Final = pa.struct(
    [
        pa.field("first", pa.int16()),
        pa.field("count", pa.int16()),
        pa.field("delivery", pa.int32()),
        pa.field("stamp", UTC_US),
    ]
)

BLOCK_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("interval_s", pa.int32(), nullable=False),
        pa.field("start", UTC_US, nullable=False),
        pa.field("offset_s", pa.int32(), nullable=False),
        pa.field("scale", pa.int8(), nullable=False),
        pa.field("values", pa.list_(pa.int32())),
        pa.field("wide_values", pa.list_(pa.int64())),
        pa.field("quality", pa.int8()),
        pa.field("qualities", pa.list_(pa.int8())),
        pa.field("delivery", pa.int32()),
        pa.field("stamp", UTC_US),
        pa.field("origin", pa.list_(ORIGIN_RUN)),
        pa.field("filled", pa.int32(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
    ]
)
"""One block a row.

``values`` holds every slot as ``amount / 10**scale``, null where empty; the rare block whose quotients
exceed int32 has them in ``wide_values`` instead, and null in ``values``. ``quality`` is the code all filled
slots share, else null and ``qualities`` has one a slot (0 where empty). ``delivery`` and ``stamp`` are
likewise shared, else both null and ``origin`` lists runs of slots, ordered, covering the filled ones only.
``filled`` counts filled slots; ``total`` is the exact sum of amounts in milli base units.
"""


def group_rows(blocks: pa.Table) -> int:
    """Rows of one Parquet row group of ``blocks``: about `GROUP_SLOTS` slots."""
    slots = max(1, len(pc.list_flatten(blocks.slice(0, 1000)["values"])) // max(1, min(1000, len(blocks))))
    return int(np.clip(GROUP_SLOTS // slots, 64, 4096))


def sort_blocks(blocks: pa.Table) -> pa.Table:
    """Rows in key order: (meter_id, channel, interval_s, start)."""
    return blocks.take(pc.sort_indices(blocks, [(name, "ascending") for name in KEY]))


def flat_amounts(blocks: pa.Table) -> tuple[Ints, Ints]:
    """Amounts of all slots of ``blocks``, `strips.MISSING` where empty, and the n + 1 borders by row."""
    widths = pc.fill_null(pc.list_value_length(blocks["values"]), 0).to_numpy().astype(np.int64)
    wide = np.flatnonzero(blocks["values"].is_null().to_numpy())
    if len(wide):
        widths[wide] = pc.list_value_length(blocks["wide_values"].take(wide)).to_numpy()
    borders = np.zeros(len(blocks) + 1, np.int64)
    np.cumsum(widths, out=borders[1:])
    power = np.repeat(10 ** blocks["scale"].to_numpy().astype(np.int64), widths)
    if len(wide):
        flat = np.empty(borders[-1], np.int64)
        is_wide = np.zeros(len(blocks), bool)
        is_wide[wide] = True
        at_wide = np.repeat(is_wide, widths)
        flat[~at_wide] = _flat_list(blocks["values"])
        flat[at_wide] = _flat_list(blocks["wide_values"].take(wide))
    else:
        flat = _flat_list(blocks["values"])
    return np.where(flat == MISSING, MISSING, flat * power), borders


def _flat_list(column: pa.ChunkedArray) -> Ints:
    flat = pc.list_flatten(column.combine_chunks())
    empty = flat.is_null().to_numpy(zero_copy_only=False) if flat.null_count else None
    values: Ints = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if empty is not None:
        values[empty] = MISSING
    return values


def flat_traits(blocks: pa.Table, borders: Ints) -> tuple[npt.NDArray[np.int8], Codes, Ints]:
    """Quality, delivery and stamp (µs) of every slot of ``blocks``; those of an empty slot mean nothing."""
    widths = np.diff(borders)
    quality = np.repeat(pc.fill_null(blocks["quality"], 0).to_numpy().astype(np.int8), widths)
    mixed = np.flatnonzero(blocks["quality"].is_null().to_numpy())
    if len(mixed):
        quality[_slots_of(borders, mixed)] = pc.list_flatten(
            blocks["qualities"].take(mixed).combine_chunks()
        ).to_numpy()
    delivery = np.repeat(pc.fill_null(blocks["delivery"], -1).to_numpy().astype(np.int32), widths)
    stamp = np.repeat(pc.fill_null(blocks["stamp"].cast(pa.int64()), 0).to_numpy(), widths)
    mixed = np.flatnonzero(blocks["delivery"].is_null().to_numpy())
    if len(mixed):
        lists = blocks["origin"].take(mixed).combine_chunks()
        runs = pc.list_flatten(lists)
        counts = runs.field("count").to_numpy().astype(np.int64)
        row_start = np.repeat(borders[mixed], pc.list_value_length(lists).to_numpy())
        first = row_start + runs.field("first").to_numpy()
        at = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        delivery[at] = np.repeat(runs.field("delivery").to_numpy(), counts)
        stamp[at] = np.repeat(runs.field("stamp").cast(pa.int64()).to_numpy(), counts)
    return quality, delivery, stamp


def _slots_of(borders: Ints, rows: Ints) -> Ints:
    """Positions of all slots of ``rows``."""
    widths = borders[rows + 1] - borders[rows]
    return np.repeat(borders[rows] - (np.cumsum(widths) - widths), widths) + np.arange(widths.sum())


@dataclass(frozen=True, slots=True)
class Sender:
    """What a version needs to know of the delivery that brought a reading."""

    source: str
    received_us: int
    precedence: int | None = None
    """Precedence of all that an authoritative delivery brought; None: by quality."""


def to_strips(blocks: pa.Table, ids: MeterIds, kinds: Kinds, senders: Mapping[int, Sender]) -> Strips:
    """Unpack stored blocks into strips: one a block where all slots arrived alike, else one a run.

    ``senders`` knows every delivery named in ``blocks``. Readings whose stamp is not their delivery's
    arrival carry a sender's stamp.
    """
    amounts, borders = flat_amounts(blocks)
    quality, delivery, stamp = flat_traits(blocks, borders)
    row = np.repeat(np.arange(len(blocks)), np.diff(borders))
    uniform = ~(blocks["quality"].is_null().to_numpy() | blocks["delivery"].is_null().to_numpy())
    keep = uniform[row] | (amounts != MISSING)
    cut = np.ones(len(row), bool)
    cut[1:] = (
        (row[1:] != row[:-1]) | (quality[1:] != quality[:-1]) | (delivery[1:] != delivery[:-1])
        | (stamp[1:] != stamp[:-1]) | ~keep[:-1]
    )  # fmt: skip
    heads = np.flatnonzero(cut & keep)
    run = np.cumsum(cut) - 1
    counts = np.bincount(run[keep], minlength=run[-1] + 1 if len(run) else 0)
    at = row[heads]
    interval = blocks["interval_s"].to_numpy().astype(np.int64)[at]
    start = blocks["start"].cast(pa.int64()).to_numpy() // 1_000_000 + blocks["offset_s"].to_numpy()
    channel = pc.dictionary_encode(blocks["channel"].combine_chunks())
    code = channel.indices.to_numpy(zero_copy_only=False)[at]
    names = channel.dictionary.to_pylist()
    traits = np.stack([code, interval, quality[heads], delivery[heads], stamp[heads]], axis=1)
    distinct, inverse = np.unique(traits, axis=0, return_inverse=True)
    table = np.array(
        [kinds.code(kind_of(names[c], i, q, s, d, senders[d])) for c, i, q, d, s in distinct.tolist()],
        np.int32,
    )
    return Strips(
        ids.codes_of(blocks["meter_id"])[at],
        table[inverse.reshape(-1)] if len(heads) else np.empty(0, np.int32),
        start[at] + (heads - borders[at]) * interval,
        counts[run[heads]].astype(np.int32),
        np.zeros(len(heads), np.int64),
        amounts[keep],
    )


def kind_of(channel: str, interval_s: int, quality: int, stamp: int, number: int, sender: Sender) -> Kind:
    """Kind of a stored reading: channel, length, quality code, stamp (µs), delivery number and its sender."""
    precedence = PRECEDENCE[quality] if sender.precedence is None else sender.precedence
    return Kind(
        channel, interval_s, quality, precedence, stamp, stamp != sender.received_us, sender.source, number
    )


@dataclass(frozen=True, slots=True)
class Cells:
    """Merged slots of some blocks of one width, block-major: what `from_cells` turns into rows."""

    meter_id: pa.Array
    channel: pa.Array
    interval_s: int
    start_s: Ints
    offset_s: Ints
    values: Codes
    valid: npt.NDArray[np.bool_]
    amounts: Ints
    scale: npt.NDArray[np.int8]
    fits: npt.NDArray[np.bool_]
    filled: Codes
    total: Ints
    quality: Codes
    """By block, -1 where its slots differ; ``slot_quality`` then says, by cell."""
    trait: Codes
    """By block, an index of ``traits``, -1 where its slots differ; ``slot_trait`` then says, by cell."""
    slot_quality: Callable[[Ints], npt.NDArray[np.int8]]
    slot_trait: Callable[[Ints], Codes]
    traits: Ints
    """Delivery and stamp (µs) by code, shape (n, 2)."""


def from_cells(cells: Cells) -> pa.Table:
    """Build the rows of BLOCK_SCHEMA, in the order of ``cells``."""
    n = len(cells.filled)
    width = len(cells.valid) // n if n else 0
    borders = pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(width))
    slots = pa.array(cells.values, mask=~cells.valid)
    narrow = pa.ListArray.from_arrays(
        borders, slots, mask=None if cells.fits.all() else pa.array(~cells.fits)
    )
    alike = cells.trait >= 0
    trait = cells.traits[np.where(alike, cells.trait, 0)] if n else np.empty((0, 2), np.int64)
    columns = [
        cells.meter_id,
        cells.channel,
        pa.array(np.full(n, cells.interval_s, np.int32)),
        pa.array(cells.start_s * 1_000_000).cast(UTC_US),
        pa.array(cells.offset_s.astype(np.int32)),
        pa.array(cells.scale),
        narrow,
        _wide(cells, width),
        pa.array(cells.quality.astype(np.int8), mask=cells.quality < 0),
        _qualities(cells, width),
        pa.array(trait[:, 0].astype(np.int32), mask=~alike),
        pa.array(trait[:, 1], mask=~alike).cast(UTC_US),
        _origin(cells, width),
        pa.array(cells.filled),
        pa.array(cells.total),
    ]
    return pa.Table.from_arrays(columns, schema=BLOCK_SCHEMA)


def _rare_lists(n: int, rows: Ints, borders: Ints, items: pa.Array) -> pa.ListArray:
    """Lists that only ``rows`` of ``n`` have, the rest null; ``borders`` (len(rows) + 1) cut ``items``."""
    sizes = np.zeros(n, np.int64)
    sizes[rows] = np.diff(borders)
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    empty = np.ones(n, bool)
    empty[rows] = False
    return pa.ListArray.from_arrays(pa.array(offsets), items, mask=pa.array(empty))


def _wide(cells: Cells, width: int) -> pa.Array:
    rows = np.flatnonzero(~cells.fits)
    if not len(rows):
        return pa.nulls(len(cells.fits), pa.list_(pa.int64()))
    at = (rows[:, None] * width + np.arange(width)).reshape(-1)
    power = np.repeat(10 ** cells.scale[rows].astype(np.int64), width)
    items = pa.array(np.where(cells.valid[at], cells.amounts[at] // power, 0), mask=~cells.valid[at])
    return _rare_lists(len(cells.fits), rows, np.arange(len(rows) + 1) * width, items)


def _qualities(cells: Cells, width: int) -> pa.Array:
    rows = np.flatnonzero(cells.quality < 0)
    if not len(rows):
        return pa.nulls(len(cells.quality), pa.list_(pa.int8()))
    at = (rows[:, None] * width + np.arange(width)).reshape(-1)
    codes = np.zeros(len(at), np.int8)
    codes[cells.valid[at]] = cells.slot_quality(at[cells.valid[at]])
    return _rare_lists(len(cells.quality), rows, np.arange(len(rows) + 1) * width, pa.array(codes))


def _origin(cells: Cells, width: int) -> pa.Array:
    rows = np.flatnonzero(cells.trait < 0)
    if not len(rows):
        return pa.nulls(len(cells.trait), pa.list_(ORIGIN_RUN))
    at = (rows[:, None] * width + np.arange(width)).reshape(-1)
    at = at[cells.valid[at]]
    return _rare_lists(
        len(cells.trait), rows, *origin_runs(at // width, at % width, cells.slot_trait(at), cells.traits)
    )


def origin_runs(row: Ints, slot: Ints, trait: Codes, traits: Ints) -> tuple[Ints, pa.Array]:
    """Runs of consecutive slots with one trait: borders of each distinct row (ascending), and the runs."""
    cut = np.ones(len(row), bool)
    cut[1:] = (row[1:] != row[:-1]) | (trait[1:] != trait[:-1]) | (slot[1:] != slot[:-1] + 1)
    heads = np.flatnonzero(cut)
    sizes = np.diff(np.append(heads, len(row)))
    runs = pa.StructArray.from_arrays(
        [
            pa.array(slot[heads].astype(np.int16)),
            pa.array(sizes.astype(np.int16)),
            pa.array(traits[trait[heads], 0].astype(np.int32)),
            pa.array(traits[trait[heads], 1]).cast(UTC_US),
        ],
        fields=list(ORIGIN_RUN),
    )
    borders = np.flatnonzero(np.append(True, row[heads][1:] != row[heads][:-1])) if len(heads) else heads
    return np.append(borders, len(heads)), runs
