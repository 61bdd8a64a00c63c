"""Moments and calendars as a question names them: text to seconds, and the borders of local days and months.

Everything is seconds since 1970 UTC. A local day starts at the first instant that carries its date, also
where its midnight does not exist; an hour step is cut where the clock is moved.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.strips import Ints

STEPS: Final = ("interval", "hour", "day", "month")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_KIND: Final = re.compile(r"([1-9]\d{0,2})([dwmy])")
_EPOCH: Final = date(1970, 1, 1)
YEARS: Final = (1901, 2200)
"""First and last year that a question may name."""

Moment = str | date | datetime


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the time zone ``name``; Invalid where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid(f"{name!r} is no time zone: write an IANA name such as Europe/London or UTC") from None


def seconds_of(moment: Moment, zone: str, what: str) -> int:
    """Seconds since 1970 UTC of ``moment``, rounded up to a whole second.

    A date is the start of that day in ``zone``; a time without offset is local to ``zone``.
    """
    if isinstance(moment, str):
        moment = _parse(moment.strip(), what)
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone_of(zone))
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        seconds = since.days * DAY_S + since.seconds + (since.microseconds > 0)
        year = moment.year
    else:
        year = moment.year
        seconds = day_start(zone, moment) if YEARS[0] <= year <= YEARS[1] else 0
    if not YEARS[0] <= year <= YEARS[1]:
        raise Invalid(f"{what} {moment} is outside the years {YEARS[0]} to {YEARS[1]}")
    return seconds


def _parse(text: str, what: str) -> Moment:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{what} {text!r} is no moment: write 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None


def text_of(seconds: int, zone: str) -> str:
    """ISO 8601 text of a moment in ``zone``, with ``Z`` for UTC."""
    text = datetime.fromtimestamp(seconds, zone_of(zone)).isoformat()
    return text.replace("+00:00", "Z") if zone == "UTC" else text


def texts_of(seconds: Ints, zone: str) -> list[str]:
    """`text_of` many moments."""
    return [text_of(second, zone) for second in seconds.tolist()]


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Moments of ``year`` (UTC) at which the offset changes, each with its new offset in seconds."""
    if zone == "UTC":
        return ()
    info = zone_of(zone)

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, info).utcoffset()
        return 0 if shift is None else shift.days * DAY_S + shift.seconds

    first = (date(year, 1, 1) - _EPOCH).days * DAY_S
    last = (date(year + 1, 1, 1) - _EPOCH).days * DAY_S
    found = []
    before = offset(first - 1)
    for day in range(first, last, DAY_S):
        after = offset(day + DAY_S - 1)
        low, high = day - 1, day + DAY_S - 1
        if after != before:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            found.append((high, after))
        before = after
    return tuple(found)


@lru_cache(maxsize=4096)
def _regimes(zone: str, first_year: int, last_year: int) -> tuple[Ints, Ints, Ints]:
    """Spans of one UTC offset over some years: since, until, offset, all in seconds."""
    since = [(date(first_year, 1, 1) - _EPOCH).days * DAY_S - 2 * DAY_S]
    shift = datetime.fromtimestamp(since[0], zone_of(zone)).utcoffset() or timedelta()
    offsets = [shift.days * DAY_S + shift.seconds]
    for year in range(first_year - 1, last_year + 1):
        for moment, offset in _changes(zone, year):
            if moment > since[0]:
                since.append(moment)
                offsets.append(offset)
    until = [*since[1:], (date(last_year + 1, 1, 1) - _EPOCH).days * DAY_S + 2 * DAY_S]
    return np.array(since), np.array(until), np.array(offsets)


def _regimes_of(zone: str, start: int, stop: int) -> tuple[Ints, Ints, Ints]:
    first = datetime.fromtimestamp(start - DAY_S, UTC).year
    last = datetime.fromtimestamp(stop + DAY_S, UTC).year
    return _regimes(zone, first, last)


def _first_instants(zone: str, days: Ints) -> Ints:
    """First instant of each local day, given as days since 1970."""
    local = days * DAY_S
    since, until, offset = _regimes_of(zone, int(local[0]), int(local[-1]))
    instants = np.maximum(since[:, None], local[None, :] - offset[:, None])
    outside = np.iinfo(np.int64).max
    starts: Ints = np.where(instants < until[:, None], instants, outside).min(axis=0)
    return starts


def day_start(zone: str, day: date) -> int:
    """First instant of the local day ``day``, in seconds."""
    return int(_first_instants(zone, np.array([(day - _EPOCH).days]))[0])


def local_date(zone: str, second: int) -> date:
    """Date that a clock in ``zone`` shows at ``second``."""
    return datetime.fromtimestamp(second, zone_of(zone)).date()


def day_starts(zone: str, start: int, stop: int) -> Ints:
    """First instants of the local days that touch ``[start, stop)``, and of the day after them."""
    first = (local_date(zone, start) - _EPOCH).days
    last = (local_date(zone, stop - 1) - _EPOCH).days
    return _first_instants(zone, np.arange(first, last + 2))


def _month_starts(zone: str, start: int, stop: int) -> Ints:
    first, last = local_date(zone, start), local_date(zone, stop - 1)
    months = np.arange(first.year * 12 + first.month - 1, last.year * 12 + last.month + 1) - 1970 * 12
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return _first_instants(zone, days)


def _hour_starts(zone: str, start: int, stop: int) -> Ints:
    since, until, offset = _regimes_of(zone, start, stop)
    found = [np.array([stop])]
    for low, high, shift in zip(since.tolist(), until.tolist(), offset.tolist(), strict=True):
        low, high = max(low, start - HOUR_S), min(high, stop)  # noqa: PLW2901 - clipped to the question
        if low < high:
            first = -(-(low + shift) // HOUR_S) * HOUR_S - shift
            found += [np.array([low]), np.arange(first, high, HOUR_S)]
    return np.unique(np.concatenate(found))


def borders(zone: str, step: str, start: int, stop: int) -> Ints:
    """Borders of the steps of ``[start, stop)``: n + 1 seconds from ``start`` to ``stop``, both in.

    ``step`` is hour, day or month of a clock in ``zone``. The first and last step are cut at the bounds,
    and an hour in which the clock is moved by less than an hour is cut in two.
    """
    make = {"hour": _hour_starts, "day": day_starts, "month": _month_starts}.get(step)
    if make is None:
        raise Invalid(f"{step!r} is no step: write one of {', '.join(STEPS)}")
    inner = make(zone, start, stop)
    inner = np.unique(inner[(inner > start) & (inner < stop)])
    return np.concatenate([[start], inner, [stop]])


def back(day: date, kind: str) -> date:
    """Date one ``kind`` (``1w``, ``3m``, ``1y``, ``10d``) before ``day``, clipped to the month's end.

    >>> back(date(2026, 3, 31), "1m")
    datetime.date(2026, 2, 28)
    """
    match = _KIND.fullmatch(kind)
    if not match:
        raise Invalid(f"{kind!r} is no range: write a number and d, w, m or y, such as 1w or 3m")
    count, unit = int(match[1]), match[2]
    if unit in "dw":
        return day - timedelta(days=count * (7 if unit == "w" else 1))
    year, month = divmod(day.year * 12 + day.month - 1 - count * (12 if unit == "y" else 1), 12)
    last = (date(year + month // 11, (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))
