"""A small town to try the pages and the API on: a lake with its registry, accounts of each role, keys, and what comes in live.

Its days end now: what is older than today lies in the lake, the rest waits to be sent to a server (`Town.catch_up`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S
from meterlake.moments import texts_of
from meterlake.simulate.fleet import meter_id, service_point_id
from meterlake.testing.town_readings import SLOT_S, fleet_of, readings_between
from meterlake.testing.town_registry import write_registry

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.app import Meterlake
    from meterlake.people import Desk
    from meterlake.simulate import Fleet

ZONE: Final = "Europe/London"
PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - nobody's
DAYS: Final = 45
LONG_DAYS: Final = 760
LONG_HOMES: Final = 3
"""Homes of which more than two years are known; the customer's is one of them."""
EXCHANGED_DAYS: Final = 20
"""So long ago the customer's electricity meter was exchanged for one that sends every minute."""
MOVED_DAYS: Final = 10
"""So long ago the newcomer moved in where somebody else had lived."""
TARIFFS: Final = """[standard]
currency = "GBP"

[[standard.charge]]
channel = "electricity.import"
price = "0.2456"
standing = "0.5310"

[[standard.charge]]
channel = "electricity.export"
price = "-0.1500"

[[standard.charge]]
channel = "gas.import"
price = "0.7021"
standing = "0.3166"

[[standard.charge]]
channel = "water.import"
price = "2.1130"
"""
REFUSED: Final = "meter,channel,start,seconds,value,unit\n" + "".join(
    f"E00000009,electricity.import,{start},1800,{value},{unit}\n"
    for start, value, unit in (
        ("2026-01-05T00:00:00Z", "twelve", "kWh"),
        ("yesterday", "0.2", "kWh"),
        ("2026-01-05T01:00:00Z", "0.2", "furlong"),
        ("2026-01-05T01:30:00Z", "99999999999", "kWh"),
    )
)


