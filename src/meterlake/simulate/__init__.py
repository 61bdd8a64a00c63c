"""Realistic meters, with faults and their ground truth: `simulate` writes files, `amounts` makes numbers.

Households and businesses (94 : 6) in a named city, with electricity, gas and water; some export solar power.
Load follows habit, season, weekday, hour and temperature. Everything is a pure function of the seed.
"""

from __future__ import annotations

from meterlake.simulate.fleet import Fleet, plan
from meterlake.simulate.loads import CHANNELS, amounts
from meterlake.simulate.options import (
    FAULT_SHARES,
    FORMATS,
    UTILITIES,
    Simulated,
    SimulateOptions,
    parse_faults,
)
from meterlake.simulate.run import simulate

__all__ = [
    "CHANNELS",
    "FAULT_SHARES",
    "FORMATS",
    "UTILITIES",
    "Fleet",
    "SimulateOptions",
    "Simulated",
    "amounts",
    "parse_faults",
    "plan",
    "simulate",
]
