"""Files with a row per meter and day: `WideCodec`, and how its value columns are found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.errors import BadFile
from meterlake.formats import columns, day_rows, rows
from meterlake.formats.categories import Categories, Defaults, Meaning, kind_of, meaning_of
from meterlake.formats.codec import Chunk, Origin, Parsed, ReadOptions
from meterlake.formats.days import TALLY
from meterlake.formats.decimals import FAILED
from meterlake.formats.declared import REMEDY, defaults_of, interval_text, stamp_of, zone_of
from meterlake.formats.lines import REJECT, body_of, rejects_of
from meterlake.formats.long import form_of_times, meter_codes, strips_of
from meterlake.formats.stamps import ROOM, Form
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.readings import FUTURE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.formats.columns import Sheet
    from meterlake.ids import MeterIds
    from meterlake.strips import Kind, Kinds
    from meterlake.units import Unit

USUAL: Final = (24, 48, 96, 288, 144, 72, 1440)
"""Slots of a day of 24 hours that a wide file may have, the likeliest first."""

_CLOCK: Final = re.compile(r"\W*(\d{1,2}):(\d\d)(?::00)?\W*")
_NUMBERED: Final = re.compile(r"(.*?)(\d+)\W*")
_LEADING: Final = 12
"""Most columns in front of the values of a file without names for them."""


def usual_slots(count: int) -> int:
    """Slots of a day of 24 hours, in a file with ``count`` value columns; 0 if ``count`` fits no day.

    >>> usual_slots(48), usual_slots(50), usual_slots(92), usual_slots(47)
    (48, 48, 96, 0)
    """
    for usual in USUAL:
        if count in (usual, usual - usual // 24, usual + usual // 24):
            return usual
    return 0


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """Where the values of a row stand: first column, how many, and what the first is called."""

    first: int
    count: int
    label_s: int | None = None
    """Time of day (s) that the first column is called by; None: by no time."""
    unit: Unit | None = None
    """Unit that their names say."""


def value_columns(sheet: Sheet, options: ReadOptions) -> ValueColumns | None:
    """Find the value columns: declared, named by times or numbers, or the last so many; None if there are none.

    Raises:
        BadFile: the declared ones fit no day.

    """
    if options.columns is not None:
        first, last = options.columns
        if not 0 <= first < last or not usual_slots(last - first):
            raise BadFile(
                f"{sheet.name}: --columns {first + 1}..{last} are {last - first} columns; a day has 24, 48, 96 or 288"
            )
        return ValueColumns(first, last - first, _label(sheet.header, first))
    return _named(sheet.header) if sheet.header else _last(sheet)


def _label(header: list[str] | None, index: int) -> int | None:
    match = _CLOCK.fullmatch(header[index]) if header and index < len(header) else None
    return int(match[1]) * HOUR_S + int(match[2]) * 60 if match else None


def _named(header: list[str]) -> ValueColumns | None:
    """Longest run of columns called by times of day, or by one name and rising numbers."""
    at = 0
    while at < len(header):
        end = at + 1
        if _label(header, at) is not None:
            while end < len(header) and _label(header, end) is not None:
                end += 1
        elif head := _NUMBERED.fullmatch(header[at]):
            while end < len(header) and (next_one := _NUMBERED.fullmatch(header[end])):
                if next_one[1] != head[1] or int(next_one[2]) != int(head[2]) + end - at:
                    break
                end += 1
            if usual_slots(end - at):
                return ValueColumns(at, end - at, None, columns.named_unit(f"{head[1].strip('_ ')}")[1])
        if usual_slots(end - at):
            return ValueColumns(at, end - at, _label(header, at))
        at = end
    return None


def _last(sheet: Sheet) -> ValueColumns | None:
    """Last columns of a file without header, where they are numbers or blank."""
    for usual in USUAL:
        first = sheet.width - usual
        if 1 <= first <= _LEADING:
            cells = [cell for row in sheet.rows[:20] for cell in row[first:]]
            if cells and sum(columns.is_number(cell) or not cell for cell in cells) * 10 >= len(cells) * 9:
                return ValueColumns(first, usual)
    return None


@dataclass(slots=True)
class WideCodec:
    """A file with a row per meter and day."""

    sheet: Sheet
    columns: Mapping[str, int]
    values: ValueColumns
    defaults: Defaults
    form: Form
    mark: int
    lead_s: int
    options: ReadOptions
    origin: Origin
    zone: str
    stamp: str
    assumed: dict[str, str] = field(default_factory=dict)
    name: str = "wide"

    def header_lines(self) -> int:
        """Lines at the top that hold no data."""
        return self.sheet.header_lines

    def border(self, data: bytes) -> int:
        """Cut behind any line."""
        return data.rfind(b"\n") + 1

    def _words(self) -> tuple[str, ...]:
        return tuple(role for role in ("quality", "channel", "unit") if role in self.columns)

    def _meaning(self, words: tuple[str, ...]) -> Meaning:
        return meaning_of(dict(zip(self._words(), words, strict=True)), self.defaults)

    def _kind(self, meaning: Meaning, key: int) -> Kind:
        return kind_of(meaning, self.origin, key)

    def _layout(self) -> day_rows.DayLayout:
        roles = self.columns
        usual = usual_slots(self.values.count)
        return day_rows.DayLayout(
            delimiter=ord(self.sheet.delimiter),
            mark=self.mark,
            mode=self.form.mode,
            width=max(self.sheet.width, self.values.first + self.values.count),
            needed=max([*roles.values(), self.values.first]) + 1,
            meter=roles.get("meter", -1),
            time=roles["time"],
            future_s=self.origin.now_s + FUTURE_S,
            first=self.values.first,
            values=self.values.count,
            usual=usual,
            interval=DAY_S // usual,
            lead=self.lead_s,
        )

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:
        """Read one chunk of whole lines."""
        body = body_of(chunk, self.sheet.header_lines, self.sheet.ending)
        layout = self._layout()
        lines = body.raw.count(b"\n", body.start)
        most = min(lines, len(body.raw) // (layout.usual - layout.usual // 24) + 1)
        state = np.zeros(rows.STATE, np.int64)
        state[[rows.POSITION, rows.LINE]] = body.start, body.line
        words = np.array([self.columns[role] for role in self._words()], np.int64)
        fields = np.zeros((2, layout.width + 1), np.int64)
        strips = np.empty((most + 1, rows.STRIP), np.int64)
        slots = layout.usual + layout.usual // 24
        amounts = np.empty((most + 1) * slots, np.int64)
        rejects = np.empty((lines + 7 * most + 7, REJECT), np.int64)
        categories = Categories(self._words(), self._meaning)
        tally = np.zeros(TALLY, np.int64)
        room, zone = np.empty(ROOM, np.int64), zone_of(self.options)[1]
        while True:
            state[rows.KNOWN] = categories.known
            answer = day_rows.scan_days(
                body.data, layout, self.form.program, words, zone, categories.table, fields, room,
                tally, state, strips, amounts, rejects,
            )  # fmt: skip
            if answer == rows.DONE:
                break
            categories.learn([body.raw[a:b] for a, b in fields[:, words].T.tolist()])
        if body.open_line:
            self.assumed["last_line"] = "taken although it lacks its newline"
        table, filled = strips[: state[rows.STRIPS]], amounts[: state[rows.SLOTS]]
        found = rejects_of(body, rejects[: state[rows.REJECTS]])
        kind = categories.kinds(table[:, rows.S_NUMBER], table[:, rows.S_KEY], self._kind, kinds)
        pile = strips_of(table, filled, meter_codes(body, table, ids, self.columns, self.options), kind)
        received = int((filled != FAILED).sum()) + int(found.count.sum())
        return Parsed(pile, found, received, int(state[rows.LINE]) - body.line)


def open_wide(sheet: Sheet, values: ValueColumns, options: ReadOptions, origin: Origin) -> WideCodec:
    """Codec of a csv file whose rows are days.

    Raises:
        BadFile: the column of the meter or of the date is not known.

    """
    declared = columns.mapped(sheet, options)
    inside = range(values.first, values.first + values.count)
    front = columns.without(sheet, inside)
    found = columns.guessed(front, declared, options.meter)
    roles = {**found, **declared}
    for role in ("value", "interval"):
        roles.pop(role, None)
    if options.meter is not None:
        roles.pop("meter", None)
    missing = [
        role for role in ("meter", "time") if role not in roles and not (role == "meter" and options.meter)
    ]
    if missing:
        raise BadFile(f"{sheet.name}: no column is known for {', '.join(missing)}; {sheet.seen()}; {REMEDY}")
    assumed: dict[str, str] = {}
    if set(roles) - set(declared):
        assumed["map"] = columns.map_text(sheet, roles)
    if options.columns is None:
        assumed["columns"] = f"{values.first + 1}..{values.first + values.count}"
    form = form_of_times(sheet, roles["time"], options, assumed)
    interval_s = DAY_S // usual_slots(values.count)
    if options.interval_s not in (None, interval_s):
        raise BadFile(
            f"{sheet.name}: {values.count} value columns are intervals of {interval_text(interval_s)}, "
            f"not of the declared {interval_text(options.interval_s or 1)}"
        )
    if options.interval_s is None:
        assumed["interval"] = interval_text(interval_s)
    stamp = stamp_of(options, assumed, "end" if values.label_s == interval_s else "start")
    zone, _ = zone_of(options)
    if options.zone is None:
        assumed["zone"] = zone
    mark = columns.decimal_mark(sheet, [*inside][:4], options.decimal, assumed)
    defaults = defaults_of(options, assumed, roles, interval_s, values.unit)
    lead_s = 0
    if values.label_s is not None:
        lead_s = values.label_s - (interval_s if stamp == "end" else 0)
    return WideCodec(
        sheet, roles, values, defaults, form, mark, lead_s, options, origin, zone, stamp, assumed
    )
