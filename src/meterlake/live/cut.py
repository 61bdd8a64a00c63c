"""What a seal takes over from the live side, and what is told of each batch until then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from meterlake.live.late import filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from meterlake.entry import Entry
    from meterlake.live.part import Part
    from meterlake.strips import Ints


@dataclass(frozen=True, slots=True)
class Applied:
    """What one entry did."""

    counts: Ints
    """Readings of open blocks: stored, replaced, duplicate, superseded, conflict (fold.STORED and so on)."""
    late: int
    """Readings whose block is not open."""


@dataclass(frozen=True, slots=True)
class EntryNote:
    """One applied batch that no seal has recorded yet: what becomes its row of ``deliveries``."""

    number: int
    offset: int
    batch_id: str
    owner: str
    source: str
    received_us: int
    precedence: int | None
    content: str
    received: int
    duplicate: int
    accepted: int
    """Readings that were taken."""
    first_s: int | None
    """Start of its first reading; None where it has none."""
    last_s: int | None
    """Start of its last reading."""
    counts: tuple[int, ...]
    """As `Applied.counts`."""
    late: int
    rejects: pa.Table
    """QUARANTINE_SCHEMA."""

    def told(self) -> dict[str, int]:
        """Return what became of its readings: counts by outcome."""
        names = ("stored", "replaced", "duplicate", "superseded", "conflict")
        return dict(zip(names, self.counts, strict=True)) | {"late": self.late}

    def row(self) -> dict[str, Any]:
        """Return the batch as one row of a listing."""
        at = datetime.fromtimestamp(self.received_us / 1e6, UTC)
        return {
            "number": self.number,
            "batch_id": self.batch_id,
            "source": self.source,
            "received_at": at.isoformat().replace("+00:00", "Z"),
            "received": self.received,
            "accepted": self.accepted,
        }


@dataclass(frozen=True, slots=True)
class Cut:
    """Everything that a seal commits at once: frozen sets, frozen late readings, and batches not yet recorded."""

    number: int
    """Last delivery applied."""
    offset: int
    """Log offset after the last entry applied."""
    sequence: int
    """Rises by one from seal to seal."""
    floors: Mapping[int, int]
    """By block span (s): blocks that begin before this are late from now on."""
    sets: Sequence[tuple[str, int, int]]
    """(channel, interval_s, start_s) of the frozen sets."""
    part: Part
    """Exactly the frozen sets and the frozen late readings."""
    entries: Sequence[EntryNote]
    """By rising number."""


def note_of(entry: Entry, offset: int, counts: Ints, late: int) -> EntryNote:
    """Note what became of an entry that was applied."""
    strips = entry.strips
    first = last = None
    if len(strips):
        interval = np.array([kind.interval_s for kind in entry.kinds], np.int64)[strips.kind]
        first = int(strips.start.min())
        last = int((strips.start + (strips.count - 1) * interval).max())
    return EntryNote(
        entry.number, offset, entry.batch_id, entry.owner, entry.source, entry.received_us, entry.precedence,
        entry.content, entry.received, entry.duplicate, filled(strips), first, last,
        tuple(counts.tolist()), late, entry.rejects,
    )  # fmt: skip
