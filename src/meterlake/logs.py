"""Structured log lines on stderr: what was done and how long it took, never a reading, a meter or a name."""

from __future__ import annotations

import logging
import sys

import structlog

structlog.configure_once(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)

log = structlog.get_logger("meterlake")


def only_warnings() -> None:
    """Say nothing of what goes well."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
