"""The command that takes the messages of a log into the lake, on Spark."""

from __future__ import annotations

import os
import signal
from threading import Event
from typing import Annotated

import typer

from meterlake.cli.options import Engine, Lake, Log, Output, Registry, check_form, settings_of, show


def stream_job(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="A batch and a commit so often.")
    ] = "10s",
    seal: Annotated[
        str | None,
        typer.Option(
            "--seal",
            metavar="DURATION",
            help="Make blocks of what was received so often; else processes with the role live do.",
            show_default=False,
        ),
    ] = None,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="End with what the log holds at this moment; with --seal all of it becomes blocks."
        ),
    ] = False,
    output: Output = "table",
    log: Log = None,
    engine: Engine = None,
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Receive the messages of a log in Kafka into the lake, each once, by Spark's Structured Streaming; until Ctrl-C or SIGTERM."""
    check_form(output)
    from dataclasses import replace

    from meterlake.app import open_stream_job
    from meterlake.intervals import parse_interval
    from meterlake.node_settings import settings_from
    from meterlake.output import Listed

    settings = settings_of(context, lake, registry, log)
    settings = replace(settings, engine=engine or settings.engine)
    seal_s = None if seal is None else parse_interval(seal)
    job = open_stream_job(settings, settings_from(os.environ), every_s=parse_interval(every), seal_s=seal_s)
    stop = Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    receipt = job.run(stop, now=now)
    show(receipt if output == "json" else Listed([receipt.to_json()]), output)  # type: ignore[arg-type]
