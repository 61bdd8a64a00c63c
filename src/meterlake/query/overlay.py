"""Blocks that stand over those of the files: what is live, and what waits to be folded into its file.

A row of a file counts only where no block of its key lies over it. One meter's blocks become one more part of
what is held of it; those of all meters become files of their own, in place of the rows that they replace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.intervals import HOUR_S
from meterlake.ports import DataFile
from meterlake.query.kept import Kept
from meterlake.query.meters import stacks
from meterlake.query.sums import codes_of
from meterlake.query.view import Held, Memory, Part, View
from meterlake.slots import ROW, SHEET_COLUMNS, id_bytes, page_of, sheet_of, slots_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.query.kept import Key, Sized
    from meterlake.slots import Array, Bools, Channels, Page, Sheet
    from meterlake.strips import Ints

ALL: Final = (0, 1024)
"""All partitions; `ids` is not imported for their number, because it loads the compiler."""

NOWHERE: Final = DataFile("overlay", 0, 0, ALL, ("", ""), (0, 0))
"""The file that rows of a meter's overlay claim to be from."""


def packed(rows: Array) -> Ints:
    """Channel, interval and start of each row as one number: 15, 17 and 32 bits."""
    key: Ints = (rows["start"] // HOUR_S << 32) | (rows["interval"].astype(np.int64) << 15) | rows["channel"]
    return key


class Keys:
    """The keys of some block rows, to be found among others."""

    def __init__(self, sheet: Sheet) -> None:
        """Take the keys of ``sheet``."""
        self._meters = sheet.meters
        self._owner = np.repeat(np.arange(len(sheet.meters)), np.diff(sheet.runs))
        self._key = packed(sheet.rows)
        starts = sheet.rows["start"]
        self.starts = (int(starts.min()), int(starts.max())) if len(starts) else (0, -1)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._key)

    def within(self, sheet: Sheet) -> Bools:
        """Which rows of ``sheet`` have one of the keys; it shares the numbering of channels."""
        hit = np.zeros(len(sheet.rows), bool)
        if not len(self) or not len(hit):
            return hit
        at = np.minimum(np.searchsorted(self._meters, sheet.meters), len(self._meters) - 1)
        known = self._meters[at] == sheet.meters
        owner = np.repeat(np.where(known, at, -1), np.diff(sheet.runs))
        start = sheet.rows["start"]
        near = np.flatnonzero((owner >= 0) & (start >= self.starts[0]) & (start <= self.starts[1]))
        if len(near):
            code, _ = codes_of(
                np.append(self._owner, owner[near]), np.append(self._key, packed(sheet.rows[near]))
            )
            own = np.zeros(int(code.max()) + 1, bool)
            own[code[: len(self)]] = True
            hit[near] = own[code[len(self) :]]
        return hit

    def left(self, table: pa.Table, channels: Channels) -> pa.Table:
        """Rows of a table of blocks in key order that have none of the keys."""
        hit = self.within(small(table, channels))
        return table.filter(pa.array(~hit)) if hit.any() else table


@dataclass(frozen=True, slots=True)
class Overlay:
    """Blocks of some meters that stand for the rows of their keys."""

    page: Page

    @property
    def file(self) -> DataFile:
        """The file that its rows claim to be from."""
        return NOWHERE

    def over(self, held: Held, meter: str) -> Held:
        """Rows of ``meter`` with those of the overlay in place of their likes."""
        low, high = self.page.sheet.run(meter.encode())
        if low == high:
            return held
        rows = self.page.sheet.rows[low:high]
        if len(held.rows) and held.rows["start"].max() >= rows["start"].min():
            again = np.isin(packed(held.rows), packed(rows))
            if again.any():
                held = held.where(~again)
        return Held(
            # as plain words: records would have their fields compared in Python, part by part
            np.concatenate([held.rows.view("i8"), rows.view("i8")]).view(ROW),
            np.append(held.part, np.full(high - low, len(held.parts))),
            np.append(held.at, np.arange(low, high)),
            [*held.parts, Part(self.file, self.page.sheet, low, high)],
        )

    def meets(self, view: View) -> bool:
        """Whether a file of ``view`` has a row of one of its keys."""
        if self.page.sheet.rows["start"].min() > view.last_s:
            return False
        for i, meter in enumerate(self.page.sheet.meters.tolist()):
            rows = self.page.sheet.rows[self.page.sheet.runs[i] : self.page.sheet.runs[i + 1]]
            starts = rows["start"]
            held = view.held(meter.decode(), int(starts.min()), int(starts.max()) + 1, values=False)
            if len(held.rows) and np.isin(packed(held.rows), packed(rows)).any():
                return True
        return False

    def end(self, now_s: int) -> int | None:
        """End (s) of the last filled slot that is over at ``now_s``; None where there is none."""
        rows = self.page.sheet.rows
        slots = slots_of(self.page, np.arange(len(rows)))
        own = rows[slots.row]
        ends = own["start"] + own["offset"] + (slots.slot + 1) * own["interval"].astype(np.int64)
        ends = ends[slots.filled & (ends <= now_s)]
        return int(ends.max()) if len(ends) else None

    def deliveries(self) -> Ints:
        """Numbers of the deliveries that its slots are of, rising."""
        sheet = self.page.sheet
        numbers = np.unique(np.append(sheet.rows["delivery"], sheet.origins.items["delivery"]))
        known: Ints = numbers[numbers >= 0]
        return known


