"""Putting service points on the map, and hanging them on transformers and feeders by proximity."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.simulate.chance import normal, stream, uniform

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meterlake.simulate.chance import Floats
    from meterlake.simulate.cities import City, Ring

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int32]

KM_A_DEGREE: Final = 111.195
"""Kilometres of one degree of latitude on a sphere of 6371 km."""
TRIES: Final = 64
TRANSFORMER_MAX: Final = 80
"""Service points on one transformer, at most; halving leaves at least half as many."""
FEEDER_MAX: Final = 960


def within(ring: Ring, latitude: Floats, longitude: Floats) -> Flags:
    """Whether each place is inside ``ring``: the even-odd rule of a ray to the east."""
    inside = np.zeros(len(latitude), np.bool_)
    for (lat0, lon0), (lat1, lon1) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if lat0 == lat1:
            continue
        crosses = (latitude < lat0) != (latitude < lat1)
        inside ^= crosses & (longitude < lon0 + (latitude - lat0) / (lat1 - lat0) * (lon1 - lon0))
    return inside


def _within_any(rings: Iterable[Ring], latitude: Floats, longitude: Floats) -> Flags:
    inside = np.zeros(len(latitude), np.bool_)
    for ring in rings:
        inside |= within(ring, latitude, longitude)
    return inside


def _wet(course: Ring, half_width_m: float, latitude: Floats, longitude: Floats) -> Flags:
    """Whether each place is within ``half_width_m`` of the line ``course``."""
    wet = np.zeros(len(latitude), np.bool_)
    east = np.cos(np.radians(course[0][0]))
    for (lat0, lon0), (lat1, lon1) in pairwise(course):
        y, x = latitude - lat0, (longitude - lon0) * east
        dy, dx = lat1 - lat0, (lon1 - lon0) * east
        t = np.clip((y * dy + x * dx) / (dy * dy + dx * dx), 0.0, 1.0)
        wet |= np.hypot(y - t * dy, x - t * dx) * KM_A_DEGREE * 1000 < half_width_m
    return wet


def habitable(city: City, latitude: Floats, longitude: Floats) -> Flags:
    """Whether each place is inside the outline of ``city`` and in no water or park of it."""
    good = _within_any(city.land, latitude, longitude) & ~_within_any(city.holes, latitude, longitude)
    for river in city.rivers:
        good &= ~_wet(river.course, river.half_width_m, latitude, longitude)
    return good


def place(city: City, seed: int, count: int, reach: Floats) -> tuple[Floats, Floats]:
    """Latitudes and longitudes of ``count`` points, thick around the district centres.

    A point picks a district by weight and falls around its centre by a normal law of its spread times
    ``reach`` (one factor a point); what falls outside the outline or into water falls again.
    """
    key = stream(seed, "place")
    points = np.arange(count)
    bounds = np.cumsum([district.weight for district in city.districts])
    home = np.searchsorted(bounds, uniform(stream(key, "home"), points) * bounds[-1], side="right")
    centre_lat = np.array([district.latitude for district in city.districts])[home]
    centre_lon = np.array([district.longitude for district in city.districts])[home]
    sigma = np.array([district.spread_km for district in city.districts])[home] * reach / KM_A_DEGREE
    latitude, longitude = np.empty(count), np.empty(count)
    todo = points
    for attempt in range(TRIES):
        north = normal(uniform(stream(key, "north", attempt), todo)) * sigma[todo]
        east = normal(uniform(stream(key, "east", attempt), todo)) * sigma[todo]
        latitude[todo] = np.round(centre_lat[todo] + north, 6)
        longitude[todo] = np.round(centre_lon[todo] + east / np.cos(np.radians(centre_lat[todo])), 6)
        todo = todo[~habitable(city, latitude[todo], longitude[todo])]
        if not len(todo):
            return latitude, longitude
    raise Invalid(f"{len(todo)} points found no place in {city.name}: its districts lie outside its outline")


def hang(latitude: Floats, longitude: Floats) -> tuple[Numbers, Numbers]:
    """Feeder and transformer number of every point: neighbours share them.

    The map is halved across its longer side until a cell holds no more than `TRANSFORMER_MAX` points, so a
    fleet of more than that has 40 to 80 on each; the cell of at most `FEEDER_MAX` above is the feeder.
    """
    feeder, transformer = np.zeros(len(latitude), np.int32), np.zeros(len(latitude), np.int32)
    width = float(np.cos(np.radians(latitude.mean())))
    feeders = transformers = 0
    cells: list[tuple[npt.NDArray[np.int64], bool]] = [(np.arange(len(latitude)), False)]
    while cells:
        cell, fed = cells.pop()
        if not fed and len(cell) <= FEEDER_MAX:
            feeder[cell] = feeders
            feeders, fed = feeders + 1, True
        if len(cell) <= TRANSFORMER_MAX:
            transformer[cell] = transformers
            transformers += 1
            continue
        tall = np.ptp(latitude[cell]) > np.ptp(longitude[cell]) * width
        order = cell[np.argsort((latitude if tall else longitude)[cell], kind="stable")]
        half = len(order) // 2
        cells += [(order[half:], fed), (order[:half], fed)]
    return feeder, transformer
