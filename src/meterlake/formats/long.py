"""Files with a row per reading: `LongCodec`, which `lcl` and `csv` both are, and how csv files are opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.errors import BadFile
from meterlake.formats import columns, rows
from meterlake.formats.categories import Categories, Defaults, Meaning, distinct, kind_of, meaning_of
from meterlake.formats.codec import Chunk, Origin, Parsed, ReadOptions
from meterlake.formats.declared import REMEDY, defaults_of, interval_text, stamp_of, zone_of
from meterlake.formats.lines import LINE_MAX, REJECT, Body, body_of, rejects_of, texts_of
from meterlake.formats.stamps import NO_STAMP, ROOM, Form, form_of
from meterlake.ids import MeterIds
from meterlake.intervals import DAY_S, LOCAL_DAYS_S, is_supported
from meterlake.readings import FUTURE_S
from meterlake.strips import Codes, Ints, Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.formats.columns import Sheet

US: Final = 1_000_000
_NEVER: Final = 1 << 60
_EPOCH_DIGITS: Final = {10: "epoch_s", 13: "epoch_ms"}


@dataclass(slots=True)
class Found:
    """What the kernel left: its tables, cut to what it filled."""

    strips: Ints
    amounts: Ints
    rejects: Ints
    unsettled: Ints
    stamps: Ints
    """What the sender says that the version of each strip is, us since 1970; empty where rows have no such column."""
    naive: int
    lines: int


@dataclass(slots=True)
class LongCodec:
    """A file with a row per reading."""

    name: str
    sheet: Sheet
    columns: Mapping[str, int]
    defaults: Defaults
    form: Form
    mark: int
    options: ReadOptions
    origin: Origin
    zone: str
    stamp: str
    assumed: dict[str, str] = field(default_factory=dict)
    longest: int = LINE_MAX
    """Bytes of the longest line that is read."""
    kernel: Callable[..., int] = field(default=rows.scan_rows)
    """What cuts lines into fields and reads them: `rows.scan_rows` or one of its signature."""

    def header_lines(self) -> int:
        """Lines at the top that hold no data."""
        return self.sheet.header_lines

    def border(self, data: bytes) -> int:
        """Cut behind any line."""
        return data.rfind(b"\n") + 1

    def layout(self, future_s: int) -> rows.Layout:
        """Layout of a row for the kernel."""
        roles = self.columns
        if "interval" in roles:
            days = rows.PHASED_DAYS if self.options.zone else rows.FIXED_DAYS
        else:
            days = rows.CLOCK_DAYS if self.options.zone else rows.PHASED_DAYS
        return rows.Layout(
            delimiter=ord(self.sheet.delimiter),
            mark=self.mark,
            mode=self.form.mode,
            width=self.sheet.width,
            needed=max(roles.values()) + 1,
            meter=roles.get("meter", -1),
            time=roles["time"],
            value=roles["value"],
            ends=self.stamp == "end",
            days=days,
            zoned=self.options.zone is not None,
            future_s=future_s,
            stamp=roles.get("stamp", -1),
            longest=self.longest,
        )

    def body(self, chunk: Chunk) -> Body:
        """Return the lines of a chunk that hold data."""
        return body_of(chunk, self.sheet.header_lines, self.sheet.ending)

    def _words(self) -> tuple[str, ...]:
        return tuple(role for role in columns.WORDS if role in self.columns)

    def _meaning(self, words: tuple[str, ...]) -> Meaning:
        return meaning_of(dict(zip(self._words(), words, strict=True)), self.defaults)

    def scan(self, body: Body, categories: Categories, future_s: int) -> Found:
        """Run the kernel over ``body``, teaching it new words as it meets them."""
        _, zone = zone_of(self.options)
        layout = self.layout(future_s)
        room = body.raw.count(b"\n", body.start)
        state = np.zeros(rows.STATE, np.int64)
        state[[rows.POSITION, rows.LINE, rows.METER_LENGTH]] = body.start, body.line, -1
        words = np.array([self.columns[role] for role in self._words()], np.int64)
        fields = np.zeros((3, self.sheet.width + 1), np.int64)
        found = Found(
            np.empty((room, rows.STRIP), np.int64), np.empty(room, np.int64), np.empty((room, REJECT), np.int64),
            np.empty((room, rows.U_WIDTH), np.int64), np.empty(room if layout.stamp >= 0 else 0, np.int64), 0, 0,
        )  # fmt: skip
        scratch = np.empty(ROOM, np.int64)
        while True:
            state[rows.KNOWN] = categories.known
            answer = self.kernel(
                body.data, layout, self.form.program, words, zone, categories.table, fields, scratch,
                state, found.strips, found.amounts, found.rejects, found.unsettled, found.stamps,
            )  # fmt: skip
            if answer == rows.DONE:
                break
            spans = fields[:2, words].T.tolist()
            categories.learn([body.data[a:b].tobytes() for a, b in spans])
        found.strips = found.strips[: state[rows.STRIPS]]
        found.stamps = found.stamps[: state[rows.STRIPS]]
        found.amounts = found.amounts[: state[rows.SLOTS]]
        found.rejects = found.rejects[: state[rows.REJECTS]]
        found.unsettled = found.unsettled[: state[rows.UNSETTLED]]
        found.naive, found.lines = int(state[rows.NAIVE]), int(state[rows.LINE]) - body.line
        return found

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:
        """Read one chunk of whole lines."""
        body = self.body(chunk)
        categories = Categories(self._words(), self._meaning)
        found = self.scan(body, categories, self.origin.now_s + FUTURE_S)
        if found.naive and self.options.zone is None:
            self.assumed["zone"] = "UTC"
        if body.open_line:
            self.assumed["last_line"] = "taken although it lacks its newline"
        strips = self._strips(body, found.strips, found.amounts, found.stamps, categories, ids, kinds)
        rejects = rejects_of(body, found.rejects)
        unsettled = None
        if len(found.unsettled):
            ones = found.unsettled[:, : rows.STRIP].copy()
            ones[:, rows.S_COUNT] = 1
            amounts, stamps = found.unsettled[:, rows.U_AMOUNT].copy(), found.unsettled[:, rows.U_STAMP]
            unsettled = self._strips(body, ones, amounts, stamps, categories, ids, kinds)
        texts = texts_of(body, found.unsettled[:, rows.U_START], found.unsettled[:, rows.U_STOP])
        received = len(found.amounts) + int(rejects.count.sum()) + len(texts)
        return Parsed(strips, rejects, received, found.lines, unsettled, texts)

    def _strips(  # noqa: PLR0913
        self, body: Body, table: Ints, amounts: Ints, stamps: Ints, categories: Categories, ids: MeterIds,
        kinds: Kinds,
    ) -> Strips:  # fmt: skip
        meter = meter_codes(body, table, ids, self.columns, self.options)
        number, key = table[:, rows.S_NUMBER], table[:, rows.S_KEY]
        if (stamps == NO_STAMP).all():
            return strips_of(table, amounts, meter, categories.kinds(number, key, self._kind, kinds))
        sent = np.minimum(stamps, self.origin.now_s * US)
        traits, inverse = distinct(number, key, sent)
        found = [self._kind(categories.meanings[n], k, s) for n, k, s in traits.tolist()]
        codes = np.array([kinds.code(kind) for kind in found], np.int32)
        return strips_of(table, amounts, meter, codes[inverse])

    def _kind(self, meaning: Meaning, key: int, stamp: int = NO_STAMP) -> Kind:
        return kind_of(
            meaning, self.origin, key, stamp_us=None if stamp == NO_STAMP else stamp, per_line=True
        )


def meter_codes(
    body: Body, table: Ints, ids: MeterIds, roles: Mapping[str, int], options: ReadOptions
) -> Codes:
    """Code of the meter of each strip in a kernel's ``table``: by its bytes, or the one that was declared."""
    if "meter" in roles:
        return ids.codes(
            body.data,
            np.ascontiguousarray(table[:, rows.S_METER]),
            np.ascontiguousarray(table[:, rows.S_LENGTH]),
        )
    own = np.frombuffer((options.meter or "").encode(), np.uint8)
    n = len(table)
    return ids.codes(own, np.zeros(n, np.int64), np.full(n, len(own), np.int64))