@dataclass(frozen=True)
class Town:
    """Where everything is, and who is who."""

    folder: Path
    points: int
    now_s: int
    """When it was made."""

    @property
    def lake(self) -> Path:
        """Folder of the lake."""
        return self.folder / "lake"

    @property
    def lake_url(self) -> str:
        """Return the lake's folder as text."""
        return str(self.lake)

    @property
    def live_from_s(self) -> int:
        """Start of the UTC day of which nothing is in the lake."""
        return (self.now_s - 2 * HOUR_S) // DAY_S * DAY_S

    @cached_property
    def fleet(self) -> Fleet:
        """The simulated points, in half-hours."""
        return fleet_of(self.points, SLOT_S)

    @cached_property
    def home_at(self) -> int:
        """Index of the customer's home: the first that exports."""
        return int(np.flatnonzero(self.fleet.solar & ~self.fleet.business)[0])

    @property
    def home(self) -> str:
        """Service point of the customer; it has electricity (with export), gas and water."""
        return service_point_id(self.home_at)

    @property
    def meters(self) -> dict[str, str]:
        """Meters of the customer's home: ``old`` and ``electricity`` (since the exchange), ``gas``, ``water``."""
        old = meter_id("electricity", self.home_at)
        named = {name: meter_id(name, self.home_at) for name in ("gas", "water")}
        return {"old": old, "electricity": f"{old}-2"} | named

    def point(self, who: str) -> str:
        """Service point of ``who``: landlady (the first of two), second (her other), bobby, newcomer, neighbour, business."""
        free = [at for at in np.flatnonzero(~self.fleet.business).tolist() if at != self.home_at]
        trades = np.flatnonzero(self.fleet.business).tolist()
        at = {"landlady": free[0], "second": free[1], "bobby": free[2], "newcomer": free[3],
              "neighbour": free[4], "business": trades[0], "customer": self.home_at}[who]  # fmt: skip
        return service_point_id(at)

    @property
    def moved_s(self) -> int:
        """When the newcomer moved in: the hold begins here."""
        return self.live_from_s - MOVED_DAYS * DAY_S

    @property
    def exchanged_s(self) -> int:
        """When the customer's electricity meter was exchanged."""
        return self.live_from_s - EXCHANGED_DAYS * DAY_S + 10 * HOUR_S

    @property
    def estimated_s(self) -> tuple[int, int]:
        """Stretch of the customer's electricity that is estimated."""
        begin = self.live_from_s - 3 * DAY_S + 2 * HOUR_S
        return begin, begin + 6 * HOUR_S

    @property
    def missing_s(self) -> tuple[int, int]:
        """Stretch of the customer's electricity that is missing."""
        begin = self.live_from_s - 5 * DAY_S + 12 * HOUR_S
        return begin, begin + 4 * HOUR_S

    @cached_property
    def opened(self) -> Meterlake:
        """The lake, for questions beside a server."""
        from meterlake.app import open_lake

        return open_lake(self.lake_url, create=False)

    @cached_property
    def desk(self) -> Desk:
        """The accounts, made with PASSWORD at the first call."""
        from meterlake.app import people_of
        from meterlake.testing.town_people import settle

        desk = people_of(self.opened.registry)
        settle(self, desk)
        return desk

    def email(self, who: str) -> str:
        """E-mail that ``who`` signs in with: customer, landlady, bobby, newcomer, operator, analyst or admin."""
        return f"{who}@example.com"

    def session(self, who: str) -> str:
        """Sign ``who`` in; return the value of the cookie ``meterlake_session``."""
        return self.desk.sign_in(self.email(who), PASSWORD, "127.0.0.1")

    def key(self, scopes: str = "ingest,read,operate") -> str:
        """Make an API key."""
        from meterlake.app import keys_of
        from meterlake.keys import make, quality_of, scopes_of

        text, stored = make(
            "town", scopes_of(scopes), source=None, meters=None, best_quality=quality_of("actual")
        )
        keys_of(self.opened.registry).create(stored)
        return text

    @cached_property
    def ingest(self) -> str:
        """Key of who sends the readings of now."""
        return self.key("ingest")

    def send(self, url: str, readings: list[dict[str, Any]]) -> dict[str, Any]:
        """Post readings to the server at ``url``; return its receipt."""
        import httpx

        answer = httpx.post(
            f"{url}/v1/readings",
            json=readings,
            headers={"Authorization": f"Bearer {self.ingest}"},
            timeout=60,
        )
        answer.raise_for_status()
        receipt: dict[str, Any] = answer.json()
        return receipt

    def catch_up(self, url: str) -> None:
        """Post everything from the end of the lake up to now."""
        import httpx

        table = readings_between(self, self.live_from_s, int(time.time()))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        head = {
            "Authorization": f"Bearer {self.ingest}",
            "Content-Type": "application/vnd.apache.arrow.stream",
        }
        answer = httpx.post(
            f"{url}/v1/readings", content=sink.getvalue().to_pybytes(), headers=head, timeout=60
        )
        answer.raise_for_status()

    def beat(self, url: str, value: str, ago: int = 1) -> dict[str, Any]:
        """Post one reading of the customer's electricity of the minute that ended ``ago`` - 1 minutes ago."""
        start = (int(time.time()) // MINUTE_S - ago) * MINUTE_S
        return self.send(url, [{
            "meter": self.meters["electricity"], "channel": "electricity.import", "seconds": MINUTE_S,
            "start": texts_of(np.array([start]), "UTC")[0], "value": value, "unit": "kWh",
        }])  # fmt: skip


def town(folder: Path, points: int = 60) -> Town:
    """Make a town in ``folder`` (which is made), its lake in ``folder/lake``."""
    from meterlake.app import open_lake
    from meterlake.registry_folder import import_folder

    made = Town(folder, points, int(time.time()))
    files = folder / "files"
    (files / "registry").mkdir(parents=True)
    write_registry(made, files / "registry")
    lake = open_lake(made.lake_url)
    import_folder(lake.registry, files / "registry")
    begin = made.live_from_s - DAYS * DAY_S
    whole = range(made.points)
    long = [at for at in [made.home_at, *whole] if at == made.home_at or at < LONG_HOMES][:LONG_HOMES]
    history = readings_between(made, made.live_from_s - LONG_DAYS * DAY_S, begin, np.array(sorted(set(long))))
    pq.write_table(history, files / "history.parquet")
    pq.write_table(readings_between(made, begin, made.live_from_s), files / "recent.parquet")
    (files / "refused.csv").write_text(REFUSED, "utf-8")
    for name in ("history.parquet", "recent.parquet", "refused.csv"):
        lake.load(files / name)
    (made.lake / "tariffs.toml").write_text(TARIFFS, "utf-8")
    return made
