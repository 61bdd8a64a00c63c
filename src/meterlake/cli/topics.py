"""Commands of a log in Kafka: make its topics, and say how they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meterlake.cli.options import Log, Output, check_form, settings_of, show
from meterlake.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

topics_commands = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@topics_commands.command("create")
def create(
    context: typer.Context,
    partitions: Annotated[
        int,
        typer.Option(
            "--partitions", metavar="N", min=1, max=1024, help="Parts of all meters; never to be changed."
        ),
    ] = 8,
    replication: Annotated[
        int,
        typer.Option("--replication", metavar="N", min=1, help="Copies; from 3 on two must have a batch."),
    ] = 3,
    output: Output = "table",
    log: Log = None,
) -> None:
    """Make the topics of a log, those that are not there yet: PREFIX.electricity, .gas, .water and .batches."""
    check_form(output)
    from meterlake.app import create_topics

    _shown(create_topics(_url(context, log), partitions, replication), output)


@topics_commands.command("list")
def list_topics(context: typer.Context, output: Output = "table", log: Log = None) -> None:
    """Show the topics of a log: partitions, copies, and how many copies are in sync where that is fewest."""
    check_form(output)
    from meterlake.app import list_topics as listed

    _shown(listed(_url(context, log)), output)


def _url(context: typer.Context, log: str | None) -> str:
    url = settings_of(context, None, None, log).log
    if url is None:
        raise Invalid("say which log: --log kafka://HOST:PORT/PREFIX, or METERLAKE_LOG")
    return url


def _shown(rows: Sequence[dict[str, object]], output: str) -> None:
    from meterlake.output import Listed

    show(Listed(list(rows), "items", ("topic", "partitions", "replication", "in_sync")), output)
