"""Parquet of readings and of blocks, batch by batch: whole columns at once, no loop per reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.errors import BadFile
from meterlake.formats.block_rows import parse_blocks
from meterlake.formats.categories import Defaults, Meaning, distinct, kind_of, meaning_of, numbered
from meterlake.formats.codec import Origin, Parsed, ReadOptions
from meterlake.formats.column_amounts import column_amounts
from meterlake.formats.decimals import FAILED
from meterlake.formats.declared import defaults_of, interval_text, stamp_of, zone_of
from meterlake.formats.long import commonest_step
from meterlake.formats.rows import METER_MAX
from meterlake.formats.stamps import NO_STAMP
from meterlake.intervals import DAY_S, LOCAL_DAYS_S
from meterlake.readings import FUTURE_S, REASON_CODES
from meterlake.strips import Codes, Ints, Kinds, Rejects, Strips
from meterlake.zones import AMBIGUOUS, NONEXISTENT, local_to_utc, utc_to_local, zone_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meterlake.ids import MeterIds

BATCH: Final = 1 << 18
"""Rows read at once."""

_NAMES: Final = {
    "meter": ("meter_id", "meter"),
    "time": ("interval_start", "start", "time", "timestamp"),
    "interval": ("interval_s", "seconds", "interval"),
    "value": ("value",),
    "amount": ("amount",),
    "channel": ("channel",),
    "unit": ("unit",),
    "quality": ("quality",),
    "stamp": ("stamp",),
}
_EXPECTED: Final = (
    "meter_id or meter, interval_start or start, amount or value, and maybe interval_s or seconds, channel, "
    "unit, quality, stamp; or the columns of blocks: "
)
_US: Final = 1_000_000
_FIRST_S: Final = -62_135_596_800
"""The year 1; no stamp in text can be before."""
_PER_SECOND: Final = {"s": 1, "ms": 1000, "us": _US, "ns": 1000 * _US}

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class ParquetReadings:
    """A Parquet file of readings or of blocks, being read; iterate once."""

    file: pq.ParquetFile | None
    options: ReadOptions
    origin: Origin
    ids: MeterIds
    kinds: Kinds
    columns: dict[str, str]
    """Column by role; empty for blocks."""
    assumed: dict[str, str] = field(default_factory=dict)
    defaults: Defaults | None = None

    def __iter__(self) -> Iterator[Parsed]:
        """Parsed batches, in the order of the rows."""
        assert self.file is not None, "batches that come otherwise are given to `rows`"
        line = 1
        names = list(self.columns.values()) or BLOCK_SCHEMA.names
        for batch in self.file.iter_batches(BATCH if self.columns else BATCH // 16, columns=names):
            if self.columns:
                yield self.rows(batch, line)
            else:
                yield parse_blocks(batch, line, self.origin, self.ids, self.kinds)
            line += len(batch)

    def rows(self, batch: pa.RecordBatch, line: int) -> Parsed:
        """Read one batch of readings whose first row is number ``line``."""
        column = {role: batch.column(name) for role, name in self.columns.items()}
        n = len(batch)
        reason = np.zeros(n, np.int64)
        meter = self._meters(column.get("meter"), reason)
        start, doubled = self._starts(column["time"], reason)
        word, meanings = _words(column, n, self._defaults(meter, start, (reason > 0) | doubled))
        interval = np.array([m.interval_s for m in meanings], np.int64)[word]
        begin = start - np.where(doubled, 0, interval) if self.options.stamp == "end" else start
        amounts = column_amounts(column, word, meanings)
        if any(m.reason for m in meanings):
            reason = _first_of(reason, np.array([m.reason for m in meanings], np.int64)[word])
        failed = amounts < FAILED + 256
        if failed.any():
            reason = _first_of(reason, np.where(failed, amounts - FAILED, 0))
        _note(reason, ~doubled & (begin > self.origin.now_s + FUTURE_S), "future")
        unsettled = doubled & ((reason == 0) | (reason >= REASON_CODES["missing_value"]))
        good, bad = (reason == 0) & ~unsettled, (reason > 0) & ~unsettled
        amounts = np.where(unsettled & (reason > 0), FAILED + reason, amounts)
        kind = self._kinds(word, meanings, begin, interval, column.get("stamp"), good | unsettled)
        lines = line + np.arange(n)
        strips = runs(meter, kind, begin, interval, lines, amounts, good)
        refused, later = np.flatnonzero(bad), np.flatnonzero(unsettled)
        pending = Strips(
            meter[later], kind[later], begin[later], np.ones(len(later), np.int32), lines[later], amounts[later],
        )  # fmt: skip
        codes, ones = reason[refused].astype(np.uint8), np.ones(len(refused), np.int32)
        rejects = Rejects(lines[refused], codes, ones, _texts(batch, refused))
        return Parsed(strips, rejects, n, n, pending if len(later) else None, _texts(batch, later))

    def _meters(self, column: pa.Array | None, reason: Ints) -> Codes:
        """Code of each row's meter; a row without one is malformed."""
        n = len(reason)
        if self.options.meter is not None or column is None:
            return np.repeat(self.ids.codes_of(pa.array([self.options.meter or ""])), n)
        text = _decoded(column).cast(pa.string())
        length = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False)
        there = (length > 0) & (length <= METER_MAX)
        if there.all():
            return self.ids.codes_of(text)
        reason[~there] = REASON_CODES["malformed_line"]
        codes = np.full(n, -1, np.int32)
        codes[there] = self.ids.codes_of(text.filter(pa.array(there)))
        return codes

    def _starts(self, column: pa.Array, reason: Ints) -> tuple[Ints, Bools]:
        """UTC seconds of each row's stamp (local where it exists twice, which is said); reasons are noted."""
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            raise BadFile("times are text; write them as timestamps, or all of it as csv")
        if not pa.types.is_timestamp(kind):
            raise BadFile(f"times are {kind}; write them as timestamps")
        absent = column.is_null().to_numpy(zero_copy_only=False)
        ticks = pc.fill_null(column.view(pa.int64()), 0).to_numpy(zero_copy_only=False)
        per_second = _PER_SECOND[kind.unit]
        seconds = ticks // per_second
        whole = seconds * per_second
        doubled = np.zeros(len(ticks), bool)
        if kind.tz is None:
            zone = self.options.zone or "UTC"
            if self.options.zone is None:
                self.assumed["zone"] = zone
            first, _, status = local_to_utc(zone, seconds)
            doubled = status == AMBIGUOUS
            _note(reason, status == NONEXISTENT, "nonexistent_local_time")
            seconds = np.where(doubled, seconds, first)
        _note(reason, whole != ticks, "off_grid")
        bad = absent | (seconds < _FIRST_S)
        _note(reason, bad, "bad_time")
        return seconds, doubled & ~bad

    def _defaults(self, meter: Codes, start: Ints, useless: Bools) -> Defaults:
        """What rows do not say; the length is told from the first batch where nothing else says it."""
        if self.defaults is None:
            stamp_of(self.options, self.assumed)
            interval_s = self.options.interval_s or 1
            said = {role for role in self.columns if role != "unit" or "value" in self.columns}
            defaults = defaults_of(self.options, self.assumed, said, interval_s)
            if "interval" not in self.columns and self.options.interval_s is None:
                interval_s = commonest_step(meter[~useless].astype(np.int64), start[~useless])
                if interval_s == 0:
                    raise BadFile(
                        "the length of its intervals cannot be told; declare --interval, e.g. 30min"
                    )
                self.assumed["interval"] = interval_text(interval_s)
            self.defaults = defaults._replace(interval_s=interval_s)
        return self.defaults

    def _kinds(
        self,
        word: Ints,
        meanings: list[Meaning],
        begin: Ints,
        interval: Ints,
        stamp: pa.Array | None,
        used: Bools,
    ) -> Codes:
        """Kind of each row that is ``used``: one a distinct meaning, sender's stamp and local-day phase."""
        columns = [word]
        key, sent = np.zeros(1, np.int64), np.full(1, NO_STAMP, np.int64)
        if self.options.zone is not None:
            phase = utc_to_local(self.options.zone, begin) % DAY_S
            days = np.isin(interval, LOCAL_DAYS_S)
            key = np.where(days, 1 + phase * 4 + interval // 3600 - 23, 0)
        if stamp is not None:
            us = stamp.cast(pa.timestamp("us"), safe=False).view(pa.int64())
            sent = np.clip(
                pc.fill_null(us, NO_STAMP).to_numpy(zero_copy_only=False), NO_STAMP, self.origin.now_s * _US
            )
        columns += [np.broadcast_to(column, len(word)) for column in (key, sent)]
        mine = slice(None) if used.all() else np.flatnonzero(used)
        traits, inverse = distinct(*(column[mine] for column in columns))
        found = [
            kind_of(meanings[w], self.origin, k, stamp_us=None if s == NO_STAMP else s, per_line=True)
            for w, k, s in traits.tolist()
        ]
        codes = np.zeros(len(word), np.int32)
        codes[mine] = np.array([self.kinds.code(kind) for kind in found], np.int32)[inverse]
        return codes


def read(
    path_or_file: Path | str | Any, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds
) -> ParquetReadings:
    """Open a Parquet file of readings or of blocks; iterating it gives a `Parsed` a batch.

    Raises:
        BadFile: it is no Parquet, or its columns are neither of readings nor of blocks.

    """
    name = str(getattr(path_or_file, "name", path_or_file))
    try:
        file = pq.ParquetFile(path_or_file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadFile(f"{name}: cannot be read as Parquet ({error}); send it again") from error
    names = file.schema_arrow.names
    if options.zone is not None:
        zone_table(options.zone)
    if set(BLOCK_SCHEMA.names) <= set(names):
        _check_blocks(file.schema_arrow, name)
        return ParquetReadings(file, options, origin, ids, kinds, {})
    return ParquetReadings(file, options, origin, ids, kinds, _columns_of(names, options, name))


def arrow_readings(
    schema: pa.Schema, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds
) -> ParquetReadings:
    """Reader of batches of ``schema``, which may come from anywhere; nothing is guessed from what they hold.

    Raises:
        BadFile: it has not the columns of readings.
        Invalid: an option has a value that does not exist.

    """
    columns = _columns_of(schema.names, options, "the body")
    zone_of(options)
    assumed: dict[str, str] = {}
    stamp_of(options, assumed)
    defaults = defaults_of(options, assumed, columns, options.interval_s or 0)
    return ParquetReadings(None, options, origin, ids, kinds, columns, assumed, defaults)


def _columns_of(names: list[str], options: ReadOptions, name: str) -> dict[str, str]:
    """Column by role; BadFile where readings need more."""
    columns = {role: options.map[role] for role in options.map if role in _NAMES}
    for role, known in _NAMES.items():
        hit = next((text for text in known if text in names), None)
        if role not in columns and hit is not None:
            columns[role] = hit
    absent = [text for text in columns.values() if text not in names]
    whole = "time" in columns and ("value" in columns or "amount" in columns)
    if absent or not whole or ("meter" not in columns and options.meter is None):
        raise BadFile(
            f"{name}: has columns {', '.join(names)}; expected {_EXPECTED}{', '.join(BLOCK_SCHEMA.names)}; "
            "name others with --map meter=…,time=…,value=…"
        )
    return columns


def _check_blocks(schema: pa.Schema, name: str) -> None:
    for wanted in BLOCK_SCHEMA:
        found = schema.field(wanted.name).type
        if found != wanted.type and not pa.types.is_dictionary(found):
            raise BadFile(f"{name}: column {wanted.name} is {found}, blocks have {wanted.type}")


def _first_of(one: Ints, other: Ints) -> Ints:
    """Reason that comes first of two, by row; 0 is none."""
    first: Ints = np.where((one == 0) | (other == 0), one + other, np.minimum(one, other))
    return first


def _note(reason: Ints, rows: Bools, name: str) -> None:
    """Give ``rows`` a reason where none that comes first holds."""
    if not rows.any():
        return
    code = REASON_CODES[name]
    reason[rows & ((reason == 0) | (reason > code))] = code


def _decoded(column: pa.Array) -> pa.Array:
    """Return the values of a dictionary, or the column as it is."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _numbered(column: pa.Array) -> tuple[Ints, list[str]]:
    """Index of each row's word, and the words; an empty one where there is none."""
    values = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = [text or "" for text in values.dictionary.cast(pa.string()).to_pylist()]
    codes = pc.fill_null(values.indices.cast(pa.int64()), len(words)).to_numpy(zero_copy_only=False)
    return codes, [*words, ""]


def _words(column: dict[str, pa.Array], n: int, defaults: Defaults) -> tuple[Ints, list[Meaning]]:
    """Number of each row's combination of words, and the meanings by number."""
    number = np.zeros(n, np.int64)
    texts: list[tuple[str, ...]] = [()]
    roles = [role for role in ("interval", "quality", "channel", "unit") if role in column]
    for role in roles:
        codes, words = _numbered(column[role])
        if n and (codes == codes[0]).all():
            texts = [(*text, words[int(codes[0])]) for text in texts]
            continue
        pairs, number = numbered(number * len(words) + codes)
        texts = [(*texts[p // len(words)], words[p % len(words)]) for p in pairs.tolist()] if n else texts
    return number, [meaning_of(dict(zip(roles, text, strict=True)), defaults) for text in texts]


def runs(  # noqa: PLR0913
    meter: Codes, kind: Codes, start: Ints, interval: Ints, lines: Ints, amounts: Ints, good: Bools
) -> Strips:
    """Strips of consecutive ``good`` rows that are alike and follow each other."""
    if not good.any():
        return Strips.empty()
    at: Any = slice(None)
    apart = np.zeros(len(good) - 1, bool)
    if not good.all():
        at = np.flatnonzero(good)
        apart = np.diff(at) != 1
        meter, kind, start, interval, lines = meter[at], kind[at], start[at], interval[at], lines[at]
    cut = np.ones(len(meter), bool)
    cut[1:] = apart | (meter[1:] != meter[:-1]) | (kind[1:] != kind[:-1])
    cut[1:] |= start[1:] != start[:-1] + interval[:-1]
    heads = np.flatnonzero(cut)
    count = np.diff(np.append(heads, len(cut))).astype(np.int32)
    return Strips(meter[heads], kind[heads], start[heads], count, lines[heads], amounts[at])


def _texts(batch: pa.RecordBatch, rows: Ints) -> list[str]:
    """Refused rows as text."""
    if not len(rows):
        return []
    some = batch.take(pa.array(rows))
    columns = [_shown(column) for column in some.columns]
    return [
        ", ".join(f"{name}={text}" for name, text in zip(some.schema.names, row, strict=True))[:1024]
        for row in zip(*columns, strict=True)
    ]


def _shown(column: pa.Array) -> list[str]:
    """Values as text; what cannot be written so, as what it is."""
    try:
        return [text or "" for text in _decoded(column).cast(pa.string()).to_pylist()]
    except (pa.ArrowException, UnicodeDecodeError):
        return [str(column.type)] * len(column)
