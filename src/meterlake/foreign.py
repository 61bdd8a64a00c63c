"""What other programs write to the topics: JSON readings, to be made into batches of ours and sent where they belong.

A message is one reading, a list of them, or a document with ``readings``, as over HTTP. What it does not date is stamped
with the moment at which the log took it, so doing this twice changes nothing. What cannot be read is refused by its
place in the log and stops nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from meterlake.bodies import TEXT_MAX, Waiting
from meterlake.errors import Invalid
from meterlake.formats.batch import JSON, NDJSON, parse_body
from meterlake.formats.codec import Origin, Parsed, ReadOptions
from meterlake.formats.lines import LINE_MAX
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA, of_load, quarantine_rows
from meterlake.readings import REASON_CODES, Quality
from meterlake.strips import MISSING, Kinds, Rejects, Strips, beyond_years

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Record
    from meterlake.strips import Ints

OWNER: Final = "log"
"""Whose batches these are: nobody's key."""
UNREADABLE: Final = (Invalid, ValueError, ArithmeticError, LookupError, TypeError)
"""What reading the bytes of strangers may end in."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages lie, as people know it."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Return what the quarantine names as a file."""
        return f"{self.topic}/{self.partition}"


def batch_of(records: Sequence[Record], place: Place, source: str) -> Waiting:
    """Return the batch that foreign messages of one shard make; the same ones always make the same."""
    ids, kinds = MeterIds(), Kinds()
    single = [record for record in records if _is_line(record.data)]
    others = [record for record in records if not _is_line(record.data)]
    parts = []
    if single:
        try:
            parts = [_lines(single, source, ids, kinds)]
        except UNREADABLE:
            others = list(records)  # one by one, so that only the odd one is refused
    parts += [_document(record, source, ids, kinds) for record in others]
    strips = Strips.concat(part.strips for part in parts)
    rejects = [quarantine_rows(0, str(place), part.rejects) for part in parts if len(part.rejects)]
    odd = beyond_years(strips)
    if odd.any():
        rejects.append(_beyond(strips.where(odd), place))
        strips = strips.where(~odd)
    first, last = records[0].offset, records[-1].offset
    content = blake2b(f"{place} {first} {last}".encode(), digest_size=16).hexdigest()
    received = Parsed(strips, Rejects.empty(), sum(part.received for part in parts), len(records))
    table = of_load(pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *rejects]), content[:20])
    return Waiting(
        content[:20], OWNER, source, content, (), received, tuple(kinds.table), strips, table, 0, 0, ids
    )


def poisoned(record: Record, place: Place, why: str) -> tuple[str, pa.Table]:
    """Batch id and refused line of a message that is not what it says."""
    batch_id = blake2b(f"{place} {record.offset}".encode(), digest_size=10).hexdigest()
    code = np.full(1, REASON_CODES["malformed_line"], np.uint8)
    rejects = Rejects(np.array([record.offset]), code, np.ones(1, np.int32), [why[:TEXT_MAX]])
    return batch_id, of_load(quarantine_rows(0, str(place), rejects), batch_id)


def _is_line(data: bytes) -> bool:
    """Whether a message is one reading on one line, so that many are read at once."""
    return (
        data.startswith(b"{") and b"\n" not in data and b'"readings"' not in data and len(data) < LINE_MAX
        and (data.isascii() or _is_text(data))
    )  # fmt: skip


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(records: Sequence[Record], source: str, ids: MeterIds, kinds: Kinds) -> Parsed:
    """Read messages that are one reading each."""
    came = np.array([record.at_us for record in records], np.int64)
    offsets = np.array([record.offset for record in records], np.int64)
    own = Kinds()
    body = b"\n".join(record.data for record in records)
    parsed = parse_body(body, NDJSON, ReadOptions(), _origin(source, int(came.max())), ids, own)
    rejects, strips = parsed.rejects, _alone(parsed.strips, own, came)
    at_us = came[np.maximum(strips.line, 1) - 1]
    pairs, code = np.unique(np.stack([strips.kind.astype(np.int64), at_us]), axis=1, return_inverse=True)
    found = []
    for kind, us in pairs.T.tolist():
        old = own.table[kind]
        found.append(kinds.code(old if old.sender_stamp else old._replace(stamp_us=us)))
    numbered = np.array(found, np.int32)[code.reshape(-1)] if found else strips.kind
    line = offsets[np.maximum(strips.line, 1) - 1]
    return replace(
        parsed, strips=replace(strips, kind=numbered, line=line),
        rejects=replace(rejects, line=offsets[rejects.line - 1]),
    )  # fmt: skip


def _alone(strips: Strips, kinds: Kinds, came: Ints) -> Strips:
    """Take strips of several lines apart, where these came at different moments."""
    if not len(strips) or (came == came[0]).all():
        return strips
    owner = np.repeat(np.arange(len(strips)), strips.count)
    within = np.arange(len(owner)) - np.repeat(strips.offsets()[:-1], strips.count)
    interval = np.array([kind.interval_s for kind in kinds.table], np.int64)
    per_line = np.array([kind.per_line for kind in kinds.table], bool)
    kind = strips.kind[owner]
    line = strips.line[owner] + np.where(per_line[kind], within, 0)
    start = strips.start[owner] + within * interval[kind]
    one = np.ones(len(owner), np.int32)
    return Strips(strips.meter[owner], kind, start, one, line, strips.amounts).where(
        strips.amounts != MISSING
    )


def _document(record: Record, source: str, ids: MeterIds, kinds: Kinds) -> Parsed:
    """Read a message of several readings, or what is none."""
    try:
        parsed = parse_body(record.data, JSON, ReadOptions(), _origin(source, record.at_us), ids, kinds)
    except UNREADABLE as error:
        text = record.data[:TEXT_MAX].decode("utf-8", "replace") or str(error)
        code = np.full(1, REASON_CODES["malformed_line"], np.uint8)
        rejects = Rejects(np.array([record.offset]), code, np.ones(1, np.int32), [text])
        return Parsed(Strips.empty(), rejects, 1, 1)
    line = np.full(len(parsed.rejects), record.offset, np.int64)
    own = np.full(len(parsed.strips), record.offset, np.int64)
    kept = replace(parsed.strips, line=own)
    return replace(parsed, strips=kept, rejects=replace(parsed.rejects, line=line))


def _origin(source: str, at_us: int) -> Origin:
    return Origin(source, 0, at_us, at_us // 1_000_000, int(Quality.ACTUAL))


def _beyond(strips: Strips, place: Place) -> pa.Table:
    lines, counts = np.unique(np.repeat(strips.line, strips.count), return_counts=True)
    code = np.full(len(lines), REASON_CODES["bad_time"], np.uint8)
    return quarantine_rows(0, str(place), Rejects(lines, code, counts.astype(np.int32), [""] * len(lines)))
