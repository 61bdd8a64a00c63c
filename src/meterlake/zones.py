"""Clocks of a place: which local times exist once, twice or never, and the UTC moments they name.

A `ZoneTable` cuts local time into plain stretches, where one offset holds, and the doubled or skipped
spans between them; it is built once a zone from the time zone database. No compiler is loaded here: the
kernels of `formats` read the same arrays.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S
from meterlake.readings import AMOUNT_MAX, FUTURE_S, REASON_CODES
from meterlake.strips import MISSING, Ints, Kinds, Rejects, Strips

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST_YEAR: Final = 2100
"""Clock changes are known from 1970 to this year; outside them the nearest offset holds."""

OK: Final = 0
NONEXISTENT: Final = 1
AMBIGUOUS: Final = 2

_STEP_S: Final = 2 * DAY_S
"""Sampling step. No two changes of any zone since 1970 that cancel each other are closer than this."""
_FOREVER: Final = 1 << 61
_EPOCH: Final = date(1970, 1, 1)
_FIXED: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?", re.IGNORECASE)


class ZoneTable(NamedTuple):
    """Local time of a zone cut into stretches.

    Stretch j covers local seconds ``bounds[j]`` to before ``bounds[j + 1]``. An even one is plain: the
    offset is ``offsets[j // 2]``. An odd one lies at a clock change from ``offsets[j // 2]`` to the next
    offset: skipped where the offset grows, doubled where it shrinks. ``changes`` are the n UTC moments of
    change, ``offsets`` has n + 1 entries, ``bounds`` 2 n + 2; all are int64 seconds.
    """

    bounds: Ints
    offsets: Ints
    changes: Ints


@lru_cache(maxsize=256)
def zone_table(name: str) -> ZoneTable:
    """Table of the zone ``name``: an IANA name, ``UTC`` or a fixed offset such as ``UTC+10:00``.

    Raises:
        Invalid: there is no such zone.

    """
    fixed = _FIXED.fullmatch(name.strip())
    if name.upper() in {"UTC", "Z", "GMT"}:
        return _table([], [0])
    if fixed:
        offset = int(fixed[2]) * 3600 + int(fixed[3] or 0) * 60
        return _table([], [offset if fixed[1] == "+" else -offset])
    try:
        info = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid(
            f"{name!r} is no time zone: write an IANA name such as Europe/London, UTC or UTC+10:00"
        ) from None
    return _table(*_changes(info))


def _changes(info: ZoneInfo) -> tuple[list[int], list[int]]:
    """Moments at which the offset changes, by sampling and bisection, and the offsets between them."""

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, info).utcoffset() or timedelta()
        return shift.days * DAY_S + shift.seconds

    last = (date(LAST_YEAR + 1, 1, 1) - _EPOCH).days * DAY_S
    moments: list[int] = []
    offsets = [offset(0)]
    for sample in range(_STEP_S, last + _STEP_S, _STEP_S):
        after = offset(sample)
        low = sample - _STEP_S
        while after != offsets[-1]:
            before, high = offsets[-1], sample
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            moments.append(high)
            offsets.append(offset(high))
            low = high
    return moments, offsets


def _table(moments: list[int], offsets: list[int]) -> ZoneTable:
    changes, shift = np.array(moments, np.int64), np.array(offsets, np.int64)
    bounds = np.empty(2 * len(changes) + 2, np.int64)
    bounds[0], bounds[-1] = -_FOREVER, _FOREVER
    bounds[1:-1:2] = changes + np.minimum(shift[:-1], shift[1:])
    bounds[2:-1:2] = changes + np.maximum(shift[:-1], shift[1:])
    if (np.diff(bounds) <= 0).any():
        raise Invalid("clock changes of this zone overlap; declare a fixed offset such as UTC+10:00")
    for column in (bounds, shift, changes):
        column.flags.writeable = False
    return ZoneTable(bounds, shift, changes)


def utc_to_local(zone: str, seconds: Ints) -> Ints:
    """Local seconds that a clock in ``zone`` shows at UTC ``seconds``."""
    table = zone_table(zone)
    local: Ints = seconds + table.offsets[np.searchsorted(table.changes, seconds, "right")]
    return local


def local_to_utc(zone: str, local: Ints) -> tuple[Ints, Ints, npt.NDArray[np.uint8]]:
    """UTC of local seconds: first answer, second answer, and status `OK`, `NONEXISTENT` or `AMBIGUOUS`.

    The answers differ only where the local time exists twice: summer time first. Where it never exists
    both are the moment of the change.
    """
    table = zone_table(zone)
    stretch = np.searchsorted(table.bounds, local, "right") - 1
    at = stretch // 2
    odd = stretch % 2 == 1
    before = table.offsets[at]
    after = table.offsets[np.minimum(at + 1, len(table.offsets) - 1)]
    skipped = odd & (after > before)
    doubled = odd & (after < before)
    first = np.where(skipped, table.bounds[stretch] - before, local - before)
    second = np.where(doubled, local - after, first)
    status = np.where(skipped, NONEXISTENT, np.where(doubled, AMBIGUOUS, OK)).astype(np.uint8)
    return first, second, status


def settle(
    unsettled: Strips, texts: Sequence[str], kinds: Kinds, zone: str, stamp: str, now_s: int
) -> tuple[Strips, Rejects]:
    """Decide the readings of one file whose local stamp exists twice.

    They are settled by meter, channel, length and local day, in the order of their lines, and only where
    each stamp occurs exactly twice, in two rising runs: the first is summer time. All others are
    ``ambiguous_local_time``. ``unsettled`` and ``texts`` are those of all chunks of the file (in any
    order), ``stamp`` is what a stamp names, ``start`` or ``end``. An amount below ``MISSING + 256`` is the
    code of the reason why its reading is refused once its time is known.
    """
    if not len(unsettled):
        return Strips.empty(), Rejects.empty()
    table = kinds.table
    numbers: dict[tuple[str, int], int] = {}
    numbered = [numbers.setdefault((kind.channel, kind.interval_s), len(numbers)) for kind in table]
    series = np.array(numbered, np.int64)[unsettled.kind]
    day = unsettled.start // DAY_S
    order = np.lexsort((unsettled.line, day, series, unsettled.meter))
    keys = np.stack([unsettled.meter, series, day], axis=1)[order]
    second = _second_runs(keys, unsettled.start[order])
    late = np.empty(len(order), np.int8)
    late[order] = second
    interval = np.array([kind.interval_s for kind in table], np.int64)[unsettled.kind]
    summer, winter, _ = local_to_utc(zone, unsettled.start)
    start: Ints = np.where(late == 1, winter, summer) - (interval if stamp == "end" else np.int64(0))
    reason = np.where(unsettled.amounts < -AMOUNT_MAX, unsettled.amounts - MISSING, 0)
    reason[(reason == 0) & (start > now_s + FUTURE_S)] = REASON_CODES["future"]
    reason[late < 0] = REASON_CODES["ambiguous_local_time"]
    bad = np.flatnonzero(reason)
    settled = Strips(
        unsettled.meter, unsettled.kind, start, unsettled.count, unsettled.line, unsettled.amounts
    ).where(reason == 0)
    rejects = Rejects(
        unsettled.line[bad],
        reason[bad].astype(np.uint8),
        np.ones(len(bad), np.int32),
        [texts[i] for i in bad.tolist()],
    )
    return settled, rejects


def _second_runs(keys: Ints, stamps: Ints) -> npt.NDArray[np.int8]:
    """By row of ``keys`` (equal ones together, in line order): 0 first run, 1 second, -1 undecided."""
    answer = np.full(len(stamps), -1, np.int8)
    edges = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    heads = np.concatenate([[0], edges])
    for low, high in zip(heads.tolist(), [*edges.tolist(), len(stamps)], strict=True):
        half, odd = divmod(high - low, 2)
        first, second = stamps[low : low + half], stamps[low + half : high]
        if not odd and (np.diff(first) > 0).all() and (first == second).all():
            answer[low : low + half], answer[low + half : high] = 0, 1
    return answer
