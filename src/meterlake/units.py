"""Units that meter files use, as exact multiples of milli base units (mWh, mL, mvarh).

Every unit here is ``multiplier * 10**power`` milli base units with integers, so a decimal number of it
can be turned into an amount without a float. Sources: the international foot is 0.3048 m and the US
gallon 231 cubic inches of 2.54 cm, both exact by definition (NIST SP 811, appendix B).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

from meterlake.readings import CHANNELS, channel_family

_FT3: Final = 28_316_846_592
"""Cubic foot in 10**-6 mL: 30.48 cm cubed."""
_GALLON: Final = 3_785_411_784
"""US gallon in 10**-6 mL: 231 cubic inches."""


class Unit(NamedTuple):
    """What a unit measures (``energy``, ``volume`` or ``reactive``) and how much it is."""

    name: str
    measures: str
    multiplier: int
    power: int

    def ratio(self) -> Fraction:
        """Milli base units in one unit."""
        return Fraction(self.multiplier) * Fraction(10) ** self.power


_UNITS: Final = {
    unit.name: unit
    for unit in (
        Unit("Wh", "energy", 1, 3),
        Unit("kWh", "energy", 1, 6),
        Unit("MWh", "energy", 1, 9),
        Unit("m³", "volume", 1, 6),
        Unit("l", "volume", 1, 3),
        Unit("ft³", "volume", _FT3, -6),
        Unit("ccf", "volume", _FT3, -4),
        Unit("gal", "volume", _GALLON, -6),
        Unit("varh", "reactive", 1, 3),
        Unit("kVArh", "reactive", 1, 6),
    )
}

_SPELLINGS: Final = {
    "Wh": "wh w*h watthour watthours",
    "kWh": "kwh kw*h kilowatthour kilowatthours",
    "MWh": "mwh mw*h megawatthour megawatthours",
    "m³": "m3 cubicmetre cubicmetres cubicmeter cubicmeters cum kl kilolitre kilolitres",
    "l": "l litre litres liter liters ltr",
    "ft³": "ft3 cf cuft cubicfoot cubicfeet",
    "ccf": "ccf hcf 100cf 100ft3 100cuft",
    "gal": "gal gals gallon gallons usgal usgallon usgallons",
    "varh": "varh var*h",
    "kVArh": "kvarh kvar*h",
}
_BY_SPELLING: Final = {text: _UNITS[name] for name, texts in _SPELLINGS.items() for text in texts.split()}
_MEASURES: Final = {"kWh": "energy", "m³": "volume", "kVArh": "reactive"}

NAMES: Final = tuple(_UNITS)
"""Names of all units, as messages show them."""


def unit_of(text: str) -> Unit | None:
    """Unit that ``text`` names in any common spelling, whatever its case; None if unknown.

    >>> unit_of("KWH").name, unit_of("cu ft").name, unit_of("m^3").ratio()
    ('kWh', 'ft³', Fraction(1000000, 1))
    """
    plain = text.strip().lower().replace("³", "3").replace("·", "*")
    for mark in " _-^.":
        plain = plain.replace(mark, "")
    return _BY_SPELLING.get(plain)


def base_unit(channel: str) -> Unit | None:
    """Base unit of ``channel``; None where there is no such channel."""
    family = channel_family(channel)
    return None if family is None else _UNITS[family.unit]


def measured_as(channel: str, unit: Unit) -> str | None:
    """Channel that holds what ``unit`` measures for ``channel``: itself, or its twin in energy; else None.

    >>> measured_as("gas.import", unit_of("kWh")), measured_as("water.import", unit_of("kWh"))
    ('gas.import.energy', None)
    """
    family = channel_family(channel)
    if family is None:
        return None
    if _MEASURES[family.unit] == unit.measures:
        return channel
    stem, _, register = channel.rpartition(".")
    if not register.isdigit():
        stem, register = channel, ""
    twin = f"{stem}.{unit.measures}"
    if twin not in CHANNELS or _MEASURES[CHANNELS[twin].unit] != unit.measures:
        return None
    return f"{twin}.{register}" if register else twin
