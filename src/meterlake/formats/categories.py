"""What the words of a file mean: channel, unit, quality and length, learned once a distinct combination.

Kernels compare raw bytes with the combinations they know and stop at a new one; here it is read, once,
and its meaning put into the `Table` that the kernel looks into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from meterlake.errors import Invalid
from meterlake.intervals import HOUR_S, LOCAL_DAYS_S, is_supported, parse_interval
from meterlake.readings import PRECEDENCE, QUALITY_NAMES, REASON_CODES, Quality, channel_family
from meterlake.strips import Codes, Ints, Kind, Kinds
from meterlake.units import Unit, base_unit, measured_as, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.formats.codec import Origin

SMALL: Final = 1 << 16
"""Numbers up to about this are numbered by counting, others by sorting."""

CAPACITY: Final = 256
"""Combinations that a kernel knows at once; with more it forgets and learns again."""
TOKEN_MAX: Final = 64
"""A longer word is no channel, unit, quality or length."""
NEW: Final = -1
TOO_LONG: Final = -2

FACTS: Final = 6
NUMBER, REASON, INTERVAL, MULTIPLIER, POWER, WRONG_UNIT = range(FACTS)
"""Columns of ``Table.facts``."""

_QUALITIES: Final = {
    **{name: code for code, name in enumerate(QUALITY_NAMES)},
    **{str(code): code for code in range(len(QUALITY_NAMES))},
    "a": Quality.ACTUAL, "act": Quality.ACTUAL, "raw": Quality.ACTUAL, "measured": Quality.ACTUAL,
    "read": Quality.ACTUAL, "e": Quality.ESTIMATED, "est": Quality.ESTIMATED, "estimate": Quality.ESTIMATED,
    "s": Quality.ESTIMATED, "substituted": Quality.ESTIMATED, "f": Quality.EDITED,
    "final": Quality.EDITED, "calculated": Quality.DERIVED, "forecast": Quality.PROJECTED,
    "n": Quality.MISSING, "null": Quality.MISSING, "valid": Quality.VALIDATED,
}  # fmt: skip

_CHANNELS: Final = {
    "electricity": "electricity.import", "import": "electricity.import", "export": "electricity.export",
    "generation": "electricity.generation", "net": "electricity.net", "gas": "gas.import",
    "water": "water.import",
}  # fmt: skip


class Table(NamedTuple):
    """The combinations a kernel knows: ``tokens[slot, column]`` are the raw bytes, ``lengths`` how many."""

    tokens: npt.NDArray[np.uint8]
    lengths: Ints
    facts: Ints


class Words(NamedTuple):
    """Where a row's words stand and which are known, as pointers; ``n`` is the number of columns."""

    columns: Any
    n: int
    tokens: Any
    lengths: Any


class Meaning(NamedTuple):
    """What a combination stands for; ``reason`` is why readings of it are refused, 0 where they are not."""

    channel: str
    interval_s: int
    quality: int
    unit: Unit
    reason: int = 0
    wrong_unit: bool = False


class Defaults(NamedTuple):
    """What holds where a row does not say it."""

    channel: str
    interval_s: int
    quality: int
    unit: Unit | None
    """None: the base unit of the channel."""


def quality_of(text: str) -> int | None:
    """Quality code that ``text`` names; None where it names none."""
    return _QUALITIES.get(text.strip().lower())


def channel_of(text: str) -> str | None:
    """Channel that ``text`` names; None where it names none."""
    name = text.strip().lower()
    name = _CHANNELS.get(name, name)
    return name if channel_family(name) else None


def meaning_of(words: Mapping[str, str], defaults: Defaults) -> Meaning:
    """Meaning of the words of one row by role (interval, quality, channel, unit); blank ones are defaults."""
    said = {role: word for role, word in words.items() if word}
    channel = channel_of(said["channel"]) if "channel" in said else defaults.channel
    quality = quality_of(said["quality"]) if "quality" in said else defaults.quality
    interval_s = defaults.interval_s
    if "interval" in said:
        try:
            interval_s = parse_interval(said["interval"])
        except Invalid:
            interval_s = 0
    known = channel or defaults.channel
    base = base_unit(known)
    unit = unit_of(said["unit"]) if "unit" in said else defaults.unit or base
    actual = measured_as(known, unit) if unit else None
    reason = ""
    if quality is None:
        reason = "malformed_line"
    elif not is_supported(interval_s):
        reason = "unsupported_interval"
    elif channel is None or base is None:
        reason = "unsupported_channel"
    elif quality == Quality.MISSING:
        reason = "missing_value"
    plain = unit or base or Unit("kWh", "energy", 1, 6)
    code = REASON_CODES[reason] if reason else 0
    return Meaning(actual or known, interval_s, quality or 0, plain, code, actual is None)


