"""Meterlake: meter readings as interval blocks in an open lake.

>>> import meterlake
>>> lake = meterlake.open("memory:")
>>> lake.check().ok
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterlake.app import Meterlake

__all__ = ["open"]
__version__ = "0.1.0"


def open(url: str = "./lake", registry: str | None = None) -> Meterlake:  # noqa: A001 - reads as meterlake.open
    """Open the lake at ``url`` (a folder, or ``memory:``), or make one there."""
    from meterlake.app import open_lake

    return open_lake(url, registry)
