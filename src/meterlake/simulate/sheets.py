"""One open file of readings in each format that `meterlake load` reads."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.formats.write import (
    blocks_table,
    equal_texts,
    long_rows,
    readings_table,
    text_rows,
    texts,
    wide_rows,
)
from meterlake.intervals import DAY_S, block_span_s
from meterlake.readings import READING_SCHEMA
from meterlake.simulate.weather import local_seconds
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meterlake.formats.write import Bytes, Texts
    from meterlake.simulate.batches import Batch
    from meterlake.simulate.fleet import Fleet

Ints = npt.NDArray[np.int64]
Stamps = npt.NDArray[np.bytes_]

_US: Final = 1_000_000
_SECONDS: Final = 19
"""Characters of 2026-01-01T00:00:00."""


class Sheet(Protocol):
    """A file of readings being written."""

    def write(self, batch: Batch, order: Ints) -> None:
        """Append the records of ``batch`` that ``order`` lists."""

    def close(self) -> None:
        """Write what ends the file, and close it."""


def suffix(name: str) -> str:
    """Ending of the files of a format: ``.csv`` or ``.parquet``."""
    return ".parquet" if name in {"parquet", "blocks"} else ".csv"


def open_sheet(path: Path, fleet: Fleet) -> Sheet:
    """Begin the file at ``path`` in the format of the fleet's options."""
    match fleet.options.format:
        case "wide":
            return _Wide(path, fleet)
        case "nem12":
            return _Nem12(path, fleet)
        case "parquet":
            return _Table(path, READING_SCHEMA)
        case "blocks":
            return _Table(path, BLOCK_SCHEMA)
        case name:
            return _Long(path, fleet, name)


def _stamps(seconds: Ints) -> Stamps:
    """ISO text to the second, without a zone."""
    return np.datetime_as_string(seconds.astype("datetime64[s]")).astype(f"S{_SECONDS}")


def _letters(stamps: Stamps) -> Bytes:
    return np.ascontiguousarray(stamps).view(np.uint8).reshape(-1, _SECONDS)


def _ended(stamps: Stamps, after: bytes) -> Texts:
    """The stamps with ``after`` behind each."""
    ends = np.tile(np.frombuffer(after, np.uint8), (len(stamps), 1))
    return equal_texts(np.hstack([_letters(stamps), ends]).view(f"S{_SECONDS + len(after)}")[:, 0])


def _spaced(stamps: Stamps) -> Stamps:
    """The same stamps with a space in place of the T."""
    letters = _letters(stamps).copy()
    letters[:, 10] = ord(" ")
    return letters.view(f"S{_SECONDS}")[:, 0]


def _starts(batch: Batch) -> Ints:
    """Start of every slot, seconds since 1970 UTC."""
    return batch.series.start_s + np.arange(batch.amounts.shape[1]) * batch.series.interval_s


def _paired(left: Sequence[str], right: Sequence[str]) -> list[str]:
    return [f"{one},{other}," for one, other in zip(left, right, strict=True)]


class _Text:
    """A text file: a heading, rows, and nothing else unless a format says so."""

    def __init__(self, path: Path, fleet: Fleet, heading: str) -> None:
        self._fleet = fleet
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._file.write(heading.encode())

    def close(self) -> None:
        self._file.close()

    def _append(self, text: Bytes) -> None:
        """Write all of ``text``: one call may take less."""
        left = memoryview(text.data)
        while left:
            left = left[self._file.write(left) :]


class _Wide(_Text):
    """A row a meter-day of UTC: ``meter,channel,date,00:00,00:30,…``."""

    def __init__(self, path: Path, fleet: Fleet) -> None:
        step = fleet.options.interval_s
        times = ",".join(f"{s // 3600:02d}:{s // 60 % 60:02d}" + (f":{s % 60:02d}" if step % 60 else "")
                         for s in range(0, DAY_S, step))  # fmt: skip
        super().__init__(path, fleet, f"meter,channel,date,{times}\n")

    def write(self, batch: Batch, order: Ints) -> None:
        days = _stamps(_starts(batch)[:: batch.day_slots]).astype("S10")
        heads = _paired(batch.series.meters, batch.series.channels)
        self._append(wide_rows(texts(heads), equal_texts(days), batch.records(), order))


_HEADINGS: Final = {
    "csv": "meter,channel,start,value\n",
    "lcl": "LCLid,tstp,energy(kWh/hh)\n",
    "lcl-raw": "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \r\n",
    "energyiot": "",
}


