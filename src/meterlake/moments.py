"""Moments and calendars as a question names them: text to seconds, and the borders of local days and months.

Everything is seconds since 1970 UTC. A local day starts at the first instant that carries its date, also
where its midnight does not exist; an hour step is cut where the clock is moved.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.zones import local_to_utc, utc_to_local, zone_table

if TYPE_CHECKING:
    from meterlake.strips import Ints

STEPS: Final = ("interval", "15min", "hour", "day", "month")
CLOCK_STEPS: Final = {"15min": HOUR_S // 4, "hour": HOUR_S}
"""Lengths (s) of the steps that a clock shows within a day."""

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_KIND: Final = re.compile(r"([1-9]\d{0,2})([dwmy])")
_EPOCH: Final = date(1970, 1, 1)
YEARS: Final = (1901, 2200)
"""First and last year that a question may name."""

Moment = str | date | datetime


def seconds_of(moment: Moment, zone: str, what: str) -> int:
    """Seconds since 1970 UTC of ``moment``, rounded up to a whole second.

    A date is the start of that day in ``zone``; a time without offset is local to ``zone``.
    """
    if isinstance(moment, str):
        return seconds_of(_parse(moment.strip(), what), zone, what)
    if isinstance(moment, datetime):
        since = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        seconds = since.days * DAY_S + since.seconds + (since.microseconds > 0)
        if moment.tzinfo is None:
            seconds = int(local_to_utc(zone, np.array([seconds]))[0][0])
        year = moment.year
    else:
        year = moment.year
        seconds = day_start(zone, moment) if YEARS[0] <= year <= YEARS[1] else 0
    if not YEARS[0] <= year <= YEARS[1]:
        raise Invalid(f"{what} {moment} is outside the years {YEARS[0]} to {YEARS[1]}")
    return seconds


def _parse(text: str, what: str) -> date | datetime:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{what} {text!r} is no moment: write 2026-01-31 or 2026-01-31T12:00:00Z") from None


@lru_cache(maxsize=65_536)
def text_of(seconds: int, zone: str) -> str:
    """ISO 8601 text of a moment in ``zone``, with ``Z`` for UTC."""
    return texts_of(np.array([seconds]), zone)[0]


def texts_of(seconds: Ints, zone: str) -> list[str]:
    """`text_of` many moments."""
    if zone == "UTC":
        return [text + "Z" for text in np.datetime_as_string(seconds.astype("datetime64[s]")).tolist()]
    local = utc_to_local(zone, seconds)
    texts = np.datetime_as_string(local.astype("datetime64[s]")).tolist()
    shifts = (local - seconds).tolist()
    names = {shift: offset_text(shift) for shift in set(shifts)}
    return [text + names[shift] for text, shift in zip(texts, shifts, strict=True)]


def offset_text(shift: int) -> str:
    """UTC offset of ``shift`` seconds as ISO 8601 writes it."""
    hours, rest = divmod(abs(shift), HOUR_S)
    return f"{'-' if shift < 0 else '+'}{hours:02d}:{rest // 60:02d}"


def arrow_zone(zone: str) -> str:
    """Name of ``zone`` as Arrow knows it: a fixed offset is written ``+10:00`` there."""
    fixed = len(zone_table(zone).changes) == 0 and "/" not in zone
    shift = int(zone_table(zone).offsets[0])
    return zone if not fixed else offset_text(shift) if shift else "UTC"


def _local_day(zone: str, second: int) -> int:
    return int(utc_to_local(zone, np.array([second]))[0]) // DAY_S


def local_date(zone: str, second: int) -> date:
    """Date that a clock in ``zone`` shows at ``second``."""
    return _EPOCH + timedelta(days=_local_day(zone, second))


@lru_cache(maxsize=65_536)
def day_start(zone: str, day: date) -> int:
    """First instant of the local day ``day``, in seconds."""
    return int(_first_instants(zone, np.array([(day - _EPOCH).days]))[0])


def _first_instants(zone: str, days: Ints) -> Ints:
    """First instant of each local day, given as days since 1970."""
    return local_to_utc(zone, days * DAY_S)[0]


def _day_starts(zone: str, start: int, stop: int) -> Ints:
    return _first_instants(zone, np.arange(_local_day(zone, start), _local_day(zone, stop - 1) + 2))


def _month_starts(zone: str, start: int, stop: int) -> Ints:
    first, last = local_date(zone, start), local_date(zone, stop - 1)
    months = np.arange(first.year * 12 + first.month - 1, last.year * 12 + last.month + 1) - 1970 * 12
    return _first_instants(zone, months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64))


def _clock_starts(zone: str, length_s: int, start: int, stop: int) -> Ints:
    """Moments at which a clock in ``zone`` shows a multiple of ``length_s``, and those at which it is moved."""
    changes = zone_table(zone).changes
    changes = changes[(changes > start) & (changes < stop)]
    found = [changes]
    for low, high in pairwise([start, *changes.tolist(), stop]):
        shift = int(utc_to_local(zone, np.array([low]))[0]) - low
        found.append(np.arange(-(-(low + shift) // length_s) * length_s - shift, high, length_s))
    return np.concatenate(found)


def borders(zone: str, step: str, start: int, stop: int) -> Ints:
    """Borders of the steps of ``[start, stop)``: n + 1 seconds from ``start`` to ``stop``, both in.

    ``step`` is 15min, hour, day or month of a clock in ``zone``. The first and last step are cut at the
    bounds, and one in which the clock is moved by a part of it is cut in two.
    """
    if step in CLOCK_STEPS:
        inner = _clock_starts(zone, CLOCK_STEPS[step], start, stop)
    elif step in {"day", "month"}:
        inner = (_day_starts if step == "day" else _month_starts)(zone, start, stop)
    else:
        raise Invalid(f"{step!r} is no step: write one of {', '.join(STEPS)}")
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
