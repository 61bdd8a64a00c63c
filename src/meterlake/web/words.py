"""Numbers, moments and money as people write them where they live."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import numpy as np
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal

from meterlake.readings import MILLI
from meterlake.zones import utc_to_local

FALLBACK: Final = "en-GB"
DIGITS: Final = {"W": 0, "L/h": 0}
"""Decimals by unit; others have three figures that count."""


@lru_cache(maxsize=256)
def locale_of(*wanted: str) -> Locale:
    """Return the first of some language tags that is known."""
    for tag in (*wanted, FALLBACK):
        try:
            return Locale.parse(tag, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    raise AssertionError("the last one is known")


def accepted(header: str) -> list[str]:
    """Return the language tags of an Accept-Language header, the first one wanted most."""
    return [part.partition(";")[0].strip() for part in header.split(",") if part.strip()][:8]


def _places(number: Decimal, unit: str) -> int:
    if unit in DIGITS:
        return DIGITS[unit]
    return 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2


def rounded(amount_milli: int, unit: str, locale: Locale) -> str:
    """Write milli base units as people read them: about three figures that count, with the unit."""
    number = Decimal(amount_milli) / MILLI
    places = _places(number, unit)
    pattern = "#,##0." + "#" * places if places else "#,##0"
    return f"{format_decimal(number, pattern, locale=locale)}\u00a0{unit}"


def exactly(amount_milli: int, unit: str, locale: Locale) -> str:
    """Write milli base units with all digits that matter, and the unit."""
    return f"{format_decimal(Decimal(amount_milli) / MILLI, '#,##0.######', locale=locale)}\u00a0{unit}"


def money(text: str, currency: str | None, locale: Locale) -> str:
    """Write an exact amount of money, rounded to what is paid."""
    return format_currency(Decimal(text), currency or "", locale=locale)


def _local(seconds: int, zone: str) -> datetime:
    """Return what a clock in ``zone`` shows, a fixed offset such as UTC+10:00 too, as if it were UTC."""
    return datetime.fromtimestamp(int(utc_to_local(zone, np.array([seconds]))[0]), UTC)


def clock(seconds: int, zone: str, locale: Locale) -> str:
    """Write the time of day in a zone."""
    return format_time(_local(seconds, zone), "short", locale=locale)


def when(seconds: int, zone: str, locale: Locale) -> str:
    """Write a day and time of day in a zone."""
    local = _local(seconds, zone)
    return f"{format_date(local, 'medium', locale=locale)}, {format_time(local, 'short', locale=locale)}"
