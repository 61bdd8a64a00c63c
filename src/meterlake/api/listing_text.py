"""Listings of a history as JSON text, written by a compiled loop: a month of half-hours in a tenth of a millisecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from meterlake.intervals import DAY_S, HOUR_S
from meterlake.readings import MILLI, QUALITY_NAMES
from meterlake.zones import utc_to_local

if TYPE_CHECKING:
    from meterlake.query.answers import Listing

Bytes = npt.NDArray[np.uint8]

ROW_BYTES: Final = 256
"""A row takes at most so many."""


def _bytes(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_START, _SECONDS, _VALUE, _NULL = map(_bytes, (', {"start": "', '", "seconds": ', ', "value": ', "null"))
_QUALITY, _FILLED, _EXPECTED = map(_bytes, (', "quality": "', ', "filled": ', ', "expected": '))
_ESTIMATED = _bytes(', "estimated": ')
_NAMES: Final[Bytes] = np.zeros((len(QUALITY_NAMES), 1 + max(map(len, QUALITY_NAMES))), np.uint8)
"""By code: the length of the name, then the name."""
for _code, _name in enumerate(QUALITY_NAMES):
    _NAMES[_code, 0] = len(_name)
    _NAMES[_code, 1 : 1 + len(_name)] = _bytes(_name)

Row = Any


def rows_text(listing: Listing, zone: str) -> bytes:
    """Objects of a listing's values, joined by commas: the text that `exact.dumps` writes of them."""
    local = listing.start if zone == "UTC" else utc_to_local(zone, listing.start)
    out = np.empty(len(local) * ROW_BYTES, np.uint8)
    quality = np.zeros(0, np.uint8) if listing.quality is None else np.ascontiguousarray(listing.quality)
    size = _write(
        out, local, local - listing.start, zone == "UTC", np.asarray(listing.seconds, np.int64), listing.amount,
        np.asarray(listing.filled, np.int64), np.asarray(listing.expected, np.int64),
        np.asarray(() if listing.estimated is None else listing.estimated, np.int64), quality, _NAMES,
    )  # fmt: skip
    return out[2:size].tobytes()


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _put(out: Bytes, at: int, text: Bytes) -> int:
    out[at : at + len(text)] = text
    return at + len(text)


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _digits(out: Bytes, at: int, number: int, width: int) -> int:
    """Write a number that is not negative, with at least ``width`` digits."""
    n, rest = 1, number
    while rest >= 10:
        rest //= 10
        n += 1
    n = max(n, width)
    for i in range(n - 1, -1, -1):
        out[at + i] = 48 + number % 10
        number //= 10
    return at + n


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _value(out: Bytes, at: int, amount: int) -> int:
    """Write milli base units in base units, without trailing zeros."""
    if amount < 0:
        out[at] = 45
        at += 1
        amount = -amount
    at = _digits(out, at, amount // MILLI, 1)
    rest = amount % MILLI
    if rest:
        out[at] = 46
        at = _digits(out, at + 1, rest, 6)
        while out[at - 1] == 48:
            at -= 1
    return at


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _date(out: Bytes, at: int, day: int) -> int:
    """Write the date of a day since 1970; the reckoning by eras is Howard Hinnant's "days from civil"."""
    z = day + 719_468
    era = z // 146_097
    doe = z - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    at = _digits(out, at, yoe + era * 400 + (month <= 2), 4)
    out[at] = 45
    at = _digits(out, at + 1, month, 2)
    out[at] = 45
    end: int = _digits(out, at + 1, doy - (153 * mp + 2) // 5 + 1, 2)
    return end


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _moment(out: Bytes, at: int, local: int, shift: int, utc: bool) -> int:  # noqa: FBT001 - compiled
    at = _date(out, at, local // DAY_S)
    rest = local % DAY_S
    out[at] = 84
    at = _digits(out, at + 1, rest // HOUR_S, 2)
    out[at] = 58
    at = _digits(out, at + 1, rest % HOUR_S // 60, 2)
    out[at] = 58
    at = _digits(out, at + 1, rest % 60, 2)
    if utc:
        out[at] = 90
        return at + 1
    out[at] = 45 if shift < 0 else 43
    at = _digits(out, at + 1, abs(shift) // HOUR_S, 2)
    out[at] = 58
    end: int = _digits(out, at + 1, abs(shift) % HOUR_S // 60, 2)
    return end


@njit(nogil=True, cache=True, error_model="numpy")  # pragma: no cover - compiled
def _write(  # noqa: PLR0913 - compiled
    out: Bytes, local: Row, shift: Row, utc: bool, seconds: Row, amount: Row, filled: Row, expected: Row,  # noqa: FBT001
    estimated: Row, quality: Row, names: Bytes,
) -> int:  # fmt: skip
    at = 0
    for i in range(len(local)):
        at = _put(out, at, _START)
        at = _moment(out, at, local[i], shift[i], utc)
        at = _put(out, at, _SECONDS)
        at = _digits(out, at, seconds[i], 1)
        at = _put(out, at, _VALUE)
        at = _value(out, at, amount[i]) if filled[i] else _put(out, at, _NULL)
        if len(quality):
            at = _put(out, at, _QUALITY)
            name = names[quality[i]]
            at = _put(out, at, name[1 : 1 + name[0]])
            out[at] = 34
            at += 1
        else:
            at = _put(out, at, _FILLED)
            at = _digits(out, at, filled[i], 1)
            at = _put(out, at, _EXPECTED)
            at = _digits(out, at, expected[i], 1)
            at = _put(out, at, _ESTIMATED)
            at = _digits(out, at, estimated[i], 1)
        out[at] = 125
        at += 1
    return at
