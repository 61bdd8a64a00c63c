"""What a shard gives to each batch of its log: a delivery number, a moment, and whether it was there before.

All of it follows from the log and from the checkpoint that reading began with, so it is the same when that is read again.
Only when the numbers that were reserved run out does the lake decide; and what is sealed is never read again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.messages import NAME_BYTES, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.entry import Entry

NUMBERS_AT_ONCE: Final = 4096
"""Delivery numbers reserved at once for a shard; they are in its checkpoint and used up."""

KNOWN_US: Final = 26 * 3_600_000_000
"""So long a repeat of a message is recognised."""

_PIECE: Final = "beside/names/"
_NAMES: Final = np.dtype([("at_us", "i8"), ("name", f"S{NAME_BYTES + 1}")])


class Arrivals:
    """The numbers, moments and names of one shard; all called under the lock of its live side."""

    def __init__(self, reserve: Callable[[int], int]) -> None:
        """``reserve`` gives the first of so many numbers that nobody else has."""
        self._reserve = reserve
        self._next = self._end = 0
        self._last_us = 0
        self._names: dict[bytes, int] = {}
        self._fresh: dict[bytes, int] = {}
        self._pieces: dict[str, int] = {}
        """When the newest name of each saved piece came."""

    def provide(self) -> None:
        """See to it that there is a number for the next batch."""
        if self._next == self._end:
            self._next = self._reserve(NUMBERS_AT_ONCE)
            self._end = self._next + NUMBERS_AT_ONCE

    def at(self, log_us: int) -> int:
        """Moment (µs) of what the log took at ``log_us``: later than all before it."""
        self._last_us = max(self._last_us + 1, log_us)
        return self._last_us

    def is_new(self, data: bytes, at_us: int) -> bool:
        """Whether no message of these bytes came before; from now on one did."""
        name = name_of(data)
        known = self._names.get(name)
        if known is not None and known > at_us - KNOWN_US:
            return False
        self._names[name] = self._fresh[name] = at_us
        return True

    def stamped(self, entry: Entry, at_us: int) -> Entry:
        """Return ``entry`` with a number and a moment; readings without a stamp of their own get the moment."""
        assert self._next < self._end, "provided before"
        number, self._next = self._next, self._next + 1
        kinds = tuple(kind._replace(delivery=number, stamp_us=kind.stamp_us or at_us) for kind in entry.kinds)
        place = QUARANTINE_SCHEMA.get_field_index("delivery")
        numbers = pa.array(np.full(len(entry.rejects), number, np.int32))
        rejects = entry.rejects.set_column(place, QUARANTINE_SCHEMA.field(place), numbers)
        return replace(entry, number=number, received_us=at_us, kinds=kinds, rejects=rejects)

    # -- `live.checkpoint.Beside` ----------------------------------------------------------------------

    def changes(self) -> tuple[Mapping[str, bytes], Sequence[str], dict[str, Any]]:
        """Return the names that are not saved yet as a piece, pieces that are too old, numbers and moment."""
        pieces = {}
        if self._fresh:
            rows = np.array([(at_us, name + b"|") for name, at_us in self._fresh.items()], _NAMES)
            pieces[f"{_PIECE}{max(self._fresh.values()):020d}"] = rows.tobytes()
        old = self._last_us - KNOWN_US
        gone = [piece for piece, at_us in self._pieces.items() if at_us <= old]
        state = {"next": self._next, "end": self._end, "last_us": self._last_us}
        return pieces, gone, state

    def saved(self, pieces: Mapping[str, bytes]) -> None:
        """Note which names are saved, and forget those that are too old."""
        for piece, data in pieces.items():
            self._pieces[piece] = int(piece.removeprefix(_PIECE))
            for row in np.frombuffer(data, _NAMES)["name"].tolist():
                self._fresh.pop(row[:NAME_BYTES], None)
        old = self._last_us - KNOWN_US
        if any(at_us <= old for at_us in self._pieces.values()):
            self._pieces = {piece: at_us for piece, at_us in self._pieces.items() if at_us > old}
            self._names = {name: at_us for name, at_us in self._names.items() if at_us > old}

    def restore(self, state: Mapping[str, Any], pieces: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stands."""
        self._next, self._end = int(state.get("next", 0)), int(state.get("end", 0))
        self._last_us = int(state.get("last_us", 0))
        for piece, data in pieces.items():
            self._pieces[piece] = int(piece.removeprefix(_PIECE))
            for at_us, name in np.frombuffer(data, _NAMES).tolist():
                self._names[name[:NAME_BYTES]] = at_us
