"""Weather by address: temperature, sun and cloud of a city at any moment, from the seed alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from meterlake.intervals import DAY_S, HOUR_S
from meterlake.simulate.chance import stream, uniform

if TYPE_CHECKING:
    from meterlake.simulate.chance import Floats, Keys
    from meterlake.simulate.profiles import Climate

Ints = npt.NDArray[np.int64]

YEAR_S: Final = 365.2425 * DAY_S
_FRONT_S: Final = 60 * HOUR_S
_SHOWER_S: Final = 7 * HOUR_S
_OBLIQUITY: Final = np.radians(23.44)
QUARTER_S: Final = HOUR_S // 4
"""Clock changes and offsets of all zones today fall on quarters of an hour."""


def local_seconds(zone: str, seconds: Ints) -> Ints:
    """Local wall-clock time of UTC ``seconds`` since 1970, as if it were UTC seconds since 1970."""
    if not len(seconds):
        return seconds
    rules = ZoneInfo(zone)
    first = int(seconds.min()) // QUARTER_S
    last = int(seconds.max()) // QUARTER_S
    step = HOUR_S // QUARTER_S
    offsets = np.empty(last - first + 1, np.int64)
    # The zone is asked once an hour of the range, and by quarters only where the answer changes.
    for at in range(0, len(offsets), step):
        here, after = (_offset(rules, (first + at + more) * QUARTER_S) for more in (0, step - 1))
        offsets[at : at + step] = here
        if here != after:
            quarters = range(at, min(at + step, len(offsets)))
            offsets[at : at + step] = [_offset(rules, (first + q) * QUARTER_S) for q in quarters]
    return np.asarray(seconds + offsets[seconds // QUARTER_S - first])


def _offset(zone: ZoneInfo, seconds: int) -> int:
    delta: Any = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset()
    return int(delta // timedelta(seconds=1))


def _drift(key: Keys, seconds: Ints, spacing_s: int) -> Floats:
    """Smooth noise of mean 0 and, at its nodes, standard deviation 1: a sum of four uniforms, scaled."""
    node = seconds // spacing_s
    low, high = (
        np.sum([uniform(stream(key, part), node + side) for part in range(4)], axis=0) for side in (0, 1)
    )
    t = (seconds % spacing_s) / spacing_s
    t = t * t * (3 - 2 * t)
    return np.asarray((low * (1 - t) + high * t - 2) * np.sqrt(3.0))


def temperature(climate: Climate, seed: int, seconds: Ints, local: Ints) -> Floats:
    """Air temperature (°C) at UTC ``seconds``; ``local`` are the same moments on the wall clock."""
    key = stream(seed, "weather")
    season = np.cos(2 * np.pi * (seconds / YEAR_S - climate.coldest_day / 365.2425))
    hour = np.cos(2 * np.pi * (local % DAY_S / DAY_S - 4.5 / 24))
    fronts = _drift(stream(key, "front"), seconds, _FRONT_S)
    showers = _drift(stream(key, "shower"), seconds, _SHOWER_S)
    noise = climate.weather * (1.1 * fronts + 0.35 * showers)
    return np.asarray(climate.mean - climate.yearly * season - climate.daily * hour + noise)


def sun(climate: Climate, seed: int, seconds: Ints, latitude: float, longitude: float) -> Floats:
    """Share (0 to 1) of a clear overhead sun that reaches a roof, clouds included."""
    declination = -_OBLIQUITY * np.cos(2 * np.pi * (seconds / YEAR_S + 10 / 365.2425))
    angle = 2 * np.pi * ((seconds % DAY_S) / DAY_S + longitude / 360 - 0.5)
    lat = np.radians(latitude)
    height = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(angle)
    key = stream(seed, "cloud")
    cover = climate.cloud + 0.3 * _drift(stream(key, "front"), seconds, _FRONT_S)
    cover = cover + 0.15 * _drift(stream(key, "shower"), seconds, _SHOWER_S)
    return np.asarray(np.maximum(height, 0.0) * (1 - np.clip(cover, 0.0, 0.92)))
