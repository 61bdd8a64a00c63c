"""A load in tasks: files are parsed where tasks run, their strips wait in the lake's store, and runs of meters are merged.

1. a task parses some files and puts their strips away as a *parcel*, cut by bucket
2. a task takes a run of buckets out of every parcel, merges it with the lake and writes files; of blocks that live in
   older files it puts away what takes their place
3. a task writes such a file anew

All that tasks put away lies under ``staging`` and is dropped when the load ends; what a load that was cut off left goes
with the next compaction.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid, MeterlakeError
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.intake import Intake, LoadOptions
from meterlake.landing import RUN_SLOTS, Landing, Outcome, rewritten
from meterlake.ledger import QUARANTINE_SCHEMA, STAGING, Delivered, open_from
from meterlake.pending import pending
from meterlake.spool import StripStore, concat
from meterlake.strips import Kind, Kinds, Strips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from meterlake.delivery import Delivery
    from meterlake.ports import DataFile, Engine, Lake
    from meterlake.site import Site
    from meterlake.strips import Ints

PARSERS: Final = 256
"""Tasks that parse at most; small files share one."""

STRIP_SCHEMA: Final = pa.schema(
    [
        pa.field("meter", pa.large_string()),
        pa.field("kind", pa.int32()),
        pa.field("start", pa.int64()),
        pa.field("count", pa.int32()),
        pa.field("line", pa.int64()),
        pa.field("amounts", pa.large_list(pa.int64())),
    ]
)


class Parsing(NamedTuple):
    """A task: files that are parsed together."""

    deliveries: list[Delivery]
    options: LoadOptions
    now_us: int
    folder: str


class Parcel(NamedTuple):
    """What came of it: where the strips are, how many slots and strips each partition has, and the rest of the files' story."""

    name: str
    slots: Ints
    strips: Ints
    deliveries: list[Delivery]
    refused: pa.Table
    assumed: dict[str, str]


class Merging(NamedTuple):
    """A task: a run of partitions of all parcels, merged with a version of the lake."""

    run: tuple[int, int]
    version: int
    parcels: list[str]
    new: frozenset[int]
    known_us: Mapping[int, int]
    """Arrival of content that was delivered before, by delivery."""
    folder: str
    write: bool


class Merged(NamedTuple):
    """What came of it; ``replaced`` names what takes the place of rows of older files."""

    outcome: Outcome
    kinds: list[Kind]
    """Of the strips that are off the grid."""
    lost: pa.Table
    series: pa.Table
    changes: pa.Table
    replaced: list[tuple[DataFile, str]]


class Rewriting(NamedTuple):
    """A task: an older file, and the names of what takes the place of some of its rows."""

    file: DataFile
    names: list[str]


def parse(site: Site, job: Parsing) -> Parcel:
    """Parse files and put their strips away."""
    known = None
    if job.options.known_only:
        known = site.once("known", lambda: site.registry.table("meters")["meter_id"])
    with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
        intake = Intake(job.options, Path(folder), known, now_us=job.now_us)
        try:
            intake.read(job.deliveries, lambda *_: None)
            name = f"{job.folder}/strips-{uuid.uuid4().hex}"
            site.lake.store.write(name, _packed(intake, site.lake.buckets))
            for delivery in job.deliveries:
                delivery.doubted.clear()
            slots, strips = intake.store.slots, intake.store.strips
            return Parcel(name, slots, strips, job.deliveries, intake.refused(), intake.assumed)
        finally:
            intake.store.close()


def _packed(intake: Intake, buckets: int) -> pa.Buffer:
    """All strips of an intake, a record batch a bucket."""
    told = {"kinds": json.dumps(intake.kinds.table)}
    sink = pa.BufferOutputStream()
    step = PARTITIONS // buckets
    with pa.ipc.new_file(sink, STRIP_SCHEMA.with_metadata(told)) as writer:
        for low in range(0, PARTITIONS, step):
            strips = intake.store.take(low, low + step)
            columns = [
                intake.ids.take(strips.meter).cast(pa.large_string()), pa.array(strips.kind), pa.array(strips.start),
                pa.array(strips.count), pa.array(strips.line),
                pa.LargeListArray.from_arrays(pa.array(strips.offsets()), pa.array(strips.amounts)),
            ]  # fmt: skip
            writer.write_batch(pa.record_batch(columns, schema=STRIP_SCHEMA.with_metadata(told)))
    return sink.getvalue()


