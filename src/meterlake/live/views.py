"""What is derived from the open sets: how a meter stands, sums of regions and of the fleet, the greatest loads.

Amounts are milli units. Windows end with the newest slot there is and add up the slots that end within them;
``today`` is the UTC day of the question, sealed hours of beats included, other sealed blocks not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.intervals import DAY_S, HOUR_S
from meterlake.live import kernel
from meterlake.readings import FUTURE_S
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from meterlake.live.live import Live
    from meterlake.live.planes import Plane
    from meterlake.live.sets import OpenSet
    from meterlake.strips import Codes, Ints

Array = npt.NDArray[Any]

WINDOWS_S: Final = {"w1m": 60, "w15m": 900, "w1h": 3600}
QUARTER_S: Final = 900
AVERAGE_OF: Final = 4
"""Filled slots in a moving average."""

_SERIES: Final = [pa.field("channel", pa.string()), pa.field("interval_s", pa.int32())]
_SUMS: Final = [
    pa.field("today", pa.int64()),
    pa.field("filled", pa.int64()),
    *(pa.field(name, pa.int64()) for name in WINDOWS_S),
]
METER_SCHEMA: Final = pa.schema(
    [
        *_SERIES,
        pa.field("start", pa.int64()),
        pa.field("amount", pa.int64()),
        pa.field("quality", pa.int8()),
        *_SUMS,
        pa.field("average", pa.int64()),
        pa.field("received_us", pa.int64()),
    ]
)
"""``start`` (s), ``amount``, ``quality`` and ``received_us`` are the latest slot's; ``filled`` counts today's slots."""

RECENT_SCHEMA: Final = pa.schema(
    [
        *_SERIES[:1],
        pa.field("start", pa.int64()),
        pa.field("seconds", pa.int32()),
        pa.field("amount", pa.int64()),
        pa.field("quality", pa.int8()),
    ]
)
QUARTER_SCHEMA: Final = pa.schema(
    [
        *_SERIES[:1],
        pa.field("start", pa.int64()),
        pa.field("amount", pa.int64()),
        pa.field("filled", pa.int32()),
        pa.field("slots", pa.int32()),
    ]
)
"""``amount`` is null where not all ``slots`` of the quarter hour are filled."""

REGION_SCHEMA: Final = pa.schema(
    [
        pa.field("region", pa.string()),
        pa.field("class", pa.string()),
        *_SERIES,
        pa.field("meters", pa.int64()),
        *_SUMS,
        pa.field("power_w", pa.float64()),
        pa.field("last_s", pa.int64()),
    ]
)
"""``meters`` sent a slot of the last hour; ``power_w`` adds up the latest slots of these (L/h for volumes), each meter
of a channel once: in the shortest of its lengths; ``last_s`` is the start of the newest slot."""

FLEET_SCHEMA: Final = pa.schema(list(REGION_SCHEMA)[2:])
TOP_SCHEMA: Final = pa.schema(
    [
        pa.field("meter", pa.string()),
        *_SERIES,
        pa.field("power_w", pa.float64()),
        pa.field("amount", pa.int64()),
        pa.field("start", pa.int64()),
    ]
)


class Newest(NamedTuple):
    """What the newest interval of each meter is, as far as it was ever live here."""

    ends: Ints
    """End (s) by meter code; 0 for none."""
    epoch: int
    offset: int
    """Live epoch and next log offset up to which this counts."""


NOTHING: Final = Newest(np.zeros(0, np.int64), -1, -1)


def places_of(region: pa.Array, class_: pa.Array) -> tuple[list[tuple[str | None, str | None]], Codes]:
    """All distinct pairs after (None, None), and the code of each row's pair."""
    coded = [pc.dictionary_encode(column, null_encoding="encode") for column in (region, class_)]
    names = [column.dictionary.to_pylist() for column in coded]
    index = [column.indices.to_numpy(zero_copy_only=False).astype(np.int64) for column in coded]
    pair, place = np.unique(index[0] * (len(names[1]) + 1) + index[1], return_inverse=True)
    pairs = [(names[0][p // (len(names[1]) + 1)], names[1][p % (len(names[1]) + 1)]) for p in pair.tolist()]
    return [(None, None), *pairs], (place.reshape(-1) + 1).astype(np.int32)


def carry(one: OpenSet) -> None:
    """Keep what a sealed hour adds to its day."""
    plane = one.plane
    day_s = one.start_s // DAY_S * DAY_S
    if plane.span_s == DAY_S or day_s < plane.day_s:
        return
    n, held = len(plane), len(plane.day_total)
    total, filled = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if day_s == plane.day_s:
        total[:held], filled[:held] = plane.day_total, plane.day_filled
    kernel.row_sums(one.cells, one.place, n, total, filled)
    plane.day_s, plane.day_total, plane.day_filled = day_s, total, filled


def quarters(amounts: Ints, filled: Array) -> tuple[Ints, Ints]:
    """Sums and counts of filled slots of quarter hours; the sum is MISSING where a quarter is not complete.

    ``amounts`` and ``filled`` (bool) are the slots of whole quarter hours, one after another by row.
    """
    counts = filled.sum(axis=1)
    sums: Ints = np.where(counts == amounts.shape[1], np.where(filled, amounts, 0).sum(axis=1), MISSING)
    return sums, counts


def rollup(live: Live, meter_id: str, now_s: int, seconds: int) -> pa.Table:
    """See `Live.quarters`."""
    code, pieces = _code(live, meter_id), [QUARTER_SCHEMA.empty_table()]
    from_s, stop_s = (now_s - seconds) // QUARTER_S * QUARTER_S, -(-now_s // QUARTER_S) * QUARTER_S
    for number, plane in enumerate(live.planes):
        row, width = plane.row(code), QUARTER_S // plane.interval_s
        if row < 0 or width < 2 or QUARTER_S % plane.interval_s:
            continue
        start, amount, _, _ = _slots(live, number, row, from_s)
        start, amount = start[start < stop_s], amount[start < stop_s]
        at = (start - from_s) // plane.interval_s
        slots = np.zeros((stop_s - from_s) // plane.interval_s, np.int64)
        filled = np.zeros(len(slots), bool)
        slots[at], filled[at] = amount, True
        sums, counts = quarters(slots.reshape(-1, width), filled.reshape(-1, width))
        some = np.flatnonzero(counts)
        columns = [
            pa.array([plane.channel] * len(some), pa.string()), pa.array(from_s + some * QUARTER_S),
            pa.array(sums[some], mask=sums[some] == MISSING), pa.array(counts[some].astype(np.int32)),
            pa.array(np.full(len(some), width, np.int32)),
        ]  # fmt: skip
        pieces.append(pa.Table.from_arrays(columns, schema=QUARTER_SCHEMA))
    return pa.concat_tables(pieces)


def _sets(live: Live, number: int) -> list[OpenSet]:
    """Open sets of a plane by falling start."""
    mine = [key for key in live.sets if key[0] == number]
    return [live.sets[key] for key in sorted(mine, reverse=True)]


def _slots(live: Live, number: int, row: int, from_s: int, least: int = 0) -> tuple[Ints, Ints, Codes, Ints]:
    """Filled slots of a row that begin at ``from_s`` or later: start, amount, quality, delivery, by rising start.

    Earlier ones come along where they are needed for ``least`` slots, and for the hour before the newest ends.
    """
    plane = live.planes[number]
    phase = int(plane.rows.data["phase"][row])
    found: list[tuple[Ints, Ints, Codes, Ints]] = []
    held, low = 0, from_s
    for one in _sets(live, number):
        if one.stop_s <= low and held >= least:
            break
        winner = np.empty((1, plane.width), np.int32)
        amount = np.empty((1, plane.width), np.int64)
        kernel.gather(one.cells, one.place, np.array([row], np.int32), winner, amount)
        at = np.flatnonzero(winner[0] >= 0)
        start = one.start_s + phase + at * plane.interval_s
        if not least:
            at, start = at[start >= from_s], start[start >= from_s]
        elif len(start) and not held:
            low = min(from_s, int(start[-1]) - HOUR_S)
        versions = one.versions.data[winner[0, at]]
        found.append((start, amount[0, at], versions["quality"], versions["delivery"]))
        held += len(at)
    if not found:
        none = np.empty(0, np.int64)
        return none, none, none.astype(np.int32), none
    start, amount, quality, delivery = (
        np.concatenate(column) for column in zip(*reversed(found), strict=True)
    )
    return start, amount, quality, delivery


def _code(live: Live, meter_id: str) -> int:
    return int(live.ids.find([meter_id])[0])


def meter(live: Live, meter_id: str, now_s: int) -> pa.Table | None:
    """See `Live.meter`."""
    code, day_s, rows = _code(live, meter_id), now_s // DAY_S * DAY_S, []
    for number, plane in enumerate(live.planes):
        row = plane.row(code)
        if row < 0:
            continue
        start, amount, quality, delivery = _slots(live, number, row, day_s, AVERAGE_OF)
        if not len(start):
            continue
        ends = start + plane.interval_s
        today = start >= day_s
        sealed = plane.day_s == day_s and row < len(plane.day_total)
        rows.append(
            {
                "channel": plane.channel,
                "interval_s": plane.interval_s,
                "start": int(start[-1]),
                "amount": int(amount[-1]),
                "quality": int(quality[-1]),
                "today": int(amount[today].sum()) + (int(plane.day_total[row]) if sealed else 0),
                "filled": int(today.sum()) + (int(plane.day_filled[row]) if sealed else 0),
                **{name: int(amount[ends > ends[-1] - s].sum()) for name, s in WINDOWS_S.items()},
                "average": int(amount[-AVERAGE_OF:].sum()) // len(amount[-AVERAGE_OF:]),
                "received_us": int(live.deliveries.received_us(delivery[-1:])[0]),
            }
        )
    if not rows:
        return None
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in METER_SCHEMA]
    return pa.Table.from_arrays(columns, schema=METER_SCHEMA)


def recent(live: Live, meter_id: str, now_s: int, seconds: int) -> pa.Table:
    """See `Live.recent`."""
    code, pieces = _code(live, meter_id), [RECENT_SCHEMA.empty_table()]
    for number, plane in enumerate(live.planes):
        row = plane.row(code)
        if row < 0:
            continue
        start, amount, quality, _ = _slots(live, number, row, now_s - seconds)
        n = len(start)
        columns = [
            pa.array([plane.channel] * n, pa.string()), pa.array(start),
            pa.array(np.full(n, plane.interval_s, np.int32)), pa.array(amount), pa.array(quality.astype(np.int8)),
        ]  # fmt: skip
        pieces.append(pa.Table.from_arrays(columns, schema=RECENT_SCHEMA))
    return pa.concat_tables(pieces)


def _newest_rows(live: Live, number: int, from_s: int) -> tuple[Ints, Ints]:
    """Start (0: none) and amount of the latest slot of every row that begins at ``from_s`` or later."""
    plane = live.planes[number]
    n = len(plane)
    start, amount = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for one in _sets(live, number):
        low = max(0, (from_s - one.start_s) // plane.interval_s)
        if low < plane.width:
            kernel.newest(
                one.cells, one.place, low, n, plane.interval_s, one.start_s, plane.rows.data, start, amount
            )
    start[start < from_s] = 0
    return start, amount


def newest(live: Live, known: Newest) -> Newest:
    """See `Live.newest`."""
    ends = np.zeros(len(live.place_of), np.int64)
    ends[: len(known.ends)] = known.ends
    for number, plane in enumerate(live.planes):
        rows = plane.rows.view()
        start = np.where(rows["touched"] > known.epoch, 0, -1)
        if not start.all():
            amount = np.zeros(len(rows), np.int64)
            for one in _sets(live, number):
                kernel.newest(
                    one.cells, one.place, 0, len(rows), plane.interval_s, one.start_s, rows, start, amount
                )
        found = np.flatnonzero(start > 0)
        np.maximum.at(ends, plane.meters.view()[found], start[found] + plane.interval_s)
    for batch in reversed(live.late):
        if batch.offset < known.offset:
            break
        interval = np.array([kind.interval_s for kind in batch.kinds], np.int64)[batch.strips.kind]
        np.maximum.at(ends, batch.strips.meter, batch.strips.start + batch.strips.count * interval)
    return Newest(ends, live.epoch, live.offset)


def _sums(live: Live, number: int, now_s: int) -> tuple[dict[str, Ints], Ints] | None:
    """By place: today's sums and filled counts and the windows; and the start of the newest slot."""
    plane, n = live.planes[number], len(live.places)
    day_s, sets = now_s // DAY_S * DAY_S, _sets(live, number)
    last = np.zeros(n, np.int64)
    for one in sets:
        slot = np.arange(plane.width)[:, None] * (one.filled > 0)
        some = one.filled.any(axis=0)
        last = np.maximum(last, np.where(some, one.start_s + slot.max(axis=0) * plane.interval_s, 0))
    last = np.minimum(last, now_s + FUTURE_S)
    newest = int(last.max())
    if newest == 0:
        return None
    found = {name: np.zeros(n, np.int64) for name in ("today", "filled", *WINDOWS_S)}
    for one in sets:
        ends = one.start_s + (np.arange(plane.width) + 1) * plane.interval_s
        if one.start_s // DAY_S * DAY_S == day_s:
            found["today"] += one.sums.sum(axis=0)
            found["filled"] += one.filled.sum(axis=0)
        for name, seconds in WINDOWS_S.items():
            end = newest + plane.interval_s
            found[name] += one.sums[(ends > end - seconds) & (ends <= end)].sum(axis=0)
    if plane.day_s == day_s:
        place = plane.rows.data["place"][: len(plane.day_total)]
        np.add.at(found["today"], place, plane.day_total)
        np.add.at(found["filled"], place, plane.day_filled)
    return found, last


def power_w(amount: Any, interval_s: int) -> Any:
    """Average power in W over an interval of milli units (L/h for volumes)."""
    return amount * (HOUR_S / interval_s / 1000)


def regions(live: Live, now_s: int) -> pa.Table:
    """See `Live.regions`."""
    pieces = [REGION_SCHEMA.empty_table()]
    taken: dict[str, Array] = {}
    for number, plane in _shortest_first(live):
        sums = _sums(live, number, now_s)
        if sums is None:
            continue
        found, last = sums
        start, amount = _newest_rows(live, number, now_s - HOUR_S)
        seen = (start > 0) & _once(live, plane, start, taken)
        place = plane.rows.data["place"][: len(plane)]
        n = len(live.places)
        meters = np.bincount(place[seen], minlength=n)
        power = np.bincount(place[seen], power_w(amount[seen], plane.interval_s), minlength=n)
        some = np.flatnonzero((last > 0) | (found["filled"] > 0))
        names = [live.places[p] for p in some.tolist()]
        columns = [
            pa.array([region for region, _ in names], pa.string()),
            pa.array([class_ for _, class_ in names], pa.string()),
            pa.array([plane.channel] * len(some), pa.string()),
            pa.array(np.full(len(some), plane.interval_s, np.int32)),
            pa.array(meters[some].astype(np.int64)),
            *(pa.array(found[name][some]) for name in ("today", "filled", *WINDOWS_S)),
            pa.array(power[some]),
            pa.array(last[some]),
        ]
        pieces.append(pa.Table.from_arrays(columns, schema=REGION_SCHEMA))
    return pa.concat_tables(pieces)


def _shortest_first(live: Live) -> list[tuple[int, Plane]]:
    """Planes with their numbers, by the length of their intervals."""
    return sorted(enumerate(live.planes), key=lambda one: (one[1].interval_s, one[0]))


def _once(live: Live, plane: Plane, start: Ints, taken: dict[str, Array]) -> Array:
    """Which rows of a plane count for their meters: not those that a shorter length has ``taken`` already."""
    held = taken.setdefault(plane.channel, np.zeros(len(live.place_of), bool))
    meters = plane.meters.view()[: len(start)]
    fresh: Array = ~held[meters]
    held[meters[start > 0]] = True
    return fresh


def fleet(regions_: pa.Table) -> pa.Table:
    """Rows of FLEET_SCHEMA from those of REGION_SCHEMA."""
    names = [field.name for field in FLEET_SCHEMA][2:]
    how = [(name, "max" if name == "last_s" else "sum") for name in names]
    grouped = regions_.group_by(["channel", "interval_s"], use_threads=False).aggregate(how)
    columns = [grouped["channel"], grouped["interval_s"], *(grouped[f"{name}_{f}"] for name, f in how)]
    return pa.Table.from_arrays(columns, schema=FLEET_SCHEMA)


def _newest_s(live: Live, number: int) -> int:
    plane = live.planes[number]
    for one in _sets(live, number):
        some = np.flatnonzero(one.filled.any(axis=1))
        if len(some):
            return one.start_s + int(some[-1]) * plane.interval_s
    return 0


def top(live: Live, n: int, channel: str | None, now_s: int | None) -> pa.Table:
    """See `Live.top`."""
    pieces, texts = [TOP_SCHEMA.empty_table()], None
    taken: dict[str, Array] = {}
    for number, plane in _shortest_first(live):
        if channel not in {None, plane.channel}:
            continue
        until = now_s if now_s is not None else _newest_s(live, number)
        start, amount = _newest_rows(live, number, until - HOUR_S)
        seen = np.flatnonzero((start > 0) & _once(live, plane, start, taken))
        best = seen[np.argpartition(-amount[seen], min(n, len(seen)) - 1)[:n]] if len(seen) > n else seen
        texts = live.ids.texts() if texts is None else texts
        k = len(best)
        columns = [
            texts.take(pa.array(plane.meters.view()[best])).cast(pa.string()),
            pa.array([plane.channel] * k, pa.string()),
            pa.array(np.full(k, plane.interval_s, np.int32)),
            pa.array(power_w(amount[best], plane.interval_s)),
            pa.array(amount[best]),
            pa.array(start[best]),
        ]
        pieces.append(pa.Table.from_arrays(columns, schema=TOP_SCHEMA))
    return pa.concat_tables(pieces).sort_by([("power_w", "descending"), ("meter", "ascending")]).slice(0, n)
