"""How to load, as text: the options of the command line, and the sets of them that a lake keeps as *feeds*.

A feed is a table of ``feeds.toml`` in the lake's folder, its keys the options of ``meterlake load``::

    [london]
    format = "csv"
    map = "meter=LCLid,time=tstp,value=energy(kWh/hh)"
    zone = "UTC"
"""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import Invalid, NotFound
from meterlake.intervals import parse_interval
from meterlake.readings import QUALITY_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.intake import LoadOptions
    from meterlake.ports import Store

FILE: Final = "feeds.toml"
ROLES: Final = ("meter", "time", "value", "interval", "quality", "channel", "unit")

READ: Final = (
    "format", "map", "time_format", "zone", "stamp", "interval", "unit", "channel", "meter", "decimal",
    "quality", "columns", "encoding", "delimiter", "skip",
)  # fmt: skip
"""Options that say how a file is to be read."""

TRUST: Final = ("source", "known_only", "keep", "quality_best", "authoritative")
"""Options that say what a feed may claim and what is kept of it."""


def read_feeds(store: Store) -> dict[str, dict[str, Any]]:
    """Feeds of a lake by name; none where it has no file of them.

    Raises:
        Invalid: the file is no TOML, or has a key that is no option.

    """
    path, found = f"{store.url}/{FILE}", store.read(FILE)
    if found is None:
        return {}
    try:
        feeds = tomllib.loads(found[0].decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: {error}") from error
    for name, told in feeds.items():
        if not isinstance(told, dict):
            raise Invalid(f"{path}: {name!r} stands outside a feed; put it under a line [NAME]")
        unknown = sorted({key.replace("-", "_") for key in told} - set(READ) - set(TRUST))
        if unknown:
            raise Invalid(
                f"{path}: feed {name!r} has an unknown key {unknown[0]!r}; keys are {', '.join(READ + TRUST)}"
            )
    return {
        name: {key.replace("-", "_"): value for key, value in told.items()} for name, told in feeds.items()
    }


def feed_of(store: Store, name: str) -> dict[str, Any]:
    """Options of one feed."""
    feeds = read_feeds(store)
    if name not in feeds:
        known = f"it has {', '.join(sorted(feeds))}" if feeds else "it has none yet"
        raise NotFound(f"no feed {name!r} in {store.url}/{FILE}: {known}")
    return feeds[name]


def options_of(told: Mapping[str, Any], store: Store) -> LoadOptions:
    """Options of a load from those of the command line (None: not given), laid over those of its feed.

    Raises:
        Invalid: an option cannot be understood.

    """
    from meterlake.formats.codec import ReadOptions
    from meterlake.intake import LoadOptions

    feed = told.get("feed")
    given = {name: value for name, value in told.items() if value is not None}
    given = {**(feed_of(store, feed) if feed else {}), **given}
    read: dict[str, Any] = {
        name: _READERS.get(name, _same)(given.pop(name)) for name in READ if name in given
    }
    if "interval" in read:
        read["interval_s"] = read.pop("interval")
    rest = {name: _READERS.get(name, _same)(value) for name, value in given.items()}
    return LoadOptions(read=ReadOptions(**read), **rest)


def _same(value: Any) -> Any:
    return value


def _map(text: str | Mapping[str, Any]) -> dict[str, str]:
    parts = (
        text.items() if not isinstance(text, str) else (part.partition("=")[::2] for part in text.split(","))
    )
    pairs = {str(role).strip(): str(column) for role, column in parts}
    for role, column in pairs.items():
        if role not in ROLES or not column:
            raise Invalid(f"--map {role}={column}: write ROLE=COLUMN with a role of {', '.join(ROLES)}")
    return pairs


def _columns(text: str) -> tuple[int, int]:
    first, dots, last = str(text).partition("..")
    if not (dots and first.strip().isdigit() and last.strip().isdigit() and 1 <= int(first) <= int(last)):
        raise Invalid(
            f"--columns {text!r}: write the first and last value column, counted from 1, such as 4..51"
        )
    return int(first) - 1, int(last)


def _moment(value: str | datetime) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise Invalid(f"--received-at {value!r} is no moment: write 2026-01-31T06:00:00Z") from None


def _quality_best(value: str) -> int:
    if value not in QUALITY_NAMES[1:]:
        raise Invalid(f"quality_best {value!r}: write one of {', '.join(QUALITY_NAMES[1:])}")
    return QUALITY_NAMES.index(value)


def _stamp(value: str) -> str:
    if value not in {"start", "end"}:
        raise Invalid(f"--stamp {value!r}: write start or end, whichever the file's times name")
    return value


def _delimiter(value: str) -> str:
    text = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(value, value)
    if len(text) != 1:
        raise Invalid(f"--delimiter {value!r}: write one character, or tab")
    return text


def _decimal(value: str) -> str:
    if value not in {",", "."}:
        raise Invalid(f"--decimal {value!r}: write , or .")
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "map": _map,
    "columns": _columns,
    "interval": lambda value: parse_interval(str(value)),
    "received_at": _moment,
    "quality_best": _quality_best,
    "stamp": _stamp,
    "delimiter": _delimiter,
    "decimal": _decimal,
    "changes": Path,
}
