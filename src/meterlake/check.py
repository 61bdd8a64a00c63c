"""Read everything back and verify it: checksums, counts, totals, ordering, keys, origins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.blocks import KEY, flat_amounts, flat_traits
from meterlake.errors import MeterlakeError
from meterlake.ids import MeterIds
from meterlake.intervals import block_slots, block_span_s, is_local_day, is_supported
from meterlake.ledger import RECORD_SCHEMAS, Delivered
from meterlake.pending import NONE, Over, pending
from meterlake.readings import AMOUNT_MAX, channel_family
from meterlake.site import Threads
from meterlake.strips import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from meterlake.ports import DataFile, Engine, Lake, Snapshot
    from meterlake.site import Site

PROBLEMS_MAX = 1_000
"""Problems listed; a lake with more is broken as a whole."""


@dataclass(slots=True)
class CheckReport:
    """What a check read, and what is broken."""

    blocks: int = 0
    readings: int = 0
    files: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the report as `surface` shows it."""
        return {"ok": self.ok, **asdict(self)}


def check(
    lake: Lake, progress: Callable[[int, int], None] | None = None, engine: Engine | None = None
) -> CheckReport:
    """Verify every file of the newest version and the record beside it, on ``engine``, else in threads."""
    report = CheckReport()
    snapshot = lake.snapshot()
    numbers = _record(lake, report)
    _pending(lake, snapshot, numbers, report)
    jobs = [
        Reading(snapshot.version, file, _near(file, snapshot.files[number + 1 :]))
        for number, file in enumerate(snapshot.files)
    ]
    with engine or Threads(lake) as tasks:
        for found in tasks.map(verify, jobs, progress):
            report.blocks += found.blocks
            report.readings += found.readings
            report.files += 1
            for problem in found.problems:
                _add(report, *problem)
    return report


class Reading(NamedTuple):
    """A task: a file of a version of the lake, and those after it that may hold the same keys."""

    version: int
    file: DataFile
    near: list[DataFile]


class Found(NamedTuple):
    """What was read, and what is broken: file, meter, what."""

    blocks: int
    readings: int
    problems: list[tuple[str, str, str]]


def verify(site: Site, job: Reading) -> Found:
    """Read a file back and verify it."""
    lake = site.lake

    def beside() -> tuple[pa.Array, Over]:
        seen = CheckReport()
        numbers = _record(lake, seen)
        return numbers, _pending(lake, lake.snapshot(job.version), numbers, seen)

    numbers, over = site.once(("check", job.version), beside)
    part = CheckReport()
    problems = [
        (job.file.path, meter, what) for meter, what in _file_problems(lake, job.file, numbers, over, part)
    ]
    problems += _shared_keys(lake, job.file, job.near)
    return Found(part.blocks, part.readings, problems[:PROBLEMS_MAX])


def _add(report: CheckReport, path: str, meter: str, what: str) -> None:
    if len(report.problems) < PROBLEMS_MAX:
        report.problems.append({"file": path, "meter": meter, "what": what})


def _record(lake: Lake, report: CheckReport) -> pa.Array:
    """Numbers of all deliveries; the side tables are read on the way."""
    numbers = pa.array([], pa.int32())
    for name in RECORD_SCHEMAS:
        try:
            rows = lake.records(name)
            if name == "deliveries":
                numbers = rows["number"].combine_chunks()
        except MeterlakeError as error:
            _add(report, name, "", str(error))
    try:
        Delivered(lake.records("deliveries"), lake.records("operations"))
    except (MeterlakeError, KeyError) as error:
        _add(report, "deliveries", "", f"cannot be understood: {error}")
    return numbers


def _pending(lake: Lake, snapshot: Snapshot, numbers: pa.Array, report: CheckReport) -> Over:
    """Verify the blocks that wait beside the files; return them."""
    name = "pending_blocks"
    try:
        blocks = pending(lake, snapshot)
        blocks.validate(full=True)
    except (MeterlakeError, pa.ArrowException, OSError) as error:
        _add(report, name, "", f"cannot be read back: {error}")
        return Over(NONE)
    if not len(blocks):
        return Over(NONE)
    for meter, what in _broken(blocks, _addresses(blocks) | _contents(blocks, numbers)):
        _add(report, name, meter, what)
    report.blocks += len(blocks)
    report.readings += int(pc.sum(blocks["filled"]).as_py() or 0)
    return Over(blocks)


