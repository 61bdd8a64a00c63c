"""What readings cost, against a reckoning minute by minute in plain decimals."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meterlake.adapters.store_folder import FolderStore
from meterlake.adapters.store_memory import MemoryStore
from meterlake.errors import Invalid
from meterlake.tariff_file import WEEKDAYS, TariffBook, read_tariffs
from meterlake.tariffs import (
    MONEY,
    Charge,
    Slots,
    Tariff,
    Term,
    local_days,
    money_text,
    spent,
    standing,
)

ALWAYS = (-(1 << 60), 1 << 60)
CHANNEL = "electricity.import"
ZONES = ["UTC", "Europe/London", "America/Santiago", "Australia/Lord_Howe"]
TURNS = [
    datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 9, 6, tzinfo=UTC),
    datetime(2026, 4, 5, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC),
]  # fmt: skip
"""Days about which the clocks of the zones are moved, and one on which none is."""


def day_of(moment):
    return (moment - date(1970, 1, 1)).days


@st.composite
def charges(draw):
    def hours():
        low, high = sorted(draw(st.tuples(st.integers(0, 48), st.integers(0, 48))))
        return ((low * 1800, high * 1800),) if low < high else ()

    first = day_of(date(2026, 6, 1)) if draw(st.booleans()) else -(1 << 40)
    return Charge(
        channel=draw(st.sampled_from([CHANNEL, CHANNEL, "gas.import"])),
        price=draw(st.none() | st.integers(-(10**6), 10**9)),
        standing=draw(st.none() | st.integers(0, 10**7)),
        days=(first, 1 << 40),
        hours=hours(),
        weekdays=frozenset(draw(st.sets(st.integers(0, 6), min_size=4))),
    )


def plain_price(tariff, local):
    """Price that a clock's time has: that of the last charge that fits."""
    found = None
    for one in tariff.charges:
        second = local.hour * 3600 + local.minute * 60
        fits = one.days[0] <= day_of(local.date()) < one.days[1] and local.weekday() in one.weekdays
        timely = not one.hours or any(low <= second < high for low, high in one.hours)
        if one.channel == CHANNEL and one.price is not None and fits and timely:
            found = Decimal(one.price) / 10**6
    return found


def plain(tariff, zone, rows):
    """Use, estimated part and unpriced amount, minute by minute."""
    use = estimated = unpriced = Decimal(0)
    for start, seconds, amount, guess in rows:
        minutes = range(start, start + seconds, 60)
        prices = {plain_price(tariff, datetime.fromtimestamp(at, ZoneInfo(zone))) for at in minutes}
        value = Decimal(amount) / 10**6
        if len(prices) > 1 or None in prices:
            unpriced += value
        else:
            use += value * next(iter(prices))
            estimated += value * next(iter(prices)) if guess else 0
    return use, estimated, unpriced


@st.composite
def readings(draw):
    length = draw(st.sampled_from([900, 1800, 3600, 10_800]))
    first = int(draw(st.sampled_from(TURNS)).timestamp()) - draw(st.integers(0, 20)) * 3600
    n = draw(st.integers(1, 30))
    amounts = draw(st.lists(st.integers(-(10**7), 10**13), min_size=n, max_size=n))
    guesses = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return [(first + at * length, length, *row) for at, row in enumerate(zip(amounts, guesses, strict=True))]


def slots_of(rows):
    start, seconds, amount, guess = (np.array(column) for column in zip(*rows, strict=True))
    return Slots(start, seconds, amount, guess)


@settings(max_examples=60)
@given(st.lists(charges(), max_size=4), readings(), st.sampled_from(ZONES))
def test_money_is_that_of_a_reckoning_by_hand(told, rows, zone):
    tariff = Tariff("t", "GBP", tuple(told))
    found = spent([Term(*ALWAYS, tariff)], CHANNEL, zone, slots_of(rows))
    assert (
        Decimal(money_text(found.use)),
        Decimal(money_text(found.estimated)),
        Decimal(found.unpriced) / 10**6,
    ) == plain(tariff, zone, rows)


@settings(max_examples=60)
@given(st.lists(charges(), max_size=3), readings(), st.sampled_from(ZONES), st.integers(0, 30))
def test_costs_of_parts_add_up_and_a_term_ends_where_the_next_begins(told, rows, zone, cut):
    assume(cut < len(rows))
    tariff, other = Tariff("t", "GBP", tuple(told)), Tariff("u", "GBP", tuple(reversed(told)))
    at = rows[cut][0]
    terms = [Term(ALWAYS[0], at, tariff), Term(at, ALWAYS[1], other)]
    whole = spent(terms, CHANNEL, zone, slots_of(rows))
    parts = [
        spent([Term(*ALWAYS, one)], CHANNEL, zone, slots_of(some))
        for one, some in ((tariff, rows[:cut]), (other, rows[cut:]))
        if some
    ]
    assert whole == tuple(sum(values) for values in zip(*parts, strict=True))


@settings(max_examples=40)
@given(st.sampled_from([*ZONES, "Pacific/Apia"]), st.sampled_from([*TURNS, datetime(2011, 12, 30, tzinfo=UTC)]),
       st.integers(-40, 40), st.integers(0, 60), st.integers(0, 60))  # fmt: skip
