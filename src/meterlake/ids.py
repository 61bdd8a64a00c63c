"""Meter ids as numbers: a stable hash that spreads them, and a table that numbers them at speed."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.strips import Codes, Ints

Bytes = npt.NDArray[np.uint8]

PARTITIONS: Final = 1024
"""Finest spread of meters over jobs and spill files; buckets are runs of partitions."""


@njit(nogil=True, cache=True)
def hash_bytes(data: Bytes, start: int, stop: int) -> np.uint64:  # pragma: no cover - compiled
    """64-bit FNV-1a of ``data[start:stop]``, finished by the murmur3 mixer; `partition_of` is its twin."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, stop):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True)
def _same(a: Bytes, at: int, b: Bytes, bt: int, length: int) -> bool:  # pragma: no cover - compiled
    for i in range(length):  # noqa: SIM110 - compiled
        if a[at + i] != b[bt + i]:
            return False
    return True


@njit(nogil=True, cache=True)
def _rehash(slots: Codes, hashes: npt.NDArray[np.uint64], n: int) -> None:  # pragma: no cover - compiled
    mask = np.uint64(len(slots) - 1)
    for code in range(n):
        at = hashes[code] & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = code


@njit(nogil=True, cache=True)
def _number(  # noqa: PLR0913  # pragma: no cover - compiled
    data: Bytes, starts: Ints, lengths: Ints, first: int, codes: Codes,
    slots: Codes, hashes: npt.NDArray[np.uint64], borders: Ints, arena: Bytes, n: int,
) -> tuple[int, int]:  # fmt: skip
    """Number ids from ``first`` on until done or a table is full; return (next id, ids known)."""
    mask = np.uint64(len(slots) - 1)
    for i in range(first, len(starts)):
        start, length = starts[i], lengths[i]
        if i > 0 and length == lengths[i - 1] and _same(data, start, data, starts[i - 1], length):
            codes[i] = codes[i - 1]
            continue
        if i > 0:  # meters mostly come in the order in which they came first
            guess = codes[i - 1] + 1
            if (
                guess < n
                and borders[guess + 1] - borders[guess] == length
                and _same(data, start, arena, borders[guess], length)
            ):
                codes[i] = guess
                continue
        h = hash_bytes(data, start, start + length)
        at = h & mask
        while True:
            code = slots[at]
            if code < 0:
                if n * 2 >= len(slots) or n >= len(hashes) or borders[n] + length > len(arena):
                    return i, n
                slots[at], hashes[n] = n, h
                arena[borders[n] : borders[n] + length] = data[start : start + length]
                borders[n + 1] = borders[n] + length
                codes[i] = n
                n += 1
                break
            if (
                hashes[code] == h
                and borders[code + 1] - borders[code] == length
                and _same(data, start, arena, borders[code], length)
            ):
                codes[i] = code
                break
            at = (at + np.uint64(1)) & mask
    return len(starts), n


@njit(nogil=True, cache=True)
def _take(codes: Codes, borders: Ints, arena: Bytes, ends: Codes) -> Bytes:  # pragma: no cover - compiled
    """Bytes of the ids of ``codes`` one after another, and where each ends (``ends``, one more than codes)."""
    starts = np.empty(len(codes), np.int64)
    size = 0
    for i in range(len(codes)):
        starts[i] = borders[codes[i]]
        size += borders[codes[i] + 1] - starts[i]
        ends[i + 1] = size
    texts = np.empty(size, np.uint8)
    for i in range(len(codes)):
        at, stop = ends[i], ends[i + 1]
        texts[at:stop] = arena[starts[i] : starts[i] + stop - at]
    return texts


