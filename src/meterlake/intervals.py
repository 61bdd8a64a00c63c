"""The grid: which interval lengths exist, and where a moment falls on it.

A block covers a UTC day, or a UTC hour where the interval is shorter than a minute. Lengths are the
divisors of an hour from one second up, the hour-multiples that divide a day, and the 23 and 25 hours
of a local day when the clock changes.
"""

from __future__ import annotations

import re
from typing import Final

from meterlake.errors import Invalid

HOUR_S: Final = 3600
DAY_S: Final = 86_400
MINUTE_S: Final = 60
LOCAL_DAYS_S: Final = (23 * HOUR_S, DAY_S, 25 * HOUR_S)
"""Lengths of a local day; one such reading is alone in its block."""

LONGEST_S: Final = 36_525 * DAY_S

_UNITS_S: Final = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
_TEXT: Final = re.compile(r"\s*(\d+)\s*([a-z]*)\s*", re.IGNORECASE)
_ISO: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.IGNORECASE)


def is_supported(interval_s: int) -> bool:
    """Whether blocks can hold intervals of this length."""
    if interval_s < 1:
        return False
    if interval_s in LOCAL_DAYS_S:
        return True
    whole = HOUR_S if interval_s <= HOUR_S else DAY_S
    return whole % interval_s == 0 and (interval_s <= HOUR_S or interval_s % HOUR_S == 0)


def is_local_day(interval_s: int) -> bool:
    """Whether this is the length of a whole local day of 23, 24 or 25 hours."""
    return interval_s in LOCAL_DAYS_S


def block_span_s(interval_s: int) -> int:
    """Seconds that one block covers: an hour below a minute, else a day."""
    return HOUR_S if interval_s < MINUTE_S else DAY_S


def block_slots(interval_s: int) -> int:
    """Slots of one block."""
    return 1 if is_local_day(interval_s) else block_span_s(interval_s) // interval_s


def parse_interval(text: str) -> int:
    """Seconds of ``30min``, ``1h``, ``1d``, ``900``, ``PT15M``; Invalid where it is no length, or one of centuries."""
    found = _seconds(text)
    if found is None or found > LONGEST_S:
        raise Invalid(f"{text[:40]!r} is no interval: write 15min, 30min, 1h, 1d or seconds")
    return found


def _seconds(text: str) -> int | None:
    match = _TEXT.fullmatch(text[:40])
    if match and (unit := match[2].lower() or "s") in _UNITS_S:
        return int(match[1]) * _UNITS_S[unit]
    iso = _ISO.fullmatch(text[:40].strip())
    if iso and any(iso.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        return days * DAY_S + hours * HOUR_S + minutes * MINUTE_S + seconds
    return None
