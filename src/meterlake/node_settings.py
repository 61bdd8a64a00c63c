"""How a server works: limits and times, from the environment, said in full when it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import Invalid
from meterlake.intervals import parse_interval
from meterlake.live.limits import LiveLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "METERLAKE_"
_SIZE: Final = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_EXAMPLES: Final = {"yes": "yes or no", "count": "a whole number", "size": "64MiB or 4GiB"}
_UNITS: Final = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86_400,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptLimits:
    """What is taken at most."""

    body: int = 64 << 20
    """Bytes of one body, as sent and unpacked."""
    readings: int = 2_000_000
    """Readings of one batch."""
    line: int = 64 << 10
    """Bytes of one line; a longer one is refused as malformed."""
    waiting: int = 256 << 20
    """Bytes of bodies being worked on; beyond it senders are told to come again."""
    group: int = 256
    """Batches made durable by one sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The times of a server's work, in seconds, and its limits."""

    grace_s: int = 3_600
    """How long after its end a block waits for late readings before it is sealed."""
    flush_s: int = 300
    """How long late readings and the record of batches wait for the lake."""
    checkpoint_s: int = 60
    batch_at_s: int = 3 * 3_600
    """Time of day (UTC) of the nightly batch."""
    batch_grace_s: int = 2 * 3_600
    """How long after the end of a day its batch waits."""
    batch: bool = True
    """Whether this server runs the nightly batch."""
    archive: bool = False
    """Whether accepted batches are kept as Parquet files beyond the log."""
    foreign_source: str = ""
    """Source of readings that other programs write to the log; empty: ``kafka:`` and the topic."""
    accept: AcceptLimits = field(default_factory=AcceptLimits)
    live: LiveLimits = field(default_factory=LiveLimits)

    def told(self) -> dict[str, str]:
        """Return every setting as it would be written in the environment."""
        return {
            PREFIX + name: _told(getattr(_part(self, where), key), kind) for name, where, key, kind in _ALL
        }


_ALL: Final = (
    ("GRACE", "", "grace_s", "time"),
    ("FLUSH", "", "flush_s", "time"),
    ("CHECKPOINT", "", "checkpoint_s", "time"),
    ("BATCH", "", "batch", "yes"),
    ("BATCH_AT", "", "batch_at_s", "time"),
    ("BATCH_GRACE", "", "batch_grace_s", "time"),
    ("ARCHIVE", "", "archive", "yes"),
    ("FOREIGN_SOURCE", "", "foreign_source", "text"),
    ("MAX_BODY", "accept", "body", "size"),
    ("MAX_READINGS", "accept", "readings", "count"),
    ("MAX_LINE", "accept", "line", "size"),
    ("MAX_WAITING", "accept", "waiting", "size"),
    ("MAX_GROUP", "accept", "group", "count"),
    ("LIVE_MEMORY", "live", "bytes", "size"),
    ("LIVE_ROWS", "live", "rows", "count"),
)
"""Variable, part of the settings, field, kind."""


def _part(settings: NodeSettings, where: str) -> Any:
    return getattr(settings, where) if where else settings


def settings_from(environment: Mapping[str, str]) -> NodeSettings:
    """Settings by the variables of `NodeSettings.told`; Invalid names the variable that cannot be read."""
    settings = NodeSettings()
    for name, where, key, kind in _ALL:
        text = environment.get(PREFIX + name)
        if not text:
            continue
        changed = replace(_part(settings, where), **{key: _read(PREFIX + name, text, kind)})
        settings = replace(settings, **{where: changed}) if where else changed
    return settings


def _read(name: str, text: str, kind: str) -> int | str:
    match kind:
        case "text":
            return text
        case "yes" if text in {"yes", "no"}:
            return text == "yes"
        case "count" if text.isdigit():
            return int(text)
        case "time":
            return parse_interval(text)
        case "size" if found := _SIZE.fullmatch(text):
            return int(found[1]) * _UNITS[found[2] or "B"]
    raise Invalid(f"{name}={text}: write {_EXAMPLES[kind]}")


def _told(value: int | str, kind: str) -> str:
    if isinstance(value, str):
        return value
    if kind == "yes":
        return "yes" if value else "no"
    names = {"time": ("d", "h", "min", "s"), "size": ("GiB", "MiB", "KiB", "B")}.get(kind, ())
    return next((f"{value // _UNITS[u]}{u}" for u in names if value and value % _UNITS[u] == 0), str(value))
