"""The three profiles: where the meters are, what the weather does there and how much is used.

Volumes are yearly means per household; a business uses a multiple. They are of the size that national
statistics publish: about 300 kWh of electricity a month in Britain and 900 in the United States,
11,500 kWh (1,040 m³) of gas a year in a British home, 140 litres of water a person and day in London.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Climate:
    """Air temperature (°C) and sun of a city.

    ``coldest_day`` is a day of the year; ``weather`` the standard deviation of daily departures;
    ``cloud`` the mean share of clear-sky energy that is lost.
    """

    mean: float
    yearly: float
    daily: float
    weather: float
    coldest_day: int
    cloud: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """Use of one utility: yearly mean of a household per hour, and how it divides.

    ``hourly`` is in Wh or litres. Of it ``steady`` runs always, ``smooth`` follows the habit, ``heating``
    and ``cooling`` the temperature, and the rest comes in events of ``event`` times the hourly mean
    each (per half-hour that has one). ``business`` is the mean of a business by that of a household.
    """

    hourly: float
    steady: float = 0.0
    smooth: float = 0.0
    heating: float = 0.0
    cooling: float = 0.0
    event: float = 1.0
    business: float = 4.0
    sigma: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A country's way of using energy and water, in one of its cities.

    ``season`` is the share by which lighting and living indoors raise electricity in mid-winter; ``garden``
    the share by which summer raises water; ``solar`` the share of households with panels of ``solar_w``
    watts at noon, on average. ``tariffs`` are the household's, its night rate and the business's.
    """

    city: str
    zone: str
    locale: str
    climate: Climate
    electricity: Volumes
    gas: Volumes
    water: Volumes
    season: float
    garden: float
    solar: float
    solar_w: float
    tariffs: tuple[str, str, str]


_HOURS_A_MONTH: Final = 365.25 * 24 / 12

PROFILES: Final = {
    "uk": Profile(
        city="London", zone="Europe/London", locale="en-GB",
        climate=Climate(mean=11.6, yearly=6.8, daily=3.0, weather=2.6, coldest_day=22, cloud=0.55),
        electricity=Volumes(hourly=306e3 / _HOURS_A_MONTH, steady=0.20, smooth=0.30,
                            heating=0.07, cooling=0.01, event=1.3, business=5.0),
        gas=Volumes(hourly=1_040e3 / 8766, heating=0.76, event=1.6, business=4.0),
        water=Volumes(hourly=340 / 24, event=1.6, business=3.0, sigma=0.45),
        season=0.08, garden=0.1, solar=0.05, solar_w=2_600,
        tariffs=("uk-standard", "uk-night-saver", "uk-business"),
    ),
    "us": Profile(
        city="New York", zone="America/New_York", locale="en-US",
        climate=Climate(mean=13.2, yearly=12.2, daily=3.8, weather=3.6, coldest_day=24, cloud=0.4),
        electricity=Volumes(hourly=916e3 / _HOURS_A_MONTH, steady=0.20, smooth=0.28,
                            heating=0.11, cooling=0.17, event=1.1, business=5.0),
        gas=Volumes(hourly=1_900e3 / 8766, heating=0.78, event=1.6, business=4.0),
        water=Volumes(hourly=740 / 24, event=1.4, business=3.0, sigma=0.45),
        season=0.05, garden=0.25, solar=0.05, solar_w=5_000,
        tariffs=("us-residential", "us-time-of-use", "us-commercial"),
    ),
    "au": Profile(
        city="Sydney", zone="Australia/Sydney", locale="en-AU",
        climate=Climate(mean=18.3, yearly=5.4, daily=3.8, weather=2.4, coldest_day=198, cloud=0.3),
        electricity=Volumes(hourly=500e3 / _HOURS_A_MONTH, steady=0.22, smooth=0.28,
                            heating=0.1, cooling=0.1, event=1.2, business=5.0),
        gas=Volumes(hourly=520e3 / 8766, heating=0.55, event=1.8, business=4.0),
        water=Volumes(hourly=600 / 24, event=1.5, business=3.0, sigma=0.45),
        season=0.06, garden=0.3, solar=0.3, solar_w=4_200,
        tariffs=("au-single-rate", "au-time-of-use", "au-business"),
    ),
}  # fmt: skip
