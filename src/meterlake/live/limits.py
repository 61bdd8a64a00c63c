"""How much the live side may hold before its node must seal early or refuse new readings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Bounds of the live side; what is beyond them is still applied, because it was acknowledged."""

    bytes: int = 4 << 30
    rows: int = 20_000_000
    """Meter-channels by interval length; readings of more wait as late ones do."""
    late_slots: int = 8_000_000
    """Readings that wait for a seal because their block is not open."""
