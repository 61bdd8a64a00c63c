"""The command that carries MQTT messages to a server."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meterlake.cli.options import Output, check_form, show
from meterlake.cli.play import key_of
from meterlake.errors import Invalid
from meterlake.settings import MQTT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.bridge.run import Carried

_DRAW_S: Final = 0.5


def bridge(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Address of the server.")],
    map_: Annotated[
        str, typer.Option("--map", metavar="FILE", help="Which topics, and how payloads are read (TOML).")
    ],
    broker: Annotated[
        str | None,
        typer.Argument(
            metavar="URL", help="mqtt://USER@HOST:PORT or mqtts://…; else METERLAKE_MQTT.", show_default=False
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="N", min=1, max=32_000, help="Most messages of a batch; it waits 0.5 s."
        ),
    ] = 2000,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Where moments of arrival are kept; else beside --map.",
            show_default=False,
        ),
    ] = None,
    output: Output = "table",
) -> None:
    """Carry readings from an MQTT broker to a server, until Ctrl-C or SIGTERM.

    A message is acknowledged once the server has it. The password of the broker is read from METERLAKE_MQTT_PASSWORD,
    the API key from METERLAKE_KEY.
    """
    check_form(output)
    url = broker or os.environ.get(MQTT_VARIABLE, "")
    if not url:
        raise Invalid(
            f"which broker: write mqtt://HOST:PORT, or put it into the environment as {MQTT_VARIABLE}"
        )
    key = key_of(os.environ)
    from meterlake.app import open_bridge

    stop = Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    made = open_bridge(url, to, key, Path(map_), None if state is None else Path(state), batch)
    try:
        made.run(stop, _line() if sys.stderr.isatty() else lambda _: None)
    finally:
        made.close()
        _show(made.carried, output)


def _line() -> Callable[[Carried], None]:
    """Give a function that draws what was carried, on one line of standard error."""
    from meterlake.progress import scaled

    begin = time.monotonic()
    drawn = 0.0

    def tell(carried: Carried) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < _DRAW_S:
            return
        drawn = now
        parts = [
            f"carrying: {scaled(carried.messages, 'messages')}",
            f"{scaled(carried.messages / max(now - begin, 1e-9), 'messages')}/s",
            f"{carried.rejected:,} refused",
        ]
        if carried.retries:
            parts.append(f"{carried.retries} retries, last for {carried.trouble[:60]}")
        typer.echo("\r\033[K" + " · ".join(parts), err=True, nl=False)

    return tell


def _show(carried: Carried, output: str) -> None:
    """Write the receipt: of a table a line a figure."""
    if sys.stderr.isatty():
        typer.echo("\r\033[K", err=True, nl=False)
    if output == "json":
        typer.echo(json.dumps(carried.to_json()))
        return
    if output != "table":
        from meterlake.output import Listed

        show(Listed([_flat(carried)]), output)
        return
    told = _flat(carried)
    width = max(map(len, told))
    for name, value in told.items():
        typer.echo(f"{name:<{width}}  {value if isinstance(value, str) else f'{value:,}'}")


def _flat(carried: Carried) -> dict[str, Any]:
    """Return the figures, reasons as one text."""
    told = carried.to_json()
    rejects = {item["reason"]: item["count"] for item in told.pop("rejects")}
    return told | {"rejects": ", ".join(f"{reason} {count:,}" for reason, count in rejects.items())}
