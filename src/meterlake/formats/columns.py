"""The columns of a delimited file: its delimiter, its header, and which column plays which part."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from meterlake.errors import BadFile, Invalid
from meterlake.formats.lines import ending_of
from meterlake.units import Unit, unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.formats.codec import ReadOptions

ROLES: Final = ("meter", "time", "value", "interval", "quality", "channel", "unit")
WORDS: Final = ("interval", "quality", "channel", "unit")
"""Roles whose words make the kind of a reading."""

_DELIMITERS: Final = (",", ";", "\t", "|")
_SAMPLE: Final = 500
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ Tt]\d\d:\d\d.*)?")
_NUMBER: Final = re.compile(r"[+-]?\d*[.,]?\d+([eE][+-]?\d+)?|[+-]?\d+[.,]")
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d*,\d+")
_UNIT_TAIL: Final = re.compile(r"(.*?)\s*[(\[]\s*([^)\]/]+)(?:/[^)\]]*)?[)\]]\s*")

_NAMES: Final = {
    "meter": (
        "meter meterid meternumber meterno meterserial meterserialnumber device deviceid lclid mpan mpr mprn "
        "nmi ean sensor sensorid household householdid houseid point pointid servicepoint serialnumber serial id"
    ),
    "time": (
        "time start timestamp datetime intervalstart starttime startdatetime tstp readdatetime readingtime "
        "readingdatetime datetimeutc utctimestamp timestamputc utc localtime from date readdate readingdate "
        "consumptiondate day end endtime intervalend enddatetime"
    ),
    "value": "value energy consumption usage kwhhh",
    "interval": "intervals seconds interval intervallength duration resolution",
    "quality": "quality readtype readingtype qualitycode",
    "channel": "channel register stream",
    "unit": "unit units uom unitofmeasure",
}
_KNOWN: Final = {role: names.split() for role, names in _NAMES.items()}
_ENDS: Final = {"end", "endtime", "intervalend", "enddatetime"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """The top of a delimited file."""

    name: str
    delimiter: str
    header: list[str] | None
    header_lines: int
    rows: list[list[str]]
    """Some first rows of data."""
    width: int
    ending: bytes
    """What complete lines end in before their newline."""

    def seen(self) -> str:
        """Return the first line, for messages."""
        line = self.header or (self.rows[0] if self.rows else [])
        text = self.delimiter.join(line)
        return f"{'header' if self.header else 'first line'} {text[:200]!r}"

    def column(self, index: int) -> list[str]:
        """Texts of one column in the sampled rows."""
        return [row[index] for row in self.rows if index < len(row)]


def sheet_of(head: bytes, options: ReadOptions, name: str) -> Sheet:
    """Look at the first lines of a file."""
    whole = head.split(b"\n")
    complete = whole[:-1]
    lines = [line[: 1 << 16].decode("utf-8", "replace") for line in whole[:_SAMPLE]]
    at = options.skip or 0
    while at < len(lines) and not lines[at].strip():
        at += 1
    declared = {"tab": "\t", "\\t": "\t"}.get(options.delimiter or "", options.delimiter)
    if at < len(lines) and lines[at].strip().lower().startswith("sep="):
        declared = declared or lines[at].strip()[4:5]
        at += 1
        while at < len(lines) and not lines[at].strip():
            at += 1
    data = [line for line in lines[at:] if line.strip()]
    delimiter = declared or _delimiter(data)
    if len(delimiter.encode()) != 1 or delimiter in '"\n\r':
        raise Invalid(f"--delimiter {delimiter!r}: it must be one ASCII character")
    rows = [fields_of(line, delimiter) for line in data]
    header = rows[0] if rows and _is_header(rows[0], options) else None
    width = len(header) if header else (Counter(map(len, rows)).most_common(1)[0][0] if rows else 0)
    first = at + (1 if header else 0)
    body = [line for line in complete[first:_SAMPLE] if line.strip()]
    return Sheet(name, delimiter, header, first, rows[1:] if header else rows, width, ending_of(body))


def fields_of(line: str, delimiter: str) -> list[str]:
    """Split one line as the kernels do."""
    reader = csv.reader([line.replace("\0", "")], delimiter=delimiter, skipinitialspace=True)
    try:
        return [field.strip() for field in next(reader, [])]
    except csv.Error:
        return [field.strip() for field in line.split(delimiter)]


def _delimiter(lines: Sequence[str]) -> str:
    counts = {mark: min((line.count(mark) for line in lines[:5]), default=0) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: counts[mark])


def _is_header(fields: Sequence[str], options: ReadOptions) -> bool:
    """Whether a line names columns: it has words, and no stamp; numbers only beside a name we know."""
    if any(_ISO.fullmatch(field) for field in fields):
        return False
    if any(not value.isdigit() and _index(fields, value) is not None for value in options.map.values()):
        return True
    known = any(plain(field) in names for field in fields for names in _KNOWN.values())
    numeric = any(_NUMBER.fullmatch(field) for field in fields)
    return any(fields) and (known or not numeric)


def plain(name: str) -> str:
    """Name of a column as it is compared: letters and digits only, in lower case."""
    return re.sub(r"[^a-z0-9³]", "", name.lower())


def named_unit(header: str) -> tuple[str, Unit | None]:
    """Name and unit of a column called ``value(kWh)``, ``energy [m³]``, ``usage_kwh`` or ``kWh``."""
    match = _UNIT_TAIL.fullmatch(header)
    if match and (unit := unit_of(match[2])):
        return match[1], unit
    stem, _, tail = header.strip().replace(" ", "_").rpartition("_")
    return (stem, unit_of(tail)) if unit_of(tail) else (header, None)


def _index(header: Sequence[str], name: str) -> int | None:
    wanted = name.strip().lower()
    return next((i for i, field in enumerate(header) if field.strip().lower() == wanted), None)


def mapped(sheet: Sheet, options: ReadOptions) -> dict[str, int]:
    """Columns that the user declared, by role.

    Raises:
        Invalid: an unknown role.
        BadFile: the file has no such column.

    """
    found: dict[str, int] = {}
    for role, text in options.map.items():
        if role not in ROLES:
            raise Invalid(f"--map {role}={text}: the roles are {', '.join(ROLES)}")
        index = int(text) - 1 if text.isdigit() else _index(sheet.header or [], text)
        if index is None or not 0 <= index < max(sheet.width, 1):
            raise BadFile(
                f"{sheet.name}: no column {text!r} for {role}; {sheet.seen()}; name a column or its number with --map"
            )
        found[role] = index
    return found


def guessed(sheet: Sheet, taken: Mapping[str, int], meter: str | None) -> dict[str, int]:
    """Columns of the other roles, by well-known names or, without a header, by what they hold."""
    if sheet.header is None:
        return _by_content(sheet, taken, meter)
    names = [plain(named_unit(field)[0]) or plain(field) for field in sheet.header]
    found: dict[str, int] = {}
    used = set(taken.values())
    for role in ROLES:
        if role in taken or (role == "meter" and meter is not None):
            continue
        if role == "value":
            index = _value_column(sheet.header, names, used)
        else:
            index = next(
                (names.index(n) for n in _KNOWN[role] if n in names and names.index(n) not in used), None
            )
        if index is not None:
            found[role] = index
            used.add(index)
    return found


def _value_column(header: Sequence[str], names: Sequence[str], used: set[int]) -> int | None:
    """Column of values: a well-known name, else the only one that ends in a unit."""
    for known in _KNOWN["value"]:
        hits = [i for i, name in enumerate(names) if name == known and i not in used]
        if len(hits) == 1:
            return hits[0]
    hits = [i for i, field in enumerate(header) if named_unit(field)[1] and i not in used]
    return hits[0] if len(hits) == 1 else None


def _by_content(sheet: Sheet, taken: Mapping[str, int], meter: str | None) -> dict[str, int]:
    """Roles in a file without header: one column of stamps, one number after it, units, and the first as meter."""
    found: dict[str, int] = {}
    free = [i for i in range(sheet.width) if i not in taken.values()]

    def holds(index: int, pattern: re.Pattern[str]) -> bool:
        texts = [text for text in sheet.column(index) if text]
        return bool(texts) and sum(bool(pattern.fullmatch(text)) for text in texts) * 2 > len(texts)

    if "time" not in taken:
        hits = [i for i in free if holds(i, _ISO)]
        if len(hits) == 1:
            found["time"] = hits[0]
    time = taken.get("time", found.get("time"))
    if time is None:
        return found
    free = [i for i in free if i != time]
    if "unit" not in taken:
        units = [i for i in free if sheet.rows and all(unit_of(text) for text in sheet.column(i)[:50])]
        if len(units) == 1:
            found["unit"] = units[0]
            free.remove(units[0])
    if "value" not in taken:
        numbers = [i for i in free if i > time and holds(i, _NUMBER)]
        if len(numbers) == 1:
            found["value"] = numbers[0]
            free.remove(numbers[0])
    if "meter" not in taken and meter is None and free and free[0] < time:
        found["meter"] = free[0]
    return found


def is_iso(text: str) -> bool:
    """Whether ``text`` looks like an ISO date or stamp."""
    return _ISO.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether ``text`` looks like a decimal number."""
    return _NUMBER.fullmatch(text) is not None


