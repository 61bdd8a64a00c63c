"""Local time in the kernels: the stretches of a `zones.ZoneTable`, with the last one remembered."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def stretch_of(bounds: Any, local: int, hint: int) -> int:  # pragma: no cover - compiled
    """Index of the stretch that holds ``local`` seconds; ``hint`` is the one of the previous stamp."""
    if bounds[hint] <= local < bounds[hint + 1]:
        return hint
    return np.searchsorted(bounds, local, "right") - 1


@njit(nogil=True, cache=True, error_model="numpy")
def first_utc(bounds: Any, offsets: Any, local: int, stretch: int) -> int:  # pragma: no cover - compiled
    """UTC of ``local``: the earlier where it exists twice, the moment of change where it never does."""
    before = offsets[stretch // 2]
    if stretch % 2 == 1 and offsets[stretch // 2 + 1] > before:
        return bounds[stretch] - before
    return local - before


@njit(nogil=True, cache=True, error_model="numpy")
def is_skipped(offsets: Any, stretch: int) -> bool:  # pragma: no cover - compiled
    """Whether an odd stretch holds times that never exist; else they exist twice."""
    return offsets[stretch // 2 + 1] > offsets[stretch // 2]


@njit(nogil=True, cache=True, error_model="numpy")
def local_of(changes: Any, offsets: Any, utc: int) -> int:  # pragma: no cover - compiled
    """Local seconds at ``utc``."""
    return utc + offsets[np.searchsorted(changes, utc, "right")]
