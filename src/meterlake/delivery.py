"""One file on its way through a load: where it is from and what became of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.receipt import FileReceipt
    from meterlake.source import Source
    from meterlake.strips import Strips


@dataclass(slots=True)
class Delivery:
    """One file on its way."""

    number: int
    source: Source
    receipt: FileReceipt
    assumed: Mapping[str, str] = field(default_factory=dict)
    """What its codec had to take for granted."""
    unsettled: dict[int, tuple[Strips, list[str]]] = field(default_factory=dict)
    doubted: dict[str, list[Strips]] = field(default_factory=dict)
    """Readings to be refused when the file has ended, by reason: of meters not known, of years beyond all questions."""
    lines: dict[int, int] = field(default_factory=dict)
    """Lines by chunk."""
    known_us: int | None = None
    """Arrival (µs) of the same content in an earlier delivery that stands."""
    refused: int = 0
    off_grid: int = 0

    def row(self, span: tuple[int, int] | None) -> dict[str, Any]:
        """Its own part of its row of DELIVERY_SCHEMA; ``span`` is the start (s) of its first and last reading."""
        row: dict[str, Any] = {
            "number": self.number,
            "path": self.source.path,
            "sha256": self.source.sha256,
            "first": span[0] * 1_000_000 if span else None,
            "last": span[1] * 1_000_000 if span else None,
            "received": self.receipt.received,
            "stored": self.receipt.stored,
        }
        return row if self.known_us is None else row | {"received_at": self.known_us}
