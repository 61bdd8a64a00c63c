"""Structured log lines on stderr: what was done and how long it took, never a reading, a meter or a name."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event).decode()


structlog.configure_once(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(serializer=_json),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)

log = structlog.get_logger("meterlake")


def only_warnings() -> None:
    """Say nothing of what goes well."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
