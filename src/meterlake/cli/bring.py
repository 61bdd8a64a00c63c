"""Commands that bring data: init, load, registry import and export, simulate, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meterlake.cli.options import (
    DryRun,
    Engine,
    Lake,
    Output,
    Registry,
    check_form,
    opened,
    settings_of,
    show,
)

if TYPE_CHECKING:
    from meterlake.receipt import Receipt

REJECTED: Final = 3
"""Exit status of a load that is done, with rejects, under ``--strict``."""


def _text(flag: str, metavar: str, help_: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help_, show_default=False)


def init(
    context: typer.Context,
    buckets: Annotated[
        int, typer.Option("--buckets", metavar="N", help="Runs of meters that jobs are cut into.")
    ] = 64,
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Make a lake and its registry."""
    from meterlake.app import open_lake

    settings = settings_of(context, lake, registry)
    made = open_lake(settings.lake, settings.registry, create=True, buckets=buckets)
    typer.echo(
        f"{made.lake.url}: lake at version {made.lake.snapshot().version}, {made.lake.buckets} buckets"
    )
    typer.echo(f"{made.registry.url}: registry")


def load(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Files, folders, globs, archives; - is standard input."),
    ],
    format_: Annotated[
        str | None, _text("--format", "auto|lcl|csv|wide|nem12|ndjson|parquet", "Format; else recognised.")
    ] = None,
    map_: Annotated[
        str | None, _text("--map", "ROLE=COL,…", "Columns by name or number: meter, time, value, …")
    ] = None,
    time_format: Annotated[
        str | None, _text("--time-format", "F", "strptime, or iso, epoch_s, epoch_ms.")
    ] = None,
    zone: Annotated[str | None, _text("--zone", "ZONE", "Time zone of local times.")] = None,
    stamp: Annotated[str | None, _text("--stamp", "start|end", "What a time names.")] = None,
    interval: Annotated[str | None, _text("--interval", "30min", "Length of intervals.")] = None,
    unit: Annotated[str | None, _text("--unit", "kWh", "Unit of the values.")] = None,
    channel: Annotated[str | None, _text("--channel", "CHANNEL", "Channel of the values.")] = None,
    meter: Annotated[str | None, _text("--meter", "ID", "Meter of files that do not name it.")] = None,
    decimal: Annotated[str | None, _text("--decimal", ",|.", "Decimal sign.")] = None,
    source: Annotated[
        str | None, _text("--source", "NAME", "Sender; else the feed, else the file's name.")
    ] = None,
    received_at: Annotated[str | None, _text("--received-at", "T", "When it was received; else now.")] = None,
    quality: Annotated[str | None, _text("--quality", "actual", "Quality of values that state none.")] = None,
    columns: Annotated[str | None, _text("--columns", "4..51", "Value columns of wide files.")] = None,
    encoding: Annotated[str | None, _text("--encoding", "NAME", "Text encoding; else UTF-8.")] = None,
    delimiter: Annotated[str | None, _text("--delimiter", "SIGN", "What separates columns, or tab.")] = None,
    skip: Annotated[int | None, _text("--skip", "N", "Lines above the header.")] = None,
    feed: Annotated[str | None, _text("--feed", "NAME", "A saved set of these options.")] = None,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Refuse meters that are not registered.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the files in the lake, as received.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where readings were rejected.")
    ] = False,
    dry_run: DryRun = False,
    changes: Annotated[
        str | None, _text("--changes", "FILE", "With --dry-run: all replaced values, as CSV.")
    ] = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """Read meter files into the lake, all of them in one commit."""
    check_form(output)
    from meterlake.app import store_at
    from meterlake.feeds import options_of
    from meterlake.progress import progress

    told = {
        "format": format_, "map": map_, "time_format": time_format, "zone": zone, "stamp": stamp, "interval": interval,
        "unit": unit, "channel": channel, "meter": meter, "decimal": decimal, "source": source,
        "received_at": received_at, "quality": quality, "columns": columns, "encoding": encoding,
        "delimiter": delimiter, "skip": skip, "feed": feed, "known_only": known_only or None, "keep": keep or None,
        "dry_run": dry_run or None, "changes": changes,
    }  # fmt: skip
    options = options_of(told, store_at(settings_of(context, lake, registry).lake))
    with progress() as tell:
        receipt = opened(context, lake, registry, engine, create=True).load(paths, options, tell)
    _show_receipt(receipt, output)
    for file in receipt.errors:
        typer.echo(f"meterlake: {file.error}", err=True)
    if receipt.errors:
        raise typer.Exit(1)
    if strict and receipt.count("rejected"):
        raise typer.Exit(REJECTED)


def _show_receipt(receipt: Receipt, output: str) -> None:
    if output == "table":
        from meterlake.receipt_text import receipt_lines

        typer.echo("\n".join(receipt_lines(receipt)))
        return
    from meterlake.output import Listed

    show(receipt if output == "json" else Listed([receipt.to_json()]), output)  # type: ignore[arg-type]


