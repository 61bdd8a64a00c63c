"""What is kept in memory between questions: decoded parts of immutable files, least recently used out first."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Key = tuple[Hashable, ...]

BUDGET_BYTES: Final = 512 << 20
"""Default budget. A file never changes, so what is kept never goes stale; it only costs memory."""


class Sized(Protocol):
    """Anything that knows its size."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


class Kept:
    """Values by key within a budget of bytes. Safe to share between threads."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Start empty."""
        self._budget = budget_bytes
        self._bytes = 0
        self._values: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Any:
        """Return the value of ``key``, or None where it is not kept."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Key, value: Sized) -> None:
        """Keep ``value``, dropping the values used longest ago where the budget is spent."""
        size = value.nbytes
        with self._lock:
            _, old = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - old
            while self._bytes > self._budget and len(self._values) > 1:
                _, (_, freed) = self._values.popitem(last=False)
                self._bytes -= freed

    def made(self, key: Key, make: Callable[[], Any]) -> Any:
        """Return the value of ``key``, made now where it is not kept; two threads may both make it."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value
