"""Commands that tend a lake: undo, loads, quarantine, check, compact, feeds, doctor."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from meterlake.cli.options import (
    DryRun,
    Engine,
    Lake,
    Live,
    Log,
    Output,
    Registry,
    check_form,
    opened,
    settings_of,
    show,
)

SHOWN: Final = ("load_id", "landed_at", "version", "received", "stored", "rejected", "seconds", "undone_by")
"""What the table of loads shows; JSON has the whole receipts."""


def undo(
    context: typer.Context,
    load_id: Annotated[str, typer.Argument(metavar="LOAD_ID", help="As `meterlake loads` lists it.")],
    dry_run: DryRun = False,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Take a load back: what it replaced stands again, as a new version."""
    from meterlake.output import Listed

    check_form(output)
    receipt = opened(context, lake, registry).undo(load_id, dry_run=dry_run)
    show(receipt if output == "json" else Listed([receipt.to_json()]), output)  # type: ignore[arg-type]


def loads(
    context: typer.Context, output: Output = "table", lake: Lake = None, registry: Registry = None
) -> None:
    """List past loads, newest first; JSON has their whole receipts."""
    from meterlake.output import Listed

    check_form(output)
    items = opened(context, lake, registry).loads()
    if output == "table":
        items = [{name: item.get(name) for name in SHOWN} for item in items]
    show(Listed(items, "items", SHOWN), output)


def quarantine(
    context: typer.Context,
    load_id: Annotated[
        str | None,
        typer.Option("--load", metavar="LOAD_ID", help="Of one load; else of all.", show_default=False),
    ] = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """List refused readings with file, line, text and reason."""
    from meterlake.output import Listed

    check_form(output)
    show(Listed(opened(context, lake, registry).quarantine(load_id), "items"), output)


def check(
    context: typer.Context,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """Read everything back and verify it; exit with 1 and the list where something is broken."""
    from meterlake.output import Listed
    from meterlake.progress import progress

    check_form(output)
    with progress() as tell:
        told = None if tell is None else lambda done, total: tell("check", done, total)
        report = opened(context, lake, registry, engine).check(told)
    head = f"{report.blocks:,} blocks, {report.readings:,} readings in {report.files:,} files: "
    if output == "table" and report.ok:
        typer.echo(head + "all as written")
    elif output == "json":
        show(report, output)  # type: ignore[arg-type]
    else:
        problems = Listed(report.problems, "problems", ["file", "meter", "what"])
        show(problems, output, [head + f"{len(report.problems)} problems"])
    if not report.ok:
        raise typer.Exit(1)


def compact(
    context: typer.Context,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """Rewrite the files of many loads into month files; no answer changes."""
    from meterlake.output import Listed
    from meterlake.progress import progress

    check_form(output)
    with progress() as tell:
        told = None if tell is None else lambda done, total: tell("compact", done, total)
        receipt = opened(context, lake, registry, engine).compact(told)
    show(receipt if output == "json" else Listed([receipt.to_json()]), output)  # type: ignore[arg-type]


def feeds(
    context: typer.Context, output: Output = "table", lake: Lake = None, registry: Registry = None
) -> None:
    """List the saved sets of load options, kept in the lake's feeds.toml."""
    from meterlake.app import store_at
    from meterlake.feeds import FILE, read_feeds
    from meterlake.output import Listed

    check_form(output)
    where = store_at(settings_of(context, lake, registry).lake)
    items: list[dict[str, Any]] = [
        {"feed": name, "options": told} for name, told in read_feeds(where).items()
    ]
    show(Listed(items, "items", ["feed", "options"]), output, [f"feeds of {where.url}/{FILE}"])


def doctor(  # noqa: PLR0913 - a part each
    context: typer.Context,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    log: Log = None,
    live: Live = None,
    engine: Engine = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            "--mqtt",
            metavar="URL",
            help="The broker of a bridge; METERLAKE_MQTT, else none.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Try every part that is set: lake, registry, log, live view, engine, mail, broker, rights, space, versions, clock; a line each."""
    import os
    from dataclasses import replace

    from meterlake.doctor import examine
    from meterlake.output import Listed
    from meterlake.settings import MQTT_VARIABLE

    check_form(output)
    settings = settings_of(context, lake, registry, log, live)
    settings = replace(settings, engine=engine or settings.engine)
    findings = examine(settings, mqtt or os.environ.get(MQTT_VARIABLE))
    show(Listed([finding.to_json() for finding in findings], "items"), output)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
