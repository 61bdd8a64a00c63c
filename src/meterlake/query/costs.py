"""What the readings of a service point cost, channel by channel, and how much of it rests on estimates."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.exact import Exact, decimals
from meterlake.moments import text_of
from meterlake.query.answers import Answer, passport_json, unit_of
from meterlake.query.series import REACH_S, ROWS, SLOTS, cells_of, slot_units
from meterlake.query.single import clip, measured, ruler_of, series_within
from meterlake.tariffs import (
    DIGITS,
    NOTHING,
    UNPRICED,
    Slots,
    Spent,
    at_one_price,
    local_days,
    money_text,
    prices,
    spent,
    standing,
)
from meterlake.usage import NO_PASSPORT

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from meterlake.query.series import Series
    from meterlake.query.single import Piece, Span
    from meterlake.query.view import View
    from meterlake.tariffs import Term
    from meterlake.usage import Passport, Units

MONEY_TYPE: Final = pa.decimal128(38, DIGITS)
_MONEY: Final = ("use", "standing", "cost", "estimated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose costs are asked for, and at which prices."""

    id: str
    zone: str
    """Of the answer."""
    clock: str
    """Zone of the place, by whose clock prices hold."""
    terms: Sequence[Term]


class Cost(NamedTuple):
    """What one channel costs."""

    amount: int
    spent: Spent
    standing: int
    passport: Passport

    @property
    def found(self) -> bool:
        """Whether anything was read."""
        return self.passport.filled > 0

    @property
    def whole(self) -> int:
        """Money for what was used and for the days."""
        return self.spent.use + self.standing

    def money(self) -> dict[str, int]:
        """Return every sum of money by its name."""
        values = self.spent.use, self.standing, self.whole, self.spent.estimated
        return dict(zip(_MONEY, values, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Costs(Answer):
    """What a service point costs between two moments; no currency where no tariff is known."""

    asked: Asked
    span: Span
    version: int
    tariffs: tuple[str, ...]
    currency: str | None
    channels: Mapping[str, Cost]

    def of(self, channels: Container[str]) -> Costs:
        """Leave out what is of no channel of ``channels``."""
        kept = {name: cost for name, cost in self.channels.items() if name in channels}
        return replace(self, channels=kept)

    def to_json(self) -> dict[str, Any]:
        """Return sums and channels; money is text, because it has more digits than numbers in JSON keep."""
        known, zone = self.currency is not None, self.asked.zone
        sums = [cost.money() for cost in self.channels.values()]
        return {
            "id": self.asked.id,
            "zone": zone,
            "from": text_of(self.span[0], zone),
            "to": text_of(self.span[1], zone),
            "version": self.version,
            "tariffs": list(self.tariffs),
            "currency": self.currency,
            **{name: money_text(sum(one[name] for one in sums)) if known else None for name in _MONEY},
            "channels": {name: self._channel(name, cost) for name, cost in self.channels.items()},
        }

    def _channel(self, name: str, cost: Cost) -> dict[str, Any]:
        known = self.currency is not None
        return {
            "unit": unit_of(name),
            "value": Exact(cost.amount) if cost.found else None,
            **{key: money_text(money) if known else None for key, money in cost.money().items()},
            "unpriced": Exact(cost.spent.unpriced),
            "passport": passport_json(cost.passport),
        }

    def to_arrow(self) -> pa.Table:
        """Return a row a channel."""
        costs = list(self.channels.values())
        filled = np.array([cost.passport.filled for cost in costs], np.int64)
        amounts = np.array([cost.amount for cost in costs], np.int64)
        known = self.currency is not None
        money = {
            name: pa.array([_decimal(cost.money()[name]) if known else None for cost in costs], MONEY_TYPE)
            for name in _MONEY
        }
        return pa.table(
            {
                "id": pa.repeat(self.asked.id, len(costs)),
                "channel": pa.array(list(self.channels), pa.string()),
                "unit": pa.array([unit_of(name) for name in self.channels], pa.string()),
                "value": decimals(amounts, filled > 0),
                "currency": pa.array([self.currency] * len(costs), pa.string()),
                **money,
                "unpriced": decimals(np.array([cost.spent.unpriced for cost in costs], np.int64)),
                "filled": pa.array(filled),
                "expected": pa.array([cost.passport.expected for cost in costs], pa.int64()),
            }
        )


def _decimal(money: int) -> Any:
    from decimal import Decimal

    return Decimal(money_text(money))


def costs(view: View, pieces: Sequence[Piece], asked: Asked, spans: Mapping[str, Span]) -> dict[str, Costs]:
    """What ``pieces`` cost in each of some spans by name, every reading that counts once.

    Raises:
        Invalid: there are two currencies in a span.

    """
    window = min(start for start, _ in spans.values()), max(stop for _, stop in spans.values())
    flat = _flat(asked, window)
    found: defaultdict[str, list[_Part]] = defaultdict(list)
    for piece, series in series_within(view, pieces, window, SLOTS if flat is None else ROWS):
        found[series.channel].append(_Part(piece, series, spans))
    return {
        name: Costs(
            asked=asked, span=span, version=view.version, **_tariffs(asked.terms, span),
            channels={
                channel: _cost([part.within(name) for part in parts], channel, asked, flat)
                for channel, parts in sorted(found.items())
            },
        )
        for name, span in spans.items()
    }  # fmt: skip


def _tariffs(terms: Sequence[Term], span: Span) -> dict[str, Any]:
    """Names of the tariffs that hold in a span, and their currency."""
    known = [one.tariff for one in terms if one.tariff and one.start < span[1] and span[0] < one.stop]
    currencies = sorted({tariff.currency for tariff in known})
    if len(currencies) > 1:
        raise Invalid(f"there are prices in {' and '.join(currencies)} in this time; ask for a part of it")
    names = dict.fromkeys(tariff.name for tariff in known)
    return {"tariffs": tuple(names), "currency": currencies[0] if currencies else None}


def _flat(asked: Asked, span: Span) -> dict[str, int | None] | None:
    """Prices by channel where each has one, or none, for all readings that begin in a span; else None."""
    stop = span[1] + REACH_S
    terms = [term for term in asked.terms if term.start < stop and span[0] < term.stop]
    if not any(term.tariff for term in terms):
        return {}
    one = terms[0]
    if one.tariff is None or len(terms) > 1 or one.start > span[0] or stop > one.stop:
        return None
    found: dict[str, int | None] = {}
    for channel in {charge.channel for charge in one.tariff.charges}:
        _, price = prices(one.tariff, channel, asked.clock, (span[0], stop))
        if len(price) > 1:
            return None
        found[channel] = None if price[0] == UNPRICED else int(price[0])
    return found


class _Within(NamedTuple):
    """What one series has in one span."""

    span: Span
    amount: int
    passport: Passport
    guessed: int
    """Of the amount, what is estimated."""
    units: Units


class _Part:
    """One series of a meter while it was there, measured at the ends of some spans."""

    def __init__(self, piece: Piece, series: Series, spans: Mapping[str, Span]) -> None:
        self._series = series
        own = {name: clip(span, *piece.span) for name, span in spans.items()}
        self._spans = {name: span for name, span in own.items() if span is not None}
        edges = [edge for span in self._spans.values() for edge in span]
        self._ruler, self._clips = ruler_of(series, piece, np.array(edges))

    def within(self, name: str) -> _Within | None:
        """Return what it has in a span; None where it was not there."""
        span = self._spans.get(name)
        if span is None:
            return None
        ((amount, passport),) = measured(self._ruler, self._clips, [span])
        guessed = self._guessed(*span) if passport.estimated else 0
        return _Within(span, amount, passport, guessed, self._series.units)

    def _guessed(self, start: int, stop: int) -> int:
        """Amount that is estimated of the slots that begin in a span."""
        units, held = self._series.units, self._series.held
        inside = (units.first < stop) & (units.first + units.slots * units.interval > start)
        chosen = np.flatnonzero(inside & (units.counts[:, 3] > 0))
        if held is not None and len(chosen):
            cells = cells_of(self._series.view, self._series.meter, held.where(chosen), arrivals=False)
            units = slot_units(cells.where(cells.filled))
        own = (units.first >= start) & (units.first < stop) & (units.counts[:, 3] > 0)
        return int(units.counts[own, 0].sum())


def _cost(
    parts: Sequence[_Within | None], channel: str, asked: Asked, flat: Mapping[str, int | None] | None
) -> Cost:
    amount, total, passport, days = 0, NOTHING, NO_PASSPORT, []
    for part in parts:
        if part is not None:
            amount += part.amount
            passport += part.passport
            days.append(local_days(asked.clock, *part.span))
            if flat is None:
                total += spent(asked.terms, channel, asked.clock, _slots(part))
            else:
                total += at_one_price(flat.get(channel), part.amount, part.guessed)
    due = 0
    if days:
        each, first = np.unique(np.concatenate([day for day, _ in days]), return_index=True)
        due = standing(asked.terms, channel, each, np.concatenate([start for _, start in days])[first])
    return Cost(amount, total, due, passport)


def _slots(part: _Within) -> Slots:
    units, (start, stop) = part.units, part.span
    own = (units.first >= start) & (units.first < stop)
    counts = units.counts[own]
    return Slots(units.first[own], units.interval[own], counts[:, 0], counts[:, 3] > 0)
