"""Block rows as NumPy arrays: what every question computes on. No compiler is loaded for it.

A `Sheet` holds the small columns of some block rows, a `Page` their values too. Rows are sorted by
(meter_id, channel, interval_s, start), so a meter is one run of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake.errors import Damaged
from meterlake.intervals import DAY_S, HOUR_S, LOCAL_DAYS_S, MINUTE_S

if TYPE_CHECKING:
    from meterlake.strips import Ints

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

ROW: Final = np.dtype(
    [
        ("start", "i8"), ("total", "i8"), ("offset", "i4"), ("interval", "i4"), ("delivery", "i4"),
        ("filled", "i4"), ("edited", "i2"), ("estimated", "i2"), ("channel", "i2"), ("quality", "i2"),
    ]
)  # fmt: skip
"""One block: ``start`` in seconds, ``total`` in milli units, ``delivery`` and ``quality`` -1 where mixed.

``edited`` and ``estimated`` count filled slots of those qualities; ``channel`` is a code of `Channels`.
"""

SHEET_COLUMNS: Final = (
    "meter_id", "channel", "interval_s", "start", "offset_s", "quality", "delivery", "filled", "total",
)  # fmt: skip
PAGE_COLUMNS: Final = (*SHEET_COLUMNS, "scale", "values")
RARE_COLUMNS: Final = ("wide_values", "qualities", "origin")
"""Columns that almost every row has null; they are read only where a row needs them."""

EDITED: Final = 5
ESTIMATED: Final = 6
"""Codes from here on (derived, estimated, projected) count as estimated in a passport."""


class Rare(NamedTuple):
    """A list column that few rows have: list of ``rows[i]`` is ``items[borders[i]:borders[i + 1]]``."""

    rows: Ints
    borders: Ints
    items: Array

    def of(self, row: int) -> Array:
        """Items of ``row``; none where it has no list."""
        at = int(np.searchsorted(self.rows, row))
        if at == len(self.rows) or self.rows[at] != row:
            return self.items[:0]
        return self.items[self.borders[at] : self.borders[at + 1]]

    def within(self, low: int, high: int) -> Array:
        """Items of all rows from ``low`` to before ``high``."""
        first, last = np.searchsorted(self.rows, (low, high)).tolist()
        return self.items[self.borders[first] : self.borders[last]]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.rows.nbytes + self.borders.nbytes + self.items.nbytes)


NONE_RARE: Final = Rare(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64))

RUN: Final = np.dtype([("first", "i4"), ("count", "i4"), ("delivery", "i4")])
"""A run of slots that one delivery brought."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The small columns of some block rows.

    ``meters`` are the distinct ids (UTF-8 bytes), ``runs`` the n + 1 borders of their rows, ``rows`` an
    array of `ROW`, ``origins`` the `RUN` lists of rows whose delivery is mixed.
    """

    meters: Array
    runs: Ints
    rows: Array
    origins: Rare
    mixed: bool
    """Whether some meter-channel has series of more than one length here."""

    def run(self, meter: bytes) -> tuple[int, int]:
        """First row of ``meter`` and the row after its last; equal where it has none."""
        at = int(np.searchsorted(self.meters, meter))
        if at == len(self.meters) or self.meters[at] != meter:
            return 0, 0
        return int(self.runs[at]), int(self.runs[at + 1])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.meters.nbytes + self.runs.nbytes + self.rows.nbytes + self.origins.nbytes)


@dataclass(frozen=True, slots=True)
class Page:
    """Block rows with their values: slot k of row i is at ``borders[i] + k`` of ``amounts`` and ``filled``."""

    sheet: Sheet
    borders: Ints
    amounts: Array
    """Mantissas (int32, or int64 where a row is wide); the amount is ``amounts * power[row]``."""
    power: Ints
    filled: Bools | None
    """None where every slot is filled."""
    qualities: Rare
    """A code a slot, of the rows whose quality is mixed."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        own = self.borders.nbytes + self.amounts.nbytes + self.power.nbytes + self.qualities.nbytes
        return self.sheet.nbytes + own + (0 if self.filled is None else self.filled.nbytes)


class Slots(NamedTuple):
    """Slots of some rows, one after the other; ``row`` indexes those rows."""

    row: Ints
    slot: Ints
    amount: Ints
    """Milli units, 0 where empty."""
    filled: Bools


