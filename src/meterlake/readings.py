"""What a reading is: the schema, the quality codes, the channels and the limits.

Every time is aware UTC and every interval is named by its start. Amounts are integers in milli base
units: mWh for energy, mL for volume, mvarh for reactive energy, so 1 kWh and 1 m³ are both 10**6.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import pyarrow as pa

UTC_US: Final = pa.timestamp("us", tz="UTC")

READING_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("channel", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("interval_start", UTC_US, nullable=False),
        pa.field("interval_s", pa.int32(), nullable=False),
        pa.field("amount", pa.int64()),
        pa.field("quality", pa.uint8(), nullable=False),
        pa.field("stamp", UTC_US, nullable=False),
        pa.field("delivery", pa.int32(), nullable=False),
    ]
)
"""One reading a row; ``amount`` is null for an empty slot that a listing was asked to keep."""

MILLI: Final = 1_000_000
"""Milli base units in one kWh, m³ or kVArh."""

AMOUNT_MAX: Final = 10**13
"""10 GWh or 10⁷ m³ in one interval; beyond it a reading is ``out_of_range``."""

FUTURE_S: Final = 15 * 60
"""A reading that starts further ahead of now than this is refused as ``future``."""


YEARS_S: Final = (-2_177_452_800, 7_289_654_400)
"""Seconds: readings before 1901 or after 2200, which no question may name, are refused as ``bad_time``."""


class Quality(IntEnum):
    """How good a value is, best first; 0 is no value at all. Stored as the code."""

    MISSING = 0
    REVENUE = 1
    VERIFIED = 2
    VALIDATED = 3
    ACTUAL = 4
    EDITED = 5
    DERIVED = 6
    ESTIMATED = 7
    PROJECTED = 8


QUALITY_NAMES: Final = tuple(quality.name.lower() for quality in Quality)
"""Name by code: ``QUALITY_NAMES[4] == "actual"``."""

PRECEDENCE: Final = (-1, 3, 3, 3, 3, 2, 2, 1, 0)
"""Precedence by quality code: no estimate replaces an actual, however late it comes."""

AUTHORITATIVE: Final = 3
"""Precedence of everything that a feed declared authoritative sends."""


class ChannelFamily(NamedTuple):
    """What a channel measures."""

    commodity: str
    unit: str
    obis: str


CHANNELS: Final = {
    "electricity.import": ChannelFamily("electricity", "kWh", "1-0:1.8.0"),
    "electricity.export": ChannelFamily("electricity", "kWh", "1-0:2.8.0"),
    "electricity.generation": ChannelFamily("electricity", "kWh", "1-0:2.8.0"),
    "electricity.net": ChannelFamily("electricity", "kWh", "1-0:16.8.0"),
    "electricity.reactive.import": ChannelFamily("electricity", "kVArh", "1-0:3.8.0"),
    "electricity.reactive.export": ChannelFamily("electricity", "kVArh", "1-0:4.8.0"),
    "gas.import": ChannelFamily("gas", "m³", "7-0:3.0.0"),
    "gas.import.energy": ChannelFamily("gas", "kWh", "7-0:33.0.0"),
    "water.import": ChannelFamily("water", "m³", "8-0:1.0.0"),
}
"""Channel families with their base unit. A second register of a kind is ``family + ".2"``."""


def channel_family(channel: str) -> ChannelFamily | None:
    """Family of ``channel``, with or without a register number of 2 or more; None if unknown."""
    family = CHANNELS.get(channel)
    if family is None:
        stem, _, register = channel.rpartition(".")
        if register.isascii() and register.isdigit() and 2 <= int(register) <= 99:
            family = CHANNELS.get(stem)
    return family


REASONS: Final = (
    "malformed_line",
    "truncated",
    "bad_time",
    "nonexistent_local_time",
    "ambiguous_local_time",
    "unsupported_interval",
    "off_grid",
    "unknown_meter",
    "unsupported_channel",
    "missing_value",
    "bad_number",
    "unit_mismatch",
    "out_of_range",
    "future",
)
"""Why a reading may be refused; where several hold, the first of this order is named."""

REASON_CODES: Final = {reason: code for code, reason in enumerate(REASONS, start=1)}
"""Code by reason, from 1; 0 means accepted. The order is the precedence of reasons."""
