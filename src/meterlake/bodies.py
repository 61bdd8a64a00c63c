"""One body of a batch: its readings checked, what is refused of it, and the names by which a repeat is known."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.errors import Conflict, TooLarge
from meterlake.formats.batch import parse_body
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA, of_load, quarantine_rows
from meterlake.readings import REASON_CODES
from meterlake.repeats import drop_repeats
from meterlake.strips import MISSING, Kind, Kinds, Rejects, Strips, beyond_years

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.formats.codec import Parsed
    from meterlake.keys import ApiKey
    from meterlake.merge import Bools
    from meterlake.node_settings import AcceptLimits

ERRORS_SHOWN: Final = 100
"""Refused lines that the answer lists; the quarantine has all of them."""

TEXT_MAX: Final = 1000
"""Bytes of a refused line that are kept."""


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """What became of a batch: received = accepted + duplicate + rejected."""

    batch_id: str
    received: int
    accepted: int
    duplicate: int
    rejected: int
    errors: list[dict[str, Any]]
    replayed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return {
            "batch_id": self.batch_id, "received": self.received, "accepted": self.accepted,
            "duplicate": self.duplicate, "rejected": self.rejected, "errors": self.errors,
            "replayed": self.replayed,
        }  # fmt: skip

    @classmethod
    def again(cls, memo: Mapping[str, Any]) -> BatchReceipt:
        """Answer for a batch that is known already: nothing of it is new."""
        return cls(
            memo["batch_id"], memo["received"], 0, memo["received"] - memo["rejected"],
            memo["rejected"], memo["errors"], replayed=True,
        )  # fmt: skip


@dataclass(slots=True)
class Waiting:
    """A parsed batch on its way to the log."""

    batch_id: str
    owner: str
    source: str
    content: str
    names: tuple[str, ...]
    parsed: Parsed
    kinds: Sequence[Kind]
    strips: Strips
    rejects: pa.Table
    duplicate: int
    bytes: int
    ids: MeterIds
    """What ``strips.meter`` are codes of."""
    done: Future[BatchReceipt] = field(default_factory=Future)

    @property
    def accepted(self) -> int:
        """Readings that the log will hold."""
        return int((self.strips.amounts != MISSING).sum())

    def receipt(self) -> BatchReceipt:
        """What its sender is told once it is durable."""
        rejected = self.parsed.received - self.accepted - self.duplicate
        shown = self.rejects.slice(0, ERRORS_SHOWN).select(["line", "reason", "text", "count"]).to_pylist()
        return BatchReceipt(
            self.batch_id, self.parsed.received, self.accepted, self.duplicate, rejected, shown
        )


def names_of(body: bytes, media: str, key: ApiKey, idempotency: str | None) -> tuple[str, tuple[str, ...]]:
    """Hash of a body and of how it is read, and the names under which it is known."""
    head = f"{key.id}\n{key.source}\n{key.best_quality}\n{media}\n".encode()
    content = hashlib.sha256(head + body).hexdigest()
    return content, (f"content:{content}", *([f"key:{key.id}:{idempotency}"] if idempotency else ()))


def known_as(memos: Mapping[str, str], content: str) -> BatchReceipt | None:
    """Receipt of a batch of which one name is known; Conflict where it was used for another ``content``."""
    for memo in map(json.loads, memos.values()):
        if memo["content"] != content:
            raise Conflict("this Idempotency-Key was used for another content; give each batch its own key")
        return BatchReceipt.again(memo)
    return None


def memo_of(receipt: BatchReceipt, waiting: Waiting, number: int | None = None) -> str:
    """What a repeat of a batch is told."""
    told = receipt.to_json() | {"content": waiting.content, "owner": waiting.owner}
    return json.dumps(told if number is None else told | {"number": number})


@dataclass(frozen=True, slots=True)
class Reader:
    """How bodies are read here."""

    limits: AcceptLimits
    ids: Callable[[], MeterIds]
    """Numbers for the meters of one body."""
    clash: Callable[[Strips, Sequence[Kind]], Bools] | None = None
    """Which strips lie beside the phase of their meters, where that is known."""

    def read(
        self, body: bytes, media: str, key: ApiKey, names: tuple[str, tuple[str, ...]], batch_id: str
    ) -> Waiting:
        """Return the batch that a body holds; ``names`` are those of `names_of`.

        Raises:
            Invalid: the body as a whole cannot be read.
            TooLarge: it holds too many readings.

        """
        now_us = time.time_ns() // 1000
        kinds = Kinds()
        origin = Origin(key.source, 0, now_us, now_us // 1_000_000, key.best_quality)
        own = self.ids()
        ids = own if key.meters is None else MeterIds()
        parsed = parse_body(body, media, ReadOptions(), origin, ids, kinds, line_max=self.limits.line)
        if parsed.received > self.limits.readings:
            raise TooLarge(
                f"{parsed.received} readings in one batch: at most {self.limits.readings} are taken, send smaller ones"
            )
        rejects = [quarantine_rows(0, "", parsed.rejects)]
        strips = parsed.strips
        if key.meters is not None and len(strips):
            mine = np.isin(strips.meter, ids.find(sorted(key.meters)))
            rejects.append(refused(strips.where(~mine), "unknown_meter", body, media, kinds))
            strips = strips.where(mine)
            strips.meter = own.codes_of(ids.take(strips.meter))
        strips = self._sound(strips, body, media, rejects, kinds)
        strips, duplicate = drop_repeats(strips, kinds.table)
        content, known = names
        return Waiting(
            batch_id, key.id, key.source, content, (*known, f"batch:{batch_id}"), parsed, tuple(kinds.table), strips,
            of_load(pa.concat_tables(rejects), batch_id), duplicate, len(body), own,
        )  # fmt: skip

    def _sound(
        self, strips: Strips, body: bytes, media: str, rejects: list[pa.Table], kinds: Kinds
    ) -> Strips:
        """Strips of years that can be asked for, in the phase of their meters; the others are refused."""
        odd = beyond_years(strips)
        if odd.any():
            rejects.append(refused(strips.where(odd), "bad_time", body, media, kinds))
            strips = strips.where(~odd)
        if self.clash is None:
            return strips
        beside = self.clash(strips, kinds.table)
        if beside.any():
            rejects.append(refused(strips.where(beside), "off_grid", body, media, kinds))
            strips = strips.where(~beside)
        return strips


def refused(strips: Strips, reason: str, body: bytes, media: str, kinds: Kinds) -> pa.Table:
    """Quarantine rows for readings that could be read."""
    if not len(strips):
        return QUARANTINE_SCHEMA.empty_table()
    within = np.arange(len(strips.amounts)) - np.repeat(strips.offsets()[:-1], strips.count)
    per_line = np.array([kind.per_line for kind in kinds.table], bool)[strips.kind]
    line = np.repeat(strips.line, strips.count) + np.where(np.repeat(per_line, strips.count), within, 0)
    lines, counts = np.unique(line[strips.amounts != MISSING], return_counts=True)
    code = np.full(len(lines), REASON_CODES[reason], np.uint8)
    texts = _texts(body, media, lines.tolist())
    return quarantine_rows(0, "", Rejects(lines, code, counts.astype(np.int32), texts))


def _texts(body: bytes, media: str, numbers: Sequence[int]) -> list[str]:
    """Lines of a body by their numbers from 1, cut to what a quarantine keeps; empty where the form has no lines."""
    if media not in {"text/csv", "application/x-ndjson"}:
        return [""] * len(numbers)
    lines = body.split(b"\n")
    return [lines[number - 1][:TEXT_MAX].decode("utf-8", "replace").rstrip("\r") for number in numbers]
