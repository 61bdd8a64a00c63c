"""Simulated meters one after another in time: which reading is due when, and what goes wrong with it.

Every meter-channel has a place in the interval that never changes, spread evenly; it sends the reading of
a slot when the slot has ended and its place has come. Numbered by slot and place, readings are due at an
even pace, so the clock of a play is a straight line and any part of it can be made alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S
from meterlake.readings import FUTURE_S
from meterlake.simulate.chance import bits, stream, uniform
from meterlake.simulate.fleet import meter_id, plan
from meterlake.simulate.loads import CHANNELS, amounts
from meterlake.simulate.options import UTILITIES, SimulateOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.simulate.chance import Floats
    from meterlake.simulate.fleet import Fleet

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

STREAM_FAULTS: Final = ("missing", "late", "duplicate", "spikes", "zeros", "ahead")
"""What may go wrong with a reading on its way; at most one of them, drawn in this order."""
_FAULT_MAX: Final = 0.5
"""Largest share of all faults together."""
MADE_AT_ONCE: Final = 1 << 19
"""Amounts made at once, about: 4 MB."""
_LATE_S: Final = (5 * MINUTE_S, 3 * DAY_S)
_SPIKE_TIMES: Final = (20, 200)
_AHEAD_S: Final = (FUTURE_S + MINUTE_S, 6 * HOUR_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What to play. Attributes are those of `SimulateOptions`; ``faults`` are shares of `STREAM_FAULTS`.

    ``speed`` is how many times faster than the clock it runs, infinity for as fast as it is taken;
    ``from_s`` is where the first slots start (seconds since 1970 UTC; None: as late as it can be) and
    ``for_s`` how long they go on (None: without end at speed 1, else a day).
    """

    points: int = 1000
    interval_s: int = 900
    speed: float = 1.0
    profile: str = "uk"
    seed: int = 1
    utilities: tuple[str, ...] = UTILITIES
    faults: Mapping[str, float] = field(default_factory=dict)
    from_s: int | None = None
    for_s: int | None = None


@dataclass(frozen=True, slots=True)
class Burst:
    """Readings that are sent together, a column each.

    ``series`` int64 index in a `Roster`; ``start`` int64 seconds since 1970 UTC; ``amount`` int64 milli
    units; ``fault`` int8 index of `STREAM_FAULTS`, -1 where nothing went wrong.
    """

    series: Ints
    start: Ints
    amount: Ints
    fault: npt.NDArray[np.int8]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.series)

    def where(self, keep: npt.NDArray[Any] | slice) -> Burst:
        """Return the readings that ``keep`` (flags, indexes or a slice) chooses."""
        return Burst(self.series[keep], self.start[keep], self.amount[keep], self.fault[keep])


def _joined(parts: list[Burst]) -> Burst:
    return Burst(*(np.concatenate([getattr(part, name) for part in parts])
                   for name in ("series", "start", "amount", "fault")))  # fmt: skip


_NONE: Final = Burst(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8)
)


class Roster:
    """The meter-channels of a fleet in the order of their places in the interval.

    ``meters`` string array, ``channel`` int32 (index of `CHANNELS`) and ``point`` int64, an entry a series.
    """

    def __init__(self, fleet: Fleet) -> None:
        """Give each series of ``fleet`` its place, a function of the seed."""
        self.fleet = fleet
        self.interval_s = fleet.options.interval_s
        point, channel = _series_of(fleet)
        chance = bits(bits(stream(fleet.options.seed, "place"), channel), point)
        order = np.argsort(chance, kind="stable")
        self.point, self.channel = point[order], channel[order].astype(np.int32)
        letters = [meter_id(utility, 0)[0] for utility in CHANNELS.values()]
        numbers = np.strings.zfill((self.point + 1).astype("S8"), 8)
        first = np.array(letters, "S1")[self.channel]
        self.meters = pa.array(np.strings.add(first, numbers).astype(object), pa.binary()).cast(pa.string())

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.point)

    def amounts(self, first_slot: int, slots: int) -> Ints:
        """Amounts (slots x series, int64 milli units) of the slots from ``first_slot`` (since 1970) on."""
        out = np.empty((slots, len(self)), np.int64)
        for code, channel in enumerate(CHANNELS):
            mine = np.flatnonzero(self.channel == code)
            if len(mine):
                out[:, mine] = amounts(self.fleet, channel, first_slot, slots, self.point[mine]).T
        return out


def _series_of(fleet: Fleet) -> tuple[Ints, Ints]:
    """Point and channel of all series, channel by channel."""
    pairs = [
        (np.flatnonzero(fleet.solar) if channel == "electricity.export" else np.arange(len(fleet)), code)
        for code, (channel, utility) in enumerate(CHANNELS.items())
        if utility in fleet.loads
    ]
    points = np.concatenate([point for point, _ in pairs]).astype(np.int64)
    return points, np.concatenate([np.full(len(point), code, np.int64) for point, code in pairs])


