"""Answers as text or bytes: table, json, csv, arrow, parquet. Amounts are printed digit by digit from integers."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.csv_text import ROWS_AT_ONCE, write_csv
from meterlake.errors import Invalid
from meterlake.exact import DIGITS, Exact, dumps
from meterlake.moments import texts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMATS: Final = ("table", "json", "csv", "arrow", "parquet")
BINARY: Final = ("arrow", "parquet")
AMOUNTS: Final = ("amount", "previous_amount")
"""Integer milli units, which only the binary formats carry; text has the value."""


class Answer(Protocol):
    """What can be rendered."""

    def to_json(self) -> Any:
        """Return JSON values, with `exact.Exact` where amounts stand."""

    def to_arrow(self) -> pa.Table:
        """Return the same as rows."""


class Listed:
    """An answer that is a list of JSON objects or an Arrow table."""

    def __init__(
        self, rows: pa.Table | Sequence[dict[str, Any]], under: str | None = None, columns: Sequence[str] = ()
    ) -> None:
        """``under`` names the list in JSON; None: it stands alone. ``columns`` are there even without rows."""
        self.rows, self.under, self.columns = rows, under, columns

    def to_json(self) -> Any:
        """Return the list."""
        items = (
            [plain(row) for row in self.rows.to_pylist()]
            if isinstance(self.rows, pa.Table)
            else list(self.rows)
        )
        return items if self.under is None else {self.under: items}

    def to_arrow(self) -> pa.Table:
        """Return the rows; lists and objects within them as JSON text."""
        if isinstance(self.rows, pa.Table):
            return self.rows
        flat = [{key: _flat(value) for key, value in row.items()} for row in self.rows]
        names = dict.fromkeys([*self.columns, *(key for row in flat for key in row)])
        return pa.table({name: _column([row.get(name) for row in flat]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    known = pa.array(values)
    return known.cast(pa.string()) if pa.types.is_null(known.type) else known


def _flat(value: Any) -> Any:
    return dumps(plain(value)) if isinstance(value, dict | list | tuple | Exact) else value


def plain(value: Any) -> Any:  # noqa: PLR0911 - a case a kind of value
    """``value`` as JSON values: decimals exact to six places, moments as ISO 8601, what JSON lacks as null or text."""
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return Exact(int(value.scaleb(DIGITS).to_integral_value())) if value.is_finite() else None
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            text = value.isoformat()
            return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            return str(value)


def render(answer: Answer, form: str, out: IO[bytes], head: Iterable[str] = ()) -> None:
    """Write ``answer`` to ``out`` in one of `FORMATS`; ``head`` are lines above a table.

    Raises:
        Invalid: no such format, or a binary one would go to a terminal.

    """
    if form not in FORMATS:
        raise Invalid(f"output {form!r} is unknown: write one of {', '.join(FORMATS)}")
    if form in BINARY and out.isatty():
        raise Invalid(f"{form} is not for a terminal: send it to a file with `> FILE`")
    if form == "json":
        out.write(dumps(answer.to_json()).encode() + b"\n")
    elif form == "table":
        out.writelines(line.encode() + b"\n" for line in head)
        _write_aligned(text_columns(answer.to_arrow()), out)
    elif form == "csv":
        write_csv(text_columns(answer.to_arrow()), out)
    else:
        _write_binary(answer.to_arrow(), form, out)


def _write_binary(table: pa.Table, form: str, out: IO[bytes]) -> None:
    if form == "arrow":
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        return
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    out.write(sink.getvalue())


def text_columns(table: pa.Table) -> pa.Table:
    """``table`` as people and CSV read it: every column text, null where empty, without the integer amounts."""
    names = [name for name in table.column_names if name not in AMOUNTS]
    return pa.table([_as_text(table[name].combine_chunks()) for name in names], names=names)


def _as_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind):
        text = column.cast(pa.string())
        return pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".") if kind.scale > 0 else text
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind):
        return column.cast(pa.string())
    return pa.array([_cell(value) for value in column.to_pylist()], pa.string())


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    told = plain(value)
    return told if isinstance(told, str) else dumps(told)


def _moments(column: pa.Array) -> pa.Array:
    """ISO 8601 with the offset of the column's zone, ``Z`` for UTC; none where the column has no zone."""
    zone = column.type.tz
    micros = column.cast(pa.timestamp("us", tz=zone)).cast(pa.int64()).fill_null(0).to_numpy()
    seconds, rest = np.divmod(micros, 1_000_000)
    if zone is None or (rest != 0).any():
        return pa.array([_cell(value) for value in column.to_pylist()], pa.string())
    texts = pa.array(texts_of(seconds, zone), pa.string())
    return texts if column.null_count == 0 else pc.if_else(column.is_valid(), texts, None)


_NUMBER: Final = r"^-?[0-9][0-9.]*$"


def _write_aligned(table: pa.Table, out: IO[bytes]) -> None:
    """Columns side by side, numbers to the right, under their names."""
    columns, widths, rights = [], [], []
    for name in table.column_names:
        cells = table[name].combine_chunks().fill_null("")
        cells = pc.replace_substring_regex(cells, r"[\r\n\t]", " ")
        widths.append(max(len(name), pc.max(pc.utf8_length(cells)).as_py() or 0))
        rights.append(
            bool(pc.all(pc.or_(pc.equal(cells, ""), pc.match_substring_regex(cells, _NUMBER))).as_py())
        )
        columns.append(cells)
    if not columns:
        return
    pads = [pc.utf8_lpad if right else pc.utf8_rpad for right in rights]
    names = [
        name.rjust(w) if right else name.ljust(w)
        for name, w, right in zip(table.column_names, widths, rights, strict=True)
    ]
    out.write("  ".join(names).rstrip().encode() + b"\n")
    for low in range(0, len(table), ROWS_AT_ONCE):
        cells = [
            pad(c.slice(low, ROWS_AT_ONCE), width=w) for pad, c, w in zip(pads, columns, widths, strict=True)
        ]
        lines = pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(*cells, "  "))
        out.write("\n".join(lines.to_pylist()).encode() + b"\n")
    if not len(table):
        out.write(b"(nothing)\n")
