"""Completeness of a time: the slots that were expected of each meter-channel, those that came, late or in time.

Expected is what the registry says of the stays of a meter: from when to when, which channels, which length is
billed. Of a series that has readings of other lengths only, the longest of these is expected. A meter without a stay
is expected in the length that it has, on days on which it has readings or had some shortly before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.ids import MeterIds
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.nightly.spread import Spread
from meterlake.query.sums import codes_of
from meterlake.slots import local_day

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from meterlake.merge import Bools
    from meterlake.ports import Registry
    from meterlake.strips import Ints

REGION_DIGITS: Final = 5
"""Digits of the geohash that names a region."""

REACH_S: Final = 26 * HOUR_S
"""A meter without a stay is expected for so long after its last reading."""

EVER_S: Final = 2**40
UNPLACED: Final = "UTC"
"""Zone of a meter that nobody registered."""

STAY_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string()),
        pa.field("since", pa.int64()),
        pa.field("until", pa.int64()),
        pa.field("interval_s", pa.int64()),
        pa.field("channels", pa.string()),
        pa.field("region", pa.string()),
        pa.field("zone", pa.string()),
    ]
)
"""A meter at a place for a time (s); ``interval_s`` is the length that is billed, 0 where none is named."""

KNOWN: Final = ("meter_id", "channel", "interval_s")


class Roster:
    """Which meters were installed around a time, and which series are known of the others."""

    def __init__(self, stays: pa.Table, known: pa.Table) -> None:
        """Take rows of STAY_SCHEMA, and of `KNOWN` columns."""
        self._stays, self._known = Spread(stays), Spread(known)

    @classmethod
    def read(cls, registry: Registry, start_s: int) -> Roster:
        """Read the stays of a UTC day and of the two before it, and the series of meters that have none."""
        stop_s = start_s + DAY_S
        stays = _stays(registry, start_s - 2 * DAY_S, stop_s)
        series = registry.series()
        alive = (series["first_s"].to_numpy() < stop_s) & (series["last_s"].to_numpy() >= start_s - REACH_S)
        told = stays.filter(pc.greater(stays["interval_s"], 0))["meter_id"].combine_chunks()
        series = series.filter(pa.array(alive)).select(list(KNOWN))
        return cls(stays, series.filter(pc.invert(pc.is_in(series["meter_id"], value_set=told))))

    def of(self, low: int, high: int) -> tuple[pa.Table, pa.Table]:
        """Stays, and known series of others, of the partitions from ``low`` to before ``high``."""
        return self._stays.of(low, high), self._known.of(low, high)


def _stays(registry: Registry, start_s: int, stop_s: int) -> pa.Table:
    meters, points = registry.table("meters"), registry.table("service_points")
    since, until = _seconds(meters["from"], -EVER_S), _seconds(meters["to"], EVER_S)
    placed = meters["service_point_id"].is_valid().to_numpy() & (since < stop_s) & (until > start_s)
    meters, since, until = meters.filter(pa.array(placed)), since[placed], until[placed]
    points = points.filter(pa.array(_seconds(points["from"], -EVER_S) < stop_s))
    backwards = points["service_point_id"].combine_chunks()[::-1]  # the last row of a point is its newest
    at = pc.index_in(meters["service_point_id"].combine_chunks(), value_set=backwards)
    columns = {
        "meter_id": meters["meter_id"],
        "since": pa.array(since),
        "until": pa.array(until),
        "interval_s": meters["interval_s"].cast(pa.int64()).fill_null(0),
        "channels": meters["channels"].fill_null(""),
        "region": pc.utf8_slice_codeunits(
            points["geohash"].combine_chunks()[::-1].take(at), 0, REGION_DIGITS
        ),
        "zone": points["zone"].combine_chunks()[::-1].take(at).fill_null(UNPLACED),
    }
    return pa.table(columns, schema=STAY_SCHEMA)


def _seconds(column: pa.ChunkedArray, instead: int) -> Ints:
    seconds: Ints = column.cast(pa.int64()).fill_null(instead * 1_000_000).to_numpy() // 1_000_000
    return seconds


class Names:
    """Numbers the meters and channels of some tables."""

    def __init__(self) -> None:
        """Start with none."""
        self.ids = MeterIds()
        self.channels: list[str] = []

    def of(self, rows: pa.Table) -> tuple[Ints, Ints]:
        """Codes of the ``meter_id`` and ``channel`` of each row."""
        return self.ids.codes_of(rows["meter_id"]).astype(np.int64), self.channels_of(rows["channel"])

    def channels_of(self, column: pa.ChunkedArray | pa.Array) -> Ints:
        """Codes of channels."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        told = pc.dictionary_encode(column)
        for name in told.dictionary.to_pylist():
            if name not in self.channels:
                self.channels.append(name)
        place = np.array([self.channels.index(name) for name in told.dictionary.to_pylist()], np.int64)
        codes: Ints = (
            place[told.indices.to_numpy(zero_copy_only=False)] if len(place) else np.empty(0, np.int64)
        )
        return codes

    def texts(self, meter: Ints, channel: Ints) -> tuple[pa.Array, pa.Array]:
        """Ids and names of codes."""
        return (
            self.ids.take(meter.astype(np.int32)),
            pa.array(self.channels, pa.string()).take(pa.array(channel)),
        )


