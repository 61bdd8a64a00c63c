"""What a load answers: counts that add up, what was assumed, and what it cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from meterlake.exact import decimal_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

COUNTS: Final = ("received", "stored", "duplicate", "superseded", "conflict", "rejected", "replaced")
DAY_READINGS: Final = 10_000_000 * 96
"""Readings that 10 million meters send in a day."""


@dataclass(slots=True)
class FileReceipt:
    """What became of one file."""

    path: str
    bytes: int = 0
    sha256: str = ""
    format: str = ""
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    superseded: int = 0
    conflict: int = 0
    rejected: int = 0
    replaced: int = 0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry as `surface` shows it; ``error`` only where there is one."""
        entry = asdict(self)
        if self.error is None:
            del entry["error"]
        return entry


@dataclass(slots=True)
class Receipt:
    """What became of a load. ``received`` is always the sum of the five that follow it."""

    load_id: str
    dry_run: bool = False
    replayed: bool = False
    files: list[FileReceipt] = field(default_factory=list)
    meters: int = 0
    channels: int = 0
    """Meter-channels touched."""
    blocks: int = 0
    first: str | None = None
    last: str | None = None
    gaps: int = 0
    amount: dict[str, str] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    assumed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    bytes_on_disk: int = 0
    version: int = 0
    changes: list[dict[str, Any]] | None = None

    def count(self, name: str) -> int:
        """Return one of `COUNTS`, over all files."""
        return sum(getattr(file, name) for file in self.files)

    @property
    def readings_per_s(self) -> int:
        """Readings received a second."""
        return round(self.count("received") / self.seconds) if self.seconds > 0 else 0

    @property
    def errors(self) -> list[FileReceipt]:
        """Files that failed as a whole."""
        return [file for file in self.files if file.error is not None]

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as `surface` shows it."""
        rate = self.readings_per_s
        answer = {
            "load_id": self.load_id,
            "dry_run": self.dry_run,
            "replayed": self.replayed,
            "files": [file.to_json() for file in self.files],
            **{name: self.count(name) for name in COUNTS},
            "meters": self.meters,
            "channels": self.channels,
            "blocks": self.blocks,
            "first": self.first,
            "last": self.last,
            "gaps": self.gaps,
            "amount": self.amount,
            "rejects": self.rejects,
            "assumed": self.assumed,
            "seconds": round(self.seconds, 3),
            "readings_per_s": rate,
            "bytes_on_disk": self.bytes_on_disk,
            "day_of_10m_meters_s": round(DAY_READINGS / rate, 1) if rate else None,
            "version": self.version,
        }
        if self.changes is not None:
            answer["changes"] = self.changes
        return answer

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Read a stored receipt again."""
        kept = json.loads(text)
        names = set(cls.__dataclass_fields__) & set(kept)
        values = {name: kept[name] for name in names}
        values["files"] = [FileReceipt(**entry) for entry in kept["files"]]
        return cls(**values)

    def __repr__(self) -> str:
        """Return the receipt as a person reads it."""
        counts = " · ".join(f"{self.count(name):,} {name}" for name in COUNTS if self.count(name))
        return f"load {self.load_id}: {counts or 'nothing received'} in {self.seconds:.1f} s, version {self.version}"


def amount_texts(amounts: Mapping[str, int]) -> dict[str, str]:
    """Exact decimal text in kWh, m³ or kVArh by channel, from milli units."""
    return {channel: decimal_text(amount) for channel, amount in sorted(amounts.items())}


def summary_of(quarantine: pa.Table) -> list[dict[str, Any]]:
    """Rejects by reason, most first, with the first example of each."""
    answer = []
    for reason in pc.unique(quarantine["reason"]).to_pylist():
        rows = quarantine.filter(pc.equal(quarantine["reason"], reason))
        example = rows.slice(0, 1).select(["file", "line", "text"]).to_pylist()[0]
        answer.append({"reason": reason, "count": pc.sum(rows["count"]).as_py(), "example": example})
    return sorted(answer, key=lambda entry: (-entry["count"], entry["reason"]))
