"""One state of the lake, ready to be asked: which files may hold an answer, and their rows decoded."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake.errors import NotFound
from meterlake.intervals import DAY_S
from meterlake.partition import partition_of
from meterlake.query.kept import Kept
from meterlake.slots import (
    PAGE_COLUMNS,
    RARE_COLUMNS,
    ROW,
    SHEET_COLUMNS,
    Channels,
    Page,
    Sheet,
    page_of,
    sheet_of,
    slots_of,
    width,
)
from meterlake.usage import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.blocks import Sender
    from meterlake.ports import DataFile
    from meterlake.query.overlay import Overlay
    from meterlake.strips import Ints

SHEET_AFTER: Final = 20
SHEET_SPREAD: Final = 64
"""Reads of single meters after which a file's small columns are read as a whole: it costs about as much.

The number differs by file, up to the spread, so that one question does not meet many files whose turn it is.
"""

ANSWER_BYTES: Final = 32 << 20

AT_ONCE: Final = 2
"""Questions about all meters that are worked on together; the others wait."""

ROOM: Final = 65_536
"""Places for the arrivals of deliveries that come after those of the lake."""

Read = "Callable[[DataFile, Sequence[str] | None, tuple[str, str] | None], pa.Table]"


class Part(NamedTuple):
    """The rows of one meter in one file."""

    file: DataFile
    sheet: Sheet
    low: int
    high: int


class Held(NamedTuple):
    """Block rows of one meter, from one or more files."""

    rows: npt.NDArray[Any]
    part: Ints
    """Index of the part that each row is from."""
    at: Ints
    """Row within that part's sheet."""
    parts: list[Part]

    def where(self, keep: npt.NDArray[Any]) -> Held:
        """Rows chosen by a mask or by indexes."""
        return Held(self.rows[keep], self.part[keep], self.at[keep], self.parts)


class Shelf:
    """Which pages of a file are kept: ids from ``lows[i]`` to ``highs[i]`` are complete in page i."""

    def __init__(self) -> None:
        """Start with none."""
        self.lows: list[bytes] = []
        self.highs: dict[bytes, bytes] = {}
        self.touched = 0


class Memory:
    """What outlives a version: decoded parts of files, the numbering of channels, arrival times."""

    def __init__(self, kept: Kept, channels: Channels | None = None) -> None:
        """Start with nothing known; ``channels`` go on with a numbering."""
        self.kept = kept
        self.answers = Kept(ANSWER_BYTES)
        """Answers about all meters: small, and not to be driven out by what they were made of."""
        self.channels = channels or Channels()
        self.shelves: defaultdict[str, Shelf] = defaultdict(Shelf)
        self.lock = Lock()
        self.turn = BoundedSemaphore(AT_ONCE)
        """Whoever reads all meters takes it: each holds some hundred MB while it reads."""
        self.beside = ThreadPoolExecutor(1, "sheets")
        """The thread that reads small columns of whole files, so that no question waits for them."""


