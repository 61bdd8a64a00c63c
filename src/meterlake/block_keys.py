"""Keys of blocks as numbers, so that those of two tables are compared at the speed of integers."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import Invalid
from meterlake.ids import MeterIds
from meterlake.intervals import HOUR_S, block_span_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meterlake.merge import Bools
    from meterlake.ports import DataFile
    from meterlake.strips import Ints

METER_BITS: Final = 26
SERIES_BITS: Final = 11
HOUR_BITS: Final = 26
"""Bits of a meter, of a channel and interval, and of the hour since 1970 that a block begins in."""


class BlockKeys:
    """Numbers the keys of block rows: equal keys of any table get the same number. Safe to share between threads."""

    def __init__(self) -> None:
        """Start with none."""
        self.ids = MeterIds()
        self._series: dict[tuple[str, int], int] = {}
        self._lock = Lock()

    def of(self, rows: pa.Table) -> Ints:
        """Number each row by its ``meter_id``, ``channel``, ``interval_s`` and ``start``: int64, one a row."""
        return self.number(rows, rows["start"].cast(pa.int64()).to_numpy() // 1_000_000)

    def number(self, rows: pa.Table, start_s: Ints) -> Ints:
        """Like `of`, with the starts of the blocks (s) given."""
        if not len(rows):
            return np.empty(0, np.int64)
        meter = self.ids.codes_of(rows["meter_id"]).astype(np.int64)
        if len(self.ids) >> METER_BITS:
            raise Invalid(f"more than {1 << METER_BITS:,} meters at once: take fewer")
        hour = start_s // HOUR_S + (1 << (HOUR_BITS - 1))
        return (meter << (SERIES_BITS + HOUR_BITS)) | (self._series_of(rows) << HOUR_BITS) | hour

    def _series_of(self, rows: pa.Table) -> Ints:
        channel = pc.dictionary_encode(rows["channel"].combine_chunks())
        names = channel.dictionary.to_pylist()
        pair = (channel.indices.to_numpy(zero_copy_only=False).astype(np.int64) << 32) | rows[
            "interval_s"
        ].to_numpy()
        if (pair == pair[0]).all():
            return np.full(len(pair), self._code(names, int(pair[0])))
        distinct, inverse = np.unique(pair, return_inverse=True)
        return np.array([self._code(names, one) for one in distinct.tolist()], np.int64)[inverse.reshape(-1)]

    def _code(self, names: list[str], pair: int) -> int:
        with self._lock:
            code = self._series.setdefault((names[pair >> 32], pair & 0xFFFFFFFF), len(self._series))
        if code >> SERIES_BITS:
            raise Invalid(f"more than {1 << SERIES_BITS} channels and intervals at once: take fewer")
        return code

    def meters(self, numbers: Ints) -> pa.StringArray:
        """Ids of the meters of some keys, by their first coming, each once."""
        return self.ids.take(np.unique(numbers >> (SERIES_BITS + HOUR_BITS)).astype(np.int32))

    def of_runs(self, rows: pa.Table) -> tuple[Ints, Ints]:
        """Keys of all blocks that runs of readings (LOST_SCHEMA) touch, and the row that each is of."""
        if not len(rows):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        interval = rows["interval_s"].to_numpy().astype(np.int64)
        lengths, inverse = np.unique(interval, return_inverse=True)
        span = np.array([block_span_s(int(i)) for i in lengths], np.int64)[inverse.reshape(-1)]
        start = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000
        first = start // span
        n = (start + (rows["count"].to_numpy() - 1) * interval) // span - first + 1
        row = np.repeat(np.arange(len(rows)), n)
        within = np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
        touched = rows.select(["meter_id", "channel", "interval_s"]).take(pa.array(row))
        return self.number(touched, (first[row] + within) * span[row]), row


def hours_of(keys: Ints) -> Ints:
    """Hours since 1970 at which the blocks of ``keys`` begin."""
    hours: Ints = (keys & ((1 << HOUR_BITS) - 1)) - (1 << (HOUR_BITS - 1))
    return hours


def among(keys: Ints, some: Ints) -> Bools:
    """Which of ``keys`` are one of ``some``; these are sorted."""
    if not len(some) or not len(keys):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(some, keys), len(some) - 1)
    return np.asarray(some[at] == keys, bool)


def near(files: Iterable[DataFile], rows: pa.Table, keys: BlockKeys) -> Iterator[DataFile]:
    """Yield the files that may hold a key of ``rows`` (in the order of their meters), by what their commits name."""
    if not len(rows):
        return
    ids = rows["meter_id"]
    starts = pc.min_max(rows["start"].cast(pa.int64())).as_py()
    place = np.unique(keys.ids.partitions(keys.ids.codes_of(ids)))
    for file in files:
        if file.starts_us[0] > starts["max"] or file.starts_us[1] < starts["min"]:
            continue
        at = int(np.searchsorted(place, file.partitions[0]))
        if at == len(place) or place[at] >= file.partitions[1]:
            continue
        low = bisect_left(ids, file.meters[0], key=_text)
        if low < len(ids) and ids[low].as_py() <= file.meters[1]:
            yield file


def _text(scalar: Any) -> str:
    return str(scalar.as_py())
