"""Commands of the accounts of people: make, list, close and open them, and draw the links by which they sign in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meterlake.cli.options import Lake, Output, Registry, check_form, opened, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.accounts import Account
    from meterlake.app import Meterlake
    from meterlake.people import Desk

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Whose account it is.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where people reach the server; METERLAKE_PUBLIC_URL, else a path alone is printed.",
        show_default=False,
    ),
]
PAGE: Final = 1000
COLUMNS: Final = ("id", "email", "role", "name", "locale", "password", "created_at", "closed_at")

users_commands = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@users_commands.command("create")
def create(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    email: Email,
    role: Annotated[
        str, typer.Option("--role", metavar="customer|operator|analyst|admin", help="What they may see.")
    ],
    service_point: Annotated[
        list[str] | None,
        typer.Option(
            "--service-point",
            metavar="SP",
            help="A customer's; may be given several times. For the time of its customer of now in the registry.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="N", help="As the pages greet them.")] = "",
    locale: Annotated[
        str, typer.Option("--locale", metavar="en-GB", help="Language tag; else that of their browser.")
    ] = "",
    url: Url = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Make an account and print, once, the link by which its password is chosen: good for seven days."""
    check_form(output)
    from datetime import UTC, datetime

    from meterlake.accounts import role_of
    from meterlake.holds import held_now

    kind = role_of(role)
    with _desk(context, lake, registry, create=True) as (where, desk):
        holds = held_now(where.registry, service_point or (), datetime.now(UTC))
        token = desk.invite(email, kind, holds, None, name=name, locale=locale)
        _link(desk.named(email), token, url, output)


@users_commands.command("list")
def list_(
    context: typer.Context, output: Output = "table", lake: Lake = None, registry: Registry = None
) -> None:
    """List the accounts, closed ones too, by e-mail."""
    check_form(output)
    from meterlake.output import Listed

    told: list[dict[str, object]] = []
    with _desk(context, lake, registry) as (_, desk):
        page = desk.accounts(limit=PAGE)
        while page:
            told += [_told(account) for account in page]
            page = desk.accounts(after=page[-1].email, limit=PAGE)
    show(Listed(told, "items", COLUMNS), output)


@users_commands.command("reset")
def reset(
    context: typer.Context,
    email: Email,
    url: Url = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Print, once, a link by which a new password is chosen: good for a day; links before it end."""
    check_form(output)
    with _desk(context, lake, registry) as (_, desk):
        account = desk.named(email)
        _link(account, desk.reset(account.id, None), url, output)


@users_commands.command("change")
def change(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    email: Email,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            metavar="customer|operator|analyst|admin",
            help="What they may see from now on.",
            show_default=False,
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Option("--email", metavar="NEW", help="Their e-mail from now on.", show_default=False),
    ] = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Give an account another role or e-mail: its sessions and links end, and its service points with the role."""
    check_form(output)
    from meterlake.accounts import role_of

    kind = None if role is None else role_of(role)
    with _desk(context, lake, registry) as (_, desk):
        _show(desk.change(desk.named(email).id, None, role=kind, email=new), output)


@users_commands.command("close")
def close(
    context: typer.Context,
    email: Email,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """End an account: nobody signs in to it any more, a running server signs it out within two seconds."""
    check_form(output)
    with _desk(context, lake, registry) as (_, desk):
        desk.close(desk.named(email).id, None)
        _show(desk.named(email), output)


@users_commands.command("reopen")
def reopen(
    context: typer.Context,
    email: Email,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Let a closed account sign in again."""
    check_form(output)
    with _desk(context, lake, registry) as (_, desk):
        desk.reopen(desk.named(email).id, None)
        _show(desk.named(email), output)


@contextmanager
def _desk(
    context: typer.Context, lake: str | None, registry: str | None, *, create: bool = False
) -> Iterator[tuple[Meterlake, Desk]]:
    from meterlake.app import people_of

    where = opened(context, lake, registry, create=create)
    desk = people_of(where.registry)
    try:
        yield where, desk
    finally:
        desk.stop()


def _told(account: Account) -> dict[str, object]:
    closed = account.closed_at
    return {
        "id": account.id, "email": account.email, "role": account.role.value, "name": account.name,
        "locale": account.locale, "password": account.has_password,
        "created_at": account.created_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "closed_at": closed and closed.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }  # fmt: skip


def _show(account: Account, output: str) -> None:
    from meterlake.output import Listed

    show(Listed([_told(account)], "items", COLUMNS), output)


def _link(account: Account, token: str, url: str | None, output: str) -> None:
    import json
    import os

    from meterlake.mail import PUBLIC_URL
    from meterlake.output import Listed

    start = (url or os.environ.get(PUBLIC_URL) or "").rstrip("/")
    told = {"id": account.id, "email": account.email, "role": account.role.value}
    told["link"] = f"{start}/link/{token}"
    if output == "json":
        typer.echo(json.dumps(told))
        return
    show(Listed([told]), output)
    if output == "table":
        typer.echo("This link is shown once: hand it over now.", err=True)
