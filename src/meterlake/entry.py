"""A log entry: one accepted batch, decided once and for ever. The log that keeps its bytes checks them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.errors import Damaged, Invalid
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.strips import MISSING, Kind, Strips

if TYPE_CHECKING:
    import numpy.typing as npt

    from meterlake.ids import MeterIds
    from meterlake.strips import Ints

FORMAT: Final = 1
"""Number of the layout of the bytes: that of the header, its length, a JSON header, and Arrow streams one after another."""

_NUMBER: Final = 4
"""Bytes of the numbers before the header, little-endian."""

_MISSING_32: Final = np.iinfo(np.int32).min

_COLUMNS: Final = {"kind": np.int32, "start": np.int64, "count": np.int32}


@dataclass(frozen=True, slots=True)
class Entry:
    """What was accepted at once over HTTP: a delivery in the sense of the lake."""

    number: int
    """Delivery number; rises with the offset in the log."""
    batch_id: str
    owner: str
    """Id of the key that sent it."""
    source: str
    received_us: int
    """When it was taken; rises from entry to entry. The stamp of readings that carry none, and when it landed."""
    precedence: int | None
    """Precedence of all its readings, where the source is authoritative; None: that of their quality."""
    content: str
    """Hash of the decoded body and of how it was read."""
    received: int
    duplicate: int
    kinds: tuple[Kind, ...]
    """What ``strips.kind`` indexes; every kind names this delivery."""
    strips: Strips
    """The accepted readings; ``meter`` are codes of the ids that `encode` and `decode` are given, ``line`` is 0."""
    rejects: pa.Table
    """QUARANTINE_SCHEMA rows with ``load_id`` the batch id and ``file`` empty."""

    def encode(self, ids: MeterIds) -> bytes:
        """Return the entry as bytes that `decode` reads; meters are written by their ids, ``line`` is not kept."""
        same, columns = _varying(self.strips)
        columns["meter_id"] = ids.take(self.strips.meter)
        streams = [_stream(pa.table(columns)), _stream(pa.table({"amount": _narrow(self.strips.amounts)}))]
        if len(self.rejects):
            streams.append(_stream(self.rejects))
        header = {
            "number": self.number, "batch_id": self.batch_id, "owner": self.owner, "source": self.source,
            "received_us": self.received_us, "precedence": self.precedence, "content": self.content,
            "received": self.received, "duplicate": self.duplicate, "kinds": self.kinds,
            "same": same, "streams": [stream.size for stream in streams],
        }  # fmt: skip
        head = json.dumps(header, separators=(",", ":")).encode()
        numbers = FORMAT.to_bytes(_NUMBER, "little") + len(head).to_bytes(_NUMBER, "little")
        return b"".join([numbers, head, *streams])

    @staticmethod
    def decode(data: bytes, ids: MeterIds) -> Entry:
        """Return the entry that was encoded, its meters numbered by ``ids``.

        Raises:
            Invalid: a later Meterlake wrote it.
            Damaged: these are not the bytes of an entry.

        """
        layout = int.from_bytes(data[:_NUMBER], "little")
        if len(data) > 2 * _NUMBER and layout > FORMAT:
            raise Invalid(
                f"the log holds an entry of format {layout}, {FORMAT} is known: install a later Meterlake"
            )
        try:
            header, tables = _opened(data)
            strips = _strips(header.pop("same"), tables[0], tables[1], ids)
            rejects = (
                tables[2].cast(QUARANTINE_SCHEMA) if len(tables) > 2 else QUARANTINE_SCHEMA.empty_table()
            )
            kinds = tuple(Kind(*kind) for kind in header.pop("kinds"))
            return Entry(**header, kinds=kinds, strips=strips, rejects=rejects)
        except (ValueError, KeyError, TypeError, IndexError, OSError, pa.ArrowException) as error:
            raise Damaged(
                f"{len(data)} bytes of the log are no entry: {error}; restore the log and the checkpoints from one backup"
            ) from error


def _varying(strips: Strips) -> tuple[dict[str, int], dict[str, Any]]:
    """Split the columns into those with one value all over, which mostly are all three, and the others."""
    same: dict[str, int] = {}
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = getattr(strips, name)
        if len(values) and (values == values[0]).all():
            same[name] = int(values[0])
        else:
            columns[name] = pa.array(values)
    return same, columns


def _narrow(amounts: Ints) -> pa.Array:
    """Amounts (milli units) as int32 where all fit; `MISSING` becomes the least int32."""
    missing = amounts == MISSING
    shown = np.where(missing, 0, amounts) if missing.any() else amounts
    if len(amounts) and (shown.min() <= _MISSING_32 or shown.max() > np.iinfo(np.int32).max):
        return pa.array(amounts)
    narrow = shown.astype(np.int32)
    narrow[missing] = _MISSING_32
    return pa.array(narrow)


def _widen(amounts: npt.NDArray[Any]) -> Ints:
    wide = amounts.astype(np.int64)
    if amounts.dtype == np.int32:
        wide[amounts == _MISSING_32] = MISSING
    return wide


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _opened(data: bytes) -> tuple[dict[str, Any], list[pa.Table]]:
    at = 2 * _NUMBER + int.from_bytes(data[_NUMBER : 2 * _NUMBER], "little")
    header = json.loads(data[2 * _NUMBER : at])
    tables = []
    for size in header.pop("streams"):
        with pa.ipc.open_stream(pa.py_buffer(data).slice(at, size)) as reader:
            tables.append(reader.read_all())
        at += size
    return header, tables


def _strips(same: dict[str, int], rows: pa.Table, amounts: pa.Table, ids: MeterIds) -> Strips:
    n = len(rows)
    columns = {
        name: np.full(n, same[name], kind) if name in same else rows[name].to_numpy().astype(kind)
        for name, kind in _COLUMNS.items()
    }
    meter = ids.codes_of(rows["meter_id"])
    strips = Strips(
        meter, **columns, line=np.zeros(n, np.int64), amounts=_widen(amounts["amount"].to_numpy())
    )
    if int(strips.count.sum()) != len(strips.amounts):
        raise ValueError(f"{len(strips.amounts)} amounts for strips of {strips.count.sum()}")
    return strips
