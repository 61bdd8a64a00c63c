"""Commands of a server: serve a lake, and make, list and revoke the keys of those who ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from meterlake.cli.options import (
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

if TYPE_CHECKING:
    from meterlake.ports import Keys

LOCAL: Final = ("127.0.0.1", "::1", "localhost")

keys_commands = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def serve(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65_535, help="0: any free one.")
    ] = 8080,
    role: Annotated[
        str, typer.Option("--role", metavar="ROLES", help="all, or some of ingest,live,seal,web,batch.")
    ] = "all",
    log: Log = None,
    live: Live = None,
    engine: Engine = None,
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Serve a lake: pages, readings in, answers out, sealing and the nightly batch; until Ctrl-C or SIGTERM."""
    import os

    from meterlake.api.app import make_app
    from meterlake.api.limits import ApiLimits
    from meterlake.api.server import listen, run
    from meterlake.app import keys_of, open_server, people_of
    from meterlake.node_settings import settings_from
    from meterlake.roles import roles_of
    from meterlake.web.app import make_web
    from meterlake.web.home import warm

    settings, limits, roles = settings_of(context, lake, registry, log, live), ApiLimits(), roles_of(role)
    told = settings_from(os.environ)
    if host not in LOCAL:
        typer.echo(
            f"meterlake: listening on {host}: whoever reaches it can try keys, and what is sent can be read "
            "on the way; put a proxy with TLS before it",
            err=True,
        )
    with listen(host, port) as socket:
        node = open_server(settings, told, roles, engine=engine)
        node.start()
        desk = people_of(node.lake.registry)
        try:
            keys = keys_of(node.lake.registry)
            if "web" in roles:
                app = make_web(node, keys, desk, limits)
            else:
                app = make_app(node, keys, limits, desk, roles)
            for name, value in (told.told() | limits.told()).items():
                typer.echo(f"{name}={value}", err=True)
            if "web" in roles:
                warm(app.state.served, app.state.tariffs)
            run(app, limits, socket, lambda url: _say(f"Meterlake serves {node.lake.lake.url} at {url}"))
        finally:
            desk.stop()
            node.stop()


def _say(line: str) -> None:
    """Print a line that whoever started the server waits for."""
    import sys

    typer.echo(line)
    sys.stdout.flush()


@keys_commands.command("create")
def create(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    scope: Annotated[str, typer.Option("--scope", metavar="ingest,read,operate", help="What it may do.")],
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="S", help="Source of its readings; else NAME.", show_default=False),
    ] = None,
    meters: Annotated[
        str | None,
        typer.Option(
            "--meters",
            metavar="FILE",
            help="Meters that exist for it, one a line; else all.",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        str, typer.Option("--quality", metavar="actual", help="Best quality that it may claim.")
    ] = "actual",
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Make a key and print it, once: only a hash of it is kept."""
    check_form(output)
    import json
    from pathlib import Path

    from meterlake.errors import Invalid
    from meterlake.keys import SCOPES, make, quality_of, scopes_of
    from meterlake.output import Listed

    own = None
    if meters is not None:
        own = [line.strip() for line in Path(meters).read_text("utf-8-sig").splitlines() if line.strip()]
        if not own:
            raise Invalid(f"{meters} names no meter; write one a line")
    text, stored = make(name, scopes_of(scope), source=source, meters=own, best_quality=quality_of(quality))
    _keys(context, lake, registry, create=True).create(stored)
    told = {"id": stored.key.id, "key": text, "scopes": [s for s in SCOPES if s in stored.key.scopes]}
    if output == "json":
        typer.echo(json.dumps(told))
        return
    show(Listed([told]), output)
    if output == "table":
        typer.echo("This key is shown once: keep it now.", err=True)


@keys_commands.command("list")
def list_(
    context: typer.Context, output: Output = "table", lake: Lake = None, registry: Registry = None
) -> None:
    """List the keys, revoked ones too, without their secrets."""
    check_form(output)
    from meterlake.output import Listed

    told = [stored.to_json() for stored in _keys(context, lake, registry).all()]
    columns = ("id", "name", "scopes", "source", "meters", "quality", "created_at", "revoked_at", "last_used")
    show(Listed(told, "items", columns), output)


@keys_commands.command("revoke")
def revoke(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `meterlake keys list` shows it.")],
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """End a key: a running server refuses it within two seconds."""
    check_form(output)
    from datetime import UTC, datetime

    from meterlake.output import Listed

    ended = _keys(context, lake, registry).revoke(id_, datetime.now(UTC).replace(microsecond=0))
    show(Listed([ended.to_json()], "items"), output)


def _keys(context: typer.Context, lake: str | None, registry: str | None, *, create: bool = False) -> Keys:
    from meterlake.app import keys_of

    return keys_of(opened(context, lake, registry, create=create).registry)
