"""Where things are when nothing is said: one frozen set of settings, from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

LAKE_VARIABLE: Final = "METERLAKE_LAKE"
REGISTRY_VARIABLE: Final = "METERLAKE_REGISTRY"
LOG_VARIABLE: Final = "METERLAKE_LOG"
LIVE_VARIABLE: Final = "METERLAKE_LIVE"
ENGINE_VARIABLE: Final = "METERLAKE_ENGINE"
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
    live: str | None = None
    """URL of the Redis in which what is live is shown; None: it stays in memory."""
    engine: str | None = None
    """What large jobs run on; None: threads of this process."""
    debug: bool = False
    """Whether errors show where in the program they were raised."""


def from_environment() -> Settings:
    """Settings by ``METERLAKE_LAKE``, ``_REGISTRY``, ``_LOG``, ``_LIVE`` and ``_ENGINE``; empty ones count as not set."""
    return Settings(
        lake=os.environ.get(LAKE_VARIABLE) or DEFAULT_LAKE,
        registry=os.environ.get(REGISTRY_VARIABLE) or None,
        log=os.environ.get(LOG_VARIABLE) or None,
        live=live_url(os.environ.get(LIVE_VARIABLE)),
        engine=os.environ.get(ENGINE_VARIABLE) or None,
    )


def live_url(told: str | None) -> str | None:
    """Return the URL of the live view; None where it is to stay in memory."""
    return None if told in {None, "", "memory"} else told