class View:
    """The files of one version, the function that reads them, and the memory that is shared between versions."""

    def __init__(
        self, version: int, files: Sequence[DataFile], read: Callable[..., pa.Table], memory: Memory,
        deliveries: Callable[[], pa.Table],
    ) -> None:  # fmt: skip
        """Index ``files``; nothing is read yet."""
        self.version = version
        self.files = list(files)
        self.memory = memory
        self.read = read
        self.deliveries = deliveries
        self.overlay: Overlay | None = None
        """What lies over the files, for questions about single meters."""
        self._arrivals: Ints | None = None
        self._partitions = np.array([f.partitions for f in files], np.int64).reshape(-1, 2)
        self._starts = np.array([f.starts_us for f in files], np.int64).reshape(-1, 2) // 1_000_000
        self.last_s = int(self._starts[:, 1].max(initial=-(2**40)))
        """Start (s) of the last block of all files."""

    def files_between(self, start: int, stop: int) -> list[DataFile]:
        """Files that may hold slots of ``[start, stop)`` seconds: a slot is in the block that holds its start."""
        hit = (self._starts[:, 0] < stop) & (self._starts[:, 1] > start - DAY_S)
        return [self.files[i] for i in np.flatnonzero(hit).tolist()]

    def files_of(self, meter: str, start: int, stop: int) -> list[DataFile]:
        """Files that may hold slots of ``meter`` in ``[start, stop)``."""
        own = partition_of(meter)
        hit = (
            (self._starts[:, 0] < stop) & (self._starts[:, 1] > start - DAY_S)
            & (self._partitions[:, 0] <= own) & (self._partitions[:, 1] > own)
        )  # fmt: skip
        found = [self.files[i] for i in np.flatnonzero(hit).tolist()]
        return [file for file in found if file.meters[0] <= meter <= file.meters[1]]

    def table(
        self, file: DataFile, columns: Sequence[str], meters: tuple[str, str] | None = None
    ) -> pa.Table:
        """Rows of a file, with the columns that only rare rows fill where one of these rows is among them."""
        table = self.read(file, columns, meters)
        rare = table["quality"].null_count or table["delivery"].null_count
        if rare or ("values" in columns and table["values"].null_count):
            table = self.read(file, [*columns, *RARE_COLUMNS], meters)
        return table

    def sheet(self, file: DataFile) -> Sheet:
        """Small columns of all rows of ``file``."""
        sheet: Sheet = self.memory.kept.made(
            ("sheet", file.path),
            lambda: sheet_of(self.table(file, SHEET_COLUMNS), self.memory.channels),
        )
        return sheet

    def whole(self, file: DataFile) -> Page:
        """All rows of ``file`` with values; of these only the small columns are kept, because of the size."""
        page = page_of(self.table(file, PAGE_COLUMNS), self.memory.channels)
        self.memory.kept.put(("sheet", file.path), page.sheet)
        return page

    def _kept_page(self, file: DataFile, meter: bytes) -> Page | None:
        shelf = self.memory.shelves.get(file.path)
        if shelf is None:
            return None
        at = bisect_right(shelf.lows, meter) - 1
        if at < 0 or shelf.highs[shelf.lows[at]] < meter:
            return None
        page: Page | None = self.memory.kept.get(("page", file.path, shelf.lows[at]))
        return page

    def page(self, file: DataFile, meter: str) -> Page:
        """Rows around ``meter`` with values: all of its own, and its neighbours' in the file."""
        if self.overlay is not None and file is self.overlay.file:
            return self.overlay.page
        name = meter.encode()
        page = self._kept_page(file, name)
        if page is not None:
            return page
        page = page_of(self.table(file, PAGE_COLUMNS, (meter, meter)), self.memory.channels)
        names = page.sheet.meters
        at = int(np.searchsorted(names, name))
        low, high = min(1, at), max(len(names) - 2, at)
        first, last = (bytes(names[low]), bytes(names[high])) if at < len(names) else (name, name)
        self.memory.kept.put(("page", file.path, first), page)
        with self.memory.lock:
            shelf = self.memory.shelves[file.path]
            if first not in shelf.highs:
                insort(shelf.lows, first)
            shelf.highs[first] = last
        return page

    def _part(self, file: DataFile, meter: str, *, values: bool) -> Part:
        name = meter.encode()
        sheet: Sheet | None = None
        if not values and self._kept_page(file, name) is None:
            sheet = self.memory.kept.get(("sheet", file.path))
            shelf = self.memory.shelves[file.path]
            shelf.touched += 1
            if sheet is None and shelf.touched > SHEET_AFTER + crc32(file.path.encode()) % SHEET_SPREAD:
                shelf.touched = 0
                self.memory.beside.submit(self.sheet, file)
        if sheet is None:
            sheet = self.page(file, meter).sheet
        low, high = sheet.run(name)
        return Part(file, sheet, low, high)

    def held(self, meter: str, start: int, stop: int, *, values: bool) -> Held:
        """Block rows of ``meter`` in the files that may hold slots of ``[start, stop)``.

        Rows of other days of these files come along. ``values`` says that most of their values will be
        asked for next.
        """
        held = self._stored(meter, start, stop, values=values)
        return held if self.overlay is None else self.overlay.over(held, meter)

    def _stored(self, meter: str, start: int, stop: int, *, values: bool) -> Held:
        parts = [self._part(file, meter, values=values) for file in self.files_of(meter, start, stop)]
        parts = [part for part in parts if part.high > part.low]
        if not parts:
            none = np.empty(0, np.int64)
            return Held(np.empty(0, ROW), none, none, [])
        if len(parts) == 1:
            part = parts[0]
            rows = part.sheet.rows[part.low : part.high]
            return Held(rows, np.zeros(len(rows), np.int64), np.arange(part.low, part.high), parts)
        # as plain words: records would have their fields compared in Python, part by part
        rows = np.concatenate([part.sheet.rows[part.low : part.high].view("i8") for part in parts]).view(ROW)
        sizes = [part.high - part.low for part in parts]
        at = np.concatenate([np.arange(part.low, part.high) for part in parts])
        return Held(rows, np.repeat(np.arange(len(parts)), sizes), at, parts)

    def nearest(self, meter: str, moment: int) -> Held:
        """Block rows of ``meter`` in the file nearest to ``moment`` that has any, and those over it."""
        held = self._nearest(meter, moment)
        return held if self.overlay is None else self.overlay.over(held, meter)

    def _nearest(self, meter: str, moment: int) -> Held:
        own = list(
            self.files_of(meter, int(self._starts.min(initial=0)), int(self._starts.max(initial=0)) + 1)
        )
        for file in sorted(own, key=lambda f: abs(f.starts_us[0] // 1_000_000 - moment)):
            part = self._part(file, meter, values=False)
            if part.high > part.low:
                rows = part.sheet.rows[part.low : part.high]
                return Held(rows, np.zeros(len(rows), np.int64), np.arange(part.low, part.high), [part])
        none = np.empty(0, np.int64)
        return Held(np.empty(0, ROW), none, none, [])

    def arrivals(self) -> Ints:
        """When each delivery was received, µs, by its number; `NEVER` for numbers that are not known."""
        if self._arrivals is None:
            rows = self.deliveries()
            numbers = rows["number"].to_numpy().astype(np.int64)
            arrivals = np.full(int(numbers.max(initial=0)) + ROOM, NEVER)
            arrivals[numbers] = rows["received_at"].cast(pa.int64()).to_numpy()
            self._arrivals = arrivals
        return self._arrivals

    def under(self, overlay: Overlay, senders: Mapping[int, Sender]) -> View:
        """Return this view with blocks laid over it, some of whose deliveries ``senders`` alone knows."""
        numbers = overlay.deliveries()
        if len(numbers) and senders:
            arrivals = self._room_for(int(numbers[-1]))
            for number in numbers[arrivals[numbers] == NEVER].tolist():
                sender = senders.get(number)
                arrivals[number] = NEVER if sender is None else sender.received_us
        view = copy(self)
        view.overlay = overlay
        return view

    def arrived(self, received_us: Mapping[int, int]) -> None:
        """Note when some deliveries (numbers) were received (µs): it holds whatever else is asked of this view."""
        arrivals = self._room_for(max(received_us, default=0))
        for number, us in received_us.items():
            arrivals[number] = us

    def _room_for(self, number: int) -> Ints:
        """Arrivals with a place for a delivery; the last item stays `NEVER`."""
        arrivals = self.arrivals()
        if number > len(arrivals) - 2:
            arrivals = np.append(arrivals, np.full(number + ROOM - len(arrivals), NEVER))
            self._arrivals = arrivals
        return arrivals

    def end(self, files_max: int) -> int:
        """End (s) of the last filled slot, as far as the ``files_max`` files that reach furthest tell.

        Raises:
            NotFound: the lake is empty.

        """
        if not self.files:
            raise NotFound("the lake is empty: load some files first")
        last = self._starts[:, 1].max()
        furthest = [self.files[i] for i in np.flatnonzero(self._starts[:, 1] == last).tolist()]
        return max(self._end(file) for file in furthest[:files_max])

    def _end(self, file: DataFile) -> int:
        end: Ints | None = self.memory.kept.get(("end", file.path))
        if end is None:
            end = np.array([self._end_of(file)])
            self.memory.kept.put(("end", file.path), end)
        return int(end[0])

    def _end_of(self, file: DataFile) -> int:
        """End of the last filled slot: of a full block where none could reach further, else their slots tell."""
        rows = self.sheet(file).rows
        late = np.flatnonzero(rows["start"] >= rows["start"].max() - DAY_S)
        own, slots = rows[late], width(rows["interval"][late])
        ends = own["start"] + own["offset"] + slots * own["interval"].astype(np.int64)
        end = int(ends[own["filled"] == slots].max(initial=int(rows["start"].max())))
        further = np.flatnonzero((ends > end) & (own["filled"] > 0))
        if len(further):
            page = self.whole(file)
            held = slots_of(page, late[further])
            of = own[further][held.row]
            ends = of["start"] + of["offset"] + (held.slot + 1) * of["interval"].astype(np.int64)
            end = int(ends[held.filled].max(initial=end))
        return end
