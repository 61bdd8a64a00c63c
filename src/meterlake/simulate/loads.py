"""What every meter reads in every interval: a pure function of the fleet, addressable at random.

Each reading is made from tables of the habit's day, the season and the weather at its moment, and from
64 random bits hashed from (seed, utility, point, cell). Making it in pieces equals making it whole.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.simulate.chance import mix, table
from meterlake.simulate.fleet import SHIFT_MAX_S
from meterlake.simulate.profiles import PROFILES
from meterlake.simulate.shapes import at_hours, curves
from meterlake.simulate.weather import YEAR_S, local_seconds, sun, temperature

if TYPE_CHECKING:
    from meterlake.simulate.chance import Floats
    from meterlake.simulate.fleet import Fleet, Loads
    from meterlake.simulate.profiles import Climate, Volumes

Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

CHANNELS: Final = {
    "electricity.import": "electricity",
    "electricity.export": "electricity",
    "gas.import": "gas",
    "water.import": "water",
}
"""Utility by channel, in the order in which a point's meters are listed."""

_WHOLE, _IMPORT, _EXPORT = range(3)
_HEATING_BELOW_C: Final = 14.5
_COOLING_ABOVE_C: Final = 20.0
_WALLS: Final = 0.3
"""How much of the day's swing of temperature reaches a heated room."""
_YEAR_2026_S: Final = 1_767_225_600
_CURVES: Final = {"electricity": ("electric", "electric"), "gas": ("taps", "warm"), "water": ("taps", "taps")}

_AWAY: Final = 0.04
_AWAY_USE: Final = 0.12
_MOOD: Final = table("lognormal", 256, 0.25) / (1 - _AWAY * (1 - _AWAY_USE))
"""Factor of a day, chosen by its hash; over all days it has mean 1, those away from home included."""
_EVENT: Final = table("exponential", 1024)
_USE: Final = np.uint64(0x5A5A_A5A5_3C3C_C3C3)
"""Turns a point's stream of cells into its stream of what is in use for several of them."""
_SAME: Final = np.uint64(0x3C3C_C3C3_5A5A_A5A5)
"""Turns a point's stream of cells into what it uses at the same hour every day."""
_ROUTINE: Final = 0.5
"""How often what is in use is what is always in use at that hour."""
_FINE: Final = np.uint64(0xA5A5_5A5A_C3C3_3C3C)
"""Turns a point's stream of cells into its stream of intervals within a cell."""


class Scene(NamedTuple):
    """What all points have in common over a range of cells, padded by the largest shift on both sides.

    ``shape`` and ``thermal`` float32 (habit x cell) have mean 1 over a year; ``sun`` float32 and ``day``
    int32 (local days since 1970) one entry a cell; ``first`` is the number since 1970 of cell 0.
    """

    shape: Singles
    thermal: Singles
    sun: Singles
    day: npt.NDArray[np.int32]
    first: int
    cell_s: int


