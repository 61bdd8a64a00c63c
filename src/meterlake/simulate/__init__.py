"""Realistic meters, with faults and their ground truth.

`simulate` writes files, `play` sends to a server by the clock, `amounts` makes numbers.

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
from meterlake.simulate.playing import Played, play
from meterlake.simulate.run import simulate
from meterlake.simulate.stream import STREAM_FAULTS, StreamOptions, parse_speed, parse_stream_faults

__all__ = [
    "CHANNELS",
    "FAULT_SHARES",
    "FORMATS",
    "STREAM_FAULTS",
    "UTILITIES",
    "Fleet",
    "Played",
    "SimulateOptions",
    "Simulated",
    "StreamOptions",
    "amounts",
    "parse_faults",
    "parse_speed",
    "parse_stream_faults",
    "plan",
    "play",
    "simulate",
]
