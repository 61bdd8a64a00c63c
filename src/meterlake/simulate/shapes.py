"""How use runs through the day: 24 hourly weights for working days and 24 for weekends, by habit.

The shapes follow what load research has found again and again (a household's morning and evening
peaks, the office's plateau, the restaurant's two meals); the numbers are this module's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

HABITS: Final = (
    "commuter", "at_home", "late", "night_saver",
    "office", "shop", "restaurant", "round_the_clock",
)  # fmt: skip
HOUSEHOLD_HABITS: Final = 4
"""The first four belong to households, the rest to businesses."""

_COMMUTER: Final = (
    "30 24 20 20 22 34 80 125 110 65 50 48 52 50 50 62 95 150 190 200 180 150 105 55",
    "40 28 22 20 20 24 40 70 110 135 135 130 135 125 115 115 130 160 180 180 165 140 110 65",
)
_AT_HOME: Final = (
    "30 24 22 20 22 30 60 100 120 125 120 120 135 120 105 105 125 165 175 165 150 125 85 45",
    "34 26 22 20 20 26 50 85 120 130 130 130 140 125 110 110 130 165 170 160 145 125 90 50",
)
_LATE: Final = (
    "105 70 40 26 22 22 28 50 80 85 75 70 80 80 75 80 95 120 140 160 180 190 180 150",
    "140 100 60 34 24 20 22 30 50 85 115 125 130 125 110 105 115 135 150 165 175 180 175 160",
)
_NIGHT_SAVER: Final = (
    "170 190 180 160 130 90 80 95 80 55 50 50 55 50 48 55 80 125 150 150 135 115 90 90",
    "170 190 180 160 130 90 60 70 90 95 90 85 90 80 75 80 100 130 145 145 130 115 95 95",
)
_OFFICE: Final = (
    "30 28 28 28 30 36 60 110 170 205 215 215 205 210 215 210 195 155 100 65 50 42 36 32",
    "28 26 26 26 26 28 30 34 40 46 50 50 48 46 44 42 40 36 34 32 30 30 28 28",
)
_SHOP: Final = (
    "40 38 36 36 36 40 55 85 130 170 185 190 190 190 185 185 185 180 160 120 85 60 48 42",
    "40 38 36 36 36 38 45 65 110 165 195 200 200 200 195 190 180 150 110 75 58 50 45 42",
)
_RESTAURANT: Final = (
    "80 55 45 42 42 45 55 70 85 105 140 180 200 185 135 110 120 165 210 225 215 185 145 105",
    "105 75 52 45 42 44 50 62 85 115 155 190 205 195 155 130 140 185 225 240 230 205 165 130",
)
_ALWAYS: Final = (
    "88 86 85 85 86 88 94 102 110 114 116 116 115 114 113 112 110 108 105 102 98 95 92 90",
    "86 84 83 83 84 85 88 92 96 100 102 103 102 101 100 100 99 98 97 95 93 91 89 87",
)
_ELECTRIC: Final = (_COMMUTER, _AT_HOME, _LATE, _NIGHT_SAVER, _OFFICE, _SHOP, _RESTAURANT, _ALWAYS)

_TAPS_EARLY: Final = (
    "8 5 3 2 4 30 170 300 210 90 60 55 70 60 50 65 100 160 200 180 150 120 80 30",
    "12 7 4 2 3 10 50 130 240 270 210 150 130 110 90 90 110 150 180 165 140 115 80 35",
)
_TAPS_DAY: Final = (
    "8 5 3 2 4 14 70 170 210 190 150 125 135 115 95 100 125 170 180 150 130 105 65 22",
    "10 6 3 2 3 10 45 120 210 230 190 145 135 115 95 95 120 160 175 150 130 105 70 28",
)
_TAPS_LATE: Final = (
    "70 35 15 6 4 4 14 50 120 170 150 110 100 90 80 80 95 130 160 170 180 190 180 130",
    "95 55 24 10 5 4 8 22 60 130 190 190 160 130 100 95 105 130 155 165 170 175 165 130",
)
_TAPS: Final = (_TAPS_EARLY, _TAPS_DAY, _TAPS_LATE, _TAPS_EARLY, _OFFICE, _SHOP, _RESTAURANT, _ALWAYS)

_WARM_TWICE: Final = (
    "5 5 5 5 20 110 230 240 150 60 45 45 45 45 60 100 180 230 230 220 190 130 50 10",
    "5 5 5 5 8 40 130 210 220 180 130 110 105 105 110 130 170 200 200 190 170 130 60 10",
)
_WARM_ALL_DAY: Final = (
    "20 20 20 20 40 110 180 190 170 145 130 125 120 120 125 140 165 180 180 170 150 110 50 25",
    "20 20 20 20 30 80 150 185 180 155 140 130 125 125 130 140 165 180 180 170 150 115 60 25",
)
_WARM_OFFICE: Final = (
    "15 15 15 20 60 160 250 260 230 200 180 170 165 160 155 150 120 70 40 25 20 15 15 15",
    "12 12 12 12 14 16 20 24 26 26 26 24 24 22 22 20 20 18 16 14 14 12 12 12",
)
_WARM: Final = (
    _WARM_TWICE, _WARM_ALL_DAY, _WARM_TWICE, _WARM_ALL_DAY, _WARM_OFFICE, _SHOP, _RESTAURANT, _ALWAYS,
)  # fmt: skip

_CURVES: Final = {"electric": _ELECTRIC, "taps": _TAPS, "warm": _WARM}


def curves(kind: str) -> npt.NDArray[np.float64]:
    """Weights (habit x [working day, weekend] x 24), of mean 1 over a week: electric, taps or warm."""
    weights = np.array([[day.split() for day in habit] for habit in _CURVES[kind]], np.float64)
    week = (5 * weights[:, 0].mean(1) + 2 * weights[:, 1].mean(1)) / 7
    return np.asarray(weights / week[:, None, None])


def at_hours(
    curve: npt.NDArray[np.float64], weekend: npt.NDArray[np.bool_], hours: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """``curve`` (habit x 2 x 24) at local hours of the day, straight lines between the middles of hours."""
    place = (hours - 0.5) % 24
    low = place.astype(np.int64) % 24
    part = place - np.floor(place)
    kind = weekend.astype(np.int64)
    return np.asarray(curve[:, kind, low] * (1 - part) + curve[:, kind, (low + 1) % 24] * part)
