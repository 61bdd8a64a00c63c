"""A text file read by its codec in any cut, and what came of it, reading by reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from numba import njit

from meterlake.formats.codec import Chunk, Origin, Parsed, ReadOptions
from meterlake.formats.pointer import pointer
from meterlake.formats.recognise import open_codec
from meterlake.formats.stamps import Script, stamp_of
from meterlake.ids import MeterIds
from meterlake.readings import REASONS
from meterlake.strips import MISSING, Kind, Kinds, Strips
from meterlake.zones import settle

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW_S: Final = 2_000_000_000
"""The clock of these readings: 18 May 2033."""
ORIGIN: Final = Origin(source="test", delivery=7, received_us=1_900_000_000_000_000, now_s=NOW_S)


class Slot(NamedTuple):
    """One reading that was taken."""

    meter: str
    start: int
    amount: int
    line: int
    kind: Kind


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """One entry of the rejects."""

    line: int
    reason: str
    count: int
    text: str


@dataclass(slots=True)
class Read:
    """All that a file gave."""

    name: str
    assumed: dict[str, str]
    slots: list[Slot] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    received: int = 0
    strips: int = 0

    def reasons(self) -> dict[str, int]:
        """Readings refused, by reason."""
        counts: dict[str, int] = {}
        for entry in self.refused:
            counts[entry.reason] = counts.get(entry.reason, 0) + entry.count
        return counts

    def amounts(self) -> list[int]:
        """Amounts taken, in the order of the strips."""
        return [slot.amount for slot in self.slots]

    def starts(self) -> list[int]:
        """Starts of what was taken."""
        return [slot.start for slot in self.slots]

    def adds_up(self) -> bool:
        """Whether taken and refused together are what was received."""
        return self.received == len(self.slots) + sum(entry.count for entry in self.refused)


def read_text(
    data: bytes, options: ReadOptions | None = None, cuts: Sequence[int] = (), origin: Origin = ORIGIN
) -> Read:
    """Read UTF-8 ``data`` as the loader would, in pieces that end near ``cuts``."""
    options = options or ReadOptions()
    codec = open_codec(data[: 1 << 20], len(data) <= 1 << 20, options, origin, "test.csv")
    ids, kinds = MeterIds(), Kinds()
    parts = []
    line, rest, at = 1, b"", 0
    for stop in [*sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]:
        rest, at = rest + data[at:stop], stop
        cut = codec.border(rest)
        parts.append(codec.parse(Chunk(rest[:cut], line), ids, kinds))
        line += rest.count(b"\n", 0, cut)
        rest = rest[cut:]
    parts.append(codec.parse(Chunk(rest, line, last=True), ids, kinds))
    zone = options.zone or "UTC"
    return collect(Read(codec.name, codec.assumed), parts, ids, kinds, zone, options.stamp or "start")


def collect(found: Read, parts: Sequence[Parsed], ids: MeterIds, kinds: Kinds, zone: str, stamp: str) -> Read:
    """Settle and expand parsed parts into ``found``."""
    waiting = [part.unsettled for part in parts if part.unsettled is not None]
    texts = [text for part in parts for text in part.unsettled_text]
    settled, refused = settle(Strips.concat(waiting), texts, kinds, zone, stamp, NOW_S)
    names = ids.texts().to_pylist()
    for strips in [*(part.strips for part in parts), settled]:
        found.slots += _expanded(strips, names, kinds)
        found.strips += len(strips)
    for rejects in [*(part.rejects for part in parts), refused]:
        columns = rejects.line.tolist(), rejects.reason.tolist(), rejects.count.tolist(), rejects.text
        found.refused += [
            Refusal(line, REASONS[reason - 1], count, text)
            for line, reason, count, text in zip(*columns, strict=True)
        ]
    found.received = sum(part.received for part in parts)
    return found


def _expanded(strips: Strips, names: Sequence[str], kinds: Kinds) -> list[Slot]:
    borders = strips.offsets().tolist()
    slots = []
    for i in range(len(strips)):
        kind = kinds.table[strips.kind[i]]
        for k, amount in enumerate(strips.amounts[borders[i] : borders[i + 1]].tolist()):
            line = int(strips.line[i]) + (k if kind.per_line else 0)
            if amount != MISSING:
                start = int(strips.start[i]) + k * kind.interval_s
                slots.append(Slot(names[strips.meter[i]], start, amount, line, kind))
    return slots


@njit(nogil=True, cache=True, error_model="numpy")
def read_stamp(data: Any, mode: int, program: Any, room: Any) -> Any:  # pragma: no cover - compiled
    """`stamp_of` all of ``data``, for callers outside the kernels; ``room`` is an array of `ROOM` numbers."""
    script = Script(mode, pointer(program), len(program), pointer(room))
    return stamp_of(pointer(data), 0, len(data), script)