def _unpacked(batch: pa.RecordBatch, ids: MeterIds, codes: Ints) -> Strips:
    """Strips of a record batch; ``codes`` are the kinds of its own numbers."""
    amounts = batch["amounts"]
    return Strips(
        ids.codes_of(batch["meter"]), codes[batch["kind"].to_numpy()].astype(np.int32), batch["start"].to_numpy(),
        batch["count"].to_numpy(), batch["line"].to_numpy(), amounts.flatten().to_numpy().astype(np.int64),
    )  # fmt: skip


def merge(site: Site, job: Merging) -> Merged:
    """Merge a run of partitions with the lake."""
    lake = site.lake
    base = lake.snapshot(job.version)

    def beside() -> tuple[Delivered, pa.Table, Mapping[int, int]]:
        return Delivered.read(lake), pending(lake, base), open_from(lake.records("operations"))

    known, waiting, opened = site.once((job.folder, job.version), beside)
    ids, kinds = MeterIds(), Kinds()
    with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
        store = StripStore(Path(folder))
        try:
            for number, name in enumerate(job.parcels):
                _take(lake, name, job, (number, store, ids, kinds))
            landing = Landing(
                lake, base, store, kinds, ids, job.new, known.senders, Path(folder), site.registry.series,
                waiting=waiting, open_from=opened, write=job.write,
            )  # fmt: skip
            replaced = landing.merge(job.run)
            return Merged(
                landing.outcome, kinds.table if landing.outcome.off_grid else [], landing.lost.table().combine_chunks(),
                landing.series.table().combine_chunks(), landing.changes.table().combine_chunks(),
                [(file, _put_away(lake, job.folder, pieces)) for file, pieces in replaced.items()],
            )  # fmt: skip
        finally:
            store.close()