@dataclass(frozen=True, slots=True)
class Span:
    """Which readings are played and when: number ``n`` is that of slot ``n // series``, place ``n % series``.

    ``first`` and ``stop`` are numbers (``stop`` None: without end); ``begin_s`` is the simulated moment, in
    seconds since 1970 UTC, at which the play starts.
    """

    first: int
    stop: int | None
    begin_s: float
    speed: float
    interval_s: int
    series: int

    def due_s(self, number: int) -> float:
        """Seconds after the beginning of the play at which reading ``number`` is sent."""
        at = number * self.interval_s / self.series + self.interval_s
        return max(0.0, (at - self.begin_s) / self.speed)

    def due_by(self, seconds: float) -> int | None:
        """Number of the first reading that is not due ``seconds`` into the play; None: all are."""
        if self.speed == np.inf:
            return self.stop
        at = self.begin_s + seconds * self.speed - self.interval_s
        number = int(at * self.series // self.interval_s) + 1
        return number if self.stop is None else min(number, self.stop)

    def moment_s(self, number: int) -> float:
        """Return the simulated moment at which reading ``number`` is sent."""
        return number * self.interval_s / self.series + self.interval_s


def span_of(options: StreamOptions, series: int, now_s: float) -> Span:
    """Lay out a play of ``series`` meter-channels that begins at the moment ``now_s`` and is never ahead of it.

    Raises Invalid where nothing of it has happened yet.
    """
    speed, interval_s, live = options.speed, options.interval_s, options.speed <= 1
    if not speed > 0:
        raise Invalid(f"a speed of {speed:g}: write 1x, 60x or max")
    for_s = options.for_s or (None if live or options.from_s is not None else DAY_S)
    if options.from_s is not None:
        from_s: float = -(-options.from_s // interval_s) * interval_s
    elif live:
        from_s = now_s - interval_s
    else:
        # A play that is N times as fast as the clock, as long as D and over at a moment has begun D/N before.
        from_s = (now_s - interval_s - (for_s or DAY_S) * (1 - 1 / speed)) // interval_s * interval_s
    begin_s = from_s + interval_s
    if begin_s > now_s + 1:
        raise Invalid("--from is ahead: no slot that starts there has ended; name an earlier moment")
    first = _number(from_s, interval_s, series)
    stop = None if for_s is None else _number(from_s + for_s, interval_s, series)
    if not live:
        met_s = now_s + (now_s - begin_s) / (speed - 1)  # there it has caught up with the clock
        caught = _number(met_s - interval_s, interval_s, series)
        stop = caught if stop is None else min(stop, caught)
    if stop is not None and stop <= first:
        raise Invalid(
            "nothing to play: no slot of that time has ended; name an earlier --from or a longer --for"
        )
    return Span(first, stop, begin_s, speed, interval_s, series)


def _number(start_s: float, interval_s: int, series: int) -> int:
    """Number of the first reading whose slot starts at ``start_s`` or, by its place, after."""
    return int(-(-start_s * series // interval_s))


class Meters:
    """The meters at play: makes the readings of any run of numbers, and what goes wrong with them."""

    def __init__(self, options: StreamOptions, batch: int) -> None:
        """Draw the fleet of ``options``; no more than ``batch`` readings are ever made together."""
        check_stream_faults(options.faults)
        fleet = plan(
            SimulateOptions(
                points=options.points, interval_s=options.interval_s, profile=options.profile,
                seed=options.seed, utilities=options.utilities,
            )
        )  # fmt: skip
        self.roster = Roster(fleet)
        self.injected = dict.fromkeys((name for name in STREAM_FAULTS if options.faults.get(name)), 0)
        self._batch = batch
        self._shares = [options.faults.get(name, 0.0) for name in STREAM_FAULTS]
        self._key = stream(options.seed, "stream", "faults")
        self._made = (0, np.empty((0, len(self.roster)), np.int64))
        self._late = _LatePile()

    @property
    def waiting(self) -> int:
        """Readings that are late and not sent yet."""
        return len(self._late)

    def cut(self, first: int, stop: int) -> int:
        """Return where a burst that begins with reading ``first`` ends: at most at ``stop``."""
        stop = min(stop, first + self._batch)
        series = len(self.roster)
        if series >= self._batch:
            stop = min(stop, (first // series + 1) * series)
        return stop

    def burst(self, first: int, stop: int, moment_s: float) -> Burst:
        """Return the readings ``first`` to ``stop`` as they are sent at ``moment_s``, with late ones whose time has come."""
        series = len(self.roster)
        low, high = first // series, (stop - 1) // series + 1
        begin, made = self._made
        if low < begin or high > begin + len(made):
            slots = max(high - low, MADE_AT_ONCE // series)
            begin, made = self._made = low, self.roster.amounts(low, slots)
        number = np.arange(first, stop)
        which = number % series
        flat = made.reshape(-1)[first - begin * series : stop - begin * series]
        start = number // series * self.roster.interval_s
        good = Burst(which, start, flat.copy(), np.full(len(number), -1, np.int8))
        if not self.injected:
            return good
        return _joined([self._spoilt(good, moment_s), self._late.take(moment_s)])

    def rest(self) -> Burst:
        """Return what is late and still waiting, at most a batch of it, the next due first."""
        return self._late.first(self._batch)

    def _chance(self, burst: Burst, name: str) -> Floats:
        key = bits(
            bits(stream(self._key, name), self.roster.channel[burst.series]), self.roster.point[burst.series]
        )
        return uniform(key, burst.start // self.roster.interval_s)

    def _spoilt(self, burst: Burst, moment_s: float) -> Burst:
        """Put the faults into ``burst``; late readings are put aside."""
        shares = np.cumsum(self._shares)
        fault = np.searchsorted(shares, self._chance(burst, "which"), side="right")
        burst.fault[:] = fault = np.where(fault < len(shares), fault, -1)
        by_name = {name: np.flatnonzero(fault == code) for code, name in enumerate(STREAM_FAULTS)}
        for name in self.injected:
            self.injected[name] += len(by_name[name])
        how = self._chance(burst, "how")
        late, ahead, spikes = by_name["late"], by_name["ahead"], by_name["spikes"]
        least, most = _LATE_S
        self._late.add(burst.where(late), moment_s + least * (most / least) ** how[late])
        interval_s = self.roster.interval_s
        least, most = _AHEAD_S
        off_s = least + how[ahead] * (most - least) + 2 * interval_s
        burst.start[ahead] += (off_s // interval_s).astype(np.int64) * interval_s
        few, many = _SPIKE_TIMES
        burst.amount[spikes] *= few + (how[spikes] * (many - few + 1)).astype(np.int64)
        burst.amount[by_name["zeros"]] = 0
        times = np.ones(len(burst), np.int64)
        times[by_name["missing"]] = times[late] = 0
        times[by_name["duplicate"]] = 2
        return burst.where(np.repeat(np.arange(len(burst)), times))


class _LatePile:
    """Late readings by the moment at which they come."""

    def __init__(self) -> None:
        self._burst, self._due_s = _NONE, np.empty(0)
        self._new: list[tuple[Burst, Floats]] = []
        self._next_s = np.inf
        """The earliest moment of those in ``_new``."""

    def __len__(self) -> int:
        return len(self._burst) + sum(len(burst) for burst, _ in self._new)

    def add(self, burst: Burst, due_s: Floats) -> None:
        """Put readings aside until their moments, seconds since 1970 UTC."""
        if len(burst):
            self._new.append((burst, due_s))
            self._next_s = min(self._next_s, float(due_s.min()))

    def take(self, moment_s: float) -> Burst:
        """Take what has come by ``moment_s``."""
        if moment_s >= self._next_s:
            self._settle()
        return self._pop(int(np.searchsorted(self._due_s, moment_s, side="right")))

    def first(self, count: int) -> Burst:
        """Take the ``count`` that come first."""
        self._settle()
        return self._pop(count)

    def _pop(self, count: int) -> Burst:
        if not count:
            return _NONE
        taken = self._burst.where(slice(count))
        self._burst, self._due_s = self._burst.where(slice(count, None)), self._due_s[count:]
        return taken

    def _settle(self) -> None:
        burst = _joined([self._burst, *(one for one, _ in self._new)])
        due_s = np.concatenate([self._due_s, *(due for _, due in self._new)])
        order = np.argsort(due_s, kind="stable")
        self._burst, self._due_s = burst.where(order), due_s[order]
        self._new, self._next_s = [], np.inf


def parse_stream_faults(text: str) -> dict[str, float]:
    """Shares by name of ``missing=0.01,late=0.02``; Invalid where it is not that."""
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise Invalid(f"fault {part!r} is not NAME=SHARE: write for instance missing=0.01") from None
    check_stream_faults(shares)
    return shares


def check_stream_faults(shares: Mapping[str, float]) -> None:
    """Raise Invalid where shares of faults cannot be played, saying what can."""
    unknown = [name for name in shares if name not in STREAM_FAULTS]
    if unknown:
        raise Invalid(f"fault {unknown[0]!r} cannot be streamed: choose from {', '.join(STREAM_FAULTS)}")
    if not all(share >= 0 for share in shares.values()) or not sum(shares.values()) <= _FAULT_MAX:
        raise Invalid(f"shares of faults are 0 or more and together at most {_FAULT_MAX}")


def parse_speed(text: str) -> float:
    """How many times faster than the clock: ``1x``, ``60x``, ``max``; Invalid where it is not that."""
    word = text.strip().lower()
    if word == "max":
        return float("inf")
    try:
        speed = float(word.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise Invalid(f"speed {text!r}: write 1x, 60x or max")
    return speed
