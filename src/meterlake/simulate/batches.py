"""A batch: the amounts of some points over some whole days, as one matrix on its way to a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from meterlake.formats.write import Series
from meterlake.intervals import DAY_S, block_slots
from meterlake.simulate.fleet import meter_id
from meterlake.simulate.loads import CHANNELS, fill
from meterlake.simulate.options import ELECTRICITY_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meterlake.simulate.fleet import Fleet
    from meterlake.simulate.loads import Scene
    from meterlake.simulate.options import SimulateOptions

Ints = npt.NDArray[np.int64]

BATCH_VALUES: Final = 1 << 19
"""Readings made at once, about: 4 MB of amounts stay near the processor."""
_AEST_S: Final = 10 * 3600
"""NEM12 days are those of UTC+10 all year."""


@dataclass(slots=True)
class Batch:
    """Amounts (series x slots, int64 milli units) and whose they are.

    ``point`` and ``channel`` (index of `loads.CHANNELS`) are one a series; the matrix covers whole days of
    the format, ``day_slots`` slots each; ``record_slots`` slots stand in one row of the file.
    """

    series: Series
    point: Ints
    channel: Ints
    first_slot: int
    day_slots: int
    record_slots: int
    amounts: Ints

    @property
    def first_day(self) -> int:
        """Number of the first day since 1970, in days of the format."""
        return -(-self.series.start_s // DAY_S)

    @property
    def record_days(self) -> Ints:
        """Day within the batch of every record of one series."""
        return np.arange(self.amounts.shape[1] // self.record_slots) * self.record_slots // self.day_slots

    def records(self) -> Ints:
        """Amounts by record: one row of the matrix is one row of the file."""
        return self.amounts.reshape(-1, self.record_slots)


def first_second(options: SimulateOptions) -> int:
    """Start of the first interval, seconds since 1970 UTC."""
    start = datetime.combine(options.start, datetime.min.time(), UTC)
    return int(start.timestamp()) - (_AEST_S if options.format == "nem12" else 0)


def channels_of(options: SimulateOptions) -> tuple[str, ...]:
    """Channels that the files hold: those of the utilities, as far as the format has room for them."""
    if options.format == "nem12":
        return ("electricity.import", "electricity.export")
    if options.format in ELECTRICITY_ONLY:
        return ("electricity.import",)
    return tuple(channel for channel, utility in CHANNELS.items() if utility in options.utilities)


def readings_expected(fleet: Fleet, points: slice) -> int:
    """Readings of the points in ``points`` if no fault touched them."""
    options = fleet.options
    solar = fleet.solar[points]
    channels = channels_of(options)
    exporting = int(solar.sum()) if "electricity.export" in channels else 0
    series = len(solar) * sum(channel != "electricity.export" for channel in channels) + exporting
    return series * options.days * (DAY_S // options.interval_s)


def batches(fleet: Fleet, scenes: Mapping[str, Scene], points: slice) -> Iterator[Batch]:
    """Make the amounts of ``points`` batch by batch, each for whole days."""
    options = fleet.options
    day_slots = DAY_S // options.interval_s
    days = max(1, min(options.days, BATCH_VALUES // day_slots))
    series = len(channels_of(options))
    step = max(1, BATCH_VALUES // (days * day_slots * series))
    first, last, _ = points.indices(len(fleet))
    for low in range(first, last, step):
        some = np.arange(low, min(low + step, last))
        for day in range(0, options.days, days):
            yield _batch(fleet, scenes, some, day, min(days, options.days - day))


def _batch(fleet: Fleet, scenes: Mapping[str, Scene], points: Ints, day: int, days: int) -> Batch:
    options = fleet.options
    names = list(CHANNELS)
    day_slots = DAY_S // options.interval_s
    has = np.zeros((len(points), len(names)), np.bool_)
    for channel in channels_of(options):
        has[:, names.index(channel)] = fleet.solar[points] if channel == "electricity.export" else True
    at, channels = np.nonzero(has)  # point by point, its channels in their order
    start_s = first_second(options) + day * DAY_S
    first_slot = start_s // options.interval_s
    out = np.empty((len(at), days * day_slots), np.int64)
    for code in np.unique(channels):
        rows = np.flatnonzero(channels == code)
        fill(fleet, names[code], points[at[rows]], scenes[CHANNELS[names[code]]], first_slot, out, rows)
    meters = [meter_id(CHANNELS[names[code]], int(points[i])) for i, code in zip(at, channels, strict=True)]
    series = Series(meters, [names[code] for code in channels], options.interval_s, start_s)
    return Batch(series, points[at], channels, first_slot, day_slots, _record_slots(options), out)


def _record_slots(options: SimulateOptions) -> int:
    match options.format:
        case "wide" | "nem12":
            return DAY_S // options.interval_s
        case "blocks":
            return block_slots(options.interval_s)
        case _:
            return 1