@njit(nogil=True, cache=True, error_model="numpy")
def look_up(
    data: Any, starts: Any, stops: Any, words: Any, known: int, last: int
) -> int:  # pragma: no cover - compiled
    """Slot of the combination that the row holds, `NEW` or `TOO_LONG`; ``last`` is tried first."""
    columns, n, tokens, lengths = words.columns, words.n, words.tokens, words.lengths
    if n == 0:
        return 0
    for turn in range(-1, known):
        slot = last if turn < 0 else turn
        if slot >= known:
            continue
        alike = True
        for k in range(n):
            at = columns[k]
            alike = stops[at] - starts[at] == lengths[slot * n + k]
            for j in range(lengths[slot * n + k] if alike else 0):
                if data[starts[at] + j] != tokens[(slot * n + k) * TOKEN_MAX + j]:
                    alike = False
                    break
            if not alike:
                break
        if alike:
            return slot
    for k in range(n):
        if stops[columns[k]] - starts[columns[k]] > TOKEN_MAX:
            return TOO_LONG
    return NEW


class Categories:
    """The combinations of one chunk: numbered as they are met, their meanings, and the kernel's table."""

    def __init__(self, roles: tuple[str, ...], read: Callable[[tuple[str, ...]], Meaning]) -> None:
        """Know none, or the only one there is where rows say nothing."""
        self._roles, self._read = roles, read
        self.meanings: list[Meaning] = []
        self.known = 0
        self.table = Table(
            np.zeros((CAPACITY, len(roles), TOKEN_MAX), np.uint8),
            np.zeros((CAPACITY, len(roles)), np.int64),
            np.zeros((CAPACITY, FACTS), np.int64),
        )
        if not roles:
            self.learn([])

    def learn(self, words: list[bytes]) -> None:
        """Take in one combination, given as raw words in the order of the roles."""
        if self.known == CAPACITY:
            self.known = 0
        meaning = self._read(tuple(word.decode("utf-8", "replace") for word in words))
        for k, word in enumerate(words):
            self.table.tokens[self.known, k, : len(word)] = np.frombuffer(word, np.uint8)
            self.table.lengths[self.known, k] = len(word)
        self.table.facts[self.known] = (
            len(self.meanings), meaning.reason, meaning.interval_s,
            meaning.unit.multiplier, meaning.unit.power, meaning.wrong_unit,
        )  # fmt: skip
        self.meanings.append(meaning)
        self.known += 1

    def kinds(self, number: Ints, key: Ints, make: Callable[[Meaning, int], Kind], kinds: Kinds) -> Codes:
        """Code in ``kinds`` of each pair of combination and key; ``make`` is asked once a distinct pair."""
        if not len(number):
            return np.empty(0, np.int32)
        if not key.any():
            codes: Codes = np.zeros(len(self.meanings), np.int32)
            for i in np.flatnonzero(np.bincount(number)).tolist():
                codes[i] = kinds.code(make(self.meanings[i], 0))
            return codes[number]
        n = len(self.meanings)
        pairs, inverse = np.unique(key * n + number, return_inverse=True)
        found = [kinds.code(make(self.meanings[pair % n], pair // n)) for pair in pairs.tolist()]
        chosen: Codes = np.array(found, np.int32)[inverse.reshape(-1)]
        return chosen


def numbered(values: Ints) -> tuple[Ints, Ints]:
    """Distinct numbers, rising, and the index of each row's; cheap where they are small, or like the row before."""
    n = len(values)
    if not n or values.min() < 0 or values.max() > SMALL + n:
        fresh = np.append(True, values[1:] != values[:-1])[:n]
        there, index = np.unique(values[fresh], return_inverse=True)
        return there, index.reshape(-1)[np.cumsum(fresh) - 1]
    there = np.flatnonzero(np.bincount(values))
    place = np.empty(int(there[-1]) + 1, np.int64)
    place[there] = np.arange(len(there))
    return there, place[values]


def distinct(*columns: Ints) -> tuple[Ints, Ints]:
    """Distinct rows of some columns in their order, and the index of each row's."""
    n = len(columns[0])
    rows, number = np.empty((min(n, 1), 0), np.int64), np.zeros(n, np.int64)
    for column in columns:
        there, code = numbered(column)
        pairs, number = numbered(number * len(there) + code)
        own = there[pairs % max(len(there), 1)]
        rows = np.column_stack([rows[pairs // max(len(there), 1)], own])
    return rows, number


def kind_of(
    meaning: Meaning, origin: Origin, key: int = 0, *, stamp_us: int | None = None,
    quality: int | None = None, per_line: bool = False,
) -> Kind:  # fmt: skip
    """Kind of readings of ``meaning`` from ``origin``; ``key`` is `day_key` for a local day, else 0."""
    length, phase = (LOCAL_DAYS_S[(key - 1) % 4], (key - 1) // 4) if key else (meaning.interval_s, -1)
    code = meaning.quality if quality is None else quality
    best = max(code, origin.quality_best) if code else origin.quality_best
    return Kind(
        channel=meaning.channel,
        interval_s=length,
        quality=best,
        precedence=PRECEDENCE[best] if origin.precedence is None else origin.precedence,
        stamp_us=origin.received_us if stamp_us is None else stamp_us,
        sender_stamp=stamp_us is not None,
        source=origin.source,
        delivery=origin.delivery,
        per_line=per_line,
        phase=phase,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def day_key(length: int, phase: int) -> int:  # pragma: no cover - compiled
    """One number above 0 for a local day's length (23, 24 or 25 hours) and its local time of day (s)."""
    return 1 + phase * 4 + length // HOUR_S - 23
