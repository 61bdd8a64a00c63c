"""Where things are when nothing is said: one frozen set of settings, from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

LAKE_VARIABLE: Final = "METERLAKE_LAKE"
REGISTRY_VARIABLE: Final = "METERLAKE_REGISTRY"
LOG_VARIABLE: Final = "METERLAKE_LOG"
MQTT_VARIABLE: Final = "METERLAKE_MQTT"
DEFAULT_LAKE: Final = "./lake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a command works on."""

    lake: str = DEFAULT_LAKE
    """URL or folder of the lake."""
    registry: str | None = None
    """Database URL of the registry; None: inside the lake."""
    log: str | None = None
    """URL of the log; None: SQLite inside the lake."""
    debug: bool = False
    """Whether errors show where in the program they were raised."""


def from_environment() -> Settings:
    """Settings by ``METERLAKE_LAKE``, ``METERLAKE_REGISTRY`` and ``METERLAKE_LOG``; empty ones count as not set."""
    return Settings(
        lake=os.environ.get(LAKE_VARIABLE) or DEFAULT_LAKE,
        registry=os.environ.get(REGISTRY_VARIABLE) or None,
        log=os.environ.get(LOG_VARIABLE) or None,
    )
