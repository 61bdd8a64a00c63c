"""The fleet: what every service point is like, drawn once from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.intervals import MINUTE_S
from meterlake.readings import MILLI
from meterlake.simulate.chance import Floats, Keys, bits, lognormal, normal, spread, stream
from meterlake.simulate.cities import CITIES
from meterlake.simulate.options import check
from meterlake.simulate.places import hang, place
from meterlake.simulate.profiles import PROFILES
from meterlake.simulate.shapes import HABITS, HOUSEHOLD_HABITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.simulate.cities import City
    from meterlake.simulate.options import SimulateOptions
    from meterlake.simulate.profiles import Profile, Volumes

Numbers = npt.NDArray[np.int32]

BUSINESS_SHARE: Final = 0.06
SHIFT_MAX_S: Final = 3600
"""No household keeps its hours earlier or later than this against its habit."""
CELL_S: Final = 300
"""What is switched on stays on for this long; longer intervals are one cell each."""
_IN_USE_S: Final = 5400
"""Washing, cooking, an evening's television: what uses electricity runs for about so long."""
_BUSINESS_SIGMA: Final = 1.0
_HABIT_SHARES: Final = (0.36, 0.28, 0.18, 0.18)
_TRADE_SHARES: Final = (0.42, 0.28, 0.18, 0.12)
_LETTERS: Final = {"electricity": "E", "gas": "G", "water": "W"}
_KIN: Final = {"electricity": 1.0, "gas": 0.5, "water": 0.6}
"""How far the size of a household shows in its use of each utility."""


class Loads(NamedTuple):
    """Use of one utility by point, as the kernel takes it.

    ``key`` uint64 stream of chance; ``rate`` float64 (points x 6): steady, smooth, events, power of one
    event, thermal (all mean Wh or litres an hour), and restlessness from day to day; ``habit`` int32 index
    of `shapes.HABITS`; ``shift`` int32 cells by which the day runs late; ``solar`` float64 watts at noon.
    """

    key: Keys
    rate: Floats
    habit: Numbers
    shift: Numbers
    solar: Floats
    span: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All service points of a simulation: arrays have an entry a point, and ids count from 1."""

    options: SimulateOptions
    profile: Profile
    city: City
    cell_s: int
    grain: int
    """Milli units of one step of a meter: 1 Wh or 1 litre, below a minute 1 mWh or 1 mL."""
    business: npt.NDArray[np.bool_]
    night_rate: npt.NDArray[np.bool_]
    latitude: Floats
    longitude: Floats
    feeder: Numbers
    transformer: Numbers
    loads: Mapping[str, Loads]

    def __len__(self) -> int:
        """Return the number of service points."""
        return len(self.business)

    @property
    def solar(self) -> npt.NDArray[np.bool_]:
        """Which points have panels, and with them the channel ``electricity.export``."""
        if "electricity" not in self.loads:
            return np.zeros(len(self), np.bool_)
        return np.asarray(self.loads["electricity"].solar > 0)


def meter_id(utility: str, point: int) -> str:
    """Meter of ``utility`` at point number ``point`` (from 0): ``E00000001``."""
    return f"{_LETTERS[utility]}{point + 1:08d}"


def service_point_id(point: int) -> str:
    """Id of the service point number ``point`` (from 0): ``SP00000001``."""
    return f"SP{point + 1:08d}"


def plan(options: SimulateOptions) -> Fleet:
    """Draw the fleet that ``options`` describe; Invalid where they cannot be simulated."""
    if options.profile not in PROFILES:
        raise Invalid(f"profile {options.profile!r} is unknown: choose one of {', '.join(PROFILES)}")
    check(options)
    profile, seed, count = PROFILES[options.profile], options.seed, options.points
    city = CITIES[profile.city]
    business = spread(seed, 1, count) < BUSINESS_SHARE
    reach = np.where(business, 0.55, 1.0)
    latitude, longitude = place(city, seed, count, reach)
    feeder, transformer = hang(latitude, longitude)
    habit = _habits(business, spread(seed, 5, count))
    cell_s = max(CELL_S, options.interval_s)
    return Fleet(
        options=options, profile=profile, city=city, cell_s=cell_s,
        grain=MILLI // 1000 if options.interval_s >= MINUTE_S else 1,
        business=business, night_rate=habit == HABITS.index("night_saver"),
        latitude=latitude, longitude=longitude, feeder=feeder, transformer=transformer,
        loads={name: _loads(profile, name, options, habit, cell_s) for name in options.utilities},
    )  # fmt: skip


def _habits(business: npt.NDArray[np.bool_], chance: Floats) -> Numbers:
    homes = np.searchsorted(np.cumsum(_HABIT_SHARES[:-1]), chance, side="right")
    trades = HOUSEHOLD_HABITS + np.searchsorted(np.cumsum(_TRADE_SHARES[:-1]), chance, side="right")
    return np.where(business, trades, homes).astype(np.int32)


def _loads(profile: Profile, utility: str, options: SimulateOptions, habit: Numbers, cell_s: int) -> Loads:
    count, seed = options.points, options.seed
    volumes: Volumes = getattr(profile, utility)
    business = habit >= HOUSEHOLD_HABITS
    kin = _KIN[utility]
    own = 3 if utility == "gas" else 4
    score = kin * normal(spread(seed, 2, count)) + np.sqrt(1 - kin * kin) * normal(spread(seed, own, count))
    rate = _rates(volumes, business, score, lognormal(spread(seed, 6, count), 0.4))
    span = max(1, _IN_USE_S // cell_s) if utility == "electricity" else 1
    if span == 1:
        rate[:, 3] *= (1800 / cell_s) ** 0.7  # a short cell sees the flow of a tap, a long one its mean
    shift = np.round((2 * spread(seed, 8, count) - 1) * SHIFT_MAX_S / cell_s).astype(np.int32)
    watts = np.zeros(count)
    if utility == "electricity":
        panels = spread(seed, 7, count)
        has = ~business & (panels < profile.solar)
        watts[has] = profile.solar_w * (0.6 + 0.8 * panels[has] / profile.solar)
    key = bits(stream(seed, utility), np.arange(count))
    return Loads(key, rate, habit, np.where(business, 0, shift).astype(np.int32), watts, span)


def _rates(volumes: Volumes, business: npt.NDArray[np.bool_], score: Floats, thermal: Floats) -> Floats:
    sigma = np.where(business, _BUSINESS_SIGMA, volumes.sigma)
    size = np.round(np.exp(sigma * score - sigma * sigma / 2), 9) * np.where(business, volumes.business, 1.0)
    hourly = volumes.hourly * size
    warm = volumes.heating + volumes.cooling
    events = 1 - volumes.steady - volumes.smooth - warm
    moved = np.where(business, 0.8 * events, 0.0)  # many people at once are smooth
    restless = np.where(business, 0.3, 1.0)
    columns = (
        hourly * volumes.steady, hourly * (volumes.smooth + moved), hourly * (events - moved),
        hourly * volumes.event, hourly * warm * thermal, restless,
    )  # fmt: skip
    return np.ascontiguousarray(np.stack(columns, axis=1))