def overlay_of(blocks: pa.Table, channels: Channels) -> Overlay:
    """Lay ``blocks`` (BLOCK_SCHEMA in key order) over what is asked."""
    return Overlay(page_of(blocks, channels))


class _Aside(Kept):
    """Keeps what belongs to some files of one view, and leaves the rest to those below."""

    def __init__(self, below: Kept, paths: frozenset[str]) -> None:
        super().__init__()
        self._below, self._paths = below, paths

    def _is_own(self, key: Key) -> bool:
        # which ids are complete in a page is known to the view alone that read it
        return key[0] == "page" or not self._paths.isdisjoint(key)

    def get(self, key: Key) -> Any:
        return super().get(key) if self._is_own(key) else self._below.get(key)

    def put(self, key: Key, value: Sized) -> None:
        if self._is_own(key):
            super().put(key, value)
        else:
            self._below.put(key, value)


def laid_over(view: View, blocks: pa.Table, keys: Keys) -> View:
    """View of all meters with ``blocks`` as files of their own, and without the files' rows of ``keys``.

    Args:
        view: the files as they are.
        blocks: BLOCK_SCHEMA in key order, one row a key.
        keys: those of ``blocks`` that files may have.
    """
    cut = {
        file.path: replace(file, path=f"{file.path}|cut") for file in view.files if _meets(view, file, keys)
    }
    real = {short.path: file for file in view.files if (short := cut.get(file.path)) is not None}
    tables = {f"overlay|{at}": table for at, table in enumerate(_by_stack(view, blocks))}
    starts = _bounds_of_stacks(view.files)
    over = [
        table_file(path, table, (starts[at], starts[at + 1]))
        for at, (path, table) in enumerate(tables.items()) if len(table)
    ]  # fmt: skip
    files = [cut.get(file.path, file) for file in view.files] + over
    paths = frozenset([*tables, *real])
    channels = view.memory.channels

    def read(file: DataFile, columns: Sequence[str], meters: tuple[str, str] | None = None) -> pa.Table:
        table = tables.get(file.path)
        if table is not None:
            return within(table, meters).select(list(columns))
        if file.path not in real:
            return view.read(file, columns, meters)
        needed = [*columns, *(name for name in SHEET_COLUMNS if name not in columns)]
        return keys.left(view.read(real[file.path], needed, meters), channels).select(list(columns))

    memory = Memory(_Aside(view.memory.kept, paths), channels)
    return View(view.version, files, read, memory, view.deliveries)


def _meets(view: View, file: DataFile, keys: Keys) -> bool:
    first, last = (us // 1_000_000 for us in file.starts_us)
    if not len(keys) or first > keys.starts[1] or last < keys.starts[0]:
        return False
    return bool(keys.within(view.sheet(file)).any())


def small(table: pa.Table, channels: Channels) -> Sheet:
    """Keys of block rows in key order, with the other small columns as far as they are needed here."""
    return sheet_of(table.select(list(SHEET_COLUMNS)), channels)


def table_file(path: str, table: pa.Table, partitions: tuple[int, int]) -> DataFile:
    """Describe block rows in key order as a file."""
    starts = pc.min_max(table["start"].cast(pa.int64())).as_py()
    ids = table["meter_id"]
    return DataFile(
        path, table.nbytes, len(table), partitions, (ids[0].as_py(), ids[-1].as_py()), (starts["min"], starts["max"])
    )  # fmt: skip


def within(table: pa.Table, meters: tuple[str, str] | None) -> pa.Table:
    """Rows of meters within the closed range ``meters``; None: all."""
    if meters is None:
        return table
    ids = table["meter_id"]
    return table.filter(pc.and_(pc.greater_equal(ids, meters[0]), pc.less_equal(ids, meters[1])))


def _bounds_of_stacks(files: Sequence[DataFile]) -> list[int]:
    """Partitions at which the stacks of ``files`` begin, from 0 on, and the end of all."""
    firsts = [min(file.partitions[0] for file in stack) for stack in stacks(files)]
    return [ALL[0], *firsts[1:], ALL[1]]


def _by_stack(view: View, blocks: pa.Table) -> list[pa.Table]:
    """Cut blocks so that those of one meter come into the stack that its files are in."""
    bounds = _bounds_of_stacks(view.files)
    if len(bounds) == 2:
        return [blocks]
    ids = id_bytes(blocks["meter_id"].combine_chunks())
    heads = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    stack = np.searchsorted(bounds, partitions_of(ids[heads]), "right") - 1
    owner = np.repeat(stack, np.diff(np.append(heads, len(ids))))
    return [blocks.filter(pa.array(owner == number)) for number in range(len(bounds) - 1)]


def partitions_of(ids: Array) -> Ints:
    """Partition of each id (UTF-8 bytes without a zero byte), as `partition.partition_of` gives it."""
    text = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), ids.dtype.itemsize)
    length = np.char.str_len(ids)
    h = np.full(len(ids), 0xCBF29CE484222325, np.uint64)
    for at in range(text.shape[1]):
        h = np.where(at < length, (h ^ text[:, at]) * np.uint64(0x100000001B3), h)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 1):
        h = (h ^ (h >> np.uint64(33))) * np.uint64(factor)
    top: Ints = (h >> np.uint64(54)).astype(np.int64)
    return top
