"""The settings of a bridge: a TOML file that says which topics there are and how their payloads are read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meterlake.bridge.mapping import ROLES, TIMES, TopicMap
from meterlake.bridge.patterns import Pattern
from meterlake.errors import Invalid, NotFound
from meterlake.intervals import parse_interval

if TYPE_CHECKING:
    from pathlib import Path

CLIENT: Final = "meterlake-bridge"
KEEP_S: Final = 7 * 86_400
_OWN: Final = ("client", "keep", "topic")
_TOPIC: Final = (
    "pattern", "payload", "time", "moment", "round", "each", "fields", "set", "values", "channels",
)  # fmt: skip
_NAME: Final = re.compile(r"[\x21-\x7e]{1,64}")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeMap:
    """What one bridge does."""

    client: str
    """Name of the session that the broker keeps; one bridge each."""
    keep_s: int
    """How long the broker keeps the session, and what waits in it, while the bridge is away."""
    topics: tuple[TopicMap, ...]

    @property
    def dated_by_arrival(self) -> bool:
        """Whether any message is dated by the moment it comes."""
        return any(topic.dated_by_arrival for topic in self.topics)


def read_map(path: Path) -> BridgeMap:
    """Read the settings in a file.

    Raises:
        NotFound: there is none.
        Invalid: it is no TOML, or says something that cannot be; the message names the key.

    """
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}; --map names the file of the bridge's settings") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: {error}") from error
    try:
        return _map(told)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from error


def _map(told: dict[str, Any]) -> BridgeMap:
    _known(told, _OWN, "the file")
    topics = told.get("topic")
    if not isinstance(topics, list) or not topics or not all(isinstance(one, dict) for one in topics):
        raise Invalid("it names no topic; begin one with the line [[topic]]")
    client = told.get("client", CLIENT)
    if not isinstance(client, str) or not _NAME.fullmatch(client):
        raise Invalid(f"client = {client!r}: write 1 to 64 letters, digits and signs without spaces")
    keep_s = parse_interval(str(told["keep"])) if "keep" in told else KEEP_S
    return BridgeMap(client=client, keep_s=keep_s, topics=tuple(_topic(one) for one in topics))


def _topic(told: dict[str, Any]) -> TopicMap:
    pattern = Pattern.parse(str(told.get("pattern", "")))
    where = f"the topic {pattern.text!r}"
    _known(told, _TOPIC, where)
    plain = _one_of(told, "payload", ("json", "plain"), where) == "plain"
    time = _one_of(told, "time", TIMES, where)
    moments = ("end", "start") if time == "arrival" else ("start", "end")
    made = TopicMap(
        pattern=pattern,
        plain=plain,
        time=time,
        ends=_one_of(told, "moment", moments, where) == "end",
        rounded=_yes(told.get("round", False), where),
        each=_path(told["each"], where) if "each" in told else (),
        fields={_role(k, "fields", where): _path(v, where) for k, v in _table(told, "fields", where).items()},
        fixed={_role(k, "set", where): _fixed(k, v, pattern) for k, v in _table(told, "set", where).items()},
        values=tuple((_path(k, where), _text(v, where)) for k, v in _table(told, "values", where).items()),
        channels={k: _text(v, where) for k, v in _table(told, "channels", where).items()},
    )
    _whole(made, where)
    return made


def _whole(made: TopicMap, where: str) -> None:
    """Refuse what contradicts itself or can never give a reading."""
    twice = sorted(made.fields.keys() & (made.fixed.keys() | made.pattern.names))
    if twice:
        raise Invalid(f"{where}: {twice[0]} comes from the payload and from `set` or the topic; say one")
    if made.plain and (made.fields or made.values or made.each):
        raise Invalid(f"{where}: a plain payload is the value alone: fields, values and each are for JSON")
    if made.values and ("value" in made.fixed or "channel" in made.fixed or "value" in made.fields):
        raise Invalid(f"{where}: `values` says each value and its channel; leave them out elsewhere")
    named = made.fixed.keys() | made.pattern.names
    if made.plain and "meter" not in named:
        raise Invalid(f"{where}: a plain payload names no meter; put {{meter}} into the pattern or `set` it")
    if made.plain and "seconds" not in named:
        raise Invalid(f"{where}: say how long an interval is: set = {{ seconds = 900 }}")
    if made.plain and not made.dated_by_arrival and "start" not in named:
        raise Invalid(f'{where}: a plain payload has no time; say time = "arrival"')


def _known(told: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    unknown = sorted(told.keys() - set(keys))
    if unknown:
        raise Invalid(f"{where} has an unknown key {unknown[0]!r}; keys are {', '.join(keys)}")


def _one_of(told: dict[str, Any], key: str, words: tuple[str, ...], where: str) -> str:
    """Return a word; the first is what holds when nothing is said."""
    word = told.get(key, words[0])
    if word not in words:
        raise Invalid(f"{where}: {key} = {word!r}; write one of {', '.join(words)}")
    return str(word)


def _table(told: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    table = told.get(key, {})
    if not isinstance(table, dict):
        raise Invalid(f"{where}: {key} is a table, such as {key} = {{ name = … }}")
    return table


def _role(name: str, key: str, where: str) -> str:
    if name not in ROLES:
        raise Invalid(f"{where}: {key} says {name!r}; a reading has {', '.join(ROLES)}")
    return name


def _path(value: Any, where: str) -> tuple[str, ...]:
    """Read a path: text with points between the names, or a list of names."""
    parts = value.split(".") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise Invalid(f"{where}: {value!r} is no path; write ENERGY.Total, or a list of names")
    return tuple(parts)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid(f"{where}: {value!r} is no channel; write such as electricity.import")
    return value


def _yes(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{where}: round = {value!r}; write true or false")
    return value


def _fixed(role: str, value: Any, pattern: Pattern) -> str | int:
    """Read what a role always is."""
    where = f"the topic {pattern.text!r}: set {role} = {value!r}"
    if role == "seconds" and type(value) is int and value > 0:
        return value
    if role == "seconds" or not isinstance(value, str) or not value:
        raise Invalid(f"{where}: write {'a number of seconds' if role == 'seconds' else 'text'}")
    rest = _BRACES.sub("", value)
    unknown = sorted(set(_BRACES.findall(value)) - pattern.names)
    if unknown or "{" in rest or "}" in rest:
        known = ", ".join(f"{{{name}}}" for name in sorted(pattern.names)) or "no names"
        raise Invalid(f"{where}: braces hold names of the pattern, which has {known}")
    return value
