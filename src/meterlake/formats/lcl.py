"""London's Low Carbon trial: half-hours of many homes, in the two layouts that were published.

``LCLid,tstp,energy(kWh/hh)`` and ``LCLid,stdorToU,DateTime,KWH/hh (per half hour)``. Stamps are GMT all
year and name the start. The raw layout has ``Null``, trailing blanks and seven-digit fractions of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.formats import columns
from meterlake.formats.declared import defaults_of, interval_text, stamp_of, zone_of
from meterlake.formats.long import LongCodec
from meterlake.formats.stamps import form_of
from meterlake.units import unit_of

if TYPE_CHECKING:
    from meterlake.formats.codec import Origin, ReadOptions
    from meterlake.formats.columns import Sheet

_LAYOUTS: Final = {
    ("lclid", "tstp", "energykwhhh"): {"meter": 0, "time": 1, "value": 2},
    ("lclid", "stdortou", "datetime", "kwhhhperhalfhour"): {"meter": 0, "time": 2, "value": 3},
}
_HALF_HOUR_S: Final = 1800


def is_lcl(sheet: Sheet) -> bool:
    """Whether the header is one of the two."""
    return _key(sheet) in _LAYOUTS


def _key(sheet: Sheet) -> tuple[str, ...]:
    return tuple(columns.plain(field) for field in sheet.header or [])


def open_lcl(sheet: Sheet, options: ReadOptions, origin: Origin) -> LongCodec:
    """Codec of a London file; `is_lcl` holds."""
    assumed: dict[str, str] = {}
    roles = _LAYOUTS[_key(sheet)]
    interval_s = options.interval_s or _HALF_HOUR_S
    if options.interval_s is None:
        assumed["interval"] = interval_text(interval_s)
    stamp = stamp_of(options, assumed)
    if options.zone is None:
        assumed["zone"] = "UTC"
    zone, _ = zone_of(options)
    defaults = defaults_of(options, assumed, roles, interval_s, unit_of("kWh"))
    form = form_of(options.time_format)
    mark = columns.decimal_mark(sheet, [roles["value"]], options.decimal, assumed)
    return LongCodec("lcl", sheet, roles, defaults, form, mark, options, origin, zone, stamp, assumed)
