"""Days of the batch: a UTC day in seconds, and the local days of a zone that end within it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, NamedTuple

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S
from meterlake.moments import YEARS, day_start, local_date

EPOCH: Final = date(1970, 1, 1)


class LocalDay(NamedTuple):
    """A local day: its number since 1970, first second and end (s, UTC)."""

    number: int
    start_s: int
    stop_s: int


def day_of(day: str | date) -> date:
    """Date that ``day`` names; Invalid where it is none."""
    if isinstance(day, date):
        return day
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise Invalid(f"day {day!r} is no date: write 2026-01-31") from None


def start_of(day: date) -> int:
    """First second of a UTC day; Invalid outside the years that a question may name."""
    if not YEARS[0] <= day.year <= YEARS[1]:
        raise Invalid(f"day {day} is outside the years {YEARS[0]} to {YEARS[1]}")
    return (day - EPOCH).days * DAY_S


def date_of(start_s: int) -> date:
    """UTC date of a moment."""
    return EPOCH + timedelta(days=start_s // DAY_S)


def ending_within(zone: str, start_s: int) -> list[LocalDay]:
    """Local days of ``zone`` that end within the UTC day from ``start_s``: mostly one, where clocks are moved none or two."""
    found = []
    day = local_date(zone, start_s) - timedelta(days=1)
    while (begin := day_start(zone, day)) < start_s + DAY_S:
        end = day_start(zone, day + timedelta(days=1))
        if begin < end and start_s < end <= start_s + DAY_S:
            found.append(LocalDay((day - EPOCH).days, begin, end))
        day += timedelta(days=1)
    return found
