"""From a sheet of text to registry rows: every cell is checked, and what is wrong is said with its remedy."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import Invalid
from meterlake.intervals import is_supported, parse_interval
from meterlake.moments import seconds_of
from meterlake.readings import UTC_US, channel_family
from meterlake.registry import CLASSES, COMPUTED, SHAPES, TEXT, geohash
from meterlake.zones import zone_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

PROBLEMS_MAX: Final = 1_000
"""Problems listed of one sheet; one with more is wrong as a whole."""

_NUMBER: Final = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


@dataclass(slots=True)
class Sheet:
    """A registry file as read: columns of trimmed text, ``""`` where empty, and the line of each row."""

    name: str
    file: str
    rows: pa.Table
    lines: npt.NDArray[np.int64]
    problems: list[tuple[int, str]] = field(default_factory=list)
    """Line, and what is wrong with it."""

    def blame(self, rows: npt.NDArray[np.bool_], what: Callable[[int], str]) -> None:
        """Note a problem for each of ``rows``; ``what`` says which, by row number."""
        for at in np.flatnonzero(rows)[:PROBLEMS_MAX].tolist():
            self.problems.append((int(self.lines[at]), what(at)))

    def text(self, column: str) -> pa.Array:
        """Return a column, empty where the file has none of that name."""
        if column in self.rows.column_names:
            return self.rows[column].combine_chunks()
        return pa.array([""]).take(pa.array(np.zeros(len(self.rows), np.int64)))


def rows_of(sheet: Sheet, zones: Sequence[str] | None = None) -> pa.Table:
    """Rows of ``registry.SHAPES[sheet.name].schema``; what cannot be is noted in ``sheet.problems``.

    ``zones`` are the clocks by which dates of each row count; None: the row's own ``zone``.
    """
    shape = SHAPES[sheet.name]
    columns: dict[str, pa.Array] = {}
    for name in shape.columns:
        if name not in {"from", "to", *COMPUTED}:
            columns[name] = _CHECKS.get(name, _plain)(sheet, name)
    ids = columns[shape.key]
    sheet.blame(
        pc.is_null(ids).to_numpy(zero_copy_only=False), lambda _: f"{shape.key} is empty: give the row its id"
    )
    if shape.dated:
        clocks = zones if zones is not None else columns["zone"].fill_null("UTC").to_pylist()
        for name in ("from", "to"):
            columns[name] = _moments(sheet, name, clocks)
        _check_order(sheet, columns)
    if "latitude" in columns:
        places = [columns[name].fill_null(float("nan")).to_numpy() for name in ("latitude", "longitude")]
        lonely = pc.not_equal(
            *(pc.equal(sheet.text(name), "") for name in ("latitude", "longitude"))
        ).to_numpy(zero_copy_only=False)
        sheet.blame(lonely, lambda _: "latitude and longitude belong together: give both or neither")
        columns["geohash"] = geohash(places[0], places[1])
    _check_repeats(sheet, columns, [shape.key, "from"] if shape.dated else [shape.key])
    columns["extra"] = _extra(sheet)
    return pa.table([columns[field_.name] for field_ in shape.schema], schema=shape.schema)


def _plain(sheet: Sheet, column: str) -> pa.Array:
    text = sheet.text(column)
    return pc.if_else(pc.equal(text, ""), None, text)


def _each(sheet: Sheet, column: str, read: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    """Cells read one distinct text at a time; ``read`` raises Invalid with what is wrong."""
    codes = sheet.text(column).dictionary_encode()
    values, wrong = [], {}
    for code, text in enumerate(codes.dictionary.to_pylist()):
        try:
            values.append(read(text) if text else None)
        except Invalid as error:
            values.append(None)
            wrong[code] = str(error)
    at = codes.indices.to_numpy(zero_copy_only=False)
    sheet.blame(np.isin(at, list(wrong)), lambda row: f"{column}: {wrong[int(at[row])]}")
    return pa.array(values, kind).take(pa.array(at))


def _degrees(most: float) -> Callable[[Sheet, str], pa.Array]:
    def check(sheet: Sheet, column: str) -> pa.Array:
        text = sheet.text(column)
        empty = pc.equal(text, "")
        number = pc.match_substring_regex(text, _NUMBER)
        degrees = pc.if_else(number, text, None).cast(pa.float64())
        wrong = pc.invert(pc.or_(empty, pc.less_equal(pc.abs(degrees), most).fill_null(False)))
        sheet.blame(
            wrong.to_numpy(zero_copy_only=False),
            lambda row: (
                f"{column} {text[row].as_py()!r} is no number from -{most:g} to {most:g}: write degrees like 51.5074"
            ),
        )
        return pc.if_else(wrong, None, degrees)

    return check


def _read_class(text: str) -> str:
    if text not in CLASSES:
        raise Invalid(f"{text!r} is unknown: write {' or '.join(CLASSES)}")
    return text


def _read_zone(text: str) -> str:
    zone_table(text)
    return text


def _read_channels(text: str) -> str:
    names = [name.strip() for name in text.split(";") if name.strip()]
    unknown = [name for name in names if channel_family(name) is None]
    if unknown:
        raise Invalid(
            f"{unknown[0]!r} is no channel: write for instance electricity.import;electricity.export"
        )
    return ";".join(names)


def _read_interval(text: str) -> int:
    seconds = parse_interval(text.removesuffix(".0"))
    if not is_supported(seconds):
        raise Invalid(
            f"an interval of {seconds} s is not supported: it must divide an hour, or a day in whole hours"
        )
    return seconds


def _read_multiplier(text: str) -> str:
    if not pc.match_substring_regex(pa.array([text]), _NUMBER)[0].as_py() or float(text) <= 0:
        raise Invalid(f"{text!r} is no number above 0: write 1 where nothing is multiplied")
    return text


_CHECKS: Final[dict[str, Callable[[Sheet, str], pa.Array]]] = {
    "latitude": _degrees(90.0),
    "longitude": _degrees(180.0),
    "class": lambda sheet, column: _each(sheet, column, _read_class, TEXT),
    "zone": lambda sheet, column: _each(sheet, column, _read_zone, TEXT),
    "channels": lambda sheet, column: _each(sheet, column, _read_channels, TEXT),
    "interval_s": lambda sheet, column: _each(sheet, column, _read_interval, pa.int32()),
    "multiplier": lambda sheet, column: _each(sheet, column, _read_multiplier, TEXT),
}


def _moments(sheet: Sheet, column: str, zones: Sequence[str]) -> pa.Array:
    """Moments of a column of text; dates and times without an offset are of each row's zone."""
    pairs = list(zip(sheet.text(column).to_pylist(), zones, strict=True))
    read: dict[tuple[str, str], int | None] = {}
    wrong: dict[tuple[str, str], str] = {}
    for pair in set(pairs):
        try:
            read[pair] = seconds_of(pair[0], pair[1], column) * 1_000_000 if pair[0] else None
        except Invalid as error:
            read[pair] = None
            wrong[pair] = str(error)
    if wrong:
        sheet.blame(np.array([pair in wrong for pair in pairs]), lambda row: wrong[pairs[row]])
    return pa.array([read[pair] for pair in pairs], pa.int64()).cast(UTC_US)


