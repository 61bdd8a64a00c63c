"""What can be asked of the simulator, and the limits of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UTILITIES: Final = ("electricity", "gas", "water")
FORMATS: Final = ("lcl", "lcl-raw", "csv", "energyiot", "wide", "nem12", "parquet", "blocks")
ELECTRICITY_ONLY: Final = frozenset({"lcl", "lcl-raw", "energyiot", "nem12"})
POINTS_MAX: Final = 99_999_999
"""Ids have eight digits."""
DAYS_MAX: Final = 36_525

FAULT_SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "missing": 0.5,
        "late": 0.5,
        "duplicate": 0.5,
        "reordered": 1.0,
        "spikes": 0.1,
        "stuck": 0.2,
        "outages": 0.1,
        "theft": 1.0,
    }
)
"""Faults by name with the largest share that can be injected without their hiding each other."""

_LENGTHS: Final = {
    "lcl": (1800,),
    "lcl-raw": (1800,),
    "nem12": (300, 900, 1800),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What to simulate. The same options give the same bytes.

    Attributes: ``points`` service points, each with a meter per utility; ``days`` UTC days from ``start``
    on (NEM12: days of UTC+10); ``interval_s`` any divisor of an hour; ``profile`` uk, us or au;
    ``faults`` shares by name (`FAULT_SHARES`); ``files`` how many files of readings (None: by size).
    """

    points: int = 10_000
    days: int = 90
    interval_s: int = 1800
    profile: str = "uk"
    seed: int = 1
    format: str = "wide"
    start: date = date(2026, 1, 1)
    faults: Mapping[str, float] = field(default_factory=dict)
    utilities: tuple[str, ...] = UTILITIES
    files: int | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written.

    ``readings`` counts what a loader receives: blanks and repeats included. ``totals`` has the exact sum
    in milli units by channel of what is in the files, each slot once. ``bytes`` and ``files`` are of the
    readings alone, in the order in which they would arrive.
    """

    folder: Path
    readings: int
    bytes: int
    files: tuple[Path, ...]
    seconds: float
    totals: Mapping[str, int]


def parse_faults(text: str) -> dict[str, float]:
    """Shares by name of ``missing=0.01,late=0.02``; Invalid where it is not that."""
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise Invalid(f"fault {part!r} is not NAME=SHARE: write for instance missing=0.01") from None
    _check_faults(shares)
    return shares


def check(options: SimulateOptions) -> None:
    """Raise Invalid where ``options`` cannot be simulated, saying which and what would do."""
    if not 1 <= options.points <= POINTS_MAX:
        raise Invalid(f"{options.points} points: ask for 1 to {POINTS_MAX}")
    if not 1 <= options.days <= DAYS_MAX:
        raise Invalid(f"{options.days} days: ask for 1 to {DAYS_MAX}, a century")
    if not 0 <= options.seed < 2**63:
        raise Invalid(f"seed {options.seed}: give a whole number from 0 to 2**63 - 1")
    if options.files is not None and not 1 <= options.files <= options.points:
        raise Invalid(f"{options.files} files: ask for 1 to as many as there are points ({options.points})")
    unknown = [name for name in options.utilities if name not in UTILITIES]
    if unknown or not options.utilities or len(set(options.utilities)) < len(options.utilities):
        raise Invalid(f"utilities {options.utilities}: name each of {', '.join(UTILITIES)} once at most")
    if options.interval_s < 1 or HOUR_S % options.interval_s:
        raise Invalid(f"an interval of {options.interval_s} s does not divide an hour: try 1800, 900, 5 or 1")
    _check_faults(options.faults)


def check_format(options: SimulateOptions) -> None:
    """Raise Invalid where the format cannot hold what ``options`` ask for, saying what can."""
    if options.format not in FORMATS:
        raise Invalid(f"format {options.format!r} is unknown: choose one of {', '.join(FORMATS)}")
    if options.format in ELECTRICITY_ONLY and "electricity" not in options.utilities:
        raise Invalid(f"{options.format} holds electricity only: add it to the utilities or write csv")
    length = options.interval_s
    if options.format == "wide" and length < MINUTE_S:
        raise Invalid(f"a wide row of {DAY_S // length} columns is too wide: write csv, parquet or blocks")
    lengths = _LENGTHS.get(options.format, (length,))
    if length not in lengths:
        may = " or ".join(str(one) for one in lengths)
        raise Invalid(f"{options.format} has intervals of {may} s, not {length}: change one or the other")


def _check_faults(faults: Mapping[str, float]) -> None:
    for name, share in faults.items():
        most = FAULT_SHARES.get(name)
        if most is None:
            raise Invalid(f"fault {name!r} is unknown: choose from {', '.join(FAULT_SHARES)}")
        if not 0 <= share <= most:
            raise Invalid(f"{name}={share}: the share is 0 to {most}")
