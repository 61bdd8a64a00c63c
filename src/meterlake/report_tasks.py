"""Questions about all meters in tasks: each asks the lake of some meters, and one process puts together what they found.

A task sees one version of the lake, cut by partitions where no file reaches over, so that files are read once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.ids import PARTITIONS, MeterIds
from meterlake.ports import Lake, Snapshot
from meterlake.query.meters import stacks
from meterlake.query.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meterlake.ports import DataFile, Engine, Store
    from meterlake.site import Site


class Slice:
    """`ports.Lake` of the meters of a run of partitions, at one version; nothing is written through it."""

    def __init__(self, lake: Lake, version: int, run: tuple[int, int]) -> None:
        """Show of ``lake`` what is of partitions ``run[0]`` to before ``run[1]``."""
        self._lake, self._version, self._run = lake, version, run
        self.url, self.buckets = lake.url, lake.buckets

    @property
    def store(self) -> Store:
        """That of the whole lake."""
        return self._lake.store

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Files that may hold meters of the run."""
        whole, (low, high) = self._lake.snapshot(version or self._version), self._run
        files = (file for file in whole.files if file.partitions[0] < high and file.partitions[1] > low)
        return Snapshot(whole.version, tuple(files))

    def blocks(
        self, file: DataFile, columns: Sequence[str] | None = None, meters: tuple[str, str] | None = None
    ) -> pa.Table:
        """Rows of a file that are of the run."""
        if self._run[0] <= file.partitions[0] and file.partitions[1] <= self._run[1]:
            return self._lake.blocks(file, columns, meters)
        more = columns if columns is None or "meter_id" in columns else ["meter_id", *columns]
        rows = self._own(self._lake.blocks(file, more, meters))
        return rows if columns is None else rows.select(list(columns))

    def records(self, name: str, meters: tuple[str, str] | None = None) -> pa.Table:
        """Rows of a side table; those about meters as far as they are of the run."""
        rows = self._lake.records(name, meters)
        return self._own(rows) if "meter_id" in rows.column_names else rows

    def _own(self, rows: pa.Table) -> pa.Table:
        if self._run == (0, PARTITIONS) or not len(rows):
            return rows
        ids = MeterIds()
        place = ids.partitions(ids.codes_of(rows["meter_id"]))
        return rows.filter(pa.array((place >= self._run[0]) & (place < self._run[1])))

    def put(self, *_: object, **__: object) -> NoReturn:
        """Refuse, as everything does that writes."""
        raise Invalid(f"{self.url}: a part of a lake is only read")

    commit = reserve = put


class Asking(NamedTuple):
    """A task: a question about the meters of a run, at a version."""

    question: str
    options: dict[str, Any]
    version: int
    run: tuple[int, int]


def ask(site: Site, job: Asking) -> pa.Table:
    """Answer a question for some meters."""
    reports = Questions(Slice(site.lake, job.version, job.run), site.registry).reports
    found: pa.Table = getattr(reports, f"{job.question}_part")(**job.options)
    return found.combine_chunks()


class TaskParts:
    """`query.reports.Parts` of an engine."""

    def __init__(self, lake: Lake, engine: Callable[[], Engine]) -> None:
        """Ask ``lake``; ``engine`` makes what tasks run on."""
        self._lake, self._engine = lake, engine

    def __call__(self, question: str, options: Mapping[str, Any]) -> Sequence[pa.Table]:
        """Return what each part of the lake as it is now answers."""
        base = self._lake.snapshot()
        jobs = [Asking(question, dict(options), base.version, run) for run in runs(base.files)]
        with self._engine() as engine:
            return list(engine.map(ask, jobs))


def runs(files: Sequence[DataFile]) -> list[tuple[int, int]]:
    """Cut all partitions where no file reaches over."""
    starts = [min(file.partitions[0] for file in stack) for stack in stacks(files)]
    return list(pairwise(np.unique([0, *starts[1:], PARTITIONS]).tolist()))


_CONFORMS: type[Lake] = Slice
