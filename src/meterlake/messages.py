"""Batches as messages of a topic: what is sent between processes, and how what others send is told apart.

A message holds the readings of one accepted batch for one partition, as `Entry.encode` writes them. Its headers say
which layout that is and what its bytes add up to, so that a reader trusts nothing that it has not checked. A message
without our headers is a foreign one: JSON readings of another program.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from meterlake.entry import Entry
from meterlake.errors import MeterlakeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ids import MeterIds

FORMAT: Final = 1
"""Layout of value and headers."""

FORMAT_HEADER: Final = "ml-format"
CRC_HEADER: Final = "ml-crc"
CONTENT_HEADER: Final = "ml-content"
BATCH_HEADER: Final = "ml-batch"
SOURCE_HEADER: Final = "ml-source"

NAME_BYTES: Final = 16

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that says it is ours and is not what it says."""

    why: str


class Foreign(Enum):
    """A message of another program."""

    FOREIGN = 1


FOREIGN: Final = Foreign.FOREIGN


def message_of(entry: Entry, ids: MeterIds) -> tuple[bytes, Headers]:
    """Return value and headers of the message that carries ``entry``."""
    value = entry.encode(ids)
    headers = {
        FORMAT_HEADER: str(FORMAT), CRC_HEADER: f"{zlib.crc32(value):08x}", CONTENT_HEADER: entry.content,
        BATCH_HEADER: entry.batch_id, SOURCE_HEADER: entry.source,
    }  # fmt: skip
    return value, [(name, text.encode()) for name, text in headers.items()]


def is_foreign(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether a message is another program's."""
    return all(name != FORMAT_HEADER or value is None for name, value in headers)


def entry_of(
    value: bytes | None, headers: Sequence[tuple[str, bytes | None]] | None, ids: MeterIds
) -> Entry | Poison | Foreign:
    """Return what a message holds: a batch, with its meters numbered by ``ids``; or why it is none of ours."""
    told = dict(headers or ())
    if is_foreign(headers or ()):
        return FOREIGN
    layout = told.get(FORMAT_HEADER)
    if layout != str(FORMAT).encode():
        return Poison(f"format {layout!r}, this program reads {FORMAT}")
    data = value or b""
    if told.get(CRC_HEADER) != f"{zlib.crc32(data):08x}".encode():
        return Poison("its bytes are not those of its checksum")
    try:
        return Entry.decode(data, ids)
    except MeterlakeError as error:
        return Poison(str(error))


def name_of(value: bytes) -> bytes:
    """Name under which a repeat of a message is recognised: two of one name are byte for byte the same."""
    return blake2b(value, digest_size=NAME_BYTES).digest()