class _Long(_Text):
    """A row a reading, in the four long layouts."""

    def __init__(self, path: Path, fleet: Fleet, name: str) -> None:
        super().__init__(path, fleet, _HEADINGS[name])
        self._name = name

    def write(self, batch: Batch, order: Ints) -> None:
        before, after = b"", b"\n"
        starts, meters = _starts(batch), batch.series.meters
        match self._name:
            case "csv":
                heads = _paired(meters, batch.series.channels)
                stamps = _ended(_stamps(starts), b"Z,")
            case "lcl":
                heads = [f"{meter}," for meter in meters]
                stamps, before, after = _ended(_spaced(_stamps(starts)), b","), b" ", b" \n"
            case "lcl-raw":
                night = self._fleet.night_rate[batch.point]
                heads = _paired(meters, np.where(night, "ToU", "Std").tolist())
                stamps, before, after = _ended(_spaced(_stamps(starts)), b".0000000,"), b" ", b" \r\n"
            case _:
                heads = [f"{meter}," for meter in meters]
                local = local_seconds(self._fleet.profile.zone, starts)
                stamps = _ended(_spaced(_stamps(local)), b",KWH,")
        self._append(long_rows(texts(heads), stamps, batch.amounts, order, before=before, after=after))


class _Nem12(_Text):
    """NEM12: a 200 record a register, a 300 record a day of UTC+10, 400 records where slots are empty."""

    def __init__(self, path: Path, fleet: Fleet) -> None:
        made = f"{fleet.options.start:%Y%m%d}0000"
        super().__init__(path, fleet, f"100,NEM12,{made},METERLAKE,METERLAKE\n")

    def close(self) -> None:
        self._file.write(b"900\n")
        super().close()

    def write(self, batch: Batch, order: Ints) -> None:
        days = len(batch.records()) // len(batch.series.meters)
        dates = batch.first_day * DAY_S + np.arange(days + 1) * DAY_S
        names = np.strings.replace(_stamps(dates).astype("S10"), b"-", b"")
        mids = equal_texts(np.asarray(names[:-1]).astype("S8"))
        tails, tail_of = _tails(batch, [name.decode() for name in names[1:]])
        series = order // days
        for row in np.unique(series):
            rows = order[series == row]
            self._file.write(self._register(batch, int(row)).encode())
            self._append(
                text_rows(texts(["300,"] * (row + 1)), mids, batch.records(), rows,
                          tails=tails, tail_of=tail_of, empty=b"0")
            )  # fmt: skip

    def _register(self, batch: Batch, row: int) -> str:
        meter = batch.series.meters[row]
        registers = "E1B1" if self._fleet.solar[batch.point[row]] else "E1"
        name = "E1" if batch.series.channels[row] == "electricity.import" else "B1"
        return f"200,{meter},{registers},{name},{name},N1,{meter},kWh,{batch.series.interval_s // 60},\n"


def _tails(batch: Batch, next_days: list[str]) -> tuple[Texts, npt.NDArray[np.int32]]:
    """How each 300 record ends: quality A and the time of its making, or V and 400 records by quality."""
    days, empty = len(next_days), batch.records() == MISSING
    pieces = [f",A,,,{day}003000,\n" for day in next_days]
    tail_of = np.tile(np.arange(days, dtype=np.int32), len(batch.series.meters))
    for record in np.flatnonzero(empty.any(1)):
        borders = np.flatnonzero(np.diff(empty[record])) + 1
        firsts, lasts = [0, *borders.tolist()], [*borders.tolist(), batch.day_slots]
        ranges = "".join(
            f"400,{first + 1},{last},{'N' if empty[record, first] else 'A'},,\n"
            for first, last in zip(firsts, lasts, strict=True)
        )
        tail_of[record] = len(pieces)
        pieces.append(f",V,,,{next_days[record % days]}003000,\n{ranges}")
    return texts(pieces), tail_of


class _Table:
    """Parquet of readings or of blocks."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._blocks = schema is BLOCK_SCHEMA
        self._file = pq.ParquetWriter(path, schema, compression="zstd")

    def write(self, batch: Batch, order: Ints) -> None:
        table: pa.Table
        if self._blocks:
            count = len(batch.records()) // len(batch.series.meters)
            starts = batch.series.start_s + np.arange(count) * block_span_s(batch.series.interval_s)
            stamps: Any = np.tile(_next_midnight_us(starts), len(batch.series.meters))
            table = blocks_table(batch.series, batch.records(), order, stamps)
        else:
            table = readings_table(batch.series, batch.amounts, order, _next_midnight_us(_starts(batch)))
        self._file.write_table(table)

    def close(self) -> None:
        self._file.close()


def _next_midnight_us(seconds: Ints) -> Ints:
    """When a day's readings are sent, all at once: the UTC midnight after."""
    return (seconds // DAY_S + 1) * DAY_S * _US
