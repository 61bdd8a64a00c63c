"""Load files: read, merge, commit once, account for every reading.

1. every file is cut into chunks, parsed in threads, and its strips are kept by partition
2. local times that exist twice are settled file by file
3. the load's id is known from its contents: a load that has landed before is answered from its receipt
4. `Landing` merges the strips with the lake and writes files
5. one commit makes it visible; where another came first, the merge is planned again

A crash before 5 leaves the lake as it was; the next run of the same load does it all again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from meterlake import fold
from meterlake.delivery import Delivery
from meterlake.errors import BadFile, ConcurrentCommit, Invalid
from meterlake.exact import Exact
from meterlake.formats import parquet
from meterlake.formats.codec import Chunk, Codec, Origin, Parsed, ReadOptions
from meterlake.formats.recognise import open_codec
from meterlake.ids import MeterIds
from meterlake.landing import Landing, Outcome
from meterlake.ledger import (
    DELIVERY_SCHEMA,
    QUARANTINE_SCHEMA,
    Delivered,
    of_load,
    operation_row,
    quarantine_rows,
    superseded,
)
from meterlake.merge import SERIES_SCHEMA
from meterlake.ports import Change
from meterlake.readings import AUTHORITATIVE, REASON_CODES
from meterlake.receipt import FileReceipt, Receipt, amount_texts, summary_of
from meterlake.series import gaps, resettle
from meterlake.source import LongLine, Reader, Source, file_hash, find, head_of, texts_of
from meterlake.spool import StripStore, TableSpool, concat
from meterlake.strips import MISSING, Kinds, Rejects, Strips
from meterlake.zones import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from meterlake.ports import Lake, Registry, Snapshot

CHANGES_SHOWN: Final = 1_000
"""Replaced values listed in the receipt of a dry run; all of them go to ``--changes FILE``."""

DRY_NUMBERS: Final = 1 << 30
"""Delivery numbers of dry runs start here and are never stored."""

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


class Load:
    """One load of some files into one lake."""

    def __init__(
        self,
        lake: Lake,
        registry: Registry,
        options: LoadOptions,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """``progress`` is told (phase, done, total) in bytes while reading and in readings after."""
        self.lake, self.registry, self.options = lake, registry, options
        self.progress = progress or (lambda *_: None)
        self.started = time.monotonic()
        now = datetime.now(UTC)
        self.now_us = int(now.timestamp() * 1_000_000)
        self.received_us = self.now_us
        if options.received_at is not None:
            if options.received_at.tzinfo is None:
                raise Invalid("--received-at needs an offset: write 2026-01-31T06:00:00Z")
            self.received_us = min(int(options.received_at.timestamp() * 1_000_000), self.now_us)
        self.ids, self.kinds = MeterIds(), Kinds()
        self.known_meters = 0
        self.assumed: dict[str, str] = {}

    def run(self, paths: Sequence[str]) -> Receipt:
        """Load ``paths``; Invalid where nothing is found, files that fail are named in the receipt."""
        with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
            self.folder = Path(folder)
            self.store = StripStore(self.folder)
            self.quarantine = TableSpool(self.folder / "quarantine", QUARANTINE_SCHEMA)
            sources = find(paths, self.folder)
            self._number_known_meters()
            self.deliveries = self._deliver(sources)
            self._read_all()
            return self._land()

    def _number_known_meters(self) -> None:
        """Give the registry's meters the lowest codes, so that unknown ones are seen by their code."""
        if self.options.known_only:
            self.ids.codes_of(self.registry.table("meters")["meter_id"])
        self.known_meters = len(self.ids)

    def _deliver(self, sources: list[Source]) -> list[Delivery]:
        first = DRY_NUMBERS if self.options.dry_run else self.lake.reserve(len(sources))
        return [
            Delivery(first + i, source, FileReceipt(source.path, source.bytes))
            for i, source in enumerate(sources)
        ]

    # -- reading -----------------------------------------------------------------------------------

    def _read_all(self) -> None:
        total, done = sum(d.source.bytes for d in self.deliveries), 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting: deque[Future[None]] = deque()
            for delivery in self.deliveries:
                try:
                    for task in self._tasks(delivery):
                        waiting.append(pool.submit(task))
                        while len(waiting) > AHEAD:
                            waiting.popleft().result()
                        self.progress("read", done, total)
                    while waiting:
                        waiting.popleft().result()
                    self._finish_file(delivery)
                except BadFile as error:
                    while waiting:
                        waiting.popleft().exception()
                    self._fail(delivery, error)
                done += delivery.source.bytes
                self.progress("read", done, total)

    def _fail(self, delivery: Delivery, error: BadFile) -> None:
        """Forget what the file has brought so far; its entry says why."""
        receipt = FileReceipt(delivery.source.path, delivery.source.bytes, delivery.source.sha256)
        receipt.error = str(error)
        receipt.format = delivery.receipt.format
        delivery.receipt = receipt
        delivery.unsettled.clear()

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
        self._keep(delivery, seq, codec.parse(chunk, self.ids, self.kinds))

    def _keep(self, delivery: Delivery, seq: int, parsed: Parsed) -> None:
        """Take over what one chunk held."""
        receipt = delivery.receipt
        strips = parsed.strips
        self._refuse(delivery, parsed.rejects)
        if self.options.known_only:
            unknown = strips.meter >= self.known_meters
            if unknown.any():
                self._refuse(delivery, self._understood(delivery, strips.where(unknown), "unknown_meter"))
                strips = strips.where(~unknown)
        with self.store.lock:
            receipt.received += parsed.received
            if parsed.unsettled is not None and len(parsed.unsettled):
                delivery.unsettled[seq] = parsed.unsettled, parsed.unsettled_text
        self._store(delivery, seq, strips)

    def _store(self, delivery: Delivery, seq: int, strips: Strips) -> None:
        if len(strips):
            self.store.add((delivery.number, seq), strips, self.ids.partitions(strips.meter))

    def _finish_file(self, delivery: Delivery) -> None:
        """Settle the local times that exist twice, which takes the whole file."""
        for name, value in delivery.assumed.items():
            held = self.assumed.setdefault(name, value)
            if value not in held.split(", "):
                self.assumed[name] = f"{held}, {value}"
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

    # -- refusing ----------------------------------------------------------------------------------

    def _refuse(self, delivery: Delivery, rejects: Rejects) -> None:
        """Put rejects into quarantine and count them."""
        if len(rejects):
            self.quarantine.add(quarantine_rows(delivery.number, delivery.source.path, rejects))
            with self.store.lock:
                delivery.refused += int(rejects.count.sum())

    def _understood(self, delivery: Delivery, strips: Strips, reason: str) -> Rejects:
        """Rejects for readings that could be read; their lines are looked up in the file again."""
        line = np.repeat(strips.line, strips.count)
        per_line = np.array([kind.per_line for kind in self.kinds.table], bool)[strips.kind]
        within = np.arange(len(line)) - np.repeat(strips.offsets()[:-1], strips.count)
        line += np.where(np.repeat(per_line, strips.count), within, 0)
        lines, counts = np.unique(line[strips.amounts != MISSING], return_counts=True)
        texts = texts_of(delivery.source, self.options.read.encoding, lines.tolist())
        code = np.full(len(lines), REASON_CODES[reason], np.uint8)
        return Rejects(lines, code, counts.astype(np.int32), [texts.get(n, "") for n in lines.tolist()])

    # -- landing -----------------------------------------------------------------------------------

    def _land(self) -> Receipt:
        whole = [d for d in self.deliveries if d.receipt.error is None]
        for delivery in self.deliveries:
            if delivery.receipt.error is not None:
                self.store.drop(delivery.number)
        operations = self.lake.records("operations")
        load_id = self._load_id(whole, operations)
        kept = operations.filter(
            pc.and_(pc.equal(operations["operation"], "load"), pc.equal(operations["load_id"], load_id))
        )
        if len(kept):
            receipt = Receipt.from_json(kept["receipt"][0].as_py())
            receipt.replayed, receipt.dry_run = True, self.options.dry_run
            return receipt
        if not whole:
            return self._receipt(
                load_id, whole, Outcome(), self.lake.snapshot(), QUARANTINE_SCHEMA.empty_table()
            )
        self._keep_stamps(whole)
        return self._attempts(load_id, whole)

    def _attempts(self, load_id: str, whole: list[Delivery]) -> Receipt:
        """Merge and commit; where another commit comes first, merge again on what it left."""
        while True:
            resettle(self.lake, self.registry)
            base = self.lake.snapshot()
            known = Delivered.read(self.lake)
            landing = Landing(
                self.lake, base, self.store, self.kinds, self.ids, frozenset(d.number for d in whole),
                known.senders, self.folder, write=not self.options.dry_run,
            )  # fmt: skip
            outcome = landing.run(lambda done, total: self.progress("merge", done, total))
            quarantine = concat([self.quarantine.table(), *self._off_grid(whole, outcome)], QUARANTINE_SCHEMA)
            receipt = self._receipt(load_id, whole, outcome, base, quarantine)
            if self.options.dry_run:
                self._show_changes(receipt, landing.changes.table())
                return receipt
            if self.options.keep:
                self._keep_files(whole)
            try:
                self._commit(receipt, whole, outcome, landing, quarantine)
            except ConcurrentCommit:
                continue
            self._register(outcome, receipt.version)
            return receipt

    def _keep_files(self, whole: list[Delivery]) -> None:
        """Copy the files into the lake, named by the hash of their bytes."""
        if not Path(self.lake.url).is_dir():
            raise Invalid(f"--keep needs a lake in a folder, {self.lake.url} is none")
        folder = Path(self.lake.url) / "files"
        folder.mkdir(exist_ok=True)
        for source in (d.source for d in whole):
            target = folder / source.sha256
            if not target.exists():
                shutil.copyfile(source.file, target.with_suffix(".part"))
                target.with_suffix(".part").rename(target)

    def _commit(
        self,
        receipt: Receipt,
        whole: list[Delivery],
        outcome: Outcome,
        landing: Landing,
        quarantine: pa.Table,
    ) -> None:
        """Commit the outcome; where others landed first and touched none of its keys, on top of theirs."""
        while True:
            base = landing.base
            receipt.version = base.version + 1
            receipt.bytes_on_disk = sum(f.bytes for f in base.files) + sum(
                f.bytes for f in outcome.added
            ) - sum(f.bytes for f in outcome.removed)  # fmt: skip
            receipt.seconds = time.monotonic() - self.started
            landed_us = max(time.time_ns() // 1000, self.received_us)
            records = {
                "superseded": superseded(landing.lost.table(), receipt.version),
                "quarantine": of_load(quarantine, receipt.load_id),
                "deliveries": self._delivery_rows(receipt, whole, outcome, landed_us),
                "operations": operation_row(
                    "load", receipt.load_id, receipt.version, landed_us, receipt.to_json()
                ),
            }
            attempt = int.from_bytes(os.urandom(6))
            change = Change(base, outcome.added, outcome.removed, f"load:{receipt.load_id}", attempt, records)
            try:
                self.lake.commit(change)
            except ConcurrentCommit:
                newer = self.lake.snapshot()
                if not landing.holds_on(newer):
                    raise
                landing.base = newer
                continue
            return

    def _load_id(self, whole: list[Delivery], operations: pa.Table) -> str:
        """Hash of contents, options and the number of earlier undos of the same load."""
        base = json.dumps(
            [
                sorted(d.source.content for d in whole),
                self._reading_hash(),
                self.options.known_only,
                str(self.options.received_at),
            ]
        )
        undone = set(operations.filter(pc.equal(operations["operation"], "undo"))["load_id"].to_pylist())
        undos = 0
        while True:
            load_id = hashlib.sha256(f"{base}:{undos}".encode()).hexdigest()[:20]
            if load_id not in undone:
                return load_id
            undos += 1

    def _reading_hash(self) -> str:
        """Hash of all that decides what the content means."""
        options = self.options
        told = asdict(options.read) | {
            "source": options.source, "feed": options.feed, "quality_best": options.quality_best,
            "authoritative": options.authoritative,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def _keep_stamps(self, whole: list[Delivery]) -> None:
        """Give content that was delivered before, and stands, the arrival that it had then."""
        rows = self.lake.records("deliveries").select(["number", "content", "received_at"])
        withdrawn = Delivered.read(self.lake).withdrawn
        received = rows["received_at"].cast(pa.int64()).to_pylist()
        earlier = {
            content: at
            for number, content, at in zip(
                rows["number"].to_pylist(), rows["content"].to_pylist(), received, strict=True
            )
            if number not in withdrawn
        }
        for delivery in whole:
            delivery.known_us = earlier.get(self._content(delivery))
        known = {d.number: d.known_us for d in whole if d.known_us is not None}
        for code, kind in enumerate(self.kinds.table):
            if kind.delivery in known and not kind.sender_stamp:
                self.kinds.table[code] = kind._replace(stamp_us=known[kind.delivery])

    def _content(self, delivery: Delivery) -> str:
        return f"{delivery.source.content}:{self._reading_hash()[:16]}"

    def _off_grid(self, whole: list[Delivery], outcome: Outcome) -> Iterator[pa.Table]:
        """Quarantine the strips that lie beside their series' phase."""
        strips = Strips.concat(outcome.off_grid)
        owner = np.array([kind.delivery for kind in self.kinds.table])[strips.kind]
        for delivery in whole:
            delivery.off_grid = 0
            mine = strips.where(owner == delivery.number) if len(strips) else strips
            if len(mine):
                rejects = self._understood(delivery, mine, "off_grid")
                delivery.off_grid = int(rejects.count.sum())
                yield quarantine_rows(delivery.number, delivery.source.path, rejects)

    # -- telling -----------------------------------------------------------------------------------

    def _delivery_rows(
        self, receipt: Receipt, whole: list[Delivery], outcome: Outcome, landed_us: int
    ) -> pa.Table:
        options = self.options
        shared = {
            "load_id": receipt.load_id,
            "source": options.source or options.feed,
            "feed": options.feed,
            "received_at": self.received_us,
            "landed_at": landed_us,
            "version": receipt.version,
            "precedence": AUTHORITATIVE if options.authoritative else None,
        }
        rows = [shared | d.row(outcome.spans.get(d.number)) | {"content": self._content(d)} for d in whole]
        return pa.Table.from_pylist(
            [row | {"source": row["source"] or d.source.name} for row, d in zip(rows, whole, strict=True)],
            schema=DELIVERY_SCHEMA,
        )

    def _receipt(
        self, load_id: str, whole: list[Delivery], outcome: Outcome, base: Snapshot, quarantine: pa.Table
    ) -> Receipt:
        for delivery in whole:
            entry = delivery.receipt
            entry.sha256 = delivery.source.sha256
            none = np.zeros(5, np.int64)
            counts = outcome.counts.get(delivery.number, none)
            entry.stored, entry.replaced = int(counts[fold.STORED]), int(counts[fold.REPLACED])
            entry.duplicate, entry.conflict = int(counts[fold.DUPLICATE]), int(counts[fold.CONFLICT])
            entry.superseded = int(counts[fold.SUPERSEDED])
            entry.rejected = delivery.refused + delivery.off_grid
        series = concat(outcome.series, SERIES_SCHEMA)
        spans = outcome.spans.values()
        return Receipt(
            load_id,
            dry_run=self.options.dry_run,
            files=[d.receipt for d in self.deliveries],
            meters=len(pc.unique(series["meter_id"])),
            channels=len(series.group_by(["meter_id", "channel"]).aggregate([])),
            blocks=outcome.blocks,
            first=_iso(min(first for first, _ in spans)) if spans else None,
            last=_iso(max(last for _, last in spans)) if spans else None,
            gaps=gaps(series, self._series_before(series)),
            amount=amount_texts(outcome.amounts),
            rejects=summary_of(quarantine),
            assumed=dict(sorted(self.assumed.items())),
            seconds=time.monotonic() - self.started,
            bytes_on_disk=sum(f.bytes for f in base.files),
            version=base.version,
        )

    def _series_before(self, series: pa.Table) -> pa.Table:
        return self.registry.series(series["meter_id"].combine_chunks())

    def _register(self, outcome: Outcome, version: int) -> None:
        """Tell the registry the meters and what their series now reach; made again where this is cut off."""
        self.registry.update_series(concat(outcome.series, SERIES_SCHEMA), version)

    def _show_changes(self, receipt: Receipt, changes: pa.Table) -> None:
        if self.options.changes is not None:
            pacsv.write_csv(changes, self.options.changes)
        rows = changes.slice(0, CHANGES_SHOWN).to_pylist()
        receipt.changes = [
            {
                **row,
                "start": _iso(int(row["start"].timestamp())),
                "old": Exact(row["old"]),
                "new": Exact(row["new"]),
            }
            for row in rows
        ]


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
