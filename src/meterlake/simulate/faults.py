"""Faults by share, and the truth about them: every fault put in is a row of a table.

A fault is decided by the hash of where it strikes, so it does not depend on how the work is cut. Runs
(gaps, stuck values, outages) lie within one day of one series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake.readings import AMOUNT_MAX, UTC_US
from meterlake.simulate.batches import first_second
from meterlake.simulate.chance import bits, stream, uniform, uniforms
from meterlake.simulate.loads import CHANNELS
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from meterlake.simulate.batches import Batch
    from meterlake.simulate.chance import Floats, Keys
    from meterlake.simulate.fleet import Fleet

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TRUTH_SCHEMA: Final = pa.schema(
    [
        pa.field("meter", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("from", UTC_US, nullable=False),
        pa.field("to", UTC_US, nullable=False),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("factor", pa.float64()),
        pa.field("transformer", pa.string()),
    ]
)
"""A fault a row, over the half-open time from ``from`` to ``to``.

``factor`` is what the true amounts were multiplied by (spikes, theft; an outage that was read as zeros has 0,
one in which the meters were silent has null); ``transformer`` names what failed in an outage.
"""

WINDOW: Final = 16
"""Rows among which a reordered row may move."""
_SPIKE_TIMES: Final = (20, 200)
_THEFT_PERCENT: Final = (20, 70)
_LATE, _DUPLICATE, _REORDERED = "late", "duplicate", "reordered"


class Rows(NamedTuple):
    """The records of a batch in the order of writing: those of the regular file, and those that come late."""

    main: Ints
    late: Ints


class _Runs(NamedTuple):
    """At most one run of slots for each (series, day): flat slot where it starts, and its length."""

    series: Ints
    start: Ints
    length: Ints

    def slots(self) -> Ints:
        """All flat slots of all runs."""
        ends = np.cumsum(self.length)
        ramp = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - self.length, self.length)
        return np.asarray(np.repeat(self.start, self.length) + ramp)


def transformer_id(fleet: Fleet, number: int) -> str:
    """Id of the transformer with that number: ``LON-T00012``."""
    return f"{fleet.city.code}-T{number:05d}"


class Faults:
    """Puts the faults of a fleet's options into batches."""

    def __init__(self, fleet: Fleet) -> None:
        """Take the shares from the options of ``fleet``."""
        self._fleet = fleet
        self._share = {name: share for name, share in fleet.options.faults.items() if share > 0}
        self._seed = stream(fleet.options.seed, "faults")

    def values(self, batch: Batch) -> list[pa.Table]:
        """Change the amounts of ``batch`` in place; return the truth."""
        if not self._share:
            return []
        truth = [self._theft(batch)] if "theft" in self._share else []
        stuck = np.zeros(batch.amounts.shape, np.bool_)
        if "stuck" in self._share:
            truth.append(self._stuck(batch, stuck))
        dark = np.zeros(batch.amounts.shape, np.bool_)
        if "outages" in self._share:
            truth.append(self._outages(batch, dark))
        lost = self._lost(batch) & ~dark if "missing" in self._share else np.zeros_like(dark)
        if "spikes" in self._share:
            truth.append(self._spikes(batch, ~(stuck | dark | lost)))
        if lost.any():
            batch.amounts[lost] = MISSING
            truth.append(_truth(batch, _runs_of(lost), "missing"))
        return truth

    def rows(self, batch: Batch, *, keep_blank: bool, within_series: bool) -> tuple[Rows, list[pa.Table]]:
        """Order of the records of ``batch``, and the truth about late, repeated and reordered ones.

        ``keep_blank``: records without any value are written too. ``within_series``: reordering keeps the
        rows of a series together.
        """
        records = batch.records()
        if self._share.keys() & {"missing", "outages"} and not keep_blank:
            order = np.flatnonzero((records != MISSING).any(1))
        else:
            order = np.arange(len(records))
        truth: list[pa.Table] = []
        if _DUPLICATE in self._share:
            twice = order[self._record_chance(batch, _DUPLICATE)[order] < self._share[_DUPLICATE]]
            truth.append(_truth(batch, _of_records(batch, twice), _DUPLICATE))
            order = np.sort(np.concatenate([order, twice]))
        late = order[:0]
        if _LATE in self._share:
            days = self._day_chance(batch, _LATE) < self._share[_LATE]
            is_late = days[:, batch.record_days].reshape(-1)[order]
            order, late = order[~is_late], order[is_late]
            truth.append(_truth(batch, _days_of(batch, late), _LATE))
        if _REORDERED in self._share:
            moved = self._shuffle(batch, order, within_series=within_series)
            truth.append(_truth(batch, _of_records(batch, moved[moved != order]), _REORDERED))
            order = moved
        return Rows(order, late), truth

    def _keys(self, batch: Batch, *names: str) -> Keys:
        """Stream of a kind of fault for each series of ``batch``."""
        return bits(bits(stream(self._seed, *names), batch.channel), batch.point)

    def _days(self, batch: Batch) -> Ints:
        return batch.first_day + np.arange(batch.amounts.shape[1] // batch.day_slots)

    def _day_chance(self, batch: Batch, fault: str) -> Floats:
        return uniform(self._keys(batch, fault)[:, None], self._days(batch)[None, :])

    def _record_chance(self, batch: Batch, fault: str) -> Floats:
        per_series = batch.amounts.shape[1] // batch.record_slots
        number = batch.first_slot // batch.record_slots + np.arange(per_series)
        return uniform(self._keys(batch, fault)[:, None], number[None, :]).reshape(-1)

    def _runs(self, batch: Batch, keys: Keys, share: float, least: int, most: int) -> _Runs:
        """Runs of ``least`` to ``most`` slots that fill ``share`` of all slots, one a day at most."""
        odds = share * batch.day_slots / ((least + most) / 2)
        chance = bits(keys[:, None], self._days(batch)[None, :])
        struck = (chance >> np.uint64(11)).astype(np.float64) * 2.0**-53 < odds
        series, day = np.nonzero(struck)
        key = chance[series, day]
        length = least + (uniform(key, 1) * (most - least + 1)).astype(np.int64)
        start = (uniform(key, 2) * (batch.day_slots - length + 1)).astype(np.int64)
        return _Runs(series, series * batch.amounts.shape[1] + day * batch.day_slots + start, length)

    def _theft(self, batch: Batch) -> pa.Table:
        options = self._fleet.options
        key = stream(self._seed, "theft")
        thief = uniform(key, batch.point) < self._share["theft"]
        series = np.flatnonzero(thief & (batch.channel == 0))
        point = batch.point[series]
        all_slots = options.days * batch.day_slots
        begin = ((0.1 + 0.6 * uniform(stream(key, "begin"), point)) * all_slots).astype(np.int64)
        low, high = _THEFT_PERCENT
        percent = low + (uniform(stream(key, "percent"), point) * (high - low + 1)).astype(np.int64)
        done = batch.first_slot - first_second(options) // options.interval_s
        grain = self._fleet.grain
        for row, since, part in zip(series, begin - done, percent, strict=True):
            stolen = batch.amounts[row, max(0, since) :]
            stolen[:] = stolen * part // 100 // grain * grain
        new = (begin >= done) & (begin < done + batch.amounts.shape[1])
        start = series * batch.amounts.shape[1] + begin - done
        runs = _Runs(series[new], start[new], all_slots - begin[new])
        return _truth(batch, runs, "theft", factor=percent[new] / 100)

    def _stuck(self, batch: Batch, stuck: Flags) -> pa.Table:
        n = batch.day_slots
        runs = self._runs(batch, self._keys(batch, "stuck"), self._share["stuck"], n // 8, n // 2)
        flat = batch.amounts.reshape(-1)
        grain = self._fleet.grain
        # A register that sticks at 0 would be nothing strange: then it is the mean of the day instead.
        usual = flat.reshape(-1, n).sum(1) // (n * grain) * grain
        value = flat[runs.start]
        value = np.where(value > 0, value, np.maximum(usual[runs.start // n], grain))
        flat[runs.slots()] = np.repeat(value, runs.length)
        stuck.reshape(-1)[runs.slots()] = True
        return _truth(batch, runs, "stuck")

    def _outages(self, batch: Batch, dark: Flags) -> pa.Table:
        n = batch.day_slots
        number = self._fleet.transformer[batch.point]
        electric = np.flatnonzero([CHANNELS[name] == "electricity" for name in batch.series.channels])
        key = stream(self._seed, "outages")
        runs = self._runs(batch, bits(key, number[electric]), self._share["outages"], n // 24, n // 6)
        row = electric[runs.series]
        runs = _Runs(row, runs.start + (row - runs.series) * batch.amounts.shape[1], runs.length)
        slots = runs.slots()
        day = self._days(batch)[runs.start % batch.amounts.shape[1] // n]
        silent = bits(bits(stream(key, "silent"), number[runs.series]), day) & np.uint64(1) == np.uint64(1)
        batch.amounts.reshape(-1)[slots] = np.repeat(np.where(silent, MISSING, 0), runs.length)
        dark.reshape(-1)[slots] = True
        names = np.array([transformer_id(self._fleet, int(one)) for one in number[runs.series]], object)
        return _truth(batch, runs, "outage", factor=np.where(silent, np.nan, 0.0), transformer=names)

    def _lost(self, batch: Batch) -> Flags:
        """Empty slots: about half of them alone, half in gaps of up to a quarter of a day."""
        share, n = self._share["missing"], batch.day_slots
        lost = np.zeros(batch.amounts.shape, np.bool_)
        most = max(1, n // 4)
        gaps = min(share / 2, (1 + most) / 2 / n)
        runs = self._runs(batch, self._keys(batch, "missing", "gap"), gaps, 1, most)
        lost.reshape(-1)[runs.slots()] = True
        alone = 1 - (1 - share) / (1 - gaps)
        chance = uniforms(self._keys(batch, "missing"), batch.first_slot, batch.amounts.shape[1])
        return np.asarray(lost | (chance < np.uint32(alone * 2**32)))

    def _spikes(self, batch: Batch, allowed: Flags) -> pa.Table:
        keys = self._keys(batch, "spikes")
        chance = uniforms(keys, batch.first_slot, batch.amounts.shape[1])
        series, slot = np.nonzero((chance < np.uint32(self._share["spikes"] * 2**32)) & allowed)
        low, high = _SPIKE_TIMES
        times = low + (uniform(~keys[series], batch.first_slot + slot) * (high - low + 1)).astype(np.int64)
        true = batch.amounts[series, slot]
        struck = (true > 0) & (true < AMOUNT_MAX // high)
        series, slot, times = series[struck], slot[struck], times[struck]
        batch.amounts[series, slot] *= times
        runs = _Runs(series, series * batch.amounts.shape[1] + slot, np.ones(len(series), np.int64))
        return _truth(batch, runs, "spike", factor=times.astype(np.float64))

    def _shuffle(self, batch: Batch, order: Ints, *, within_series: bool) -> Ints:
        """Rows of some windows of ``order`` in another order."""
        key = bits(stream(self._seed, _REORDERED), int(batch.point[0]) << 20)
        place = np.arange(len(order))
        window = place // WINDOW
        if within_series:
            series = order // (batch.amounts.shape[1] // batch.record_slots)
            place -= np.searchsorted(series, series)
            window = series * (len(order) // WINDOW + 1) + place // WINDOW
        windows = bits(key, batch.first_slot) ^ window.astype(np.uint64)
        chosen = uniform(windows, 0) < self._share[_REORDERED]
        rank = np.where(chosen, uniform(bits(windows, 1), place), (place % WINDOW) / WINDOW)
        return order[np.lexsort((place, rank, window))]


def _runs_of(mask: Flags) -> _Runs:
    """Runs of True within each row of ``mask``."""
    edge = np.zeros((len(mask), mask.shape[1] + 2), np.int8)
    edge[:, 1:-1] = mask
    change = np.diff(edge, axis=1)
    series, start = np.nonzero(change == 1)
    _, stop = np.nonzero(change == -1)
    return _Runs(series, series * mask.shape[1] + start, stop - start)


def _of_records(batch: Batch, records: Ints) -> _Runs:
    per_series = batch.amounts.shape[1] // batch.record_slots
    length = np.full(len(records), batch.record_slots, np.int64)
    return _Runs(records // per_series, records * batch.record_slots, length)


def _days_of(batch: Batch, records: Ints) -> _Runs:
    """The whole days that ``records`` belong to, each once."""
    days = np.unique(records * batch.record_slots // batch.day_slots)
    per_series = batch.amounts.shape[1] // batch.day_slots
    return _Runs(days // per_series, days * batch.day_slots, np.full(len(days), batch.day_slots, np.int64))


def _truth(
    batch: Batch,
    runs: _Runs,
    fault: str,
    factor: Floats | None = None,
    transformer: npt.NDArray[np.object_] | None = None,
) -> pa.Table:
    count = len(runs.series)
    interval_s = batch.series.interval_s
    begin = batch.series.start_s + (runs.start - runs.series * batch.amounts.shape[1]) * interval_s
    names: list[Any] = [None] * count if transformer is None else list(transformer)
    which = pa.array(runs.series)
    factors = pa.nulls(count, pa.float64()) if factor is None else pa.array(factor, mask=np.isnan(factor))
    columns = [
        pa.array(batch.series.meters, pa.string()).take(which),
        pa.array(batch.series.channels, pa.string()).take(which),
        pa.array(begin * 1_000_000).cast(UTC_US),
        pa.array((begin + runs.length * interval_s) * 1_000_000).cast(UTC_US),
        pa.array([fault] * count, pa.string()),
        factors,
        pa.array(names, pa.string()),
    ]
    return pa.table(columns, schema=TRUTH_SCHEMA)
