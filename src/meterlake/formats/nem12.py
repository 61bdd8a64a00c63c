"""NEM12 and NEM13, the Australian market's files of meter data (AEMO, MDFF specification).

A register's suffix names its channel: E import, B export, Q and K reactive import and export, and a
number from 2 on its register. Times are market time, UTC+10 all year. NEM13 holds register reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.errors import BadFile
from meterlake.formats import nem12_records as records
from meterlake.formats import rows
from meterlake.formats.categories import Categories, Meaning, kind_of
from meterlake.formats.codec import Chunk, Origin, Parsed, ReadOptions
from meterlake.formats.days import TALLY
from meterlake.formats.decimals import FAILED
from meterlake.formats.lines import REJECT, body_of, ending_of, rejects_of
from meterlake.formats.long import strips_of
from meterlake.intervals import DAY_S, MINUTE_S, is_supported
from meterlake.readings import FUTURE_S, REASON_CODES
from meterlake.units import base_unit, measured_as, unit_of
from meterlake.zones import zone_table

if TYPE_CHECKING:
    from meterlake.ids import MeterIds
    from meterlake.strips import Ints, Kind, Kinds

MARKET_ZONE: Final = "UTC+10:00"
_SUFFIX: Final = re.compile(r"([EBQK])(\d?)")
_CHANNELS: Final = {
    "E": "electricity.import",
    "B": "electricity.export",
    "Q": "electricity.reactive.import",
    "K": "electricity.reactive.export",
}
_HEADER: Final = re.compile(rb'\s*"?100"?\s*,\s*"?NEM1')
_DAY: Final = re.compile(rb"\s*200,.*\n300,\d{8},")


def channel_of(suffix: str) -> str | None:
    """Channel of a register suffix; None where it has none.

    >>> channel_of("E1"), channel_of("B2"), channel_of("V1")
    ('electricity.import', 'electricity.export.2', None)
    """
    match = _SUFFIX.fullmatch(suffix.strip().upper())
    if not match or match[2] == "0":
        return None
    channel = _CHANNELS[match[1]]
    return channel if match[2] in {"", "1"} else f"{channel}.{match[2]}"


def meaning_of(words: tuple[str, ...]) -> Meaning:
    """Meaning of suffix, unit and length of a 200 record."""
    suffix, unit_text, length = words
    channel = channel_of(suffix)
    known = channel or "electricity.import"
    base = base_unit(known)
    assert base is not None
    unit = unit_of(unit_text)
    actual = measured_as(known, unit) if unit else None
    minutes = int(length) if length.isascii() and length.isdigit() and len(length) <= 4 else 0
    interval_s = minutes * MINUTE_S
    reason = ""
    if not interval_s or DAY_S % interval_s:
        reason = "malformed_line"
    elif not is_supported(interval_s):
        reason = "unsupported_interval"
    elif channel is None:
        reason = "unsupported_channel"
    code = REASON_CODES[reason] if reason else 0
    return Meaning(actual or known, interval_s or DAY_S, 0, unit or base, code, actual is None)


@dataclass(slots=True)
class Nem12Codec:
    """A NEM12 or NEM13 file."""

    options: ReadOptions
    origin: Origin
    zone: str
    ending: bytes
    assumed: dict[str, str] = field(default_factory=dict)
    name: str = "nem12"
    stamp: str = "start"

    def header_lines(self) -> int:
        """Return 0: the 100 record is read like any other."""
        return 0

    def border(self, data: bytes) -> int:
        """Cut in front of the last 200 or 900 record."""
        return max(data.rfind(b"\n200,"), data.rfind(b"\n900")) + 1

    def _kind(self, meaning: Meaning, key: int) -> Kind:
        stamp_s, quality = key // records.KEY_BASE - 1, key % records.KEY_BASE
        stamp_us = None if stamp_s < 0 else min(stamp_s, self.origin.now_s) * 1_000_000
        return kind_of(meaning, self.origin, stamp_us=stamp_us, quality=quality)

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:
        """Read one chunk of whole 200 blocks."""
        tail = chunk.data[chunk.data.rfind(b"\n") + 1 :].strip()
        body = body_of(chunk, 0, b"" if tail.startswith(b"900") else self.ending)
        if body.open_line and not tail.startswith(b"900"):
            self.assumed["last_line"] = "taken although it lacks its newline"
        if chunk.last and not body.raw.rstrip().rpartition(b"\n")[2].startswith(b"900"):
            self.assumed["end"] = "no 900 record: the file may have been cut"
        categories = Categories(("suffix", "unit", "interval"), meaning_of)
        state, strips, amounts, rejects = self._scan(body.data, body.raw, body.line, categories)
        kind = categories.kinds(strips[:, rows.S_NUMBER], strips[:, rows.S_KEY], self._kind, kinds)
        meter = ids.codes(
            body.data,
            np.ascontiguousarray(strips[:, rows.S_METER]),
            np.ascontiguousarray(strips[:, rows.S_LENGTH]),
        )
        found = rejects_of(body, rejects)
        received = int((amounts != FAILED).sum()) + int(found.count.sum())
        lines = int(state[rows.LINE]) - body.line
        return Parsed(strips_of(strips, amounts, meter, kind), found, received, lines)

    def _scan(
        self, data: np.ndarray[tuple[int], np.dtype[np.uint8]], raw: bytes, line: int, categories: Categories
    ) -> tuple[Ints, Ints, Ints, Ints]:
        """Run the kernel; its state, strips, amounts and rejects."""
        most = raw.count(b"\n") + 1
        state = np.zeros(records.STATE_WIDTH, np.int64)
        state[rows.LINE] = line
        strips = np.empty((3 * most + 2, rows.STRIP), np.int64)
        amounts = np.empty(len(raw) + len(raw) // 20 + 2 * records.CAPACITY, np.int64)
        rejects = np.empty((8 * most, REJECT), np.int64)
        fields = np.zeros((2, records.CAPACITY), np.int64)
        words = np.array(records.WORD_COLUMNS, np.int64)
        tally, codes = np.zeros(TALLY, np.int64), np.zeros(2 * records.CAPACITY, np.int8)
        zone, future_s = zone_table(self.zone), self.origin.now_s + FUTURE_S
        while True:
            state[rows.KNOWN] = categories.known
            answer = records.scan_records(
                data, future_s, words, zone, categories.table, fields, tally, codes,
                state, strips, amounts, rejects,
            )  # fmt: skip
            if answer == rows.DONE:
                break
            categories.learn([raw[a:b] for a, b in fields[:, words].T.tolist()])
        return (
            state, strips[: state[rows.STRIPS]], amounts[: state[rows.SLOTS]], rejects[: state[rows.REJECTS]],
        )  # fmt: skip


def is_nem12(head: bytes) -> bool:
    """Whether a file begins with a 100 record, or without one but with records that follow it."""
    return bool(_HEADER.match(head) or _DAY.match(head))


def open_nem12(head: bytes, options: ReadOptions, origin: Origin, name: str) -> Nem12Codec:
    """Codec of a NEM12 or NEM13 file.

    Raises:
        BadFile: it does not begin with a 100 record of these formats.

    """
    first, _, _ = head.partition(b"\n")
    fields = [part.strip().strip(b'"').decode("utf-8", "replace") for part in first.split(b",")]
    if head.strip() and (fields[0] != "100" or fields[1:2] not in (["NEM12"], ["NEM13"])):
        shown = first[:80].decode("utf-8", "replace").strip()
        raise BadFile(
            f"{name}: line 1: {shown!r} is no 100 record (100,NEM12,…), with which a NEM12 file begins; "
            "ask the sender for the whole file"
        )
    assumed = {} if options.zone else {"zone": f"{MARKET_ZONE} (market time)"}
    zone = options.zone or MARKET_ZONE
    zone_table(zone)
    lines = head.split(b"\n")[:-1]
    return Nem12Codec(options, origin, zone, ending_of([line for line in lines if line.strip()]), assumed)
