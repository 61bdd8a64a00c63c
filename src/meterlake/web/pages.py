"""The pages behind the door, by role: each module has a ``router``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.web import fleet, home, map, meter, records  # noqa: A004 - the page's name

if TYPE_CHECKING:
    from types import ModuleType

PAGES: Final[tuple[ModuleType, ...]] = (home, fleet, records, meter, map)
