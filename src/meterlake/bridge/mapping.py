"""What a message says, as lines of readings: pure functions of its topic, its payload and the moment it came.

A line is a reading as the server takes it (NDJSON). What cannot be read becomes a line that is none, so that the
server counts it, keeps it in quarantine and stops nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.bridge.patterns import Pattern

ROLES: Final = ("meter", "channel", "start", "seconds", "value", "unit", "quality", "stamp")
"""Members of a reading, as over HTTP."""
MOMENTS: Final = ("start", "stamp")
PER_SECOND: Final = {"epoch_s": 1, "epoch_ms": 1_000}
TIMES: Final = ("iso", *PER_SECOND, "arrival")
TOLD_MAX: Final = 500
"""Characters of a payload that are kept of one that cannot be read."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMap:
    """How the messages of a pattern are read."""

    pattern: Pattern
    plain: bool = False
    """Whether the payload is the value itself, and not JSON."""
    time: str = "iso"
    """How times are written; ``arrival``: the moment at which the message came."""
    ends: bool = False
    """Whether a time names the end of its interval, and not its start."""
    rounded: bool = False
    """Whether times are moved to the nearest border of an interval."""
    each: Path = ()
    """Where in the payload the list of readings stands; empty: the payload is one, or a list of them."""
    fields: Mapping[str, Path] = field(default_factory=dict)
    """Where in a reading a role stands, if not under its own name."""
    fixed: Mapping[str, str | int] = field(default_factory=dict)
    """What a role is, whatever the payload says; text may name wildcards of the pattern in braces."""
    values: tuple[tuple[Path, str], ...] = ()
    """Members that are values of a channel each; empty: a reading has one value."""
    channels: Mapping[str, str] = field(default_factory=dict)
    """Channel by the sender's own word for it; others are taken as they are."""

    @property
    def dated_by_arrival(self) -> bool:
        """Whether the moment of arrival decides where a reading belongs."""
        return self.time == "arrival"


@dataclass(frozen=True, slots=True)
class Lines:
    """What a message became: lines for the server, and whether they are one that cannot be read."""

    lines: Sequence[bytes]
    poison: bool = False


class _PoisonError(ValueError):
    """Why a payload cannot be read."""


def lines_of(maps: Sequence[TopicMap], topic: str, payload: bytes, at_us: int, *, retained: bool) -> Lines:
    """Lines of a message by the first of ``maps`` whose pattern is its topic's.

    None where no pattern is, where the payload is empty (which is how a retained message is deleted), and where an
    old, retained message would be dated by its arrival.
    """
    for known in maps:
        words = known.pattern.match(topic)
        if words is None:
            continue
        if not payload or (retained and known.dated_by_arrival):
            return Lines(())
        try:
            return Lines([msgspec.json.encode(one) for one in _readings(known, topic, words, payload, at_us)])
        except (ValueError, ArithmeticError, RecursionError) as error:
            return Lines([refused(topic, payload, str(error))], poison=True)
    return Lines(())


def refused(topic: str, payload: bytes, why: str) -> bytes:
    """Return a line that is no reading, and says where it came from."""
    told = payload[: 4 * TOLD_MAX].decode("utf-8", "replace")[:TOLD_MAX]
    return msgspec.json.encode(f"{topic}: {why}: {told}"[: 3 * TOLD_MAX])


def _readings(
    known: TopicMap, topic: str, words: Mapping[str, str], payload: bytes, at_us: int
) -> Iterator[dict[str, Any]]:
    """Readings of a payload, each with the topic that it came by."""
    held: dict[str, Any] = {role: words[role] for role in ROLES if role in words}
    held |= {
        role: value.format_map(words) if isinstance(value, str) else value
        for role, value in known.fixed.items()
    }
    for item, whole in _items(known, payload):
        said = dict(held)
        for role in ROLES:
            if role not in said:
                value = _at(item, whole, known.fields.get(role, (role,)))
                if value is not None:
                    said[role] = value
        for one in _valued(known, item, whole, said):
            if "channel" in one:
                one["channel"] = known.channels.get(str(one["channel"]), one["channel"])
            _dated(known, one, at_us)
            yield one | {"topic": topic}


def _items(known: TopicMap, payload: bytes) -> Iterator[tuple[Any, Any]]:
    """Parts of a payload that are one reading each, and the payload that they stand in."""
    if known.plain:
        try:
            item = {"value": payload.decode().strip()}
        except UnicodeDecodeError:
            raise _PoisonError("no UTF-8") from None
        yield item, item
        return
    whole = _DECODER.decode(payload)
    found = _at(whole, whole, known.each) if known.each else whole
    items = found if isinstance(found, list) else [found]
    if not items:
        raise _PoisonError("no reading in it")
    for item in items:
        if not isinstance(item, dict):
            raise _PoisonError(f"no object at {'.'.join(known.each)}" if known.each else "no object")
        yield item, whole


def _valued(known: TopicMap, item: Any, whole: Any, said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One reading, or one for each member that is the value of a channel."""
    if not known.values:
        yield said
        return
    found = [(channel, _at(item, whole, path)) for path, channel in known.values]
    if all(value is None for _, value in found):
        raise _PoisonError(f"none of {', '.join('.'.join(path) for path, _ in known.values)} in it")
    for channel, value in found:
        if value is not None:
            yield {**said, "channel": channel, "value": value}


def _at(item: Any, whole: Any, path: Path) -> Any:
    """What stands at ``path`` in a reading, else in the payload around it; None where nothing does."""
    for root in (item, whole):
        found: Any = root
        for name in path:
            if isinstance(found, dict):
                found = found.get(name)
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                found = None
        if found is not None or whole is item:
            return found
    return None


def _dated(known: TopicMap, said: dict[str, Any], at_us: int) -> None:
    """Write the times of a reading as the server reads them."""
    if known.time in PER_SECOND:
        for role in MOMENTS:
            if role in said:
                said[role] = _text(_counted(said[role], PER_SECOND[known.time]))
    if not (known.ends or known.rounded or known.dated_by_arrival):
        return
    seconds = said.get("seconds")
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    if type(seconds) is not int or not 0 < seconds <= 366 * 86_400:
        raise _PoisonError("seconds is no length of an interval")
    at = at_us if known.dated_by_arrival else _read(said.get("start"))
    step = seconds * 1_000_000
    if known.rounded or known.dated_by_arrival:
        at = (at + step // 2) // step * step
    said["start"] = _text(at - step if known.ends else at)


def _counted(value: Any, per_second: int) -> int:
    """Microseconds of a number of (milli)seconds since 1970."""
    try:
        exact = Decimal(value) if isinstance(value, int | str | Decimal) else None
    except ArithmeticError:
        exact = None
    if exact is None or isinstance(value, bool) or not exact.is_finite() or abs(exact) > 10**15:
        raise _PoisonError(f"{str(value)[:40]} is no time since 1970")
    return int(exact * (1_000_000 // per_second))


def _read(text: Any) -> int:
    """Microseconds of a moment as text; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise _PoisonError(f"{str(text)[:40]} is no time") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _text(us: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise _PoisonError("a time beyond all years") from None