def scene(fleet: Fleet, utility: str, first_slot: int, slots: int) -> Scene:
    """Scene of ``utility`` that covers the slots from ``first_slot`` (since 1970) on."""
    interval_s, cell_s = fleet.options.interval_s, fleet.cell_s
    pad = -(-SHIFT_MAX_S // cell_s)
    first = first_slot * interval_s // cell_s - pad
    last = (first_slot + slots - 1) * interval_s // cell_s + pad
    middle = np.arange(first, last + 1) * cell_s + cell_s // 2
    local = local_seconds(fleet.profile.zone, middle)
    latitude, longitude = fleet.city.middle()
    shine = sun(fleet.profile.climate, fleet.options.seed, middle, latitude, longitude)
    shape = _shape(fleet, utility, middle, local)
    thermal = _thermal(fleet, utility, middle, local)
    day = (local // DAY_S).astype(np.int32)
    # Six digits, so that the last bit of a cosine cannot make two machines differ.
    return Scene(_single(shape), _single(thermal), _single(shine), day, first, cell_s)


def _single(values: Floats) -> Singles:
    return np.round(values, 6).astype(np.float32)


def _by_habit(kind: str, local: Ints) -> Floats:
    weekend = (local // DAY_S + 3) % 7 >= 5  # day 0 of 1970 was a Thursday
    return at_hours(curves(kind), weekend, local % DAY_S / HOUR_S)


def _shape(fleet: Fleet, utility: str, middle: Ints, local: Ints) -> Floats:
    profile = fleet.profile
    swing = {"electricity": profile.season, "gas": 0.1, "water": -profile.garden}[utility]
    winter = np.cos(2 * np.pi * (middle / YEAR_S - profile.climate.coldest_day / 365.2425))
    return np.asarray(_by_habit(_CURVES[utility][0], local) * (1 + swing * winter))


def _degrees(climate: Climate, seed: int, utility: str, middle: Ints, local: Ints) -> tuple[Floats, Floats]:
    """Demand for heating and for cooling (habit x cell), not yet scaled."""
    indoors = temperature(replace(climate, daily=climate.daily * _WALLS), seed, middle, local)
    outdoors = temperature(climate, seed, middle, local)
    hours = _by_habit(_CURVES[utility][1], local)
    cold, hot = np.maximum(_HEATING_BELOW_C - indoors, 0), np.maximum(outdoors - _COOLING_ABOVE_C, 0)
    return hours * cold, hours * hot


@lru_cache(maxsize=64)
def _usual(profile_name: str, seed: int, utility: str) -> tuple[Floats, Floats]:
    """Mean demand for heating and for cooling over the year 2026, by habit."""
    profile = PROFILES[profile_name]
    year = _YEAR_2026_S + np.arange(365 * 24) * HOUR_S + HOUR_S // 2
    heating, cooling = _degrees(profile.climate, seed, utility, year, local_seconds(profile.zone, year))
    return heating.mean(1), cooling.mean(1)


def _thermal(fleet: Fleet, utility: str, middle: Ints, local: Ints) -> Floats:
    """Heating and cooling (habit x cell) against their mean over the year 2026."""
    volumes: Volumes = getattr(fleet.profile, utility)
    shares = volumes.heating, volumes.cooling
    if not sum(shares):
        return np.zeros((len(curves("taps")), len(middle)))
    seed = fleet.options.seed
    usual = _usual(fleet.options.profile, seed, utility)
    asked = _degrees(fleet.profile.climate, seed, utility, middle, local)
    total = np.zeros_like(asked[0])
    for share, demand, mean in zip(shares, asked, usual, strict=True):
        total += share / sum(shares) * demand / np.maximum(mean, 1e-6)[:, None]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(  # noqa: C901, PLR0912, PLR0913, PLR0915 - one loop  # pragma: no cover - compiled
    out: Ints, rows: Ints, points: Ints, loads: Loads, at: Scene, event: Floats, mood: Floats,
    first_slot: int, interval_s: int, grain: int, mode: int,
) -> None:  # fmt: skip
    """Write the amounts of each point into its row of ``out``."""
    hours = interval_s / 3600.0
    steps = 1000.0 / grain * hours
    fine = interval_s < at.cell_s
    uses = 86400 // (at.cell_s * loads.span)
    low12, low14, low10 = np.uint64(0xFFF), np.uint64(0x3FFF), np.uint64(0x3FF)
    for i in range(len(points)):
        point = points[i]
        key, habit, shift = loads.key[point], loads.habit[point], loads.shift[point]
        steady, smooth, events = loads.rate[point, 0], loads.rate[point, 1], loads.rate[point, 2]
        power, thermal, restless = loads.rate[point, 3], loads.rate[point, 4], loads.rate[point, 5]
        panels = loads.solar[point]
        row = out[rows[i]]
        day, cell, use = -1, -1, -1
        factor, rate, h, e = 1.0, 0.0, np.uint64(0), np.uint64(0)
        for slot in range(len(row)):
            here = (first_slot + slot) * interval_s // at.cell_s
            if here != cell:
                cell = here
                k = cell - at.first
                if at.day[k] != day:
                    day = int(at.day[k])
                    h = mix(~key, day)
                    factor = mood[h & np.uint64(0xFF)]
                    if restless < 1.0:
                        factor = 1.0 + restless * (factor - 1.0)
                    elif np.float64(h >> np.uint64(32)) < _AWAY * 4294967296.0:
                        factor = _AWAY_USE
                h = mix(key, cell)
                u = np.float64(h & low12) / 4096.0
                v = np.float64((h >> np.uint64(12)) & low12) / 4096.0
                shape = np.float64(at.shape[habit, k - shift]) * factor
                rate = steady * (0.6 + 0.8 * u) + smooth * shape * (0.5 + v)
                rate += thermal * np.float64(at.thermal[habit, k - shift]) * (0.4 + 1.2 * u)
                odds = events * shape / power
                if loads.span == 1:
                    e = h
                elif (cell + point) // loads.span != use:
                    use = (cell + point) // loads.span
                    e = mix(key ^ _USE, use)
                    if np.float64(e & np.uint64(0xFF)) < _ROUTINE * 256.0:
                        e = mix(key ^ _SAME, use % uses)
                if np.float64((e >> np.uint64(24)) & low14) * (1.0 + odds) < 16384.0 * odds:
                    rate += power * (1.0 + odds) * event[(e >> np.uint64(38)) & low10] * (0.7 + 0.6 * u)
                if mode != _WHOLE and panels > 0.0:
                    rate -= panels * np.float64(at.sun[k]) * (0.85 + 0.3 * v)
                if mode == _EXPORT:
                    rate = -rate
            if rate <= 0.0:
                row[slot] = 0
                continue
            level = rate * steps
            if fine:
                h = mix(key ^ _FINE, first_slot + slot)
                level *= 0.9 + 0.2 * (np.float64(h & low12) / 4096.0)
            row[slot] = np.int64(level + np.float64(h >> np.uint64(48)) / 65536.0) * grain


def fill(  # noqa: PLR0913 - the kernel's own arguments
    fleet: Fleet, channel: str, points: Ints, at: Scene, first_slot: int, out: Ints, rows: Ints
) -> None:
    """Write what `amounts` returns into ``rows`` of ``out`` (int64), within the scene ``at``."""
    utility = CHANNELS[channel]
    mode = _EXPORT if channel == "electricity.export" else _IMPORT if utility == "electricity" else _WHOLE
    _fill(out, rows, points, fleet.loads[utility], at, _EVENT, _MOOD,
          first_slot, fleet.options.interval_s, fleet.grain, mode)  # fmt: skip


def amounts(
    fleet: Fleet, channel: str, first_slot: int, slots: int, points: npt.NDArray[Any] | None = None
) -> Ints:
    """Amounts (points x slots, int64 milli units) of ``channel`` in the slots from ``first_slot`` on.

    Slot k starts at ``k * interval_s`` seconds since 1970 UTC; no fault is in them. ``points`` are indexes
    of the fleet (None: all). A point without panels exports 0. Raises Invalid for a channel that the fleet
    does not have.
    """
    if CHANNELS.get(channel) not in fleet.loads:
        has = ", ".join(name for name, utility in CHANNELS.items() if utility in fleet.loads)
        raise Invalid(f"the fleet has no channel {channel!r}: ask for one of {has}")
    chosen = np.arange(len(fleet)) if points is None else np.asarray(points, np.int64)
    out = np.empty((len(chosen), slots), np.int64)
    if slots and len(chosen):
        at = scene(fleet, CHANNELS[channel], first_slot, slots)
        fill(fleet, channel, chosen, at, first_slot, out, np.arange(len(chosen)))
    return out
