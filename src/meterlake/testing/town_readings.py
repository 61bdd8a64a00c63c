"""What the meters of the town recorded, with a meter exchanged, a stretch estimated and one missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.intervals import MINUTE_S
from meterlake.simulate import CHANNELS, SimulateOptions, amounts, plan
from meterlake.simulate.fleet import meter_id

if TYPE_CHECKING:
    from meterlake.simulate import Fleet
    from meterlake.testing.town import Town

Ints = npt.NDArray[np.int64]

SLOT_S: Final = 1800
SEED: Final = 7


def fleet_of(points: int, interval_s: int) -> Fleet:
    """Draw the simulated points; the same ones for every length of intervals."""
    return plan(SimulateOptions(points=points, interval_s=interval_s, seed=SEED))


def readings_between(made: Town, first_s: int, end_s: int, points: Ints | None = None) -> pa.Table:
    """Every complete reading of the town that starts in a stretch of UTC seconds, as columns that loads and posts take."""
    chosen = np.arange(made.points) if points is None else points
    parts = []
    for channel, utility in CHANNELS.items():
        mine = chosen[made.fleet.solar[chosen]] if channel == "electricity.export" else chosen
        names = [meter_id(utility, int(at)) for at in mine]
        parts.append(_readings(made.fleet, channel, (first_s, end_s), mine, names))
    table = pa.concat_tables(parts)
    return pa.concat_tables([_without_home(made, table), *_home_minutes(made, first_s, end_s)])


def _readings(
    fleet: Fleet, channel: str, span_s: tuple[int, int], points: Ints, names: list[str]
) -> pa.Table:
    length = fleet.options.interval_s
    first, slots = span_s[0] // length, max(0, span_s[1] // length - span_s[0] // length)
    values = amounts(fleet, channel, first, slots, points)
    starts = (first + np.arange(slots)) * length * 1_000_000
    n = len(points) * slots
    return pa.table(
        {
            "meter": pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(points)), slots))),
            "channel": pa.array([channel], pa.string()).take(pa.array(np.zeros(n, np.int64))),
            "start": pa.array(np.tile(starts, len(points))).cast(pa.timestamp("us", tz="UTC")),
            "seconds": pa.array(np.full(n, length, np.int32)),
            "amount": pa.array(values.reshape(-1)),
            "quality": pa.array(["actual"], pa.string()).take(pa.array(np.zeros(n, np.int64))),
        }
    )


def _without_home(made: Town, table: pa.Table) -> pa.Table:
    """Leave out what the customer's old meter cannot have sent after it was exchanged."""
    exchanged = pa.scalar(made.exchanged_s * 1_000_000).cast(pa.timestamp("us", tz="UTC"))
    gone = pc.and_(pc.equal(table["meter"], made.meters["old"]), pc.greater_equal(table["start"], exchanged))
    return table.filter(pc.invert(gone))


def _home_minutes(made: Town, first_s: int, end_s: int) -> list[pa.Table]:
    """Return what the customer's new meter sent, with its estimated and its missing stretch."""
    begin = max(first_s, made.exchanged_s)
    if begin >= end_s:
        return []
    fleet, at = fleet_of(made.points, MINUTE_S), np.array([made.home_at])
    parts = []
    for channel in ("electricity.import", "electricity.export"):
        rows = _readings(fleet, channel, (begin, end_s), at, [made.meters["electricity"]])
        start = rows["start"].cast(pa.int64()).to_numpy() // 1_000_000
        estimated, missing = (_within(start, span) for span in (made.estimated_s, made.missing_s))
        words = pa.array(["actual", "estimated"]).take(pa.array(estimated.astype(np.int64)))
        rows = rows.set_column(rows.column_names.index("quality"), "quality", words)
        parts.append(rows.filter(pa.array(~missing)))
    return parts


def _within(start: Ints, span: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.asarray((start >= span[0]) & (start < span[1]))
