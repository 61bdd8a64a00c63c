"""First figures of a customer's page: what flows now, what today came to, and what it cost so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meterlake.api.held import now_there, second
from meterlake.errors import Invalid, NotFound
from meterlake.intervals import HOUR_S
from meterlake.moments import day_start, local_date
from meterlake.query.answers import unit_of
from meterlake.query.places import ALWAYS
from meterlake.readings import MILLI
from meterlake.tariffs import Term, money_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from meterlake.api.held import Span
    from meterlake.api.served import Served
    from meterlake.query.costs import Cost, Costs
    from meterlake.tariff_file import TariffBook

UTILITIES: Final = ("electricity", "gas", "water")
RATES: Final = {"kWh": ("kW", "W"), "m³": ("m³/h", "L/h")}
"""What flows in an hour, by the unit of the amount: its unit, and that of a thousandth for what is below 1."""
FRESH_SLOTS: Final = 3
"""What was measured longer than so many of its intervals ago is not now any more."""
FRESH_S: Final = 120

_LATEST: Final = ["channel", "interval_s", "start", "amount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A service point as its customer knows it."""

    id: str
    class_: str | None
    zone: str
    within: tuple[Span, ...]
    since: int | None
    """First second for which it is theirs; None: for ever."""
    until: int | None
    """Second at which it was theirs no more; None: it still is, and no end is known."""
    channels: tuple[str, ...]
    """Of the meters that were there in their time."""

    @property
    def ended(self) -> bool:
        """Whether it is theirs no more."""
        return self.until is not None and self.until <= time.time()

    @property
    def utilities(self) -> list[str]:
        """Electricity, gas and water, those that there are."""
        known = {channel.partition(".")[0] for channel in self.channels}
        return [name for name in UTILITIES if name in known]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What flowed in the newest interval, in milli of its unit; negative where more went out than in."""

    rate: int
    unit: str
    at: int
    """End of the interval."""
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One utility."""

    name: str
    unit: str
    now: Flow | None
    today: int | None
    exported: int | None
    """Of today; None where nothing is exported here."""
    estimated: bool
    """Whether a part of today is estimated."""
    cost: str | None
    """Of today, exact money; None where no tariff is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All cards, and what they are reckoned in."""

    cards: tuple[Card, ...]
    currency: str | None
    day: date
    now: int


def home_of(served: Served, id_: str, within: tuple[Span, ...]) -> Home | None:
    """Return a service point for the time for which it is the customer's; None where nothing is known of it then."""
    found = served.roster.lists().held_point(id_, within)
    stays = served.node.lake.registry.installations(id_).select(
        ["service_point_id", "channels", "from", "to"]
    )
    told: dict[str, None] = {}
    for stay in stays.to_pylist():
        span = second(stay["from"], ALWAYS[0]), second(stay["to"], ALWAYS[1])
        if stay["service_point_id"] == id_ and any(
            span[0] < stop and start < span[1] for start, stop in within
        ):
            told |= dict.fromkeys((stay["channels"] or "").split(";"))
    if found is None:
        return None
    return Home(
        id=id_, class_=found["class"], zone=found["zone"] or "UTC", within=within,
        since=None if found["from"] is None else second(found["from"], 0),
        until=None if found["to"] is None else second(found["to"], 0),
        channels=tuple(name for name in told if name),
    )  # fmt: skip


def figures_of(served: Served, book: TariffBook, home: Home, now: int) -> Figures:
    """Return what the cards show at the second ``now``."""
    day = local_date(home.zone, now)
    try:
        known = book.tariffs()[0]
    except Invalid:  # the route that says what things cost tells of it
        known = {}
    rows = served.roster.lists().terms(home.id)
    terms = [
        Term(second(row["from"], ALWAYS[0]), second(row["to"], ALWAYS[1]), known.get(row["tariff"] or ""))
        for row in rows
    ]
    begin = day_start(home.zone, day)
    today = _costs(served, home, terms, (begin, max(now, begin + 1)))
    flows = {} if home.ended else _flows(served, home, now)
    channels = {*home.channels, *(() if today is None else today.channels)}
    names = [name for name in UTILITIES if any(one.partition(".")[0] == name for one in channels)]
    cards = tuple(_card(name, today, flows, exports=f"{name}.export" in channels) for name in names)
    return Figures(cards=cards, currency=None if today is None else today.currency, day=day, now=now)


def _costs(served: Served, home: Home, terms: Sequence[Term], span: Span) -> Costs | None:
    """Return what was used and cost in a span; None where nothing is known of it."""
    try:
        found = served.node.lake.costs(home.id, {"": span}, terms=terms, zone=home.zone, within=home.within)
    except (NotFound, Invalid):
        return None
    return found[""]


def _flows(served: Served, home: Home, now: int) -> dict[str, Flow]:
    """Return what flows by utility; what is exported counts against it."""
    newest: dict[str, dict[str, Any]] = {}
    for meter, since in now_there(served.node.lake.registry, home.id, home.within, now):
        stands = served.node.live.meter(meter, now)
        for row in [] if stands is None else stands.select(_LATEST).to_pylist():
            known = newest.get(row["channel"])
            if row["start"] < since or (known is not None and known["start"] > row["start"]):
                continue
            same = known is not None and (known["start"], known["interval_s"]) == (
                row["start"],
                row["interval_s"],
            )
            amount = known["amount"] if known is not None and same else 0
            newest[row["channel"]] = row | {"amount": row["amount"] + amount}
    found = {}
    for name in UTILITIES:
        taken = newest.get(f"{name}.import")
        if taken is not None:
            found[name] = _flow(taken, newest.get(f"{name}.export"), now)
    return found


def _flow(taken: dict[str, Any], given: dict[str, Any] | None, now: int) -> Flow:
    length = taken["interval_s"]
    amount = taken["amount"]
    if given is not None and (given["start"], given["interval_s"]) == (taken["start"], length):
        amount -= given["amount"]
    rate = amount * HOUR_S // length
    large, small = RATES[unit_of(taken["channel"])]
    unit, rate = (small, rate * 1000) if abs(rate) < MILLI else (large, rate)
    at = taken["start"] + length
    return Flow(rate=rate, unit=unit, at=at, stale=now - at > max(FRESH_SLOTS * length, FRESH_S))


def _card(name: str, today: Costs | None, flows: Mapping[str, Flow], *, exports: bool) -> Card:
    own = {} if today is None else _own(name, today)
    taken = [cost for channel, cost in own.items() if channel.startswith(f"{name}.import")]
    given = own.get(f"{name}.export")
    priced = today is not None and today.currency is not None
    return Card(
        name=name,
        unit=unit_of(f"{name}.import"),
        now=flows.get(name),
        today=sum(cost.amount for cost in taken) if any(cost.found for cost in taken) else None,
        exported=(given.amount if given is not None else 0) if exports else None,
        estimated=any(cost.passport.estimated > 0 for cost in own.values()),
        cost=money_text(sum(cost.whole for cost in own.values())) if priced else None,
    )


def _own(name: str, costs: Costs) -> dict[str, Cost]:
    return {channel: cost for channel, cost in costs.channels.items() if channel.partition(".")[0] == name}