def test_a_day_falls_due_where_it_starts(zone, turn, shift, first, second):
    start = int(turn.timestamp()) + shift * 1800
    stop = start + (first + second) * 3600
    days, starts = local_days(zone, start, stop)
    dates = [
        datetime.fromtimestamp(at, ZoneInfo(zone)).date() for at in range(start - 86_400 * 2, stop, 1800)
    ]
    plain = {}
    for at, day in zip(range(start - 86_400 * 2, stop, 1800), dates, strict=True):
        plain.setdefault(day, at)
    expected = {day_of(day): at for day, at in plain.items() if start <= at < stop}
    assert dict(zip(days.tolist(), starts.tolist(), strict=True)) == expected
    cut = start + first * 3600
    terms = [Term(*ALWAYS, Tariff("t", "GBP", (Charge(channel=CHANNEL, standing=531_000),)))]
    due = [standing(terms, CHANNEL, *local_days(zone, *span)) for span in ((start, cut), (cut, stop)) if span]
    assert sum(due) == standing(terms, CHANNEL, days, starts) == len(days) * 531_000 * 10**6


def test_readings_outside_every_term_have_no_price():
    rows = [(0, 1800, 5, False), (1800, 1800, 7, False)]
    free = Tariff("t", "GBP", (Charge(channel=CHANNEL, price=2),))
    assert spent([Term(0, 1800, free), Term(1800, 3600, None)], CHANNEL, "UTC", slots_of(rows)) == (10, 0, 7)
    assert spent([Term(0, 900, free)], CHANNEL, "UTC", slots_of(rows)).unpriced == 12
    assert spent([], CHANNEL, "UTC", slots_of(rows)) == (0, 0, 12)


@given(st.integers(-(10**24), 10**24))
def test_money_is_written_digit_by_digit(money):
    text = money_text(money)
    assert Decimal(text) * MONEY == money
    assert len(text.partition(".")[2]) >= 2


TEXT = """
[night]
currency = "EUR"

[[night.charge]]
channel = "electricity.import"
price = 0.3
standing = "0.25"

[[night.charge]]
channel = "electricity.import"
price = "0.1"
hours = "22:30-06:00, 12:00-13:00"
weekdays = "fri-mon, wed"
from = 2026-04-01
to = "2027-04-01"
"""


def test_every_key_of_the_file_is_read():
    tariff = read_tariffs(TEXT)["night"]
    assert (tariff.name, tariff.currency) == ("night", "EUR")
    day, night = tariff.charges
    assert (day.price, day.standing, day.hours) == (300_000, 250_000, ())
    assert night.hours == ((81_000, 86_400), (0, 21_600), (43_200, 46_800))
    assert {WEEKDAYS[at] for at in night.weekdays} == {"fri", "sat", "sun", "mon", "wed"}
    assert night.days == (day_of(date(2026, 4, 1)), day_of(date(2027, 4, 1)))
    assert (night.price, night.standing) == (100_000, None)


CHARGE = '[a]\ncurrency = "GBP"\n[[a.charge]]\nchannel = "gas.import"\n'
WRONG = {
    "=": "tariffs.toml",
    "a = 1": "outside a tariff",
    "[a]": "three letters",
    '[a]\ncurrency = "pounds"': "three letters",
    '[a]\ncurrency = "GBP"\nprice = 1': "unknown key 'price'",
    '[a]\ncurrency = "GBP"\ncharge = 1': r"\[\[a.charge\]\]",
    CHARGE: "costs nothing",
    CHARGE.replace("gas.import", "steam") + "price = 1": "channel 'steam'",
    CHARGE + 'price = "0.1234567"': "six decimals",
    CHARGE + 'price = "nan"': "six decimals",
    CHARGE + "price = true": "six decimals",
    CHARGE + 'price = "1e9"': "six decimals",
    CHARGE + "price = [1]": "six decimals",
    CHARGE + "prise = 1": "unknown key 'prise'",
    CHARGE + 'price = 1\nhours = "7-8"': "hours '7-8'",
    CHARGE + 'price = 1\nhours = "07:00-24:30"': "hours",
    CHARGE + 'price = 1\nweekdays = "mon-fri-sun"': "weekdays",
    CHARGE + 'price = 1\nweekdays = "Montag"': "weekdays",
    CHARGE + 'price = 1\nfrom = "soon"': "from 'soon'",
    CHARGE + "price = 1\nfrom = 2026-01-01T00:00:00Z": "write a date",
    CHARGE + "price = 1\nfrom = 2026-01-02\nto = 2026-01-02": "exclusive",
    CHARGE + 'standing = 1\nhours = "07:00-08:00"': "whole days",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_understood_is_told_with_its_place(text):
    with pytest.raises(Invalid, match=WRONG[text]):
        read_tariffs(text)


def test_a_book_is_read_anew_when_its_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("meterlake.tariff_file.LOOK_S", 0)
    book = TariffBook(FolderStore(tmp_path))
    assert book.tariffs()[0] == {}
    (tmp_path / "tariffs.toml").write_text(TEXT)
    first, mark = book.tariffs()
    assert list(first) == ["night"]
    assert book.tariffs() == (first, mark)
    (tmp_path / "tariffs.toml").write_text(TEXT.replace("night", "late"))
    second, other = book.tariffs()
    assert list(second) == ["late"]
    assert other != mark
    (tmp_path / "tariffs.toml").unlink()
    assert book.tariffs()[0] == {}
    assert TariffBook(MemoryStore()).tariffs()[0] == {}


def test_the_span_of_a_night_is_that_of_the_clock():
    night = read_tariffs(TEXT.replace('weekdays = "fri-mon, wed"\n', ""))["night"]
    begin = datetime(2026, 10, 24, 20, 30, tzinfo=UTC)  # half past ten in Berlin, the night of 25 hours
    rows = [
        (int((begin + timedelta(minutes=30 * at)).timestamp()), 1800, 10**6, False) for at in range(-1, 18)
    ]
    found = spent([Term(*ALWAYS, night)], CHANNEL, "Europe/Berlin", slots_of(rows))
    assert money_text(found.use) == "2.30", "17 half-hours of night, one before and one after it"