def family(interval: Ints) -> Ints:
    """Lengths, those of a local day as one."""
    lengths: Ints = np.where(local_day(interval), DAY_S, interval).astype(np.int64)
    return lengths


def claims(blocks: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Who holds the slots of ``blocks``: row, delivery and number of slots, an entry a row or run."""
    whole = blocks["delivery"].is_valid().to_numpy()
    rows = np.flatnonzero(whole)
    filled = blocks["filled"].to_numpy().astype(np.int64)[rows]
    delivery = pc.fill_null(blocks["delivery"], 0).to_numpy().astype(np.int64)[rows]
    if len(rows) == len(blocks):
        return rows, delivery, filled
    mixed = np.flatnonzero(~whole)
    lists = blocks["origin"].take(pa.array(mixed)).combine_chunks()
    runs = pc.list_flatten(lists)
    owner = mixed[pc.list_parent_indices(lists).to_numpy()]
    return (
        np.append(rows, owner),
        np.append(delivery, runs.field("delivery").to_numpy().astype(np.int64)),
        np.append(filled, runs.field("count").to_numpy().astype(np.int64)),
    )


def late_by_row(blocks: pa.Table, published: Container[int] | None) -> Ints:
    """Filled slots of each block whose delivery is not among the ``published``; none where nothing was."""
    late = np.zeros(len(blocks), np.int64)
    if published is not None:
        row, delivery, count = claims(blocks)
        numbers, at = np.unique(delivery, return_inverse=True)
        came = np.array([number not in published for number in numbers.tolist()], bool)[at.reshape(-1)]
        np.add.at(late, row[came], count[came])
    return late


@dataclass(frozen=True, slots=True)
class Series:
    """What some blocks hold, an entry a meter, channel and length."""

    meter: Ints
    channel: Ints
    interval: Ints
    amount: Ints
    filled: Ints
    late: Ints
    of_row: Ints
    """Entry of each block."""

    @classmethod
    def of(cls, names: Names, blocks: pa.Table, late: Ints | None = None) -> Series:
        """Sum up ``blocks``; ``late`` are slots of each that came late."""
        meter, channel = names.of(blocks)
        interval = family(blocks["interval_s"].to_numpy())
        code, first = codes_of(meter, channel, interval)
        values = (blocks["total"].to_numpy(), blocks["filled"].to_numpy(), late)
        sums = [np.zeros(len(first), np.int64) for _ in values]
        for total, column in zip(sums, values, strict=True):
            if column is not None:
                np.add.at(total, code, column.astype(np.int64))
        return cls(meter[first], channel[first], interval[first], sums[0], sums[1], sums[2], code)

    def best(self, billing: Ints) -> Ints:
        """Entry that is expected of each meter-channel: of the length billed (by meter code), else the longest."""
        order = np.lexsort((-self.interval, self.interval != billing[self.meter], self.channel, self.meter))
        head = np.ones(len(order), bool)
        head[1:] = np.diff(self.meter[order]) != 0
        head[1:] |= np.diff(self.channel[order]) != 0
        return order[head]


class Stays:
    """Stays of the meters of a piece, by meter code."""

    def __init__(self, names: Names, rows: pa.Table) -> None:
        """Take rows of STAY_SCHEMA."""
        rows = rows.sort_by("since")
        self._names = names
        meter = names.ids.codes_of(rows["meter_id"]).astype(np.int64)
        order = np.argsort(meter, kind="stable")
        rows = rows.take(pa.array(order)).combine_chunks() if len(rows) else rows
        self._meter = meter[order]
        self._since, self._until = rows["since"].to_numpy(), rows["until"].to_numpy()
        self._billed = family(rows["interval_s"].to_numpy())
        lists = pc.split_pattern(rows["channels"].combine_chunks(), ";")
        told = pc.list_flatten(lists)
        named = pc.not_equal(told, "").to_numpy(zero_copy_only=False)
        self.meter = self._meter[pc.list_parent_indices(lists).to_numpy()[named]]
        """Meter of each channel that a stay names."""
        self.channel = names.channels_of(told.filter(pa.array(named)))
        region, zone = (
            rows[name].combine_chunks().dictionary_encode("encode") for name in ("region", "zone")
        )
        self.regions: list[str | None] = region.dictionary.to_pylist()
        self.zones: list[str] = [*zone.dictionary.to_pylist(), UNPLACED]
        self._region = region.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        self._zone = zone.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    def _bounds(self, meter: Ints) -> tuple[Ints, Ints]:
        return np.searchsorted(self._meter, meter, "left"), np.searchsorted(self._meter, meter, "right")

    def billing(self) -> Ints:
        """Length that is billed, by meter code; 0 where none is named."""
        lengths = np.zeros(len(self._names.ids), np.int64)
        np.maximum.at(lengths, self._meter, self._billed)
        return lengths

    def _last(self, meter: Ints, codes: Ints, instead: int) -> Ints:
        low, high = self._bounds(meter)
        if not len(codes):
            return np.full(len(meter), instead)
        found: Ints = np.where(high > low, codes[np.maximum(high - 1, 0)], instead)
        return found

    def region(self, meter: Ints) -> Ints:
        """Index of ``regions`` of the last stay of each meter, -1 where it has none."""
        codes = self._last(meter, self._region, -1)
        known = np.array([name is not None for name in self.regions] + [False])
        return np.where(known[codes], codes, -1)

    def zone(self, meter: Ints) -> Ints:
        """Index of ``zones`` of the last stay of each meter."""
        return self._last(meter, self._zone, len(self.zones) - 1)

    def unplaced(self, meter: Ints) -> Bools:
        """Which meters have no stay."""
        low, high = self._bounds(meter)
        return np.asarray(low == high, bool)

    def expected(self, meter: Ints, interval: Ints, start: Ints | int, stop: Ints | int) -> Ints:
        """Slots of ``interval`` that begin in ``[start, stop)`` while each meter was installed; a local day is one."""
        low, high = self._bounds(meter)
        counts = np.maximum(high - low, 1)
        pair = np.repeat(np.arange(len(meter)), counts)
        at = low[pair] + np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
        begin, end = np.broadcast_to(start, len(meter))[pair], np.broadcast_to(stop, len(meter))[pair]
        if len(self._meter):
            known = (high > low)[pair]
            at = np.where(known, at, 0)
            begin = np.where(known, np.maximum(begin, self._since[at]), begin)
            end = np.where(known, np.minimum(end, self._until[at]), end)
        length = np.maximum(interval[pair], 1)
        slots = np.where(interval[pair] == DAY_S, 1, -(-end // length) + (-begin // length))
        sums = np.zeros(len(meter), np.int64)
        np.add.at(sums, pair, np.where((end > begin) & (interval[pair] > 0), slots, 0))
        return np.where(interval == DAY_S, np.minimum(sums, 1), sums)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Meter-channels of which something came or was expected, and the length that is expected of each."""

    meter: Ints
    channel: Ints
    interval: Ints
    entry: Ints
    """Entry of the series of this length, -1 where nothing came."""

    @classmethod
    def of(cls, names: Names, series: Series, stays: Stays, known: pa.Table) -> Pairs:
        """Unite what ``series`` hold, what ``stays`` name and what is ``known`` (`KNOWN`) of meters without a stay."""
        told_meter, told_channel = names.of(known)
        length = family(known["interval_s"].to_numpy())
        alone = stays.unplaced(told_meter)
        billing = stays.billing()
        best = series.best(billing)
        meter = np.concatenate([series.meter[best], stays.meter, told_meter[alone]])
        channel = np.concatenate([series.channel[best], stays.channel, told_channel[alone]])
        code, first = codes_of(meter, channel)
        entry = np.full(len(first), -1)
        entry[code[: len(best)]] = best
        meter, channel = meter[first], channel[first]
        longest = _longest(meter, channel, told_meter, told_channel, length)
        interval = np.where(billing[meter] > 0, billing[meter], longest)
        if len(series.interval):
            interval = np.where(entry >= 0, series.interval[np.maximum(entry, 0)], interval)
        return cls(meter, channel, interval, entry)

    def taken(self, values: Ints) -> Ints:
        """Values of the series' entries, 0 where nothing came."""
        if not len(values):
            return np.zeros(len(self.entry), np.int64)
        found: Ints = np.where(self.entry >= 0, values[np.maximum(self.entry, 0)], 0)
        return found


def _longest(meter: Ints, channel: Ints, told_meter: Ints, told_channel: Ints, length: Ints) -> Ints:
    """Longest length known of each meter-channel, 0 where none is."""
    code, first = codes_of(np.append(meter, told_meter), np.append(channel, told_channel))
    longest = np.zeros(len(first), np.int64)
    np.maximum.at(longest, code[len(meter) :], length)
    return longest[code[: len(meter)]]


Counts = tuple[int, int, int, int]
"""Slots expected, received, late and missing."""


def by_region(
    names: Names, pairs: Pairs, series: Series, stays: Stays, span: tuple[int, int]
) -> dict[tuple[str | None, str], Counts]:
    """Counts by region and channel of the slots that begin in ``span`` (s)."""
    received, late = pairs.taken(series.filled), pairs.taken(series.late)
    expected = np.maximum(stays.expected(pairs.meter, pairs.interval, *span), received)
    code, first = codes_of(stays.region(pairs.meter), pairs.channel)
    sums = np.zeros((len(first), 4), np.int64)
    for i, column in enumerate((expected, received, late, expected - received)):
        np.add.at(sums[:, i], code, column)
    regions = [*stays.regions, None]
    where = stays.region(pairs.meter[first]).tolist()
    channels = pairs.channel[first].tolist()
    return {
        (regions[r], names.channels[c]): (counts[0], counts[1], counts[2], counts[3])
        for r, c, counts in zip(where, channels, sums.tolist(), strict=True)
        if any(counts)
    }


def by_source(
    names: Names, pairs: Pairs, series: Series, blocks: pa.Table, source: Callable[[int], tuple[str, bool]]
) -> dict[tuple[str | None, str], Counts]:
    """Slots received and late by source and channel; ``source`` tells of a delivery who sent it and whether it was late."""
    row, delivery, count = claims(blocks)
    entry = series.of_row[row]
    counted = np.zeros(len(series.meter), bool)
    counted[pairs.entry[pairs.entry >= 0]] = True
    own = counted[entry]
    code, first = codes_of(delivery[own], series.channel[entry[own]])
    sums = np.zeros(len(first), np.int64)
    np.add.at(sums, code, count[own])
    found: dict[tuple[str | None, str], Counts] = {}
    numbers, channels = delivery[own][first].tolist(), series.channel[entry[own]][first].tolist()
    for number, channel, slots in zip(numbers, channels, sums.tolist(), strict=True):
        name, late = source(number)
        key = name, names.channels[channel]
        held = found.get(key, (0, 0, 0, 0))
        found[key] = 0, held[1] + slots, held[2] + (slots if late else 0), 0
    return found


def added(counts: dict[tuple[str | None, str], Counts], more: dict[tuple[str | None, str], Counts]) -> None:
    """Add ``more`` to ``counts``."""
    for key, one in more.items():
        held = counts.get(key, (0, 0, 0, 0))
        counts[key] = (held[0] + one[0], held[1] + one[1], held[2] + one[2], held[3] + one[3])
