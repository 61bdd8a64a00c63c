"""The command that plays simulated meters against a server."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meterlake.cli.options import Output, check_form, show
from meterlake.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.simulate.playing import Played
    from meterlake.simulate.sender import Tally

KEY_VARIABLE: Final = "METERLAKE_KEY"
INTERRUPTED: Final = 130
_DRAW_S: Final = 0.2


def stream(  # noqa: PLR0913 - the options of the command
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Address of the server.")],
    points: Annotated[int, typer.Option("--points", metavar="N", help="Service points.")] = 1000,
    interval: Annotated[
        str, typer.Option("--interval", metavar="15min", help="Length of intervals, 1s to 1h.")
    ] = "15min",
    speed: Annotated[
        str, typer.Option("--speed", metavar="1x|60x|max", help="How much faster than the clock.")
    ] = "1x",
    utilities: Annotated[
        str, typer.Option("--utilities", metavar="LIST", help="Meters of each point.")
    ] = "electricity,gas,water",
    profile: Annotated[
        str, typer.Option("--profile", metavar="uk|us|au", help="Climate, habits and city.")
    ] = "uk",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="The same seed gives the same values.")
    ] = 1,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="T",
            help="Where the first slots start; else as late as can be.",
            show_default=False,
        ),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Simulated time to play; else a day, and at 1x without end.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", help="Most readings of a batch; it waits 0.5 s for them.")
    ] = 5000,
    senders: Annotated[int, typer.Option("--senders", metavar="N", help="Connections, a batch each.")] = 2,
    encode: Annotated[
        str, typer.Option("--encode", metavar="arrow|ndjson|json|csv", help="Form of the batches.")
    ] = "arrow",
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="NAME=SHARE,…",
            help="missing, late, duplicate, spikes, zeros, ahead (its clock).",
        ),
    ] = "",
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            metavar="FOLDER",
            help="Write sent.parquet: every reading and its fault.",
            show_default=False,
        ),
    ] = None,
    output: Output = "table",
) -> None:
    """Play simulated meters against a server; the API key is read from METERLAKE_KEY.

    To register the same meters: meterlake simulate OUT --days 1, with the same points, interval, utilities,
    profile and seed, then meterlake registry import OUT/registry.
    """
    check_form(output)
    key = key_of(os.environ)
    from pathlib import Path

    from meterlake.intervals import parse_interval
    from meterlake.moments import seconds_of
    from meterlake.simulate.playing import play
    from meterlake.simulate.stream import StreamOptions, parse_speed, parse_stream_faults

    options = StreamOptions(
        points=points, interval_s=parse_interval(interval), speed=parse_speed(speed), profile=profile, seed=seed,
        utilities=tuple(u.strip() for u in utilities.split(",") if u.strip()), faults=parse_stream_faults(faults),
        from_s=None if from_ is None else seconds_of(from_, "UTC", "--from"),
        for_s=None if for_ is None else parse_interval(for_),
    )  # fmt: skip
    played = play(
        to, key, options, batch=batch, senders=senders, encoding=encode,
        truth=None if truth is None else Path(truth), tell=_line() if sys.stderr.isatty() else None,
    )  # fmt: skip
    if sys.stderr.isatty():
        typer.echo("\r\033[K", err=True, nl=False)
    _show(played, output)
    if played.interrupted:
        raise typer.Exit(INTERRUPTED)


def key_of(environment: Mapping[str, str]) -> str:
    """Return the API key of whoever sends; Invalid where the environment has none."""
    key = environment.get(KEY_VARIABLE, "").strip()
    if not key:
        raise Invalid(
            f"no API key: put one into the environment as {KEY_VARIABLE}; "
            "`meterlake keys create NAME --scope ingest` makes it"
        )
    return key


def _line() -> Callable[[Tally, int | None], None]:
    """Give a function that draws how far a play is, on one line of standard error."""
    from meterlake.progress import scaled

    begin = drawn = time.monotonic()

    def tell(tally: Tally, total: int | None) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < _DRAW_S:
            return
        drawn = now
        done = f"{100 * tally.sent / total:.0f} %, " if total else ""
        parts = [
            f"streaming: {done}{scaled(tally.acknowledged, 'readings')}",
            f"{scaled(tally.acknowledged / (now - begin), 'readings')}/s",
            f"{tally.lag_s:.1f} s behind its clock",
        ]
        if tally.retries:
            parts.append(f"{tally.retries} retries, last for {tally.trouble[:60]}")
        typer.echo("\r\033[K" + " · ".join(parts), err=True, nl=False)

    return tell


def _show(played: Played, output: str) -> None:
    """Write the receipt: of a table a line a figure."""
    if output != "table":
        show(played, output)
        return
    told: dict[str, Any] = played.to_json()
    lists = {
        "rejects": {item["reason"]: item["count"] for item in told.pop("rejects")},
        "faults": told.pop("faults"),
    }
    told |= {
        name: ", ".join(f"{k} {v:,}" for k, v in counts.items()) for name, counts in lists.items() if counts
    }
    width = max(len(name) for name in told)
    for name, value in told.items():
        text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        typer.echo(f"{name.replace('_', ' '):<{width}}  {text}")