def strips_of(table: Ints, amounts: Ints, meter: Codes, kind: Codes) -> Strips:
    """Strips from a kernel's ``table``."""
    return Strips(
        meter,
        kind,
        table[:, rows.S_START].copy(),
        table[:, rows.S_COUNT].astype(np.int32),
        table[:, rows.S_LINE].copy(),
        amounts,
    )


def open_csv(sheet: Sheet, head: bytes, options: ReadOptions, origin: Origin) -> LongCodec:
    """Codec of a csv file whose rows are readings.

    Raises:
        BadFile: the columns, the form of the stamps or the interval are not known.

    """
    declared = columns.mapped(sheet, options)
    roles = {**declared, **columns.guessed(sheet, declared, options.meter)}
    if options.meter is not None:
        roles.pop("meter", None)
    missing = [role for role in ("meter", "time", "value") if role not in roles]
    if "meter" in missing and options.meter is not None:
        missing.remove("meter")
    if missing:
        raise BadFile(
            f"{sheet.name}: no column is known for {', '.join(missing)}; {sheet.seen()}; {REMEDY}"
            + (", or --meter ID" if missing == ["meter"] else "")
        )
    assumed: dict[str, str] = {}
    if set(roles) - set(declared):
        assumed["map"] = columns.map_text(sheet, roles)
    form = form_of_times(sheet, roles["time"], options, assumed)
    value_unit = columns.named_unit(sheet.header[roles["value"]])[1] if sheet.header else None
    usual = "end" if columns.names_end(sheet, roles["time"]) else "start"
    stamp = stamp_of(options, assumed, usual)
    mark = columns.decimal_mark(sheet, [roles["value"]], options.decimal, assumed)
    defaults = defaults_of(options, assumed, roles, options.interval_s or 1, value_unit)
    codec = LongCodec(
        "csv", sheet, roles, defaults, form, mark, options, origin, options.zone or "UTC", stamp, assumed
    )
    zone_of(options)
    if sheet.rows and options.interval_s is None and "interval" not in roles:
        interval_s = _inferred(codec, head)
        assumed["interval"] = interval_text(interval_s)
        codec.defaults = defaults._replace(interval_s=interval_s)
    return codec


