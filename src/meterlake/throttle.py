"""How often something may be tried in vain, by name, before whoever tries must wait."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

from meterlake.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = 100_000
"""Names remembered; the one tried longest ago goes first."""


class Throttle:
    """Counts tries by name; each is forgotten ``within_s / most`` seconds after the one before. Thread-safe."""

    def __init__(self, most: int, within_s: float, now: Callable[[], float]) -> None:
        """Allow ``most`` tries at once, and as many again over ``within_s`` seconds."""
        self._most, self._each_s, self._now = most, within_s / most, now
        self._lock = Lock()
        self._tried: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> None:
        """Count a try before it is made, so that many at once do not get past.

        Raises:
            Overloaded: there were too many; it says when the next may come.

        """
        with self._lock:
            now = self._now()
            free_at = max(self._tried.get(name, now), now) + self._each_s
            wait_s = free_at - now - self._most * self._each_s
            if wait_s > 1e-6:
                seconds = int(wait_s) + 1
                raise Overloaded(f"too many tries: wait {_told(seconds)} and try again", seconds)
            self._tried[name] = free_at
            self._tried.move_to_end(name)
            if len(self._tried) > KEPT:
                self._tried.popitem(last=False)

    def give_back(self, name: str) -> None:
        """Forget one try: it was good."""
        with self._lock:
            if name in self._tried:
                self._tried[name] -= self._each_s


def _told(seconds: int) -> str:
    return f"{seconds} seconds" if seconds <= 90 else f"{-(-seconds // 60)} minutes"


def network_of(where: str) -> str:
    """Name by which tries from an address are counted: itself, or the network that one IPv6 customer has."""
    try:
        address = ipaddress.ip_address(where)
    except ValueError:
        return where
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
