"""Tariffs: what a unit and a day cost by the clock of the place, and what readings come to, exactly.

Prices are integers of 10**-6 of the currency for a base unit, amounts are milli base units (10**-6 of one), so
money is counted in 10**-12 of the currency and nothing is ever rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from meterlake.intervals import DAY_S
from meterlake.zones import local_to_utc, utc_to_local, zone_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from meterlake.strips import Ints

PRICE: Final = 10**6
"""Parts of a unit of the currency in which prices are kept."""
MONEY: Final = 10**12
"""Parts of a unit of the currency in which money is counted."""
DIGITS: Final = 12
EVER: Final = 1 << 40
"""Days from 1970 to the end of time."""

EVERY_DAY: Final = frozenset(range(7))
"""Weekdays, Monday is 0."""

_THURSDAY: Final = 3
"""Weekday of the first of January 1970."""
UNPRICED: Final = int(np.iinfo(np.int64).min)
"""Stands for no price among prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one channel costs while a clock shows certain days and times."""

    channel: str
    price: int | None = None
    """For a base unit, in `PRICE`; negative where it is paid to the customer."""
    standing: int | None = None
    """For a day, in `PRICE`."""
    days: tuple[int, int] = (-EVER, EVER)
    """Local days since 1970 for which it holds, half open."""
    hours: tuple[tuple[int, int], ...] = ()
    """Local seconds of a day, half open; none: the whole day."""
    weekdays: frozenset[int] = EVERY_DAY


@dataclass(frozen=True, slots=True)
class Tariff:
    """Charges in one currency; of those that fit a moment the last holds."""

    name: str
    currency: str
    charges: tuple[Charge, ...]


class Term(NamedTuple):
    """A tariff that holds at a place for a time (s since 1970 UTC, half open); None: it is not known."""

    start: int
    stop: int
    tariff: Tariff | None


class Slots(NamedTuple):
    """Readings that count, in order of start."""

    start: Ints
    seconds: Ints
    amount: Ints
    estimated: npt.NDArray[np.bool_]

    def where(self, keep: npt.NDArray[np.bool_]) -> Slots:
        """Slots chosen by a mask."""
        return Slots(self.start[keep], self.seconds[keep], self.amount[keep], self.estimated[keep])


class Spent(NamedTuple):
    """What readings of one channel come to."""

    use: int
    """Money in `MONEY` for what was used."""
    estimated: int
    """Part of ``use`` that rests on estimated readings."""
    unpriced: int
    """Milli units for which there is no price, or of readings across which the price changes."""

    def __add__(self, other: Any) -> Spent:
        """Return both together."""
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING: Final = Spent(0, 0, 0)


# -- the clock -------------------------------------------------------------------------------------------


def _moments(charges: Sequence[Charge], zone: str, start: int, stop: int) -> Ints:
    """``start``, and every moment before ``stop`` at which a price can change by the clock of ``zone``."""
    first, last = (int(at) // DAY_S for at in utc_to_local(zone, np.array([start, stop])))
    clock = sorted({0} | {edge for charge in charges for hours in charge.hours for edge in hours})
    if len(clock) == 1 and all(len(charge.weekdays) == len(EVERY_DAY) for charge in charges):
        days = np.array(
            [day for charge in charges for day in charge.days if first <= day <= last + 1], np.int64
        )
    else:
        days = np.arange(first, last + 2)
    local = (days[:, None] * DAY_S + np.array(clock)).reshape(-1)
    once, again, _ = local_to_utc(zone, local)
    moved = zone_table(zone).changes
    found = np.concatenate([once, again, moved[(moved > start) & (moved < stop)]])
    return np.concatenate([[start], np.unique(found[(found > start) & (found < stop)])])


def _holds(charge: Charge, local: Ints) -> npt.NDArray[np.bool_]:
    """Whether a charge fits each local second."""
    day, second = np.divmod(local, DAY_S)
    fits = (day >= charge.days[0]) & (day < charge.days[1])
    if len(charge.weekdays) < len(EVERY_DAY):
        fits &= np.isin((day + _THURSDAY) % 7, list(charge.weekdays))
    if charge.hours:
        fits &= np.any([(second >= low) & (second < high) for low, high in charge.hours], axis=0)
    return fits


def prices(tariff: Tariff, channel: str, zone: str, span: tuple[int, int]) -> tuple[Ints, Ints]:
    """Moments from which each price holds within a span, the first its start, and the prices; the least int for none."""
    charges = [one for one in tariff.charges if one.channel == channel and one.price is not None]
    moments = _moments(charges, zone, *span)
    local = utc_to_local(zone, moments)
    price = np.full(len(moments), UNPRICED)
    for charge in charges:
        price[_holds(charge, local)] = charge.price
    new = np.append(True, price[1:] != price[:-1])
    return moments[new], price[new]


def spent(terms: Sequence[Term], channel: str, zone: str, slots: Slots) -> Spent:
    """What readings cost at the prices of the moments in which they lie, by the clock of ``zone``."""
    total, counted = NOTHING, np.zeros(len(slots.start), bool)
    end = slots.start + slots.seconds
    for term in terms:
        inside = (slots.start >= term.start) & (end <= term.stop) & (term.tariff is not None)
        if term.tariff is not None and inside.any():
            total += _spent(term.tariff, channel, zone, slots.where(inside))
            counted |= inside
    return total + Spent(0, 0, int(slots.amount[~counted].sum()))


def _spent(tariff: Tariff, channel: str, zone: str, slots: Slots) -> Spent:
    last = slots.start + slots.seconds - 1
    moments, price = prices(tariff, channel, zone, (int(slots.start.min()), int(last.max()) + 1))
    at = np.searchsorted(moments, slots.start, "right") - 1
    whole = (np.searchsorted(moments, last, "right") - 1 == at) & (price[at] != UNPRICED)
    use = estimated = 0
    for one in np.unique(price[at[whole]]).tolist():
        same = whole & (price[at] == one)
        use += one * int(slots.amount[same].sum())
        estimated += one * int(slots.amount[same & slots.estimated].sum())
    return Spent(use, estimated, int(slots.amount[~whole].sum()))


def at_one_price(price: int | None, amount: int, estimated: int) -> Spent:
    """What an amount costs, of which ``estimated`` is estimated, where one price holds for it; None: no price."""
    return Spent(0, 0, amount) if price is None else Spent(price * amount, price * estimated, 0)


def standing(terms: Sequence[Term], channel: str, days: Ints, starts: Ints) -> int:
    """Money in `MONEY` that local days (counted since 1970, each with the second at which it starts) come to.

    A day falls due as a whole at its start, so that the sums of two spans are the sum of both together.
    """
    total = 0
    for term in terms:
        due = days[(starts >= term.start) & (starts < term.stop)] * DAY_S
        a_day = np.zeros(len(due), np.int64)
        for charge in () if term.tariff is None else term.tariff.charges:
            if charge.channel == channel and charge.standing is not None:
                a_day[_holds(charge, due)] = charge.standing
        total += int(a_day.sum())
    return total * (MONEY // PRICE)


def local_days(zone: str, start: int, stop: int) -> tuple[Ints, Ints]:
    """Local days, counted since 1970, that start within ``[start, stop)``, and the seconds at which they do."""
    first, last = (int(at) // DAY_S for at in utc_to_local(zone, np.array([start, stop])))
    days = np.arange(first, last + 2)
    starts = local_to_utc(zone, days * DAY_S)[0]
    own = (starts >= start) & (starts < stop)
    own &= np.append(starts[1:] > starts[:-1], True)  # a date that a clock left out never starts
    return days[own], starts[own]


def money_text(money: int) -> str:
    """Write money in `MONEY` in units of the currency, exactly, with two decimals or as many as it takes.

    >>> money_text(12_345_600_000_000), money_text(-5 * 10**11), money_text(1)
    ('12.3456', '-0.50', '0.000000000001')
    """
    whole, rest = divmod(abs(money), MONEY)
    digits = f"{rest:0{DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if money < 0 else ''}{whole}.{digits}"
