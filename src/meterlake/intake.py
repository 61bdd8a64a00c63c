"""The first half of a load: files become strips, kept by partition, and rejects.

Files are cut into chunks that are parsed in threads, some ahead of the others. A file's local times that
exist twice are settled when it has ended; a file that fails as a whole takes with it what it brought.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import BadFile, Invalid
from meterlake.formats import parquet
from meterlake.formats.codec import Chunk, Codec, Origin, Parsed, ReadOptions
from meterlake.formats.recognise import open_codec
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA, quarantine_rows
from meterlake.readings import AUTHORITATIVE, REASON_CODES
from meterlake.receipt import FileReceipt
from meterlake.source import LongLine, Reader, file_hash, head_of, line_numbers, texts_of
from meterlake.spool import StripStore, TableSpool
from meterlake.strips import MISSING, Kinds, Rejects, Strips, beyond_years
from meterlake.zones import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from meterlake.delivery import Delivery
    from meterlake.landing import Landing, Outcome

AHEAD: Final = 2 * (os.cpu_count() or 1)
"""Chunks read ahead of the parsers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load; the names are those of the command line."""

    read: ReadOptions = field(default_factory=ReadOptions)
    source: str | None = None
    feed: str | None = None
    received_at: datetime | None = None
    quality_best: int = 1
    authoritative: bool = False
    known_only: bool = False
    keep: bool = False
    dry_run: bool = False
    changes: Path | None = None


def _refuse_long(line: LongLine) -> Parsed:
    """A line that is no record counts as one malformed one."""
    rejects = Rejects(
        np.array([line.line]),
        np.array([REASON_CODES["malformed_line"]], np.uint8),
        np.ones(1, np.int32),
        [line.text],
    )
    return Parsed(Strips.empty(), rejects, received=1, lines=1)


class Intake:
    """Everything that the files of one load brought."""

    def __init__(
        self, options: LoadOptions, folder: Path, known: pa.ChunkedArray | None, *, now_us: int | None = None
    ) -> None:
        """Spill into ``folder``; with ``known`` meter ids, all others are refused. ``now_us`` is the load's moment."""
        self.options = options
        self.now_us = int(datetime.now(UTC).timestamp() * 1_000_000) if now_us is None else now_us
        self.received_us = self.now_us
        if options.received_at is not None:
            if options.received_at.tzinfo is None:
                raise Invalid("--received-at needs an offset: write 2026-01-31T06:00:00Z")
            self.received_us = min(int(options.received_at.timestamp() * 1_000_000), self.now_us)
        self.ids, self.kinds = MeterIds(), Kinds()
        self.store = StripStore(folder)
        self.quarantine = TableSpool(folder / "quarantine", QUARANTINE_SCHEMA)
        self.assumed: dict[str, str] = {}
        self._failed: list[int] = []
        self._deliveries: Sequence[Delivery] = ()
        self._known = None if known is None else int(self.ids.codes_of(known).max(initial=-1)) + 1

    def read(self, deliveries: Sequence[Delivery], progress: Callable[[str, int, int], None]) -> None:
        """Read all files; those that fail say why in their receipts."""
        self._deliveries = deliveries
        total, done = sum(d.source.bytes for d in deliveries), 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting: deque[tuple[Delivery, Future[None]]] = deque()
            for delivery in deliveries:
                try:
                    for task in self._tasks(delivery):
                        waiting.append((delivery, pool.submit(task)))
                        while len(waiting) > AHEAD:
                            self._await(*waiting.popleft())
                        progress("read", done, total)
                except BadFile as error:
                    delivery.receipt.error = str(error)
                done += delivery.source.bytes
            while waiting:
                self._await(*waiting.popleft())
        for delivery in deliveries:
            if delivery.receipt.error is None:
                self._finish(delivery)
            else:
                self._forget(delivery)
        progress("read", total, total)

    def land(
        self, landing: Landing, known_us: Mapping[int, int], progress: Callable[[int, int], None]
    ) -> Outcome:
        """Merge what was read with the lake; ``known_us`` is the arrival of content that was delivered before."""
        for code, kind in enumerate(self.kinds.table):
            if kind.delivery in known_us and not kind.sender_stamp:
                self.kinds.table[code] = kind._replace(stamp_us=known_us[kind.delivery])
        return landing.run(progress)

    def close(self) -> None:
        """Let go of what was spilled."""
        self.store.close()

    def _await(self, delivery: Delivery, parsed: Future[None]) -> None:
        try:
            parsed.result()
        except BadFile as error:
            delivery.receipt.error = delivery.receipt.error or str(error)

    def _forget(self, delivery: Delivery) -> None:
        """Drop what a file that failed has brought; its entry says why."""
        source, failed = delivery.source, delivery.receipt
        delivery.receipt = FileReceipt(
            source.path, source.bytes, source.sha256, failed.format, error=failed.error
        )
        delivery.unsettled.clear()
        self.store.drop(delivery.number)
        self._failed.append(delivery.number)

    def refused(self) -> pa.Table:
        """Rows of QUARANTINE_SCHEMA for the files that did not fail, by file and line."""
        rows = self.quarantine.table()
        failed = pc.is_in(rows["delivery"], value_set=pa.array(self._failed, pa.int32()))
        rows = rows.filter(pc.invert(failed))
        owner, lines = rows["delivery"].to_numpy(), rows["line"].to_numpy().copy()
        for delivery in self._deliveries:
            mine = np.flatnonzero(owner == delivery.number)
            if len(mine):
                lines[mine] = line_numbers(lines[mine], delivery.lines)
        place = rows.schema.get_field_index("line")
        rows = rows.set_column(place, QUARANTINE_SCHEMA.field("line"), pa.array(lines))
        return rows.take(pa.array(np.lexsort((lines, owner))))

    def _origin(self, delivery: Delivery) -> Origin:
        options = self.options
        return Origin(
            source=options.source or options.feed or delivery.source.name,
            delivery=delivery.number,
            received_us=self.received_us,
            now_s=self.now_us // 1_000_000,
            quality_best=options.quality_best,
            precedence=AUTHORITATIVE if options.authoritative else None,
        )

    def _tasks(self, delivery: Delivery) -> Iterator[Callable[[], None]]:
        """Work to be done in threads for one file, in its order."""
        source, read = delivery.source, self.options.read
        if source.is_parquet():
            delivery.receipt.format = "parquet"
            batches = parquet.read(source.file, read, self._origin(delivery), self.ids, self.kinds)
            delivery.assumed = batches.assumed
            for seq, parsed in enumerate(batches):
                yield partial(self._keep, delivery, seq, parsed)
            source.content = source.sha256 = file_hash(source.file)
            return
        reader = Reader(source, read.encoding)
        head, at_end, pieces = head_of(reader.pieces())
        codec = open_codec(head, at_end, read, self._origin(delivery), source.name)
        delivery.assumed, delivery.receipt.format = codec.assumed, codec.name
        for seq, chunk in enumerate(reader.chunks(codec.border, pieces)):
            if isinstance(chunk, LongLine):
                yield partial(self._keep, delivery, seq, _refuse_long(chunk))
            else:
                yield partial(self._parse, delivery, seq, codec, chunk)

    def _parse(self, delivery: Delivery, seq: int, codec: Codec, chunk: Chunk) -> None:
        parsed = codec.parse(chunk, self.ids, self.kinds)
        if seq == 0:
            parsed.lines += codec.header_lines()
        self._keep(delivery, seq, parsed)

    def _keep(self, delivery: Delivery, seq: int, parsed: Parsed) -> None:
        """Take over what one chunk held."""
        receipt = delivery.receipt
        strips = parsed.strips
        self._refuse(delivery, parsed.rejects)
        strips = self._doubt(delivery, "bad_time", strips, beyond_years(strips))
        if self._known is not None:
            strips = self._doubt(delivery, "unknown_meter", strips, strips.meter >= self._known)
        with self.store.lock:
            receipt.received += parsed.received
            delivery.lines[seq] = parsed.lines
            if parsed.unsettled is not None and len(parsed.unsettled):
                delivery.unsettled[seq] = parsed.unsettled, parsed.unsettled_text
        self._store(delivery, seq, strips)

    def _doubt(self, delivery: Delivery, reason: str, strips: Strips, those: npt.NDArray[np.bool_]) -> Strips:
        """Put ``those`` strips aside to be refused; return the others."""
        if not those.any():
            return strips
        with self.store.lock:
            delivery.doubted.setdefault(reason, []).append(strips.where(those))
        return strips.where(~those)

    def _store(self, delivery: Delivery, seq: int, strips: Strips) -> None:
        if len(strips):
            self.store.add((delivery.number, seq), strips, self.ids.partitions(strips.meter))

    def _finish(self, delivery: Delivery) -> None:
        """Settle the local times that exist twice, which takes the whole file."""
        for name, value in delivery.assumed.items():
            self._assume(name, value)
        for reason, piles in delivery.doubted.items():
            self._refuse(delivery, self.understood(delivery, Strips.concat(piles), reason))
        if not delivery.unsettled:
            return
        parts = [delivery.unsettled[seq] for seq in sorted(delivery.unsettled)]
        strips = Strips.concat(part for part, _ in parts)
        texts = [text for _, part in parts for text in part]
        read, assumed = self.options.read, delivery.assumed
        settled, rejects = settle(
            strips, texts, self.kinds, read.zone or "UTC", read.stamp or assumed.get("stamp", "start"),
            self.now_us // 1_000_000,
        )  # fmt: skip
        self._refuse(delivery, rejects)
        self._store(delivery, 1 << 40, settled)
        delivery.unsettled.clear()

    def _assume(self, name: str, values: str) -> None:
        """Note what was taken for granted, each value once."""
        for value in values.split(", "):
            held = self.assumed.setdefault(name, value)
            if value not in held.split(", "):
                self.assumed[name] = f"{held}, {value}"

    def _refuse(self, delivery: Delivery, rejects: Rejects) -> None:
        """Put rejects into quarantine and count them."""
        if len(rejects):
            self.quarantine.add(quarantine_rows(delivery.number, delivery.source.path, rejects))
            with self.store.lock:
                delivery.refused += int(rejects.count.sum())

    def understood(self, delivery: Delivery, strips: Strips, reason: str) -> Rejects:
        """Rejects for readings that could be read; their lines are looked up in the file again."""
        line = np.repeat(strips.line, strips.count)
        per_line = np.array([kind.per_line for kind in self.kinds.table], bool)[strips.kind]
        within = np.arange(len(line)) - np.repeat(strips.offsets()[:-1], strips.count)
        line += np.where(np.repeat(per_line, strips.count), within, 0)
        line = line_numbers(line[strips.amounts != MISSING], delivery.lines)
        lines, counts = np.unique(line, return_counts=True)
        texts = texts_of(delivery.source, self.options.read.encoding, lines.tolist())
        code = np.full(len(lines), REASON_CODES[reason], np.uint8)
        return Rejects(lines, code, counts.astype(np.int32), [texts.get(n, "") for n in lines.tolist()])
