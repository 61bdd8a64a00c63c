"""Patterns of topics: what to subscribe to, and which words of a topic a message is about.

``meters/{meter}/{channel}`` has two wildcards with names; each stands for one level, or for a part of one as in
``meter-{meter}/state``. ``+`` is a level that has no name, ``#`` at the end all that follows. A pattern may begin
with ``$share/GROUP/``: then several bridges share its messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from meterlake.errors import Invalid

_PART: Final = re.compile(r"\{([a-z_]+)\}|([^{}]+)")
_EXAMPLE: Final = "write such as meters/{meter}/{channel}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, as written and as it is used."""

    text: str
    filter: str
    """What a broker is asked for."""
    names: frozenset[str]
    """Of the wildcards."""
    shape: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern; Invalid says what is wrong with it."""
        share, levels = _shared(text)
        filters, shapes, names = [], [], set[str]()
        for place, level in enumerate(levels):
            if level == "#" and place == len(levels) - 1 and place:
                shapes.append(r"(?:/.*)?")
                filters.append("#")
                continue
            if level == "+":
                shape = "[^/]*"
            else:
                shape, own = _level(level, text)
                if own & names:
                    raise Invalid(f"pattern {text!r}: the name {min(own & names)} stands in it twice")
                names |= own
            filters.append("+" if level == "+" or "{" in level else level)
            shapes.append(("/" if place else "") + shape)
        return cls(text, share + "/".join(filters), frozenset(names), re.compile("".join(shapes), re.DOTALL))

    def match(self, topic: str) -> dict[str, str] | None:
        """Words of ``topic`` by the names of the wildcards; None where the pattern is another's."""
        found = self.shape.fullmatch(topic)
        return None if found is None else found.groupdict()


def _shared(text: str) -> tuple[str, list[str]]:
    """Cut off ``$share/GROUP/``, and cut the rest into levels."""
    levels = text.split("/")
    if levels[0] == "$share":
        if len(levels) < 3 or not levels[1] or set(levels[1]) & set("{}+#"):
            raise Invalid(f"pattern {text!r}: write $share/GROUP/ before what is shared")
        return f"$share/{levels[1]}/", levels[2:]
    if not text:
        raise Invalid(f"a pattern is empty; {_EXAMPLE}")
    return "", levels


def _level(level: str, text: str) -> tuple[str, set[str]]:
    """Regular expression and names of one level."""
    parts = _PART.findall(level)
    whole = "".join(f"{{{name}}}" if name else literal for name, literal in parts)
    if whole != level or "+" in level or "#" in level or "\0" in level:
        raise Invalid(
            f"pattern {text!r}: {level!r} is no level; + and # stand alone, # at the end, names are lower case; {_EXAMPLE}"
        )
    if any(name and after for (name, _), (after, _) in pairwise(parts)):
        raise Invalid(f"pattern {text!r}: put something between the two names in {level!r}")
    names = [name for name, _ in parts if name]
    if len(set(names)) < len(names):
        raise Invalid(f"pattern {text!r}: one name stands twice in {level!r}")
    shape = "".join(f"(?P<{name}>[^/]+)" if name else re.escape(literal) for name, literal in parts)
    return shape, set(names)
