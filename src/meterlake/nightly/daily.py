"""Totals of the local days that end within a UTC day: nothing counted twice, each day in the zone of the meter's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from meterlake.blocks import flat_amounts
from meterlake.completeness import Pairs, Series, family
from meterlake.intervals import DAY_S
from meterlake.nightly.days import ending_within
from meterlake.nightly.tables import DAILY_SCHEMA
from meterlake.query.sums import codes_of
from meterlake.strips import MISSING
from meterlake.usage import counted_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.completeness import Names, Stays
    from meterlake.merge import Bools
    from meterlake.nightly.days import LocalDay
    from meterlake.strips import Ints

UNDATED: Final = DAILY_SCHEMA.remove(len(DAILY_SCHEMA) - 1)
"""Rows of DAILY_SCHEMA whose version is not known yet."""

APART_S: Final = 16 * DAY_S
"""Meter-channels are laid so far apart in time that their slots never meet."""


def daily_totals(
    names: Names,
    stays: Stays,
    known: pa.Table,
    blocks: pa.Table,
    before: Callable[[], pa.Table],
    times: tuple[int, int],
) -> pa.Table:
    """Rows of `UNDATED` for the local days that end within a UTC day.

    ``times`` are the start of that day, and the moment before which readings are gone: no local day that begins
    earlier is summed up again.

    ``blocks`` are those of the day, ``before`` gives those of the two days before, which are asked for only where
    a local day or a slot begins there.
    """
    start_s, kept_from_s = times
    days = [
        [day for day in ending_within(zone, start_s) if day.start_s >= kept_from_s] for zone in stays.zones
    ]
    plain = np.array([[day[1:] for day in own] == [(start_s, start_s + DAY_S)] for own in days])
    series = Series.of(names, blocks)
    if plain.all() and not _mixed(series).any():
        pairs = Pairs.of(names, series, stays, known)
        amount, filled = pairs.taken(series.amount), pairs.taken(series.filled)
        return _rows(names, stays, pairs, days[-1][0], (amount, filled))
    every = pa.concat_tables([before(), blocks])
    series = Series.of(names, every)
    pairs = Pairs.of(names, series, stays, known)
    return _from_slots(names, stays, pairs, series, every, days)


def _mixed(series: Series) -> Bools:
    """Which entries share their meter-channel with one of another length."""
    code, first = codes_of(series.meter, series.channel)
    return np.asarray(np.bincount(code, minlength=len(first))[code] > 1, bool)


def _from_slots(
    names: Names, stays: Stays, pairs: Pairs, series: Series, blocks: pa.Table, days: list[list[LocalDay]]
) -> pa.Table:
    amounts, borders = flat_amounts(blocks)
    at = np.flatnonzero(amounts != MISSING)
    row = np.repeat(np.arange(len(blocks)), np.diff(borders))[at]
    interval = blocks["interval_s"].to_numpy().astype(np.int64)
    first = blocks["start"].cast(pa.int64()).to_numpy() // 1_000_000 + blocks["offset_s"].to_numpy()
    start = first[row] + (at - borders[row]) * interval[row]
    pair = _pair_of_entry(pairs, series)[series.of_row[row]]
    amount, length = amounts[at], interval[row]
    if _mixed(series).any():
        billed = stays.billing()[pairs.meter[pair]]
        rank = np.where(family(length) == billed, -1, 2 * DAY_S - family(length))
        own = counted_once(start - start.min(initial=0) + pair * APART_S, length, rank)
        pair, start, amount = pair[own], start[own], amount[own]
    zone = stays.zone(pairs.meter)
    tables = [UNDATED.empty_table()]
    for number, own_days in enumerate(days):
        for day in own_days:
            mine = (zone[pair] == number) & (start >= day.start_s) & (start < day.stop_s)
            sums, filled = np.zeros(len(zone), np.int64), np.zeros(len(zone), np.int64)
            np.add.at(sums, pair[mine], amount[mine])
            np.add.at(filled, pair[mine], 1)
            tables.append(_rows(names, stays, pairs, day, (sums, filled), zone == number))
    return pa.concat_tables(tables)


def _pair_of_entry(pairs: Pairs, series: Series) -> Ints:
    """Index of the pair that each entry of ``series`` is of."""
    code, first = codes_of(np.append(pairs.meter, series.meter), np.append(pairs.channel, series.channel))
    place = np.zeros(len(first), np.int64)
    n = len(pairs.meter)
    place[code[:n]] = np.arange(n)
    return place[code[n:]]


def _rows(
    names: Names, stays: Stays, pairs: Pairs, day: LocalDay, sums: tuple[Ints, Ints], own: Bools | None = None
) -> pa.Table:
    """Rows of one local day for those of ``pairs`` that are its ``own`` and have or should have readings."""
    amount, filled = sums
    expected = np.maximum(stays.expected(pairs.meter, pairs.interval, day.start_s, day.stop_s), filled)
    told = np.flatnonzero(expected > 0 if own is None else own & (expected > 0))
    meter, channel = names.texts(pairs.meter[told], pairs.channel[told])
    zones = pa.array(stays.zones, pa.string()).take(pa.array(stays.zone(pairs.meter[told])))
    columns = [
        pa.array(np.full(len(told), day.number, np.int32)).cast(pa.date32()), meter, channel, zones,
        pa.array(amount[told]), pa.array(filled[told].astype(np.int32)), pa.array(expected[told].astype(np.int32)),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=UNDATED)
