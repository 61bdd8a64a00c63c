"""What a user declared about a source, checked, and what is taken where nothing was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid
from meterlake.formats.categories import Defaults, channel_of, quality_of
from meterlake.readings import CHANNELS, QUALITY_NAMES, Quality
from meterlake.units import NAMES, Unit, base_unit, unit_of
from meterlake.zones import ZoneTable, zone_table

if TYPE_CHECKING:
    from collections.abc import Collection

    from meterlake.formats.codec import ReadOptions

REMEDY: Final = "declare it with --format csv --map meter=…,time=…,value=…"
_LENGTHS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def interval_text(interval_s: int) -> str:
    """Write a length as options take it.

    >>> interval_text(1800), interval_text(86400), interval_text(5)
    ('30min', '1d', '5s')
    """
    size, name = next((size, name) for size, name in _LENGTHS if interval_s % size == 0)
    return f"{interval_s // size}{name}"


def defaults_of(
    options: ReadOptions,
    assumed: dict[str, str],
    said: Collection[str],
    interval_s: int,
    header_unit: Unit | None = None,
) -> Defaults:
    """Channel, length, quality and unit of rows that do not say them; ``said`` are the roles that rows say.

    Raises:
        Invalid: an option has a value that does not exist.

    """
    channel = channel_of(options.channel) if options.channel is not None else "electricity.import"
    if channel is None:
        raise Invalid(f"--channel {options.channel}: the channels are {', '.join(CHANNELS)}")
    quality = quality_of(options.quality) if options.quality is not None else int(Quality.ACTUAL)
    if not quality:
        raise Invalid(f"--quality {options.quality}: the qualities are {', '.join(QUALITY_NAMES[1:])}")
    unit = unit_of(options.unit) if options.unit is not None else header_unit
    if options.unit is not None and unit is None:
        raise Invalid(f"--unit {options.unit}: the units are {', '.join(NAMES)}")
    if options.channel is None and "channel" not in said:
        assumed["channel"] = channel
    if options.quality is None and "quality" not in said:
        assumed["quality"] = QUALITY_NAMES[quality]
    if options.unit is None and "unit" not in said:
        base = base_unit(channel)
        taken = unit or base
        assumed["unit"] = taken.name if taken and "channel" not in said else "base unit of the channel"
        if unit is not None:
            assumed["unit"] = unit.name
    return Defaults(channel, interval_s, quality, unit)


def zone_of(options: ReadOptions) -> tuple[str, ZoneTable]:
    """Declared zone, else UTC, and its table."""
    zone = options.zone or "UTC"
    return zone, zone_table(zone)


def stamp_of(options: ReadOptions, assumed: dict[str, str], usual: str = "start") -> str:
    """What a stamp names, ``start`` or ``end``: declared, else ``usual``."""
    if options.stamp is None:
        assumed["stamp"] = usual
        return usual
    if options.stamp not in {"start", "end"}:
        raise Invalid(f"--stamp {options.stamp}: write start or end")
    return options.stamp
