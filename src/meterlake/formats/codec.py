"""What every codec takes and gives: options declared for a source, chunks in, parsed chunks out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterlake.ids import MeterIds
    from meterlake.strips import Kinds, Rejects, Strips


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a source, as declared; None means not declared, and what is then taken is reported.

    The names are those of the command line. ``columns`` is a half-open pair of 0-based indexes of the
    value columns of a wide file; ``map`` gives column names or 1-based numbers by role (meter, time,
    value, interval, quality, channel, unit).
    """

    format: str = "auto"
    map: Mapping[str, str] = field(default_factory=dict)
    time_format: str | None = None
    zone: str | None = None
    stamp: str | None = None
    interval_s: int | None = None
    unit: str | None = None
    channel: str | None = None
    meter: str | None = None
    decimal: str | None = None
    quality: str | None = None
    columns: tuple[int, int] | None = None
    encoding: str | None = None
    delimiter: str | None = None
    skip: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes came from and when, as far as a version needs it."""

    source: str
    delivery: int
    received_us: int
    """Arrival, microseconds since 1970 UTC: the stamp of records that carry none."""
    now_s: int
    """The clock, seconds since 1970 UTC; readings more than 15 minutes after it are ``future``."""
    quality_best: int = 1
    """The best quality code that the source may claim; better ones are taken as this."""
    precedence: int | None = None
    """Precedence of all readings of an authoritative feed; None: that of their quality."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of a file (or a batch of rows), in UTF-8."""

    data: bytes
    line: int
    """Number of the first line, from 1."""
    last: bool = False
    """Whether the file ends here; its last line may then lack a newline."""


@dataclass(slots=True)
class Parsed:
    """What a chunk held.

    ``received`` counts readings, as `surface` defines them, rejects included. ``unsettled`` are readings
    whose local time exists twice: single-slot strips whose ``start`` is *local* seconds and whose ``line``
    is their line, in file order; `formats.zones.settle` decides them once the file has ended.
    ``unsettled_text`` is their lines' text.
    """

    strips: Strips
    rejects: Rejects
    received: int
    lines: int
    unsettled: Strips | None = None
    unsettled_text: list[str] = field(default_factory=list)


class Codec(Protocol):
    """One file being read. Chunks are independent of each other and may be parsed in any order, in threads."""

    name: str
    assumed: dict[str, str]
    """What was not declared and had to be taken, by option name; complete after the last chunk."""

    def header_lines(self) -> int:
        """Lines at the top that hold no data."""

    def border(self, data: bytes) -> int:
        """Where ``data`` may be cut: bytes up to the last place where a chunk may end, 0 if nowhere."""

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:
        """Read one chunk of whole records."""