@njit(nogil=True, cache=True)
def _find(  # noqa: PLR0913  # pragma: no cover - compiled
    data: Bytes, starts: Ints, lengths: Ints, codes: Codes,
    slots: Codes, hashes: npt.NDArray[np.uint64], borders: Ints, arena: Bytes,
) -> None:  # fmt: skip
    """Look ids up; -1 for those that have no number."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(starts)):
        start, length = starts[i], lengths[i]
        h = hash_bytes(data, start, start + length)
        at = h & mask
        code = slots[at]
        while code >= 0 and not (
            hashes[code] == h
            and borders[code + 1] - borders[code] == length
            and _same(data, start, arena, borders[code], length)
        ):
            at = (at + np.uint64(1)) & mask
            code = slots[at]
        codes[i] = code


class MeterIds:
    """Meter ids of a job, numbered from 0 as they are met. Exact: bytes are compared, not hashes."""

    def __init__(self) -> None:
        """Start with none and room for a thousand."""
        self._lock = Lock()
        self._n = 0
        self._slots = np.full(4096, -1, np.int32)
        self._hashes = np.empty(2048, np.uint64)
        self._borders = np.zeros(2049, np.int64)
        self._arena = np.empty(1 << 16, np.uint8)

    def __len__(self) -> int:
        """Return how many ids are known."""
        return self._n

    def codes(self, data: Bytes, starts: Ints, lengths: Ints) -> Codes:
        """Number the ids ``data[starts[i]:][:lengths[i]]`` (UTF-8): int32 codes, one each."""
        codes = np.empty(len(starts), np.int32)
        done = 0
        with self._lock:
            while True:
                done, self._n = _number(
                    data, starts, lengths, done, codes,
                    self._slots, self._hashes, self._borders, self._arena, self._n,
                )  # fmt: skip
                if done == len(starts):
                    return codes
                self._grow(int(lengths[done]))

    def codes_of(self, ids: pa.Array[Any] | pa.ChunkedArray[Any]) -> Codes:
        """Number an Arrow array of strings without nulls."""
        if isinstance(ids, pa.ChunkedArray):
            ids = ids.combine_chunks()
        if isinstance(ids, pa.DictionaryArray):
            codes: Codes = self.codes_of(ids.dictionary)[ids.indices.to_numpy(zero_copy_only=False)]
            return codes
        return self.codes(*_bytes_of(ids))

    def find(self, ids: Sequence[str]) -> Codes:
        """Numbers of ``ids``, -1 for those that have none: asking adds nothing."""
        data, starts, lengths = _bytes_of(pa.array(ids, pa.large_string()))
        codes = np.empty(len(starts), np.int32)
        with self._lock:
            _find(data, starts, lengths, codes, self._slots, self._hashes, self._borders, self._arena)
        return codes

    def _grow(self, length: int) -> None:
        if self._n * 2 >= len(self._slots):
            self._slots = np.full(len(self._slots) * 4, -1, np.int32)
            _rehash(self._slots, self._hashes, self._n)
        if self._n >= len(self._hashes):
            self._hashes = np.resize(self._hashes, len(self._hashes) * 2)
            self._borders = np.resize(self._borders, len(self._hashes) + 1)
        while self._borders[self._n] + length > len(self._arena):
            self._arena = np.resize(self._arena, len(self._arena) * 2)

    def texts(self) -> pa.LargeStringArray:
        """All ids by code."""
        n = self._n
        size = int(self._borders[n])
        borders = pa.py_buffer(self._borders[: n + 1].tobytes())
        arena = pa.py_buffer(self._arena[:size].tobytes())
        return pa.LargeStringArray.from_buffers(n, borders, arena)

    def take(self, codes: Codes) -> pa.StringArray:
        """Ids of ``codes`` (at most 2 GiB of text), one each; costs nothing for the others."""
        with self._lock:
            borders, arena = self._borders, self._arena
        ends = np.zeros(len(codes) + 1, np.int32)
        texts = _take(codes, borders, arena, ends)
        return pa.StringArray.from_buffers(len(codes), pa.py_buffer(ends), pa.py_buffer(texts))

    def partitions(self, codes: Codes) -> npt.NDArray[np.int16]:
        """Partition of each of ``codes``: the top bits of the id's hash."""
        return (self._hashes[codes] >> np.uint64(54)).astype(np.int16)


def _bytes_of(ids: pa.Array[Any]) -> tuple[Bytes, Ints, Ints]:
    """Bytes of all ``ids``, and where each begins and how long it is."""
    ids = ids.cast(pa.large_binary())
    _, offsets, data = ids.buffers()
    borders = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    content = np.frombuffer(data, np.uint8) if data and data.size else np.empty(0, np.uint8)
    return content, borders[:-1].copy(), np.diff(borders)
