"""Commands that ask: history, usage, snapshot, fleet, top, sql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterlake.cli.options import (
    AsOf,
    Engine,
    From,
    Kind,
    Lake,
    Output,
    Registry,
    To,
    Zone,
    check_form,
    opened,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.query.answers import History

Id = Annotated[str, typer.Argument(metavar="ID", help="A service point, else a meter.")]
Step = Annotated[
    str, typer.Option("--step", metavar="interval|15min|hour|day|month", help="Length of what is listed.")
]
Digits = Annotated[
    int, typer.Option("--region-digits", metavar="N", help="Digits of the geohash that make a region.")
]


def history(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    id_: Id,
    from_: From,
    to: To,
    channel: Annotated[
        str | None,
        typer.Option("--channel", metavar="CHANNEL", help="One channel; else all.", show_default=False),
    ] = None,
    step: Step = "interval",
    zone: Zone = "UTC",
    gaps: Annotated[
        str, typer.Option("--gaps", metavar="keep|drop", help="List empty slots too, or not.")
    ] = "drop",
    as_of: AsOf = None,
    kind: Kind = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """All values of a meter or service point between two moments."""
    check_form(output)
    options: dict[str, Any] = {
        "channel": channel, "step": step, "zone": zone, "gaps": gaps, "as_of": as_of, "kind": kind,
    }  # fmt: skip
    answer = opened(context, lake, registry).history(id_, from_, to, **options)
    if output != "table":
        show(answer, output)
        return
    from meterlake.output import Listed

    rows = answer.to_arrow()
    told_above = ["id", "unit"] if len(answer.listings) > 1 else ["id", "channel", "unit"]
    show(Listed(rows.drop_columns(told_above)), output, _history_head(answer))


def _history_head(answer: History) -> Iterator[str]:
    told = answer.to_json()
    for one in told if isinstance(told, list) else [told]:
        yield (
            f"{one['id']}  {one['channel']} in {one['unit']}  {one['from']} to {one['to']}  "
            f"{one['zone']}  version {one['version']}"
        )
        yield _passport(one["passport"])


def _passport(passport: dict[str, Any]) -> str:
    shares = ", ".join(f"{100 * share:.1f} % {name}" for name, share in passport["shares"].items() if share)
    return f"{passport['filled']:,} of {passport['expected']:,} slots filled: {shares or 'nothing'}"


def usage(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    id_: Id,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="DATE",
            help="End, exclusive; else that of the lake's last whole day.",
            show_default=False,
        ),
    ] = None,
    ranges: Annotated[
        str, typer.Option("--ranges", metavar="LIST", help="Ranges back from there.")
    ] = "1w,1m,3m,6m,1y",
    zone: Annotated[
        str | None,
        typer.Option(
            "--zone", metavar="ZONE", help="Time zone of days; else the service point's.", show_default=False
        ),
    ] = None,
    as_of: AsOf = None,
    kind: Kind = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Sums over a week, a month and more until a date, each beside the period before it."""
    check_form(output)
    asked = [name.strip() for name in ranges.split(",") if name.strip()]
    answer = opened(context, lake, registry).usage(
        id_, until=until, ranges=asked, zone=zone, as_of=as_of, kind=kind
    )
    if output != "table":
        show(answer, output)
        return
    from meterlake.output import Listed, text_columns

    rows = text_columns(answer.to_arrow())
    for name in ("from", "to"):  # midnights of the zone above: the date says it all
        rows = rows.set_column(
            rows.column_names.index(name), name, [[text[:10] for text in rows[name].to_pylist()]]
        )
    columns = ["channel", "unit", "range", "from", "to", "value", "filled", "expected", "previous"]
    head = f"{id_}  until {answer.to_json()['until']}  {answer.zone}  version {answer.version}"
    show(Listed(rows.select(columns)), output, [head])


def snapshot(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    at: Annotated[str, typer.Option("--at", metavar="T", help="A moment.")],
    zone: Zone = "UTC",
    as_of: AsOf = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Every meter's value in the interval that holds a moment."""
    check_form(output)
    show(opened(context, lake, registry).snapshot(at, zone=zone, as_of=as_of), output)


def fleet(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    from_: From,
    to: To,
    step: Step = "interval",
    by: Annotated[
        str, typer.Option("--by", metavar="channel,region,class", help="What splits the sums.")
    ] = "channel",
    region_digits: Digits = 5,
    zone: Zone = "UTC",
    as_of: AsOf = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """Totals of all meters by time, channel, region and class."""
    check_form(output)
    keys = tuple(key.strip() for key in by.split(",") if key.strip())
    options: dict[str, Any] = {
        "step": step,
        "by": keys,
        "region_digits": region_digits,
        "zone": zone,
        "as_of": as_of,
    }
    show(opened(context, lake, registry, engine).fleet(from_, to, **options), output)


def top(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    from_: From,
    to: To,
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many of each channel.")] = 10,
    by: Annotated[str, typer.Option("--by", metavar="meter|region", help="What is ranked.")] = "meter",
    channel: Annotated[
        str | None,
        typer.Option("--channel", metavar="CHANNEL", help="One channel; else each.", show_default=False),
    ] = None,
    region_digits: Digits = 5,
    zone: Zone = "UTC",
    as_of: AsOf = None,
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
    engine: Engine = None,
) -> None:
    """The largest consumers."""
    check_form(output)
    options: dict[str, Any] = {
        "by": by,
        "channel": channel,
        "region_digits": region_digits,
        "zone": zone,
        "as_of": as_of,
    }
    show(opened(context, lake, registry, engine).top(from_, to, n, **options), output)


def sql(
    context: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A SELECT; - reads it from standard input.")],
    output: Output = "table",
    lake: Lake = None,
    registry: Registry = None,
) -> None:
    """Ask DuckDB over the views readings, blocks, days, meters and service_points, read only."""
    import sys

    from meterlake.output import Listed

    check_form(output)
    text = sys.stdin.read() if query == "-" else query
    show(Listed(opened(context, lake, registry).sql(text)), output)
