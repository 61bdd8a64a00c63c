"""Tariffs as text: ``tariffs.toml`` in the lake's folder.

A tariff is a table of it, named as service points name it::

[standard]
currency = "GBP"

[[standard.charge]]
channel = "electricity.import"
price = "0.2456"
standing = "0.5310"
"""

from __future__ import annotations

import re
import time
import tomllib
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.readings import channel_family
from meterlake.tariffs import EVER, EVERY_DAY, PRICE, Charge, Tariff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.ports import Store

FILE: Final = "tariffs.toml"
LOOK_S: Final = 0.2
"""Whether the file has changed is looked at no more often."""
MOST: Final = 10**6
"""No price is above this."""
KEYS: Final = ("channel", "price", "standing", "from", "to", "hours", "weekdays")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_EPOCH: Final = date(1970, 1, 1)
_PART: Final = 1 / Decimal(PRICE)


def read_tariffs(text: str, where: str = FILE) -> dict[str, Tariff]:
    """Tariffs by name.

    Raises:
        Invalid: the text is no TOML, or a charge in it cannot be understood.

    """
    try:
        told = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{where}: {error}") from error
    return {name: _tariff(name, one, where) for name, one in told.items()}


def _tariff(name: str, told: Any, where: str) -> Tariff:
    if not isinstance(told, dict):
        raise Invalid(f"{where}: {name!r} stands outside a tariff; put it under a line [NAME]")
    here = f"{where}: tariff {name!r}"
    unknown = sorted(set(told) - {"currency", "charge"})
    if unknown:
        raise Invalid(f"{here} has an unknown key {unknown[0]!r}; keys are currency and charge")
    currency, charges = told.get("currency"), told.get("charge", [])
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise Invalid(f"{here} has the currency {currency!r}: write three letters, such as GBP")
    if not isinstance(charges, list) or not all(isinstance(one, dict) for one in charges):
        raise Invalid(f"{here}: write each charge under a line [[{name}.charge]]")
    made = tuple(_charge(one, f"{here}, charge {at}") for at, one in enumerate(charges, 1))
    return Tariff(name, currency, made)


def _charge(told: Mapping[str, Any], where: str) -> Charge:
    unknown = sorted(set(told) - set(KEYS))
    if unknown:
        raise Invalid(f"{where} has an unknown key {unknown[0]!r}; keys are {', '.join(KEYS)}")
    channel = told.get("channel")
    if not isinstance(channel, str) or channel_family(channel) is None:
        raise Invalid(f"{where}: channel {channel!r}: write one such as electricity.import")
    price, daily = _price(told, "price", where), _price(told, "standing", where)
    if price is None and daily is None:
        raise Invalid(f"{where} costs nothing: write a price, a standing, or both")
    if daily is not None and ("hours" in told or "weekdays" in told):
        raise Invalid(
            f"{where}: a standing is for whole days; put it into a charge without hours and weekdays"
        )
    return Charge(
        channel=channel, price=price, standing=daily, days=_days(told, where),
        hours=_hours(told.get("hours"), where), weekdays=_weekdays(told.get("weekdays"), where),
    )  # fmt: skip


def _price(told: Mapping[str, Any], key: str, where: str) -> int | None:
    value = told.get(key)
    if value is None:
        return None
    try:
        plain = isinstance(value, str | int | Decimal) and not isinstance(value, bool)
        price = Decimal(value if plain else "nan")
    except InvalidOperation:
        price = Decimal("nan")
    if not price.is_finite() or abs(price) > MOST or price != price.quantize(_PART):
        raise Invalid(f'{where}: {key} {value!r}: write a number with at most six decimals, such as "0.2456"')
    return int(price * PRICE)


def _days(told: Mapping[str, Any], where: str) -> tuple[int, int]:
    first, last = (_day(told.get(key), key, where) for key in ("from", "to"))
    days = (-EVER if first is None else first, EVER if last is None else last)
    if days[0] >= days[1]:
        raise Invalid(f"{where}: from is not before to; the end is exclusive")
    return days


def _day(value: Any, key: str, where: str) -> int | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise Invalid(f"{where}: {key} {value!r}: write a date, such as 2026-04-01")
    return (day - _EPOCH).days


def _words(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [word.strip().lower() for one in listed for word in str(one).split(",")]


def _hours(value: Any, where: str) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for word in [] if value is None else _words(value):
        match = _HOURS.fullmatch(word)
        low, high = (int(match[n]) * HOUR_S + int(match[n + 1]) * 60 for n in (1, 3)) if match else (0, 0)
        if low == high or high > DAY_S:
            raise Invalid(f"{where}: hours {word!r}: write the clock, such as 16:00-19:00 or 22:00-06:00")
        found += [(low, high)] if low < high else [(low, DAY_S), (0, high)]
    return tuple(one for one in found if one[0] < one[1])


def _weekdays(value: Any, where: str) -> frozenset[int]:
    if value is None:
        return EVERY_DAY
    found: set[int] = set()
    for word in _words(value):
        ends = [WEEKDAYS.index(day) if day in WEEKDAYS else -1 for day in word.split("-")]
        if len(ends) > 2 or min(ends) < 0:
            raise Invalid(f"{where}: weekdays {word!r}: write days such as mon-fri or sat,sun")
        for low, high in pairwise(ends * 2 if len(ends) == 1 else ends):
            found |= {(low + step) % 7 for step in range((high - low) % 7 + 1)}
    return frozenset(found)


class TariffBook:
    """The tariffs of one lake, read anew when their file has changed. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        """Read the file in ``store``."""
        self._store = store
        self._lock = Lock()
        self._looked_s = -LOOK_S
        self._mark: str | None = None
        self._held: dict[str, Tariff] = {}

    def tariffs(self) -> tuple[Mapping[str, Tariff], object]:
        """Return the tariffs of now by name, and a mark that changes with them.

        Raises:
            Invalid: a charge in the file cannot be understood.

        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked_s >= LOOK_S:
                found = self._store.read(FILE)
                text, mark = ("", None) if found is None else (found[0].decode(), found[1])
                if mark != self._mark:
                    self._held, self._mark = read_tariffs(text, f"{self._store.url}/{FILE}"), mark
                self._looked_s = now
            return self._held, self._mark