def _broken(blocks: pa.Table, tests: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the first meter and the text of each of ``tests`` that a row does not pass."""
    for what, broken in tests.items():
        rows = np.flatnonzero(broken)
        if len(rows):
            yield (
                blocks["meter_id"][int(rows[0])].as_py(),
                f"{what} ({len(rows)} blocks, first at row {rows[0]})",
            )


def _file_problems(
    lake: Lake, file: DataFile, numbers: pa.Array, over: Over, report: CheckReport
) -> Iterator[tuple[str, str]]:
    """Yield what is broken in a file; rows that a block of ``over`` stands for are verified and not counted."""
    try:
        blocks = lake.blocks(file)
        blocks.validate(full=True)
    except (MeterlakeError, pa.ArrowException, OSError) as error:
        yield "", f"cannot be read back: {error}"
        return
    if len(blocks) != file.rows:
        yield "", f"has {len(blocks)} rows where the commit names {file.rows}"
    if not len(blocks):
        return
    yield from _broken(blocks, _addresses(blocks) | _contents(blocks, numbers) | _places(blocks, file))
    counted = over.left(blocks)
    report.blocks += len(counted)
    report.readings += int(pc.sum(counted["filled"]).as_py() or 0)


def _addresses(blocks: pa.Table) -> dict[str, Any]:
    """Tests of the keys: is every block where it says it is."""
    interval = blocks["interval_s"].to_numpy()
    lengths, inverse = np.unique(interval, return_inverse=True)
    supported = np.array([is_supported(int(i)) for i in lengths])[inverse]
    span = np.array([block_span_s(int(i)) for i in lengths])[inverse]
    days = np.array([is_local_day(int(i)) for i in lengths])[inverse]
    start = blocks["start"].cast(pa.int64()).to_numpy()
    offset = blocks["offset_s"].to_numpy()
    channels = pc.dictionary_encode(blocks["channel"].combine_chunks())
    known = np.array([channel_family(c) is not None for c in channels.dictionary.to_pylist()])
    return {
        "interval length is not supported": ~supported,
        "block does not start at its UTC day or hour": start % (span * 1_000_000) != 0,
        "offset lies outside the first slot": (offset < 0) | (offset >= np.where(days, span, interval)),
        "channel is unknown": ~known[channels.indices.to_numpy()],
    }


def _contents(blocks: pa.Table, numbers: pa.Array) -> dict[str, Any]:
    """Tests of the values: do counts, totals, qualities and origins agree with the slots."""
    amounts, borders = flat_amounts(blocks)
    quality, delivery, _ = flat_traits(blocks, borders)
    filled = amounts != MISSING
    row = np.repeat(np.arange(len(blocks)), np.diff(borders))
    n = np.bincount(row[filled], minlength=len(blocks))
    total = np.zeros(len(blocks), np.int64)
    np.add.at(total, row[filled], amounts[filled])
    interval = blocks["interval_s"].to_numpy()
    lengths, inverse = np.unique(interval, return_inverse=True)
    slots = np.array([block_slots(int(i)) if is_supported(int(i)) else -1 for i in lengths])[inverse]
    known = pc.is_in(pa.array(delivery), value_set=numbers).to_numpy(zero_copy_only=False)
    return {
        "has another number of slots than its interval asks for": np.diff(borders) != slots,
        "filled is not the number of its values": n != blocks["filled"].to_numpy(),
        "has no value at all": n == 0,
        "total is not the sum of its values": total != blocks["total"].to_numpy(),
        "holds an amount beyond the limits": _rows(row, filled & (np.abs(amounts) > AMOUNT_MAX), len(blocks)),
        "holds an unknown quality": _rows(row, filled & ((quality < 1) | (quality > 8)), len(blocks)),
        "names a delivery that is not recorded": _rows(row, filled & ~known, len(blocks)),
    }


def _rows(row: Any, bad: Any, n: int) -> Any:
    return np.bincount(row[bad], minlength=n) > 0


def _places(blocks: pa.Table, file: DataFile) -> dict[str, Any]:
    """Tests of the file: is it sorted, and is every block within the ranges that the commit names."""
    ids = MeterIds()
    codes = ids.codes_of(blocks["meter_id"])
    place = ids.partitions(codes)
    columns = [blocks["meter_id"], blocks["channel"], blocks["interval_s"], blocks["start"].cast(pa.int64())]
    broken = np.zeros(len(blocks), bool)
    undecided = np.ones(max(len(blocks) - 1, 0), bool)
    for column in columns:
        before, after = column.slice(0, len(column) - 1), column.slice(1)
        broken[1:] |= undecided & pc.greater(before, after).to_numpy()
        undecided &= pc.equal(before, after).to_numpy()
    broken[1:] |= undecided
    start = columns[3].to_numpy()
    meters = blocks["meter_id"]
    outside = pc.or_(pc.less(meters, file.meters[0]), pc.greater(meters, file.meters[1])).to_numpy()
    outside |= (start < file.starts_us[0]) | (start > file.starts_us[1])
    return {
        "does not follow the block before it in key order": broken,
        "lies outside the ranges that the commit names": outside,
        "lies in another partition than its file": (place < file.partitions[0])
        | (place >= file.partitions[1]),
    }


def _near(a: DataFile, others: Sequence[DataFile]) -> list[DataFile]:
    """Files that may hold keys of ``a``."""
    return [
        b for b in others
        if a.meters[0] <= b.meters[1] and b.meters[0] <= a.meters[1]
        and a.starts_us[0] <= b.starts_us[1] and b.starts_us[0] <= a.starts_us[1]
        and a.partitions[0] < b.partitions[1] and b.partitions[0] < a.partitions[1]
    ]  # fmt: skip


def _shared_keys(lake: Lake, a: DataFile, near: Sequence[DataFile]) -> Iterator[tuple[str, str, str]]:
    """Keys of a file that live in another one too."""
    for b in near:
        try:
            left, right = (lake.blocks(file, list(KEY)) for file in (a, b))
        except MeterlakeError:
            continue
        both = left.join(right, list(KEY), join_type="inner")
        if len(both):
            yield a.path, both["meter_id"][0].as_py(), f"{len(both)} blocks are also in {b.path}"
