"""What the live side holds of some meters at one moment, as tables that the lake's blocks are merged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from meterlake.blocks import Sender
    from meterlake.ids import MeterIds
    from meterlake.live.cut import EntryNote
    from meterlake.live.views import Newest


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


class LiveView(LiveSource, Protocol):
    """What pages and programs are told of what is live; see `Live` for each."""

    @property
    def ids(self) -> MeterIds:
        """Numbers of the meters that `newest` tells of."""

    def meter(self, meter_id: str, now_s: int) -> pa.Table | None:
        """How a meter stands: a row of `views.METER_SCHEMA` by channel and interval; None where nothing is held."""

    def recent(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Slots of a meter that began in the last ``seconds``: rows of `views.RECENT_SCHEMA`."""

    def quarters(self, meter_id: str, now_s: int, seconds: int = 3600) -> pa.Table:
        """Quarter hours that a meter's shorter intervals add up to: `views.QUARTER_SCHEMA`."""

    def regions(self, now_s: int) -> pa.Table:
        """Sums by region, class, channel and interval: rows of `views.REGION_SCHEMA`."""

    def fleet(self, now_s: int) -> pa.Table:
        """Sums by channel and interval: rows of `views.FLEET_SCHEMA`."""

    def top(self, n: int, channel: str | None, now_s: int | None = None) -> pa.Table:
        """The ``n`` meters with the greatest power in their latest slot: rows of `views.TOP_SCHEMA`."""

    def newest(self, known: Newest = ...) -> Newest:
        """Newest interval of each meter, with what was ``known`` before."""

    def notes(self) -> Mapping[str, EntryNote]:
        """Batches that no seal has recorded yet."""

    def sizes(self) -> dict[str, int]:
        """Return how much is held: bytes, rows, open sets, late readings, batches not yet recorded."""


class Elsewhere(LiveView, Protocol):
    """What other processes hold, as they show it."""

    @property
    def newest_us(self) -> int:
        """Arrival of the newest batch."""

    def notes_of(self, batch_id: str) -> list[EntryNote]:
        """What became of the parts of a batch that no seal has recorded yet."""

    def start(self, trouble: dict[str, str], changed: Callable[[int], None]) -> None:
        """Follow what is shown; ``changed`` is told the epoch, ``trouble`` what is wrong."""

    def stop(self) -> None:
        """Follow no more."""