def width(interval_s: Ints) -> Ints:
    """Slots of a block by interval length; the twin of `intervals.block_slots`."""
    span = np.where(interval_s < MINUTE_S, HOUR_S, DAY_S)
    slots: Ints = np.where(local_day(interval_s), 1, span // np.maximum(interval_s, 1))
    return slots


def local_day(interval_s: Ints) -> Bools:
    """Which lengths are a whole local day of 23, 24 or 25 hours: they make one series."""
    short, usual, long = LOCAL_DAYS_S
    is_day: Bools = (interval_s == usual) | (interval_s == short) | (interval_s == long)
    return is_day


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _bits(array: pa.Array) -> Bools | None:
    """Which items are valid; None where all are."""
    if array.null_count == 0:
        return None
    first, last = array.offset, array.offset + len(array)
    packed = np.frombuffer(array.buffers()[0], np.uint8)[first // 8 : (last + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + len(array)]
    return bits.view(np.bool_)


def _fixed(array: pa.Array, dtype: str) -> Array:
    """Items of a column of fixed width; what stands at nulls is arbitrary."""
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype)[array.offset : array.offset + len(array)]


def _fixed_or(array: pa.Array, dtype: str, instead: int) -> Array:
    values, valid = _fixed(array, dtype), _bits(array)
    return values if valid is None else np.where(valid, values, instead)


def _lists(array: pa.Array) -> tuple[Ints, pa.Array]:
    """Borders and items of a list column, from 0; null rows may have a width, its items are arbitrary."""
    borders = array.offsets.to_numpy().astype(np.int64)
    first = int(borders[0]) if len(borders) else 0
    return borders - first, array.values.slice(first, int(borders[-1]) - first)


def id_bytes(array: pa.Array) -> Array:
    """Strings without nulls as an array of bytes of one width; their order is that of the strings."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = "i8" if pa.types.is_large_string(array.type) else "i4"
    if not len(array):
        return np.empty(0, "S1")
    offsets = np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array) + 1].astype(
        np.int64
    )
    content = np.frombuffer(array.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    longest = int(lengths.max()) or 1
    text = np.zeros((len(array), longest), np.uint8)
    if (lengths == longest).all():
        text[:] = content[offsets[0] : offsets[-1]].reshape(len(array), longest)
    else:
        at = np.arange(longest)
        inside = at < lengths[:, None]
        text[inside] = content[(offsets[:-1, None] + at)[inside]]
    return text.view(f"S{longest}").reshape(-1)


def _strings(array: pa.Array) -> tuple[Ints, Array]:
    """Runs of equal strings: the n + 1 borders of the runs, and the string of each as bytes."""
    names = id_bytes(array)
    heads = np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.empty(0, np.int64)
    return np.append(heads, len(names)), names[heads]


class Channels:
    """Channel names, numbered as they are met; shared by sheets that are used together, and by threads."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = Lock()
        self.names: list[str] = []

    def code(self, name: str) -> int:
        """Number of ``name``, new or known."""
        with self._lock:
            if name not in self.names:
                self.names.append(name)
            return self.names.index(name)

    def codes(self, array: pa.Array) -> Array:
        """Numbers of a column of names."""
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        codes = np.array([self.code(name) for name in encoded.dictionary.to_pylist()], np.int16)
        return codes[_fixed(encoded.indices, encoded.indices.type.to_pandas_dtype())]


def sheet_of(table: pa.Table, channels: Channels) -> Sheet:
    """Decode the small columns of block rows (`SHEET_COLUMNS`, with `RARE_COLUMNS` where they are needed).

    Args:
        table: rows sorted by meter_id, channel, interval_s and start.
        channels: numbers the names; the same for all sheets that are used together.
    """
    runs, meters = _strings(_one(table["meter_id"]))
    rows = np.empty(len(table), ROW)
    rows["channel"] = channels.codes(_one(table["channel"]))
    rows["interval"] = _fixed(_one(table["interval_s"]), "i4")
    rows["start"] = _fixed(_one(table["start"]), "i8") // 1_000_000
    rows["offset"] = _fixed(_one(table["offset_s"]), "i4")
    rows["total"] = _fixed(_one(table["total"]), "i8")
    rows["filled"] = _fixed(_one(table["filled"]), "i4")
    rows["quality"] = _fixed_or(_one(table["quality"]), "i1", -1)
    rows["delivery"] = _fixed_or(_one(table["delivery"]), "i4", -1)
    rows["edited"] = np.where(rows["quality"] == EDITED, rows["filled"], 0)
    rows["estimated"] = np.where(rows["quality"] >= ESTIMATED, rows["filled"], 0)
    if (rows["quality"] < 0).any() and "qualities" in table.column_names:
        mixed = _qualities(table, rows)
        owner = np.repeat(np.arange(len(mixed.rows)), np.diff(mixed.borders))
        for name, those in (("edited", mixed.items == EDITED), ("estimated", mixed.items >= ESTIMATED)):
            rows[name][mixed.rows] = np.bincount(owner[those], minlength=len(mixed.rows))
    return Sheet(meters, runs, rows, _origins(table, rows), _is_mixed(rows, runs))


def _is_mixed(rows: Array, runs: Ints) -> bool:
    """Whether two neighbours of one meter-channel differ in length; local days are one length."""
    length = np.where(local_day(rows["interval"]), DAY_S, rows["interval"])
    differ = (length[1:] != length[:-1]) & (rows["channel"][1:] == rows["channel"][:-1])
    differ[runs[1:-1] - 1] = False
    return bool(differ.any())


def _qualities(table: pa.Table, rows: Array) -> Rare:
    return _rare(_one(table["qualities"]), np.flatnonzero(rows["quality"] < 0), "i1")


def _rare(array: pa.Array, rows: Ints, dtype: str) -> Rare:
    if not len(rows):
        return NONE_RARE
    borders, items = _lists(array.take(pa.array(rows)))
    return Rare(rows, borders, _fixed(items, dtype))


def _origins(table: pa.Table, rows: Array) -> Rare:
    mixed = np.flatnonzero(rows["delivery"] < 0)
    if not len(mixed) or "origin" not in table.column_names:
        return Rare(NONE_RARE.rows, NONE_RARE.borders, np.empty(0, RUN))
    borders, items = _lists(_one(table["origin"]).take(pa.array(mixed)))
    runs = np.empty(len(items), RUN)
    for name in RUN.names or ():
        runs[name] = items.field(name).to_numpy(zero_copy_only=False)
    return Rare(mixed, borders, runs)


def page_of(table: pa.Table, channels: Channels) -> Page:
    """Decode block rows with their values (`PAGE_COLUMNS`, with `RARE_COLUMNS` where they are needed)."""
    sheet = sheet_of(table, channels)
    values = _one(table["values"])
    borders, items = _lists(values)
    amounts: Array = _fixed(items, "i4")
    filled = _bits(items)
    if values.null_count:
        borders, amounts, filled = _widened(table, values, borders, amounts, filled)
    elif filled is not None:
        amounts = np.where(filled, amounts, 0)
    if borders[-1] != len(amounts) or (np.diff(borders) != width(sheet.rows["interval"])).any():
        raise Damaged("a block has not one value for each of its slots: run `meterlake check`")
    power = 10 ** _fixed(_one(table["scale"]), "i1").astype(np.int64)
    qualities = _qualities(table, sheet.rows) if "qualities" in table.column_names else NONE_RARE
    return Page(sheet, borders, amounts, power, filled, qualities)


def _widened(
    table: pa.Table, values: pa.Array, borders: Ints, narrow: Array, filled: Bools | None
) -> tuple[Ints, Array, Bools | None]:
    """Values where some rows stand in ``wide_values``: all as int64."""
    absent = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
    wide_borders, items = _lists(_one(table["wide_values"]).take(pa.array(absent)))
    is_wide = np.zeros(len(values), bool)
    is_wide[absent] = True
    widths = np.diff(borders)
    stands = np.repeat(~is_wide, widths)
    widths[absent] = np.diff(wide_borders)
    at_wide = np.repeat(is_wide, widths)
    amounts = np.empty(len(at_wide), np.int64)
    amounts[at_wide] = _fixed(items, "i8")
    amounts[~at_wide] = narrow[stands]
    valid = np.ones(len(at_wide), bool)
    wide_bits = _bits(items)
    if wide_bits is not None:
        valid[at_wide] = wide_bits
    if filled is not None:
        valid[~at_wide] = filled[stands]
    return np.append(0, np.cumsum(widths)), np.where(valid, amounts, 0), valid


def spread(sizes: Ints) -> tuple[Ints, Ints]:
    """Owner and position within it of every item, where owner i has ``sizes[i]`` items."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    first = np.cumsum(sizes) - sizes
    return owner, np.arange(len(owner)) - first[owner]


def slots_of(page: Page, rows: Ints) -> Slots:
    """All slots of ``rows`` of a page."""
    sizes = page.borders[rows + 1] - page.borders[rows]
    row, slot = spread(sizes)
    at = page.borders[rows][row] + slot
    amount = page.amounts[at] * page.power[rows][row]
    filled = np.ones(len(at), bool) if page.filled is None else page.filled[at]
    return Slots(row, slot, amount, filled)


def run_slots(page: Page, low: int, high: int) -> Slots:
    """All slots of the rows from ``low`` to before ``high``; the quick way to a meter's run."""
    first, last = int(page.borders[low]), int(page.borders[high])
    sizes = page.borders[low + 1 : high + 1] - page.borders[low:high]
    row = np.repeat(np.arange(high - low), sizes)
    slot = np.arange(first, last) - page.borders[low:high][row]
    amount = page.amounts[first:last] * page.power[low:high][row]
    filled = np.ones(last - first, bool) if page.filled is None else page.filled[first:last]
    return Slots(row, slot, amount, filled)


class Even(NamedTuple):
    """Slots of rows that have one length and one quality."""

    start: Ints
    interval_s: int
    amount: Ints
    """Milli units, 0 where empty."""
    filled: Bools
    quality: Array
    """Code by slot, 0 where empty."""


def even_run(page: Page, low: int, high: int) -> Even | None:
    """All slots of the rows from ``low`` to before ``high`` where they are alike, which is the rule; else None."""
    rows = page.sheet.rows[low:high]
    interval, code, power = rows["interval"], rows["quality"], page.power[low:high]
    alike = (interval == interval[0]) & (code == code[0]) & (power == power[0])
    if code[0] < 0 or not alike.all():
        return None
    cells = slice(int(page.borders[low]), int(page.borders[high]))
    amount = page.amounts[cells] * power[0]
    steps = np.arange(len(amount) // len(rows)) * int(interval[0])
    start = ((rows["start"] + rows["offset"])[:, None] + steps).reshape(-1)
    quality = np.full(len(amount), code[0], np.uint8)
    if page.filled is None:
        return Even(start, int(interval[0]), amount, np.ones(len(amount), bool), quality)
    filled = page.filled[cells]
    return Even(start, int(interval[0]), amount, filled, quality * filled)


def qualities_of(page: Page, rows: Ints, slots: Slots) -> Array:
    """Quality code of every slot of ``rows``, 0 where it is empty."""
    uniform = page.sheet.rows["quality"][rows]
    codes = uniform.astype(np.uint8)[slots.row]
    codes *= slots.filled
    if (uniform < 0).any():
        borders = np.append(0, np.cumsum(page.borders[rows + 1] - page.borders[rows]))
        for i in np.flatnonzero(uniform < 0).tolist():
            codes[borders[i] : borders[i + 1]] = page.qualities.of(int(rows[i]))
    return codes


def row_arrivals(sheet: Sheet, rows: Ints, arrivals: Ints) -> Ints:
    """When the newest reading of each of ``rows`` was received; ``arrivals`` as in `arrivals_of`."""
    numbers = sheet.rows["delivery"][rows]
    newest = known(arrivals, numbers)
    for i in np.flatnonzero(numbers < 0).tolist():
        newest[i] = known(arrivals, sheet.origins.of(int(rows[i]))["delivery"]).max()
    return newest


def known(arrivals: Ints, numbers: Array) -> Ints:
    """Arrivals of deliveries by number; the last item of ``arrivals`` for a number that is negative or not known."""
    found: Ints = arrivals[np.minimum(numbers, len(arrivals) - 1)]
    return found


def arrivals_of(page: Page, rows: Ints, slots: Slots, arrivals: Ints) -> Ints:
    """When each slot of ``rows`` was received, by ``arrivals`` of each delivery's number; its last item where empty."""
    uniform = page.sheet.rows["delivery"][rows]
    when = np.where(slots.filled, known(arrivals, uniform)[slots.row], arrivals[-1])
    if (uniform < 0).any():
        borders = np.append(0, np.cumsum(page.borders[rows + 1] - page.borders[rows]))
        for i in np.flatnonzero(uniform < 0).tolist():
            for first, count, delivery in page.sheet.origins.of(int(rows[i])).tolist():
                when[borders[i] + first : borders[i] + first + count] = arrivals[
                    min(delivery, len(arrivals) - 1)
                ]
    return when
