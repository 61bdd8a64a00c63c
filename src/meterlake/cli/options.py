"""Options that several commands share, and what a command gets from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meterlake.settings import Settings, live_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meterlake.app import Meterlake
    from meterlake.output import Answer

FORMATS: Final = "table|json|csv|arrow|parquet"

Lake = Annotated[
    str | None,
    typer.Option(
        "--lake", metavar="URL", help="The lake, a folder; METERLAKE_LAKE, else ./lake.", show_default=False
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="The registry's database; METERLAKE_REGISTRY, else inside the lake.",
        show_default=False,
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="URL",
        help="The log, sqlite:FOLDER or kafka://HOST:PORT[,HOST:PORT]/PREFIX; METERLAKE_LOG, else inside the lake.",
        show_default=False,
    ),
]
Live = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="URL",
        help="Where what is live is shown to other processes, memory, redis://, rediss:// or unix://PATH; METERLAKE_LIVE, else memory.",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="URL",
        help="What does the work, local, spark://HOST:PORT or local[N]; METERLAKE_ENGINE, else local.",
        show_default=False,
    ),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar=FORMATS, help="Form of the answer.")]
Zone = Annotated[str, typer.Option("--zone", metavar="ZONE", help="Time zone of the answer and of dates.")]
From = Annotated[str, typer.Option("--from", metavar="T", help="First moment, or a date.")]
To = Annotated[str, typer.Option("--to", metavar="T", help="End, exclusive.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="T|VERSION",
        help="The answer as it was at a moment or version.",
        show_default=False,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", metavar="service_point|meter", help="What ID is, where it is both.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


def settings_of(
    context: typer.Context,
    lake: str | None,
    registry: str | None,
    log: str | None = None,
    live: str | None = None,
) -> Settings:
    """Settings of a command: its own options, else those before its name, else the environment."""
    told = context.find_root().obj or Settings()
    return replace(
        told,
        lake=lake or told.lake,
        registry=registry or told.registry,
        log=log or told.log,
        live=live_url(live) or (told.live if live is None else None),
    )


def opened(
    context: typer.Context,
    lake: str | None,
    registry: str | None,
    engine: str | None = None,
    *,
    create: bool = False,
) -> Meterlake:
    """Open the lake of a command; ``create`` makes one where none is."""
    from meterlake.app import open_lake

    settings = settings_of(context, lake, registry)
    return open_lake(settings.lake, settings.registry, create=create, engine=engine or settings.engine)


def show(answer: Answer, form: str, head: Iterable[str] = ()) -> None:
    """Write an answer to standard output."""
    import sys

    from meterlake.output import render

    render(answer, form, sys.stdout.buffer, head)


def check_form(form: str) -> None:
    """Refuse an unknown ``--output`` before any work is done."""
    if form not in FORMATS.split("|"):
        raise typer.BadParameter(f"{form!r} is not one of {FORMATS}", param_hint="--output")
