"""The registry of a simulated fleet: customers, service points and meters, as CSV. Nobody in it exists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from meterlake.simulate.batches import first_second
from meterlake.simulate.chance import bits, stream, uniform
from meterlake.simulate.faults import transformer_id
from meterlake.simulate.fleet import meter_id, service_point_id
from meterlake.simulate.shapes import HABITS

if TYPE_CHECKING:
    from pathlib import Path

    from meterlake.simulate.fleet import Fleet

Ints = npt.NDArray[np.int64]

SECOND_HOME_SHARE: Final = 0.03
"""Service points whose customer holds the one before as well."""

_GIVEN: Final = (
    "Alba", "Arlo", "Bea", "Caspian", "Cleo", "Dara", "Edda", "Ewan", "Fenn", "Greta", "Hale", "Ida", "Ivo",
    "Juno", "Kit", "Lark", "Leif", "Maeve", "Milo", "Nell", "Odin", "Opal", "Pia", "Quill", "Rafe", "Runa",
    "Sage", "Sol", "Tamsin", "Thea", "Ulla", "Vero", "Wren", "Xan", "Yara", "Zeno",
)  # fmt: skip
_FRONT: Final = (
    "Ash", "Bramble", "Copper", "Dun", "Elder", "Fern", "Gorse", "Hazel", "Iron", "Juniper", "Kestrel", "Lin",
    "Moss", "Nettle", "Oak", "Pebble", "Quarry", "Rowan", "Sedge", "Thistle", "Umber", "Vetch", "Willow",
    "Yarrow",
)  # fmt: skip
_BACK: Final = (
    "bank", "beck", "brook", "combe", "dale", "fell", "field", "ford", "garth", "gate", "ham", "holt",
    "hurst", "lea", "low", "mere", "mont", "ridge", "shaw", "stead", "thorpe", "ton", "wick", "worth",
)  # fmt: skip
_TRADES: Final = {
    "office": ("Partners", "Accounting", "Design", "Surveyors", "Press", "Software"),
    "shop": ("Grocers", "Books", "Hardware", "Flowers", "Tailors", "Cycles"),
    "restaurant": ("Kitchen", "Bakery", "Tea Room", "Noodle House", "Grill", "Tavern"),
    "round_the_clock": ("Cold Store", "Laundry", "Foundry", "Data Rooms", "Print Works", "Pumping"),
}


def write_registry(fleet: Fleet, folder: Path) -> None:
    """Write ``customers.csv``, ``service_points.csv`` and ``meters.csv`` into ``folder``."""
    owner = _owners(fleet)
    plain = pcsv.WriteOptions(quoting_style="none", quoting_header="none")  # nothing in it needs quotes
    for name, table in (
        ("customers", _customers(fleet, owner)),
        ("service_points", _service_points(fleet, owner)),
        ("meters", _meters(fleet)),
    ):
        pcsv.write_csv(table, folder / f"{name}.csv", plain)


def _owners(fleet: Fleet) -> Ints:
    """Number of the customer of each service point."""
    key = stream(fleet.options.seed, "owner")
    own = uniform(key, np.arange(len(fleet))) >= SECOND_HOME_SHARE
    own[0] = True
    return np.asarray(np.cumsum(own) - 1, np.int64)


def _customer_ids(numbers: Ints) -> list[str]:
    return [f"C{number + 1:08d}" for number in numbers.tolist()]


def _choice(fleet: Fleet, what: str, words: tuple[str, ...], numbers: Ints) -> npt.NDArray[Any]:
    chance = bits(stream(fleet.options.seed, "names", what), numbers)
    return np.array(words, object)[(chance % np.uint64(len(words))).astype(np.int64)]


def _customers(fleet: Fleet, owner: Ints) -> pa.Table:
    first = np.flatnonzero(np.diff(owner, prepend=-1))  # the point that a customer is known by
    numbers = owner[first]
    family = _choice(fleet, "front", _FRONT, numbers) + _choice(fleet, "back", _BACK, numbers)
    given = _choice(fleet, "given", _GIVEN, numbers)
    names = given + " " + family
    habit = next(iter(fleet.loads.values())).habit[first]
    for code, habit_name in enumerate(HABITS):
        here = habit == code
        if habit_name in _TRADES and here.any():
            names[here] = family[here] + " " + _choice(fleet, "trade", _TRADES[habit_name], numbers[here])
    ids = _customer_ids(numbers)
    dotted = [name.replace(" ", ".").lower() for name in names]
    return pa.table(
        {
            "customer_id": ids,
            "name": pa.array(names, pa.string()),
            "email": [f"{name}.{number + 1}@example.com" for number, name in enumerate(dotted)],
            "locale": [fleet.profile.locale] * len(ids),
        }
    )


def _beginning(fleet: Fleet) -> str:
    return datetime.fromtimestamp(first_second(fleet.options), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _service_points(fleet: Fleet, owner: Ints) -> pa.Table:
    count = len(fleet)
    household, night, business = fleet.profile.tariffs
    tariff = np.where(fleet.business, business, np.where(fleet.night_rate, night, household))
    feeders = [f"{fleet.city.code}-F{number:03d}" for number in fleet.feeder.tolist()]
    return pa.table(
        {
            "service_point_id": [service_point_id(point) for point in range(count)],
            "customer_id": _customer_ids(owner),
            "from": [_beginning(fleet)] * count,
            "to": [""] * count,
            "latitude": _degrees(fleet.latitude),
            "longitude": _degrees(fleet.longitude),
            "class": np.where(fleet.business, "business", "residential").tolist(),
            "zone": [fleet.profile.zone] * count,
            "tariff": tariff.tolist(),
            "feeder": feeders,
            "transformer": [transformer_id(fleet, number) for number in fleet.transformer.tolist()],
        }
    )


def _degrees(values: npt.NDArray[np.float64]) -> pa.Array[Any]:
    return pc.cast(pa.array([f"{value:.6f}" for value in values.tolist()]), pa.string())


def _meters(fleet: Fleet) -> pa.Table:
    solar = fleet.solar.tolist()
    rows = [
        (meter_id(utility, point), service_point_id(point), _channels(utility, solar=solar[point]))
        for point in range(len(fleet))
        for utility in fleet.loads
    ]
    meters, points, channels = zip(*rows, strict=True)
    count = len(rows)
    return pa.table(
        {
            "meter_id": meters,
            "service_point_id": points,
            "from": [_beginning(fleet)] * count,
            "to": [""] * count,
            "channels": channels,
            "interval_s": np.full(count, fleet.options.interval_s, np.int32),
            "multiplier": np.ones(count, np.int32),
        }
    )


def _channels(utility: str, *, solar: bool) -> str:
    if utility == "electricity" and solar:
        return "electricity.import;electricity.export"
    return f"{utility}.import"
