"""Rows of stored blocks from elsewhere: checked slot by slot, then unpacked into strips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import BLOCK_SCHEMA, flat_amounts, flat_traits
from meterlake.formats.categories import Meaning, kind_of
from meterlake.formats.codec import Origin, Parsed
from meterlake.intervals import block_slots, block_span_s, is_local_day, is_supported
from meterlake.readings import AMOUNT_MAX, FUTURE_S, QUALITY_NAMES, REASON_CODES, channel_family
from meterlake.strips import MISSING, Ints, Kinds, Rejects, Strips
from meterlake.units import base_unit

if TYPE_CHECKING:
    from meterlake.ids import MeterIds

Bools = npt.NDArray[np.bool_]
_US: Final = 1_000_000
_SCALE_MAX: Final = 9
_MALFORMED: Final = REASON_CODES["malformed_line"]


def parse_blocks(batch: pa.RecordBatch, line: int, origin: Origin, ids: MeterIds, kinds: Kinds) -> Parsed:
    """Unpack a batch of blocks; a row whose parts do not agree is one malformed line.

    ``line`` is the number of the first row. Stamps are the sender's; deliveries of another lake mean
    nothing here.
    """
    table = pa.Table.from_batches([batch]).select(BLOCK_SCHEMA.names)
    table = table.cast(pa.schema([f.with_nullable(True) for f in BLOCK_SCHEMA]))
    whole = _whole(table)
    lines = line + np.arange(len(table))
    sound = table.filter(pa.array(whole))
    amounts, borders = flat_amounts(sound)
    agrees = _agrees(sound, amounts, borders)
    whole[np.flatnonzero(whole)[~agrees]] = False
    sound = sound.filter(pa.array(agrees))
    rejects = [_refused(lines[~whole], np.ones((~whole).sum(), np.int32), "malformed_line", table, line)]
    amounts, borders = flat_amounts(sound)
    rows = lines[whole]
    strips, more = _unpack(sound, amounts, borders, rows, origin, ids, kinds)
    for reason, late in more:
        row, count = np.unique(late, return_counts=True)
        rejects.append(_refused(row, count.astype(np.int32), reason, table, line))
    joined = Rejects(
        np.concatenate([r.line for r in rejects]), np.concatenate([r.reason for r in rejects]),
        np.concatenate([r.count for r in rejects]), [text for r in rejects for text in r.text],
    )  # fmt: skip
    received = int((strips.amounts != MISSING).sum()) + int(joined.count.sum())
    return Parsed(strips, joined, received, len(table))


def _refused(lines: Ints, count: npt.NDArray[np.int32], reason: str, table: pa.Table, first: int) -> Rejects:
    names = table.select(["meter_id", "channel", "interval_s", "start"]).take(pa.array(lines - first))
    texts = [str(row)[:1024] for row in names.to_pylist()]
    return Rejects(lines, np.full(len(lines), REASON_CODES[reason], np.uint8), count, texts)


def _numbers(column: pa.ChunkedArray[Any], empty: int = 0) -> Ints:
    values: Ints = pc.fill_null(column.cast(pa.int64()), empty).to_numpy().astype(np.int64)
    return values


def _whole(table: pa.Table) -> Bools:
    """Which rows can be unpacked at all: all parts there, of the right lengths and within bounds."""
    interval = _numbers(table["interval_s"])
    distinct = np.unique(interval)
    width, span, days = (np.zeros(len(interval), np.int64) for _ in range(3))
    for length in distinct[[is_supported(int(i)) for i in distinct]].tolist() if len(distinct) else []:
        mine = interval == length
        width[mine], span[mine], days[mine] = block_slots(length), block_span_s(length), is_local_day(length)
    narrow = pc.list_value_length(table["values"])
    wide = pc.list_value_length(table["wide_values"])
    slots = np.where(narrow.is_valid().to_numpy(), _numbers(narrow), _numbers(wide))
    start, offset, scale = _numbers(table["start"]), _numbers(table["offset_s"]), _numbers(table["scale"], -1)
    quality = _numbers(table["quality"], -1)
    codes = _numbers(pc.list_value_length(table["qualities"]), -1)
    uniform = table["quality"].is_valid().to_numpy()
    shared = table["delivery"].is_valid().to_numpy()
    ok: Bools = (width > 0) & (slots == width) & (narrow.is_valid().to_numpy() != wide.is_valid().to_numpy())
    ok &= (start % (np.maximum(span, 1) * _US) == 0) & (offset >= 0)
    ok &= offset < np.where(days == 1, np.maximum(span, 1), np.maximum(interval, 1))
    ok &= (scale >= 0) & (scale <= _SCALE_MAX)
    ok &= np.where(uniform, (quality > 0) & (quality < len(QUALITY_NAMES)) & (codes < 0), codes == width)
    ok &= shared == table["stamp"].is_valid().to_numpy()
    ok &= shared != table["origin"].is_valid().to_numpy()
    ok &= _runs_fit(table, width)
    for name in ("meter_id", "channel", "start", "offset_s", "filled", "total"):
        ok &= table[name].is_valid().to_numpy()
    ok &= pc.fill_null(pc.not_equal(table["meter_id"], ""), fill_value=False).to_numpy()
    return ok


def _runs_fit(table: pa.Table, width: Ints) -> Bools:
    """Whether the runs of a row's origin are in order, whole, and within the row."""
    lists = table["origin"].combine_chunks()
    fits = np.ones(len(table), bool)
    runs = pc.list_flatten(lists)
    if not len(runs):
        return fits
    row = pc.list_parent_indices(lists).to_numpy()
    first, count = (_numbers(pa.chunked_array([runs.field(name)]), -1) for name in ("first", "count"))
    bad = (first < 0) | (count < 1) | (first + count > width[row])
    bad |= ~runs.field("stamp").is_valid().to_numpy(zero_copy_only=False)
    bad |= ~runs.field("delivery").is_valid().to_numpy(zero_copy_only=False)
    bad[1:] |= (row[1:] == row[:-1]) & (first[1:] < first[:-1] + count[:-1])
    fits[row[bad]] = False
    return fits