def without(sheet: Sheet, columns: range) -> Sheet:
    """Return the sheet with some columns blanked, so that no role is found in them."""

    def cleared(row: list[str]) -> list[str]:
        return ["" if i in columns else field for i, field in enumerate(row)]

    header = cleared(sheet.header) if sheet.header else None
    return replace(sheet, header=header, rows=[cleared(row) for row in sheet.rows])


def names_end(sheet: Sheet, index: int) -> bool:
    """Whether the header of a time column says that it holds the end."""
    return sheet.header is not None and plain(sheet.header[index]) in _ENDS


def decimal_mark(sheet: Sheet, columns: Sequence[int], declared: str | None, assumed: dict[str, str]) -> int:
    """Byte of the decimal mark: declared, or a comma where all fractions of the sample have one."""
    if declared is not None:
        if declared not in {".", ","}:
            raise Invalid(f"--decimal {declared!r}: write . or ,")
        return ord(declared)
    texts = [text for index in columns for text in sheet.column(index)[:50]]
    commas = any(_COMMA_NUMBER.fullmatch(text) for text in texts)
    if commas and sheet.delimiter != "," and not any("." in text for text in texts):
        assumed["decimal"] = ","
        return ord(",")
    return ord(".")


def map_text(sheet: Sheet, roles: Mapping[str, int]) -> str:
    """Columns by role as ``--map`` would have them."""
    return ",".join(
        f"{role}={sheet.header[roles[role]] if sheet.header else roles[role] + 1}"
        for role in ROLES
        if role in roles
    )