registry_commands = typer.Typer(rich_markup_mode=None)


@registry_commands.command("import")
def registry_import(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="Holds customers, service_points, meters as CSV or Parquet."),
    ],
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Take over customers, service points and meters, all rows or none."""
    from pathlib import Path

    from meterlake.output import Listed
    from meterlake.registry import RefusedRows
    from meterlake.registry_folder import import_folder

    check_form(output)
    try:
        receipt = import_folder(opened(context, lake, registry, create=True).registry, Path(folder))
    except RefusedRows as error:
        rows = [{"file": p.file, "line": p.line, "what": p.what} for p in error.problems]
        show(Listed(rows, "problems"), output)
        raise
    rows = [{"table": name, **counts} for name, counts in receipt.to_json()["tables"].items()]
    show(receipt if output == "json" else Listed(rows), output)  # type: ignore[arg-type]
    for warning in receipt.warnings:
        typer.echo(f"meterlake: note: {warning}", err=True)


@registry_commands.command("export")
def registry_export(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="csv|parquet", help="Form of the files.")
    ] = "csv",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Write customers, service points and meters into a folder."""
    from pathlib import Path

    from meterlake.registry_folder import export_folder

    counts = export_folder(opened(context, lake, registry).registry, Path(folder), format_)
    typer.echo("\n".join(f"{name}: {rows:,} rows" for name, rows in counts.items()))


def simulate(  # noqa: PLR0913 - the options of the command
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder for readings/, registry/ and truth/.")],
    points: Annotated[int, typer.Option("--points", metavar="N", help="Service points.")] = 10_000,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Days.")] = 90,
    start: Annotated[str, typer.Option("--start", metavar="DATE", help="First day.")] = "2026-01-01",
    interval: Annotated[
        str, typer.Option("--interval", metavar="30min", help="Length of intervals.")
    ] = "30min",
    profile: Annotated[
        str, typer.Option("--profile", metavar="uk|us|au", help="Climate, habits and city.")
    ] = "uk",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same bytes.")] = 1,
    format_: Annotated[
        str, typer.Option("--format", metavar="wide|csv|nem12|…", help="Format of the readings.")
    ] = "wide",
    utilities: Annotated[
        str, typer.Option("--utilities", metavar="LIST", help="Meters of each point.")
    ] = "electricity,gas,water",
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="NAME=SHARE,…",
            help="missing, late, duplicate, reordered, spikes, stuck, outages, theft.",
        ),
    ] = "",
    output: Output = "table",
) -> None:
    """Write the readings, registry and truth of a simulated fleet."""
    check_form(output)
    from datetime import date
    from pathlib import Path

    from meterlake.errors import Invalid
    from meterlake.intervals import parse_interval
    from meterlake.output import Listed
    from meterlake.progress import progress
    from meterlake.simulate import SimulateOptions, parse_faults
    from meterlake.simulate import simulate as run

    try:
        first = date.fromisoformat(start)
    except ValueError:
        raise Invalid(f"--start {start!r} is no date: write 2026-01-01") from None
    options = SimulateOptions(
        points=points, days=days, start=first, interval_s=parse_interval(interval), profile=profile, seed=seed,
        format=format_, faults=parse_faults(faults), utilities=tuple(u.strip() for u in utilities.split(",") if u.strip()),
    )  # fmt: skip
    with progress() as tell:
        made = run(
            Path(out), options, None if tell is None else lambda done, total: tell("simulate", done, total)
        )
    told = {
        "folder": str(made.folder), "readings": made.readings, "files": len(made.files), "bytes": made.bytes,
        "seconds": round(made.seconds, 3), "readings_per_s": round(made.readings / made.seconds),
    }  # fmt: skip
    show(Listed([told]), output)


def demo(
    size: Annotated[
        str, typer.Option("--size", metavar="small|normal|large|N", help="Service points.")
    ] = "normal",
    folder: Annotated[
        str, typer.Option("--folder", metavar="FOLDER", help="Where everything goes.")
    ] = "./demo-lake",
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65_535, help="Where the pages are; 0: any free one."),
    ] = 8080,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after the questions.")] = False,
) -> None:
    """Simulate a town, load it, ask about it and serve it with live meters until Ctrl-C: what `make demo` runs."""
    from pathlib import Path

    from meterlake.demo.tour import run

    run(Path(folder), size, port=None if no_serve else port)


@registry_commands.command("migrate")
def registry_migrate(context: typer.Context, lake: Lake = None, registry: Registry = None) -> None:
    """Bring the registry's tables to this version's layout, or make them where there are none."""
    from meterlake.app import lake_at, registry_at

    settings = settings_of(context, lake, registry)
    made = registry_at(settings.registry, lake_at(settings.lake), create=True)
    typer.echo(f"{made.url} is up to date: {made.examined()}")
