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
import mmap
import os
import tempfile
import time
from dataclasses import asdict
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
from meterlake.errors import ConcurrentCommit
from meterlake.exact import Exact
from meterlake.intake import Intake, LoadOptions
from meterlake.landing import Landing, Outcome
from meterlake.ledger import (
    DELIVERY_SCHEMA,
    QUARANTINE_SCHEMA,
    Delivered,
    of_load,
    open_from,
    operation_row,
    quarantine_rows,
    superseded,
)
from meterlake.load_tasks import StagedIntake
from meterlake.pending import folded, pending
from meterlake.ports import Change
from meterlake.readings import AUTHORITATIVE
from meterlake.receipt import FileReceipt, Receipt, amount_texts, summary_of
from meterlake.series import resettle
from meterlake.source import Source, find
from meterlake.spool import concat
from meterlake.strips import Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from meterlake.ports import Engine, Lake, Registry, Snapshot

CHANGES_SHOWN: Final = 1_000
"""Replaced values listed in the receipt of a dry run; all of them go to ``--changes FILE``."""

DRY_NUMBERS: Final = 1 << 30
"""Delivery numbers of dry runs start here and are never stored."""

FILES: Final = "files"
"""Folder of a lake that holds the files that were loaded with --keep."""


class Load:
    """One load of some files into one lake."""

    def __init__(
        self,
        lake: Lake,
        registry: Registry,
        options: LoadOptions,
        progress: Callable[[str, int, int], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        """``progress`` is told (phase, done, total) in bytes while reading and in readings after.

        With ``engine`` its tasks do the work, else threads of this process.
        """
        self.lake, self.registry, self.options = lake, registry, options
        self._engine = engine
        self.progress = progress or (lambda *_: None)
        self.started = time.monotonic()

    def run(self, paths: Sequence[str]) -> Receipt:
        """Load ``paths``; Invalid where nothing is found, files that fail are named in the receipt."""
        with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
            self.folder = Path(folder)
            self.intake = self._intake()
            try:
                self.deliveries = self._deliver(find(paths, self.folder))
                self.intake.read(self.deliveries, self.progress)
                return self._land()
            finally:
                self.intake.close()

    def _intake(self) -> Intake:
        if self._engine is not None:
            return StagedIntake(self.options, self.folder, self.lake, self._engine)
        known = self.registry.table("meters")["meter_id"] if self.options.known_only else None
        return Intake(self.options, self.folder, known)

    def _deliver(self, sources: list[Source]) -> list[Delivery]:
        first = DRY_NUMBERS if self.options.dry_run else self.lake.reserve(len(sources))
        return [
            Delivery(first + i, source, FileReceipt(source.path, source.bytes))
            for i, source in enumerate(sources)
        ]

    def _land(self) -> Receipt:
        whole = [d for d in self.deliveries if d.receipt.error is None]
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
            base = self.lake.snapshot() if self.options.dry_run else folded(self.lake)
            known = Delivered.read(self.lake)
            landing = Landing(
                self.lake, base, self.intake.store, self.intake.kinds, self.intake.ids, frozenset(d.number for d in whole),
                known.senders, self.folder, self.registry.series, waiting=pending(self.lake, base),
                open_from=open_from(self.lake.records("operations")), write=not self.options.dry_run,
            )  # fmt: skip
            earlier = {d.number: d.known_us for d in whole if d.known_us is not None}
            told = partial(self.progress, "merge")
            outcome = self.intake.land(landing, earlier, told)
            quarantine = concat([self.intake.refused(), *self._off_grid(whole, outcome)], QUARANTINE_SCHEMA)
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
            # Cut off here, the registry is told by the next load.
            self.registry.update_series(landing.series.table(), receipt.version)
            receipt.seconds = time.monotonic() - self.started
            return receipt

    def _keep_files(self, whole: list[Delivery]) -> None:
        """Copy the files into the lake, named by the hash of their bytes."""
        store = self.lake.store
        there = {kept.name for kept in store.list(f"{FILES}/")}
        for source in (d.source for d in whole):
            if f"{FILES}/{source.sha256}" not in there:
                with Path(source.file).open("rb") as file:
                    empty = not Path(source.file).stat().st_size
                    data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    store.write(f"{FILES}/{source.sha256}", data)

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
            now_us = max(time.time_ns() // 1000, self.intake.received_us)
            landed_us = Delivered.read(self.lake).next_us(now_us)
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
                if not landing.holds_on(newer, pending(self.lake, newer)):
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
        rows = rows.filter(pc.is_in(rows["content"], value_set=pa.array([self._content(d) for d in whole])))
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

    def _content(self, delivery: Delivery) -> str:
        return f"{delivery.source.content}:{self._reading_hash()[:16]}"

    def _off_grid(self, whole: list[Delivery], outcome: Outcome) -> Iterator[pa.Table]:
        """Quarantine the strips that lie beside their series' phase."""
        strips = Strips.concat(outcome.off_grid)
        owner = np.array([kind.delivery for kind in self.intake.kinds.table])[strips.kind]
        for delivery in whole:
            delivery.off_grid = 0
            mine = strips.where(owner == delivery.number) if len(strips) else strips
            if len(mine):
                rejects = self.intake.understood(delivery, mine, "off_grid")
                delivery.off_grid = int(rejects.count.sum())
                yield quarantine_rows(delivery.number, delivery.source.path, rejects)

    def _delivery_rows(
        self, receipt: Receipt, whole: list[Delivery], outcome: Outcome, landed_us: int
    ) -> pa.Table:
        options = self.options
        shared = {
            "load_id": receipt.load_id,
            "source": options.source or options.feed,
            "feed": options.feed,
            "received_at": self.intake.received_us,
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
        spans = outcome.spans.values()
        return Receipt(
            load_id,
            dry_run=self.options.dry_run,
            files=[d.receipt for d in self.deliveries],
            meters=outcome.meters,
            channels=outcome.channels,
            blocks=outcome.blocks,
            first=_iso(min(first for first, _ in spans)) if spans else None,
            last=_iso(max(last for _, last in spans)) if spans else None,
            gaps=outcome.gaps,
            amount=amount_texts(outcome.amounts),
            rejects=summary_of(quarantine),
            assumed=dict(sorted(self.intake.assumed.items())),
            seconds=time.monotonic() - self.started,
            bytes_on_disk=sum(f.bytes for f in base.files),
            version=base.version,
        )

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
