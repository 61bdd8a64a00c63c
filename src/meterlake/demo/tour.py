"""The tour: the town is loaded and asked about with the commands that anybody would type, then it is served."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from meterlake.demo.stage import (
    LIVE_S,
    QUICK,
    as_interrupt,
    check_port,
    home_of,
    ingest_key,
    people,
    play_live,
    play_today,
    server,
    write_tariffs,
)
from meterlake.errors import Invalid
from meterlake.load_curve import Panel, page
from meterlake.progress import progress, scaled
from meterlake.receipt_text import receipt_lines
from meterlake.registry_folder import import_folder
from meterlake.settings import LAKE_VARIABLE, REGISTRY_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.app import Meterlake
    from meterlake.simulate import Simulated

SIZES: Final = {"small": (300, 30), "normal": (10_000, 90), "large": (50_000, 90)}
"""Service points and days by name."""

DAYS: Final = 90
ZONE: Final = "Europe/London"
MARK: Final = ".meterlake-demo"
"""Tells a folder of ours, which may be emptied, from anybody else's."""

CURVE_DAYS: Final = 7
NAMES: Final = {"electricity.import": "Electricity", "gas.import": "Gas", "water.import": "Water"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is simulated, and where everything goes."""

    folder: Path
    points: int
    days: int
    end: date
    """Day after the last: today, so that the pages have no gap between the files and what comes in live."""


def run(folder: Path, size: str, *, port: int | None = None) -> None:
    """Make, load and tour a simulated town in ``folder``, which is emptied first if an earlier demo made it.

    With a ``port`` it is served then, with live meters, until Ctrl-C.
    """
    plan = _plan(folder, size)
    if port is not None:
        check_port(port)
    _empty(folder)
    _say(
        f"1. {plan.points:,} homes and businesses with electricity, gas and water, {plan.days} days of half-hours"
    )
    made = _simulate(plan, "wide", plan.days)
    last = _simulate(plan, "csv", 1)
    _say("2. The registry, then the files into the lake")
    lake = _loaded(plan, made)
    _say(
        f"3. The last day comes again, as long CSV ({scaled(last.bytes, 'B')}): every value is known, nothing changes"
    )
    _load(lake, last)
    _say("4. Questions")
    _tour(plan)
    target = folder / "load-curve.html"
    target.write_text(_curve(lake, plan), "utf-8")
    _say(f"The fleet's load curve of the last {CURVE_DAYS} days: {target.resolve()}")
    if port is not None:
        _serve(plan, lake, port)
    print(f"The lake stays in {folder / 'lake'}; ask it more, or read it with any Delta reader.")  # noqa: T201


def _plan(folder: Path, size: str) -> Plan:
    points, days = SIZES.get(size, (0, DAYS))
    if not points:
        if not (size.isascii() and size.isdigit() and int(size) > 0):
            raise Invalid(f"size {size!r}: write {', '.join(SIZES)} or a number of service points")
        points = int(size)
    return Plan(folder=folder, points=points, days=days, end=datetime.now(UTC).date())


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise Invalid(f"{folder} holds something that no demo made: name another with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)  # noqa: T201 - the demo talks


def _simulate(plan: Plan, form: str, days: int) -> Simulated:
    from meterlake.simulate import SimulateOptions, simulate

    first = plan.end - timedelta(days=days)
    options = SimulateOptions(points=plan.points, days=days, start=first, format=form)
    with progress() as tell:
        made = simulate(
            plan.folder / form,
            options,
            None if tell is None else lambda done, total: tell("simulate", done, total),
        )
    rate = scaled(made.readings / made.seconds, "readings")
    count = (
        f"{len(made.files)} files of {form} CSV" if form == "wide" else f"{len(made.files)} files of long CSV"
    )
    _note(f"{made.readings:,} readings in {count}, {scaled(made.bytes, 'B')}, {made.seconds:.1f} s, {rate}/s")
    return made


def _note(text: str) -> None:
    print(f"   {text}", flush=True)  # noqa: T201 - the demo talks


def _loaded(plan: Plan, made: Simulated) -> Meterlake:
    from meterlake.app import open_lake

    lake = open_lake(str(plan.folder / "lake"), create=True)
    receipt = import_folder(lake.registry, made.folder / "registry")
    _note(", ".join(f"{table.rows:,} {name.replace('_', ' ')}" for name, table in receipt.tables.items()))
    _load(lake, made)
    return lake


def _load(lake: Meterlake, made: Simulated) -> None:
    with progress() as tell:
        receipt = lake.load([made.folder / "readings"], None, tell)
    for line in receipt_lines(receipt, by_file=False):
        _note(line)


def _serve(plan: Plan, lake: Meterlake, port: int) -> None:
    """Serve the lake with somebody of each role and live meters, until it is interrupted."""
    from meterlake.app import people_of
    from meterlake.simulate import SimulateOptions
    from meterlake.simulate import plan as fleet_of
    from meterlake.simulate.fleet import service_point_id

    folder, home = plan.folder / "lake", home_of(fleet_of(SimulateOptions(points=plan.points)))
    _say("5. The pages, and the meters live")
    write_tariffs(folder)
    known = people(people_of(lake.registry), service_point_id(home))
    key = ingest_key(lake)
    begin_s = int(datetime.combine(plan.end, time(), UTC).timestamp())
    with as_interrupt(signal.SIGTERM), server(folder, port) as url:
        quick = min(plan.points, max(home + 1, QUICK))
        sent = play_today(url, key, plan.points, quick, begin_s)
        _note(f"{sent:,} readings of today so far, sent to {url}")
        _say(
            f"Open {url} as whom you like. A link sets the password and works once; then sign in with the e-mail."
        )
        for person in known:
            print(f"   {person.role:9} {person.email:21} {url}/link/{person.link}\n   {'':9} {person.sees}")  # noqa: T201
        with suppress(KeyboardInterrupt):  # before the first reading is played, too
            _say(
                f"Every meter sends each half-hour, those of the first {quick} homes each {LIVE_S} s. Ctrl-C ends it."
            )
            play_live(url, key, plan.points, quick)


def _tour(plan: Plan) -> None:
    """Run commands as anybody would, and show them."""
    from meterlake.cli import run as command

    day, after = plan.end - timedelta(days=1), plan.end
    home = f"SP{1:08d}"
    os.environ[LAKE_VARIABLE] = str(plan.folder / "lake")
    os.environ.pop(REGISTRY_VARIABLE, None)
    print(f"   $ export {LAKE_VARIABLE}={plan.folder / 'lake'}", flush=True)  # noqa: T201 - the demo talks
    for words in (
        ["history", home, "--from", f"{day}", "--to", f"{after}", "--step", "hour", "--zone", ZONE,
         "--channel", "electricity.import"],
        ["usage", home, "--until", f"{after}"],
        ["top", "--from", f"{day}", "--to", f"{after}", "-n", "3", "--channel", "electricity.import"],
    ):  # fmt: skip
        print(f"\n   $ meterlake {shlex.join(words)}", flush=True)  # noqa: T201 - the demo talks
        if command(words):
            raise Invalid("a question of the tour was not answered; the line above says why")
        sys.stdout.flush()


def _curve(lake: Meterlake, plan: Plan) -> str:
    title = f"Load of {plan.points:,} service points, {CURVE_DAYS} days to {plan.end}"
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    words = f"Sums of all meters by hour, {ZONE} time, as the lake at version {lake.lake.snapshot().version} has them ({now})."
    return page(title, words, panels(lake, plan.end - timedelta(days=CURVE_DAYS), plan.end))


def panels(lake: Meterlake, first: date, end: date) -> list[Panel]:
    """Hourly sums of the three utilities between two days, ready to be drawn."""
    rows = lake.fleet(first, end, step="hour", zone=ZONE).to_json()["values"]
    found = []
    for channel, name in NAMES.items():
        mine = [row for row in rows if row["channel"] == channel]
        if mine:
            values = [int(row["value"] or 0) / 1_000_000 for row in mine]
            unit = mine[0]["unit"]
            found.append(Panel(name=name, unit=unit, times=[row["start"] for row in mine], values=values))
    return found