def _take(lake: Lake, name: str, job: Merging, into: tuple[int, StripStore, MeterIds, Kinds]) -> None:
    """Take the buckets of a run out of a parcel."""
    number, store, ids, kinds = into
    step = PARTITIONS // lake.buckets
    with pa.ipc.open_file(lake.store.opened(name)) as parcel:
        table = [Kind(*told) for told in json.loads(parcel.schema.metadata[b"kinds"])]
        codes = np.array([kinds.code(_restamped(kind, job.known_us)) for kind in table], np.int64)
        for bucket in range(job.run[0] // step, job.run[1] // step):
            strips = _unpacked(parcel.get_batch(bucket), ids, codes)
            if len(strips):
                store.add((number, bucket), strips, ids.partitions(strips.meter))


def _restamped(kind: Kind, known_us: Mapping[int, int]) -> Kind:
    if kind.delivery in known_us and not kind.sender_stamp:
        return kind._replace(stamp_us=known_us[kind.delivery])
    return kind


def _put_away(lake: Lake, folder: str, pieces: Sequence[tuple[Ints, pa.Table]]) -> str:
    """Put away which rows of a file go and the blocks that come instead."""
    name, sink = f"{folder}/rows-{uuid.uuid4().hex}", pa.BufferOutputStream()
    rows = pa.table({"row": np.concatenate([rows for rows, _ in pieces])})
    for table in (rows, concat([blocks for _, blocks in pieces], pieces[0][1].schema)):
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    lake.store.write(name, sink.getvalue())
    return name


def rewrite(site: Site, job: Rewriting) -> list[DataFile]:
    """Write a file anew with what was put away."""
    pieces = []
    for name in job.names:
        kept = site.lake.store.read(name)
        if kept is None:
            raise MeterlakeError(
                f"{site.lake.url}/{name} was taken away while the load ran; run the same again"
            )
        source = pa.BufferReader(kept[0])
        rows, blocks = (pa.ipc.open_stream(source).read_all() for _ in range(2))
        pieces.append((rows["row"].to_numpy(), blocks))
    return rewritten(site.lake, job.file, pieces)


class StagedIntake(Intake):
    """The intake of a load whose files are parsed and merged by the tasks of an engine."""

    def __init__(self, options: LoadOptions, folder: Path, lake: Lake, engine: Engine) -> None:
        """Put away in ``lake``; ``engine`` has begun."""
        super().__init__(options, folder, None)
        self._lake, self._engine = lake, engine
        self._place = f"{STAGING}/{uuid.uuid4().hex}"
        self._parcels: list[Parcel] = []

    def read(self, deliveries: Sequence[Delivery], progress: Callable[[str, int, int], None]) -> None:
        """Parse all files; those that fail say why in their receipts."""
        if any(delivery.source.path == "-" for delivery in deliveries):
            raise Invalid("standard input is read by this process alone: use --engine local")
        total = sum(delivery.source.bytes for delivery in deliveries)
        jobs = [
            Parsing(group, replace(self.options, changes=None), self.now_us, self._place)
            for group in _groups(deliveries)
        ]
        told = lambda done, all_: progress("read", total * done // all_, total)  # noqa: E731 - one expression
        for job, parcel in zip(jobs, self._engine.map(parse, jobs, told), strict=True):
            self._parcels.append(parcel)
            for mine, theirs in zip(job.deliveries, parcel.deliveries, strict=True):
                file = mine.source.file
                mine.source, mine.receipt, mine.assumed = theirs.source, theirs.receipt, theirs.assumed
                mine.source.file = file
                mine.lines, mine.refused = theirs.lines, theirs.refused
            for name, value in parcel.assumed.items():
                self._assume(name, value)
        progress("read", total, total)

    def refused(self) -> pa.Table:
        """Rows of QUARANTINE_SCHEMA for the files that did not fail, by file and line."""
        return concat([parcel.refused for parcel in self._parcels], QUARANTINE_SCHEMA)

    def land(
        self, landing: Landing, known_us: Mapping[int, int], progress: Callable[[int, int], None]
    ) -> Outcome:
        """Merge all runs on the engine, then write the older files anew that hold colliding keys."""
        slots = np.sum([parcel.slots for parcel in self._parcels], axis=0)
        strips = np.sum([parcel.strips for parcel in self._parcels], axis=0)
        names, total = [parcel.name for parcel in self._parcels], int(slots.sum())
        jobs = [
            Merging(run, landing.base.version, names, landing.new, known_us, self._place, landing.write)
            for run in _runs(slots + 4 * strips, PARTITIONS // self._lake.buckets)
        ]
        told = lambda done, all_: progress(total * done // all_, total)  # noqa: E731 - one expression
        replaced: dict[DataFile, list[str]] = {}
        for part in self._engine.map(merge, jobs, told):
            landing.absorb(self._of_ours(part), (part.lost, part.series, part.changes))
            for file, name in part.replaced:
                replaced.setdefault(file, []).append(name)
        outcome = landing.outcome
        if landing.write:
            for files in self._engine.map(rewrite, [Rewriting(*told) for told in sorted(replaced.items())]):
                outcome.added += files
            outcome.removed = sorted(replaced)
        return outcome

    def _of_ours(self, part: Merged) -> Outcome:
        """Outcome whose strips that are off the grid have the kinds of this process."""
        codes = np.array([self.kinds.code(kind) for kind in part.kinds], np.int32)
        for strips in part.outcome.off_grid:
            strips.kind = codes[strips.kind]
        return part.outcome

    def close(self) -> None:
        """Drop what tasks put away."""
        super().close()
        for kept in self._lake.store.list(f"{self._place}/"):
            self._lake.store.delete(kept.name)


def _groups(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Cut files into groups of about as many bytes, in their order."""
    most = sum(d.source.bytes for d in deliveries) // PARSERS
    group: list[Delivery] = []
    for delivery in deliveries:
        if group and sum(d.source.bytes for d in group) + delivery.source.bytes > most:
            yield group
            group = []
        delivery.source.file = delivery.source.file.absolute()
        group.append(delivery)
    if group:
        yield group


def _runs(weight: Ints, align: int) -> list[tuple[int, int]]:
    """Cut the partitions into runs of about `RUN_SLOTS` weight, or more of them where there is enough for many tasks."""
    reach = np.cumsum(weight.reshape(-1, align).sum(axis=1))
    n = min(len(reach), max(1, -(-int(reach[-1]) // (RUN_SLOTS // 4))))
    cuts = np.searchsorted(reach, np.arange(1, n) * int(reach[-1]) / n) + 1
    return list(pairwise(np.unique(np.concatenate([[0], cuts * align, [PARTITIONS]])).tolist()))
