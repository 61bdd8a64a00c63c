"""Cuts handed from the processes that hold shards to the one that commits: files of whole seals, kept until they landed.

Who hands over keeps what it cut off until it sees the seal in the lake, as if it had committed itself. A file that is
committed twice, or after another took its shard over, changes nothing: `seal` sees to that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.errors import Damaged, NotFound
from meterlake.live.checkpoint import note_bytes, notes_of, read_table, table_bytes
from meterlake.live.cut import Cut
from meterlake.live.part import Part
from meterlake.live.senders import DELIVERY, Landed, Senders
from meterlake.logs import log
from meterlake.seal import seal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Cuts, Lake, Registry

FORMAT: Final = 1
_TABLES: Final = ("blocks", "lost", "late")


def encode(cut: Cut) -> bytes:
    """Return a cut as bytes: the length of a JSON header, the header, and its pieces one after another."""
    senders = cut.part.senders
    numbers = list(senders)
    sources = sorted({senders[number].source for number in numbers})
    rows = np.zeros(len(numbers), DELIVERY)
    for i, number in enumerate(numbers):
        one = senders[number]
        precedence = -1 if one.precedence is None else one.precedence
        rows[i] = (cut.part.landed_us[number], number, sources.index(one.source), precedence)
    pieces = [table_bytes(getattr(cut.part, name)) for name in _TABLES]
    pieces += [rows.tobytes(), note_bytes(cut.entries)]
    header = {
        "format": FORMAT, "number": cut.number, "offset": cut.offset, "sequence": cut.sequence,
        "floors": list(cut.floors.items()), "sets": list(cut.sets), "sources": sources, "pieces": list(map(len, pieces)),
    }  # fmt: skip
    head = json.dumps(header).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *pieces])


def decode(data: bytes) -> Cut:
    """Return the cut that was encoded; Damaged where the bytes are none."""
    try:
        at = 4 + int.from_bytes(data[:4], "little")
        told: dict[str, Any] = json.loads(data[4:at])
        if told["format"] != FORMAT:
            raise Damaged(
                f"a cut has layout {told['format']}, this program reads {FORMAT}: use the one that wrote it"
            )
        pieces = []
        for size in told["pieces"]:
            pieces.append(data[at : at + size])
            at += size
        tables: list[pa.Table] = [read_table(piece) for piece in pieces[:3]]
        senders = Senders(np.frombuffer(pieces[3], DELIVERY), told["sources"])
        return Cut(
            told["number"], told["offset"], told["sequence"], {int(s): int(t) for s, t in told["floors"]},
            [tuple(one) for one in told["sets"]], Part(tables[0], tables[1], tables[2], senders, Landed(senders)), notes_of(pieces[4]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        raise Damaged(f"{len(data)} bytes are no cut of a shard: {error}") from error


class Committer:
    """Commits the cuts that others hand over, one after another."""

    def __init__(self, lake: Lake, registry: Registry, cuts: Cuts) -> None:
        """Take them from ``cuts``."""
        self._lake, self._registry, self._cuts = lake, registry, cuts

    def work(self) -> Sequence[str]:
        """Commit all that wait; return the shards they were of."""
        done = []
        for shard, name in self._cuts.waiting():
            try:
                cut = decode(self._cuts.get(shard, name))
            except NotFound:
                continue  # another process was faster
            receipt = seal(self._lake, self._registry, cut, shard)
            self._cuts.drop(shard, name)
            log.info("sealed", shard=shard, sequence=receipt.sequence, seconds=round(receipt.seconds, 3))
            done.append(shard)
        return done
