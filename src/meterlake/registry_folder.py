"""Registry files: a folder of CSV or Parquet goes in whole or not at all, and comes out as it went in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from meterlake.csv_text import write_csv
from meterlake.errors import BadFile, Invalid, NotFound
from meterlake.moments import texts_of
from meterlake.registry import SHAPES, Problem, RefusedRows, RegistryReceipt
from meterlake.registry_rows import Sheet, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.ports import Registry

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
FORMATS: Final = ("csv", "parquet")


def import_folder(registry: Registry, folder: Path) -> RegistryReceipt:
    """Take over ``customers``, ``service_points`` and ``meters`` found in ``folder`` (or one such file).

    Raises:
        NotFound: no such folder, or none of the files in it.
        BadFile: a file cannot be read at all.
        RefusedRows: rows are wrong; nothing was imported.

    """
    sheets = {name: _read(name, path) for name, path in _find(folder).items()}
    tables: dict[str, pa.Table] = {}
    for name, sheet in sheets.items():
        zones = _zones(registry, sheet, tables) if name == "meters" else None
        tables[name] = rows_of(sheet, zones)
    problems = [
        Problem(file=sheet.file, line=line, what=what)
        for sheet in sheets.values()
        for line, what in sorted(sheet.problems)
    ]
    if problems:
        raise RefusedRows(problems)
    receipts = registry.import_tables(tables)
    return RegistryReceipt(tables=receipts, warnings=_dangling(registry, tables))


def export_folder(registry: Registry, folder: Path, form: str = "csv") -> dict[str, int]:
    """Write the three tables into ``folder`` as ``csv`` or ``parquet``; return the rows of each."""
    if form not in FORMATS:
        raise Invalid(f"{form!r} is no format of the registry: write {' or '.join(FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name in SHAPES:
        rows = _expanded(registry.table(name))
        if form == "parquet":
            pq.write_table(rows, folder / f"{name}.parquet", compression="zstd")
        else:
            with (folder / f"{name}.csv").open("wb") as file:
                write_csv(_as_text(rows), file)
        counts[name] = len(rows)
    return counts


def _find(folder: Path) -> dict[str, Path]:
    if not folder.exists():
        raise NotFound(
            f"{folder}: no such folder; name the one that holds {', '.join(SHAPES)} as CSV or Parquet"
        )
    paths = (
        [folder] if folder.is_file() else [folder / (name + suffix) for name in SHAPES for suffix in SUFFIXES]
    )
    found: dict[str, Path] = {}
    for name in SHAPES:
        hits = [
            path for path in paths if path.exists() and path.name in {name + suffix for suffix in SUFFIXES}
        ]
        if len(hits) > 1:
            raise Invalid(f"{hits[0]} and {hits[1].name} both hold {name}: keep one of them")
        if hits:
            found[name] = hits[0]
    if not found:
        names = ", ".join(f"{name}.csv" for name in SHAPES)
        raise NotFound(f"{folder} holds none of {names} (nor .csv.gz, .parquet)")
    return found


def _read(name: str, path: Path) -> Sheet:
    try:
        rows, lines, problems = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); nothing was imported"
        ) from error
    names = [column.strip().lower() for column in rows.column_names]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise BadFile(f"{path}: there are two columns {twice[0]!r}; rename or remove one")
    key = SHAPES[name].key
    if key not in names:
        raise BadFile(
            f"{path}: no column {key!r} among {', '.join(names)}; the first line must name the columns"
        )
    columns = [pc.utf8_trim_whitespace(column.cast(pa.string()).fill_null("")) for column in rows.columns]
    rows = pa.table([column.combine_chunks() for column in columns], names=names)
    filled = np.zeros(len(rows), bool)
    for column in rows.columns:
        filled |= pc.not_equal(column, "").to_numpy()
    return Sheet(name, str(path), rows.filter(pa.array(filled)), lines[filled], problems)


def _read_parquet(path: Path) -> tuple[pa.Table, Any, list[tuple[int, str]]]:
    rows = pq.read_table(path)
    return rows, np.arange(1, len(rows) + 1), []


def _read_csv(path: Path) -> tuple[pa.Table, Any, list[tuple[int, str]]]:
    """Rows as text, the line of each, and the lines that have another number of columns than the first."""
    skipped: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        what = f"{row.actual_columns} values where the first line names {row.expected_columns} columns: check the commas"
        skipped.append((row.number, what))
        return "skip"

    names = pacsv.open_csv(
        path, parse_options=pacsv.ParseOptions(invalid_row_handler=lambda _: "skip")
    ).schema.names
    rows = pacsv.read_csv(
        path,
        pacsv.ReadOptions(use_threads=False),  # only so are lines numbered
        pacsv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False, newlines_in_values=True),
        pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    numbers = np.setdiff1d(np.arange(2, len(rows) + len(skipped) + 2), [number for number, _ in skipped])
    inner = np.zeros(len(rows), np.int64)
    for column in rows.columns:
        inner += pc.count_substring(column.fill_null(""), "\n").to_numpy()
    return rows, numbers + np.cumsum(inner) - inner, skipped


def _zones(registry: Registry, meters: Sheet, tables: dict[str, pa.Table]) -> list[str]:
    """Time zone of each meter row: its service point's in this import, else in the registry, else UTC."""
    ids = meters.text("service_point_id")
    answer = pa.nulls(len(ids), pa.string())
    for points in (tables.get("service_points"), registry.table("service_points")):
        if points is not None:
            at = pc.index_in(ids, value_set=points["service_point_id"].combine_chunks())
            answer = pc.coalesce(answer, points["zone"].combine_chunks().take(at))
    zones: list[str] = answer.fill_null("UTC").to_pylist()
    return zones


def _dangling(registry: Registry, tables: dict[str, pa.Table]) -> list[str]:
    """Warnings about ids that name nothing known."""
    warnings = []
    for name, column, target in (
        ("service_points", "customer_id", "customers"),
        ("meters", "service_point_id", "service_points"),
    ):
        if name in tables:
            named = tables[name][column].drop_null()
            known = registry.table(target)[column].combine_chunks()
            unknown = named.filter(pc.invert(pc.is_in(named, value_set=known)))
            if len(unknown):
                first = unknown[0].as_py()
                warnings.append(
                    f"{len(unknown)} rows of {name} name {target} that are not registered (first {first}); import those too"
                )
    return warnings


def _expanded(rows: pa.Table) -> pa.Table:
    """``rows`` with the columns kept in ``extra`` beside them."""
    held = [json.loads(text) if text else {} for text in rows["extra"].to_pylist()]
    rows = rows.drop_columns("extra")
    for name in sorted({name for one in held for name in one}):
        rows = rows.append_column(name, pa.array([one.get(name) for one in held], pa.string()))
    return rows


def _as_text(rows: pa.Table) -> pa.Table:
    """Every column as text; moments as ISO 8601, empty where open."""
    for at, name in enumerate(rows.column_names):
        if pa.types.is_timestamp(rows.schema.field(name).type):
            column = rows[name].combine_chunks()
            seconds = column.cast(pa.int64()).fill_null(0).to_numpy() // 1_000_000
            texts = pa.array(texts_of(seconds, "UTC"), pa.string())
            rows = rows.set_column(at, name, pc.if_else(column.is_null(), None, texts))
    return rows.cast(pa.schema([(name, pa.string()) for name in rows.column_names]))
