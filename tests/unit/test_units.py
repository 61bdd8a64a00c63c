"""Units are exact multiples, and any decimal text becomes its amount, rounded half to even."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterlake.formats.decimals import FAILED, amount_of
from meterlake.readings import AMOUNT_MAX, CHANNELS, REASON_CODES
from meterlake.units import NAMES, base_unit, measured_as, unit_of

NUMBERS = st.from_regex(
    r"[+-]?([0-9]{0,22}\.[0-9]{1,30}|[0-9]{1,22}\.?)([eE][+-]?[0-9]{1,2})?", fullmatch=True
)


def parsed(text: str, unit_name: str, mark: str = ".") -> int:
    unit = unit_of(unit_name)
    data = np.frombuffer(text.encode() or b" ", np.uint8)
    return amount_of(data, 0, len(text.encode()), ord(mark), unit.multiplier, unit.power)


def failure(reason: str) -> int:
    return FAILED + REASON_CODES[reason]


@given(NUMBERS, st.sampled_from(NAMES))
@example("0.0000005", "kWh")
@example("0.0000015", "kWh")
@example("0.00000050000000000000000000000000001", "kWh")
@example("10000000.0000004", "MWh")
@example("353146667.2148859025", "ft³")
@example("1.9220001", "kWh")
def test_any_decimal_text_is_its_amount_rounded_half_to_even(text, name):
    exact = round(Fraction(re.sub(r"\.(?=$|[eE])", "", text)) * unit_of(name).ratio())
    expected = exact if abs(exact) <= AMOUNT_MAX else failure("out_of_range")
    assert parsed(text, name) == expected


@pytest.mark.parametrize("text", ["", "Null", "NULL", "null", "NA", "na", "N/A"])
def test_words_for_nothing_are_missing_values(text):
    assert parsed(text, "kWh") == failure("missing_value")


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "-", "+", ".", "1..2", "1,5", "1e", "e5", "1e+", "0x1", "1 2", "--1", "1_0", "nul", "٣"],
)
def test_what_is_no_number_is_a_bad_number(text):
    assert parsed(text, "kWh") == failure("bad_number")


def test_the_decimal_mark_is_the_declared_one():
    assert parsed("1,5", "kWh", ",") == 1_500_000
    assert parsed("1.5", "kWh", ",") == failure("bad_number")


def test_huge_exponents_neither_hang_nor_wrap():
    assert parsed("1e" + "9" * 400, "ft³") == failure("out_of_range")
    assert parsed("1e-" + "9" * 400, "kWh") == 0
    assert parsed("0e" + "9" * 400, "gal") == 0


def test_units_are_known_in_common_spellings_whatever_their_case():
    spelled = {
        "KWH": "kWh",
        "kilowatt-hours": "kWh",
        "M3": "m³",
        "cu ft": "ft³",
        "Litre": "l",
        "KVARH": "kVArh",
    }
    assert {text: unit_of(text).name for text in spelled} == spelled
    assert unit_of("furlong") is None


def test_base_units_are_a_million_milli_units():
    assert all(base_unit(channel).ratio() == 10**6 for channel in CHANNELS)


def test_customary_units_are_their_legal_definitions():
    assert unit_of("ft3").ratio() == Fraction("28316.846592")
    assert unit_of("ccf").ratio() == 100 * unit_of("ft3").ratio()
    assert unit_of("gal").ratio() == Fraction("3785.411784")


def test_gas_in_energy_is_a_channel_of_its_own():
    assert measured_as("gas.import", unit_of("kWh")) == "gas.import.energy"
    assert measured_as("gas.import.2", unit_of("MWh")) == "gas.import.energy.2"
    assert measured_as("gas.import", unit_of("ccf")) == "gas.import"


def test_a_unit_of_another_kind_measures_nothing_here():
    assert measured_as("electricity.import", unit_of("m3")) is None
    assert measured_as("electricity.import", unit_of("kVArh")) is None
    assert measured_as("water.import", unit_of("kWh")) is None
    assert measured_as("electricity.reactive.import", unit_of("kvarh")) == "electricity.reactive.import"
