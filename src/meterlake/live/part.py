"""What the live side holds of some meters at one moment, as tables that the lake's blocks are merged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from meterlake.blocks import Sender


@dataclass(frozen=True, slots=True)
class Part:
    """Unsealed readings; together with the lake at any later version they are all that was acknowledged."""

    blocks: pa.Table
    """BLOCK_SCHEMA in key order: open blocks with the winners among live readings alone."""
    lost: pa.Table
    """LOST_SCHEMA with amounts: live readings that lost their slot in ``blocks``."""
    late: pa.Table
    """LOST_SCHEMA with amounts: readings whose block is not open; nothing is decided of them."""
    senders: Mapping[int, Sender]
    """Who sent each delivery that is named here, by its number."""
    landed_us: Mapping[int, int]
    """When each of them was acknowledged."""


class LiveSource(Protocol):
    """Where questions find what is not in the lake yet."""

    @property
    def epoch(self) -> int:
        """Rises with everything that changes an answer."""

    def touched(self, meters: Sequence[str]) -> int:
        """Return the epoch at which something of ``meters`` last came; 0 if nothing did."""

    def reaches(self, meters: Sequence[str], start_s: int, stop_s: int) -> bool:
        """Whether `part` may have anything of ``meters``; False is certain."""

    def part(self, meters: Sequence[str] | None, start_s: int, stop_s: int) -> Part | None:
        """Readings of some meters (None: all) in blocks that may hold slots of ``[start_s, stop_s)``; None for none.

        Take it *before* the lake's snapshot: what is sealed in between is then in both, which changes nothing.
        """
