"""Commands of the nightly work: batch, runs, retain."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from meterlake.cli.options import DryRun, Engine, Lake, Output, Registry, check_form, opened, show

SHOWN: Final = (
    "run_id",
    "day",
    "landed_at",
    "version",
    "blocks",
    "readings",
    "repaired",
    "adjustments",
    "seconds",
)
"""What the table of runs shows; JSON has the whole receipts."""
COUNTS: Final = ("expected", "received", "late", "missing")
GONE: Final = ("tier", "before", "blocks", "readings", "bytes", "first", "last")


def batch(
    context: typer.Context,
    day: Annotated[
        str | None,
        typer.Option("--day", metavar="DATE", help="The UTC day; else yesterday.", show_default=False),
    ] = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """Recompute a day from all that was received, and say what differs, came late or is missing."""
    from datetime import UTC, datetime, timedelta

    from meterlake.output import Listed
    from meterlake.progress import progress

    check_form(output)
    told = day or (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    with progress() as tell:
        bar = None if tell is None else lambda done, total: tell("batch", done, total)
        receipt = opened(context, lake, registry, engine).batch(told, bar)
    show(receipt if output == "json" else Listed([_short(receipt.to_json())]), output)  # type: ignore[arg-type]


def runs(
    context: typer.Context, output: Output = "table", lake: Lake = None, registry: Registry = None
) -> None:
    """List nightly runs, newest first; JSON has their whole receipts."""
    from meterlake.output import Listed

    check_form(output)
    items = opened(context, lake, registry).runs()
    if output != "json":
        items = [_short(item) for item in items]
    show(Listed(items, "items", (*SHOWN, *COUNTS)), output)


def retain(  # noqa: PLR0913 - the options of one command
    context: typer.Context,
    beats: Annotated[
        str | None,
        typer.Option(
            "--beats",
            metavar="AGE",
            help="Intervals below a minute, kept as quarter-hours.",
            show_default=False,
        ),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(
            "--intervals", metavar="AGE", help="Other intervals, kept as daily totals.", show_default=False
        ),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option("--archive", metavar="AGE", help="Batches as they were accepted.", show_default=False),
    ] = None,
    days: Annotated[
        str | None, typer.Option("--days", metavar="AGE", help="Daily totals.", show_default=False)
    ] = None,
    trail: Annotated[
        str | None,
        typer.Option(
            "--trail", metavar="AGE", help="Who signed in, and who looked at whose data.", show_default=False
        ),
    ] = None,
    dry_run: DryRun = False,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Drop what is older than its age (90d, 13m, 2y), here or in the lake's retention.toml; else all is kept."""
    from meterlake.output import Listed

    check_form(output)
    told = {"beats": beats, "intervals": intervals, "archive": archive, "days": days, "trail": trail}
    ages: dict[str, Any] = {tier: age for tier, age in told.items() if age is not None}
    receipt = opened(context, lake, registry).retain(dry_run=dry_run, **ages)
    if output == "json":
        show(receipt, output)  # type: ignore[arg-type]
        return
    if output == "table" and not receipt.tiers:
        typer.echo("no tier has an age: everything is kept")
    else:
        show(Listed(receipt.tiers, "tiers", GONE), output)


def _short(receipt: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run that fit a row."""
    counts = receipt["completeness"]
    return {name: receipt[name] for name in SHOWN} | {name: counts.get(name) for name in COUNTS}