def _agrees(blocks: pa.Table, amounts: Ints, borders: Ints) -> Bools:
    """Whether counts, sums, bounds and qualities of each row are those of its slots."""
    n = len(blocks)
    if not n:
        return np.zeros(0, bool)
    there = amounts != MISSING
    power = 10 ** np.repeat(_numbers(blocks["scale"]), np.diff(borders))
    inside = ~there | ((amounts >= -AMOUNT_MAX) & (amounts <= AMOUNT_MAX) & (amounts % power == 0))
    values = np.where(there & inside, amounts, 0)
    heads = borders[:-1]
    ok = np.logical_and.reduceat(inside, heads)
    ok &= np.add.reduceat(values, heads) == _numbers(blocks["total"])
    ok &= np.add.reduceat(there.astype(np.int64), heads) == _numbers(blocks["filled"])
    quality, delivery, _ = flat_traits(blocks, borders)
    fine = ~there | ((quality > 0) & (quality < len(QUALITY_NAMES)) & (delivery >= 0))
    ok &= np.logical_and.reduceat(fine, heads)
    return ok


def _unpack(  # noqa: PLR0913
    blocks: pa.Table, amounts: Ints, borders: Ints, rows: Ints, origin: Origin, ids: MeterIds, kinds: Kinds
) -> tuple[Strips, list[tuple[str, Ints]]]:
    """Strips of sound blocks, a run of one quality and stamp each; and the rows of slots that are refused."""
    quality, _, stamp = flat_traits(blocks, borders)
    width = np.diff(borders)
    row = np.repeat(np.arange(len(blocks)), width)
    interval = _numbers(blocks["interval_s"])
    first = _numbers(blocks["start"]) // _US + _numbers(blocks["offset_s"])
    slot = np.arange(len(amounts)) - borders[row]
    start = first[row] + slot * interval[row]
    channel = pc.dictionary_encode(blocks["channel"].combine_chunks())
    names = channel.dictionary.to_pylist()
    code = channel.indices.to_numpy(zero_copy_only=False)
    unknown = (
        np.array([channel_family(name) is None for name in names], bool)[code][row] if names else row > 0
    )
    keep = amounts != MISSING
    late = keep & ~unknown & (start > origin.now_s + FUTURE_S)
    refused = [("unsupported_channel", rows[row[keep & unknown]]), ("future", rows[row[late]])]
    keep &= ~unknown & ~late
    at = np.flatnonzero(keep)
    if not len(at):
        return Strips.empty(), refused
    stamp = np.minimum(stamp, origin.now_s * _US)
    traits = np.stack([code[row], interval[row], quality, stamp], axis=1)[at]
    cut = np.ones(len(at), bool)
    cut[1:] = (np.diff(at) != 1) | (np.diff(row[at]) != 0) | (np.diff(traits, axis=0) != 0).any(axis=1)
    heads = np.flatnonzero(cut)
    distinct, inverse = np.unique(traits[heads], axis=0, return_inverse=True)
    table = np.array([_kind(kinds, origin, names[c], i, q, s) for c, i, q, s in distinct.tolist()], np.int32)
    strips = Strips(
        ids.codes_of(blocks["meter_id"])[row[at[heads]]],
        table[inverse.reshape(-1)],
        start[at[heads]],
        np.diff(np.append(heads, len(at))).astype(np.int32),
        rows[row[at[heads]]],
        amounts[at],
    )
    return strips, refused


def _kind(kinds: Kinds, origin: Origin, channel: str, interval_s: int, quality: int, stamp_us: int) -> int:
    unit = base_unit(channel)
    assert unit is not None
    return kinds.code(kind_of(Meaning(channel, interval_s, quality, unit), origin, stamp_us=stamp_us))