def form_of_times(sheet: Sheet, time: int, options: ReadOptions, assumed: dict[str, str]) -> Form:
    """Form of the stamps: declared, ISO, or counts since 1970 told by their digits."""
    if options.time_format is not None:
        return form_of(options.time_format)
    texts = [text for text in sheet.column(time) if text]
    digits = {len(text) for text in texts if text.isdigit()}
    if texts and all(text.isdigit() for text in texts) and digits <= set(_EPOCH_DIGITS) and len(digits) == 1:
        assumed["time_format"] = _EPOCH_DIGITS[digits.pop()]
        return form_of(assumed["time_format"])
    if texts and not any(columns.is_iso(text) for text in texts):
        raise BadFile(
            f"{sheet.name}: {texts[0]!r} is no ISO stamp; say how stamps are written, e.g. "
            "--time-format '%d/%m/%Y %H:%M', epoch_s or epoch_ms"
        )
    return form_of(None)


def _inferred(codec: LongCodec, head: bytes) -> int:
    """Interval from the head: the commonest step between consecutive stamps of one meter's channel.

    Where no meter has two stamps there, it is the smallest step between any two.
    """
    body = body_of(Chunk(head, 1, last=True), codec.sheet.header_lines, codec.sheet.ending)
    categories = Categories(codec._words(), codec._meaning)  # noqa: SLF001
    found = codec.scan(body, categories, _NEVER)
    table = found.strips
    count = table[:, rows.S_COUNT]
    first = np.cumsum(count) - count
    start = np.repeat(table[:, rows.S_START] - first, count) + np.arange(len(found.amounts))
    series = np.repeat(
        meter_codes(body, table, MeterIds(), codec.columns, codec.options).astype(np.int64) << 32
        | table[:, rows.S_NUMBER],
        count,
    )
    interval_s = commonest_step(series, start)
    if interval_s == 0:
        raise BadFile(
            f"{codec.sheet.name}: the length of its intervals cannot be told from its stamps; declare "
            "--interval, e.g. 30min"
        )
    return interval_s


def commonest_step(series: Ints, start: Ints) -> int:
    """Commonest rising step (s) between consecutive starts of one series, in row order; 0 if that is no length.

    Where no series has two starts, it is the smallest step between any two. 23, 24 and 25 hours are a day.
    """
    order = np.argsort(series, kind="stable")
    step = np.diff(start[order])[np.diff(series[order]) == 0]
    step = step[step > 0]
    if not len(step):
        step = np.sort(np.diff(np.unique(start)))[:1]
    if not len(step):
        return 0
    steps, times = np.unique(step, return_counts=True)
    best = int(steps[np.argmax(times)])
    best = DAY_S if best in LOCAL_DAYS_S else best
    return best if is_supported(best) or best > DAY_S else 0
