"""Local time in the kernels: the stretches of a `zones.ZoneTable`, with the last one remembered."""

# mypy: disable-error-code="no-any-return, assignment, return-value"
# Compiled by Numba: plain comparisons and loops become plain machine code, numbers are all 64 bits wide,
# and helpers take many arguments because a kernel has no objects to keep them in.

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

from meterlake.formats.pointer import pointer


class Clock(NamedTuple):
    """A zone's table as pointers; ``n`` is the number of changes."""

    bounds: Any
    offsets: Any
    changes: Any
    n: int


@njit(nogil=True, cache=True, error_model="numpy")
def clock_of(zone: Any) -> Any:  # pragma: no cover - compiled
    """Return the `Clock` of a zone table."""
    return Clock(pointer(zone.bounds), pointer(zone.offsets), pointer(zone.changes), len(zone.changes))


@njit(nogil=True, cache=True, error_model="numpy")
def stretch_of(clock: Any, local: int, hint: int) -> int:  # pragma: no cover - compiled
    """Index of the stretch that holds ``local`` seconds; ``hint`` is the one of the stamp before."""
    if clock.bounds[hint] <= local < clock.bounds[hint + 1]:
        return hint
    low, high = 0, 2 * clock.n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if clock.bounds[middle] <= local:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True, cache=True, error_model="numpy")
def first_utc(clock: Any, local: int, stretch: int) -> int:  # pragma: no cover - compiled
    """UTC of ``local``: the earlier where it exists twice, the moment of change where it never does."""
    before = clock.offsets[stretch // 2]
    if stretch % 2 == 1 and clock.offsets[stretch // 2 + 1] > before:
        return clock.bounds[stretch] - before
    return local - before


@njit(nogil=True, cache=True, error_model="numpy")
def is_skipped(clock: Any, stretch: int) -> bool:  # pragma: no cover - compiled
    """Whether an odd stretch holds times that never exist; else they exist twice."""
    return clock.offsets[stretch // 2 + 1] > clock.offsets[stretch // 2]


@njit(nogil=True, cache=True, error_model="numpy")
def local_of(clock: Any, utc: int) -> int:  # pragma: no cover - compiled
    """Local seconds at ``utc``."""
    low, high = 0, clock.n
    while low < high:
        middle = (low + high) // 2
        if clock.changes[middle] <= utc:
            low = middle + 1
        else:
            high = middle
    return utc + clock.offsets[low]
