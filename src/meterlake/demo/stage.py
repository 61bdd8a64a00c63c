"""The stage of the demo: a server on the town's lake, somebody of each role, and meters that play live beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from meterlake.errors import Invalid
from meterlake.intervals import HOUR_S
from meterlake.people import Hold, Role
from meterlake.settings import LAKE_VARIABLE, REGISTRY_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from meterlake.app import Meterlake
    from meterlake.people import Desk
    from meterlake.simulate import Fleet

HOST: Final = "127.0.0.1"
LIVE_S: Final = 30
"""Length of the intervals that a few homes play live."""
QUICK: Final = 40
"""So many homes do, at least: a fleet of two lengths each takes longer to add up."""
SLOT_S: Final = 1800
"""Length of those that came in files, and of what today has had before the play begins."""
STOP_S: Final = 60
AT_ONCE: Final = 100_000
"""Readings of a batch while it catches up."""
STAFF: Final = (
    (
        "operator",
        Role.OPERATOR,
        "Ola Gorsefield",
        "the fleet now, its map, every meter, loads and quarantine",
    ),
    ("analyst", Role.ANALYST, "Ana Quarryholt", "sums of groups, never of a home"),
    ("admin", Role.ADMIN, "Ada Kestrelwick", "all that the operator sees, accounts, and who looked at what"),
)
_CHARGE: Final = """
[[{tariff}.charge]]
channel = "{channel}"
price = "{price}"
"""
_PRICES: Final = {
    "uk-standard": ("0.2456", "0.5310"), "uk-night-saver": ("0.2190", "0.5310"), "uk-business": ("0.2280", "0.7400"),
}  # fmt: skip
"""Pounds a kWh of electricity and a day; everything else is the same for all."""
_OTHERS: Final = {"electricity.export": "-0.1500", "gas.import": "0.7021", "water.import": "2.1130"}


class Person(NamedTuple):
    """Somebody who may sign in."""

    role: str
    email: str
    link: str
    sees: str


def write_tariffs(folder: Path) -> None:
    """Write ``tariffs.toml`` for the tariffs of the simulated homes into the folder of a lake."""
    text = []
    for tariff, (price, standing) in _PRICES.items():
        text.append(f'[{tariff}]\ncurrency = "GBP"\n')
        text.append(_CHARGE.format(tariff=tariff, channel="electricity.import", price=price))
        text.append(f'standing = "{standing}"\n')
        text += [_CHARGE.format(tariff=tariff, channel=name, price=one) for name, one in _OTHERS.items()]
        text.append("\n")
    (folder / "tariffs.toml").write_text("".join(text), "utf-8")


def home_of(fleet: Fleet) -> int:
    """Index of the first home that exports; of the first home where none does."""
    homes = np.flatnonzero(~fleet.business)
    solar = homes[fleet.solar[homes]]
    return int((solar if len(solar) else homes)[0]) if len(homes) else 0


def people(desk: Desk, home: str) -> list[Person]:
    """Make an account of each role; each has a link that sets its password once."""
    link = desk.invite(
        "customer@example.com", Role.CUSTOMER, (Hold(home, None, None),), None, name="Nell Ashford"
    )
    made = [
        Person("customer", "customer@example.com", link, f"{home}: now, its history, homes nearby, downloads")
    ]
    for who, role, name, sees in STAFF:
        email = f"{who}@example.com"
        made.append(Person(who, email, desk.invite(email, role, (), None, name=name), sees))
    return made


def check_port(port: int) -> None:
    """Raise Invalid where something listens on ``port`` already, before work that takes minutes."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Invalid(
                f"port {port}: {error.strerror}; choose another with --port, 0 for any free one"
            ) from error


@contextmanager
def server(lake: Path, port: int) -> Iterator[str]:
    """Run `meterlake serve` in a process of its own; give its address, and stop it in the end."""
    environment = {name: value for name, value in os.environ.items() if name != REGISTRY_VARIABLE}
    log = lake.with_name("serve.log")
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-m", "meterlake", "serve", "--host", HOST, "--port", str(port)],
            env=environment | {LAKE_VARIABLE: str(lake)}, stdout=subprocess.PIPE, stderr=said, text=True,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None, "it was asked for"
        address = next((line.split()[-1] for line in process.stdout if " at http" in line), None)
        if address is None:
            raise Invalid(f"the server ended before it listened; {log} says why")
        yield address
    finally:
        process.terminate()
        process.wait(STOP_S)
        if process.stdout is not None:
            process.stdout.close()


def play_today(url: str, key: str, points: int, quick: int, begin_s: int) -> int:
    """Send what has been since the second ``begin_s``; return how many readings.

    The first ``quick`` homes send short intervals of the last hour too.
    """
    now = int(time.time())
    turn_s = max(begin_s, (now - HOUR_S) // SLOT_S * SLOT_S)
    return _sent(url, key, points, SLOT_S, begin_s, now) + _sent(url, key, quick, LIVE_S, turn_s, now)


def _sent(url: str, key: str, points: int, length: int, from_s: int, end_s: int) -> int:
    from meterlake.simulate import StreamOptions, play

    for_s = (end_s - from_s) // length * length
    if not for_s:
        return 0
    told = StreamOptions(points=points, interval_s=length, speed=np.inf, from_s=from_s, for_s=for_s)
    played = play(url, key, told, batch=AT_ONCE)
    if played.interrupted:
        raise KeyboardInterrupt
    return played.tally.acknowledged


def play_live(url: str, key: str, points: int, quick: int) -> None:
    """Send readings by the clock until Ctrl-C: half-hours of all homes, and short intervals of the first ``quick``."""
    from meterlake.simulate import StreamOptions, play

    slow = StreamOptions(points=points, interval_s=SLOT_S)
    Thread(target=play, args=(url, key, slow), daemon=True).start()
    play(url, key, StreamOptions(points=quick, interval_s=LIVE_S))


@contextmanager
def as_interrupt(number: signal.Signals) -> Iterator[None]:
    """Make a signal end what runs as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)


def ingest_key(lake: Meterlake) -> str:
    """Make the key of the meters that play."""
    from meterlake.app import keys_of
    from meterlake.keys import make, quality_of, scopes_of

    text, stored = make(
        "demo", scopes_of("ingest"), source=None, meters=None, best_quality=quality_of("actual")
    )
    keys_of(lake.registry).create(stored)
    return text
