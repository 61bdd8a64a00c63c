"""The registry of the town: its regions, its people, and the meter that was exchanged."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.moments import texts_of
from meterlake.simulate.fleet import meter_id, service_point_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from meterlake.testing.town import Town

CELL_DEGREES: Final = 180 / 2**12
"""Side of a geohash cell of five digits."""
REGIONS: Final = ((51.51, -0.1, 0.55), (53.48, -2.24, 0.85), (55.95, -3.19, 1.0))
"""A place, and the share of the points up to which they lie about it: London, Manchester, Edinburgh."""
ASIDE: Final = 3
"""Of so many points one lies in a cell beside the place's own."""
CUSTOMERS: Final = {
    "customer": ("Nell Ashford", "en-GB"),
    "landlady": ("Ida Rowanstead", "de-DE"),
    "bobby": ('<b>Bobby</b> "Tables"', "en-GB"),
    "newcomer": ("Wren Linbrook", "en-GB"),
    "neighbour": ("Milo Fernlea", "en-GB"),
    "business": ("Thistlegate Bakery", "en-GB"),
}
"""Name and locale of those that matter; all others are tenants with a number."""


def write_registry(made: Town, folder: Path) -> None:
    """Write customers, service points and meters as CSV into ``folder``."""
    named = {made.point(who): who for who in CUSTOMERS} | {made.point("second"): "landlady"}
    tenants = [service_point_id(at) for at in range(made.points) if service_point_id(at) not in named]
    people = [(who, name, f"{who}@example.com", locale) for who, (name, locale) in CUSTOMERS.items()]
    people += [(f"at-{id_}", f"Tenant of {id_}", "", "en-GB") for id_ in ("before", *tenants)]
    _write(folder / "customers.csv", ("customer_id", "name", "email", "locale"), people)
    _write_points(made, folder / "service_points.csv", named)
    _write_meters(made, folder / "meters.csv")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        told = csv.writer(file)
        told.writerow(columns)
        told.writerows(rows)


def _write_points(made: Town, path: Path, named: dict[str, str]) -> None:
    latitude, longitude = _places(made.points)
    begin, moved = (
        texts_of(np.array([s]), "UTC")[0] for s in (made.live_from_s - 800 * 86_400, made.moved_s)
    )
    rows = []
    for at in range(made.points):
        id_ = service_point_id(at)
        who = named.get(id_, f"at-{id_}")
        place = (f"{latitude[at]:.6f}", f"{longitude[at]:.6f}")
        kind = "business" if made.fleet.business[at] else "residential"
        zone = "UTC+10:00" if who == "bobby" else "Europe/London"
        tail = (*place, kind, zone, "standard", f"F{at // 20:03d}", f"T{at // 5:03d}")
        if who == "newcomer":
            rows.append((id_, "at-before", begin, moved, *tail))
        rows.append((id_, who, moved if who == "newcomer" else begin, "", *tail))
    columns = ("service_point_id", "customer_id", "from", "to", "latitude", "longitude",
               "class", "zone", "tariff", "feeder", "transformer")  # fmt: skip
    _write(path, columns, rows)


def _places(points: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Latitude and longitude of each point, well inside the cell of its region or of one beside it."""
    chance = np.random.default_rng(1).uniform(0.1, 0.9, (2, points))
    region = np.searchsorted([share for _, _, share in REGIONS], (np.arange(points) + 0.5) / points)
    corner = np.floor(np.array([place[:2] for place in REGIONS]) / CELL_DEGREES)[region]
    number = np.arange(points)
    aside = np.where(number % ASIDE == ASIDE - 1, 1, 0)
    steps = aside * np.array([number // ASIDE % 3 - 1, number // ASIDE // 3 % 3 - 1])
    return tuple((corner[:, axis] + steps[axis] + chance[axis]) * CELL_DEGREES for axis in (0, 1))


def _write_meters(made: Town, path: Path) -> None:
    exchanged = texts_of(np.array([made.exchanged_s]), "UTC")[0]
    rows = []
    for at in range(made.points):
        electricity = (
            "electricity.import;electricity.export" if made.fleet.solar[at] else "electricity.import"
        )
        for utility in ("electricity", "gas", "water"):
            channels = electricity if utility == "electricity" else f"{utility}.import"
            old = utility == "electricity" and at == made.home_at
            until = exchanged if old else ""
            rows.append((meter_id(utility, at), service_point_id(at), "", until, channels, 1800))
            if old:
                rows.append((made.meters["electricity"], service_point_id(at), exchanged, "", channels, 60))
    _write(path, ("meter_id", "service_point_id", "from", "to", "channels", "interval_s"), rows)