def _check_order(sheet: Sheet, columns: dict[str, pa.Array]) -> None:
    backwards = pc.less(columns["to"], columns["from"]).fill_null(False).to_numpy(zero_copy_only=False)
    sheet.blame(
        backwards,
        lambda _: "to is before from: the time from one to the other runs forward, and `to` is exclusive",
    )


def _check_repeats(sheet: Sheet, columns: dict[str, pa.Array], keys: list[str]) -> None:
    """Blame rows whose key stands on an earlier line."""
    table = pa.table([columns[key] for key in keys], names=keys)
    counts = (
        table.append_column("at", pa.array(np.arange(len(table)))).group_by(keys).aggregate([("at", "count")])
    )
    if len(counts) == len(table):
        return
    first: dict[tuple[Any, ...], int] = {}
    lines = defaultdict(list)
    for at, key in enumerate(zip(*(columns[key].to_pylist() for key in keys), strict=True)):
        if first.setdefault(key, at) != at and key[0] is not None:
            lines[at] = [int(sheet.lines[first[key]])]
    repeated = np.zeros(len(table), bool)
    repeated[list(lines)] = True
    what = " and ".join(keys)
    sheet.blame(repeated, lambda row: f"the same {what} as line {lines[row][0]}: keep one of them")


def _extra(sheet: Sheet) -> pa.Array:
    """Columns that have no meaning here, as a JSON object of text; null where all are empty."""
    names = [name for name in sheet.rows.column_names if name not in SHAPES[sheet.name].columns]
    if not names:
        return pa.nulls(len(sheet.rows), TEXT)
    rows = zip(*(sheet.rows[name].to_pylist() for name in names), strict=True)
    held = ({name: text for name, text in zip(names, row, strict=True) if text} for row in rows)
    return pa.array(
        [json.dumps(one, ensure_ascii=False, sort_keys=True) if one else None for one in held], TEXT
    )
