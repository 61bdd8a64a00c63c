"""How much one question may ask for: what it would list is counted before anything is worked out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S
from meterlake.moments import CLOCK_STEPS, seconds_of

if TYPE_CHECKING:
    from meterlake.api.served import Asked

VALUES: Final = 250_000
"""Values of a channel in one answer: 14 years of half hours."""

SHORTEST_S: Final = 60
"""Length of intervals that nothing is known of."""

_STEPS_S: Final = CLOCK_STEPS | {"day": DAY_S, "month": 28 * DAY_S}


def check_history(
    asked: Asked, id_: str, kind: str, span: tuple[str, str], how: tuple[str, str, str]
) -> None:
    """Raise Invalid where a history of ``span`` would be too long; ``how`` is its step, its gaps and its zone.

    Without gaps a listing of intervals is as long as what was sent.
    """
    step, gaps, zone = how
    if step == "interval" and gaps == "keep":
        _check(span, zone, _shortest_s(asked, id_, kind))
    elif step in _STEPS_S:
        _check(span, zone, _STEPS_S[step])


def check_fleet(span: tuple[str, str], step: str, zone: str) -> None:
    """Raise Invalid where the totals of ``span`` would be too many."""
    _check(span, zone, _STEPS_S.get(step, SHORTEST_S))


def _check(span: tuple[str, str], zone: str, length_s: int) -> None:
    start, stop = (seconds_of(at, zone, what) for at, what in zip(span, ("from", "to"), strict=True))
    n = (stop - start) // length_s
    if n > VALUES:
        raise Invalid(
            f"this asks for up to {n} values at once; at most {VALUES} are given, ask for a shorter time or a longer step"
        )


def _shortest_s(asked: Asked, id_: str, kind: str) -> int:
    """Shortest interval (s) that is known of a meter, or of those at a service point."""
    if kind == "meter":
        stays = asked.node.lake.registry.installations(id_).select(["meter_id", "interval_s"]).to_pylist()
    else:
        stays = asked.stays(id_)
    lengths = [stay["interval_s"] for stay in stays if stay["interval_s"]]
    for meter in {id_} if kind == "meter" else {stay["meter_id"] for stay in stays}:
        now = asked.node.live.meter(meter, int(time.time()))
        lengths += [] if now is None else now["interval_s"].to_pylist()
    return min(lengths, default=SHORTEST_S)
