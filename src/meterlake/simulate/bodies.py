"""Bodies of `POST /v1/readings` from bursts, column by column: Arrow, NDJSON, JSON and CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.errors import Invalid
from meterlake.formats.write import Texts, text_rows, texts
from meterlake.readings import READING_SCHEMA
from meterlake.simulate.loads import CHANNELS

if TYPE_CHECKING:
    from meterlake.simulate.stream import Burst, Roster

ENCODINGS: Final = {
    "arrow": "application/vnd.apache.arrow.stream",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "csv": "text/csv",
}
"""Media type by the name of an encoding."""

_COLUMNS: Final = ("meter_id", "channel", "interval_start", "interval_s", "amount")
_SCHEMA: Final = pa.schema([READING_SCHEMA.field(name) for name in _COLUMNS])
_US: Final = 1_000_000
_JSON: Final = '{{"meter":"{meter}","channel":"{channel}","seconds":{seconds},"value":'
_CSV: Final = "{meter},{channel},{seconds},"
_CSV_HEAD: Final = b"meter,channel,seconds,value,start\n"


class Bodies:
    """Makes bodies in one encoding. Safe to share between threads."""

    def __init__(self, roster: Roster, encoding: str) -> None:
        """Prepare what the readings of a series have in common; Invalid for an unknown encoding."""
        if encoding not in ENCODINGS:
            raise Invalid(f"encoding {encoding!r} is unknown: choose one of {', '.join(ENCODINGS)}")
        self._roster, self._encoding = roster, encoding
        self.media = ENCODINGS[encoding]
        self._channels = pa.array(list(CHANNELS), pa.string())
        self._heads = None if encoding == "arrow" else _heads(roster, _CSV if encoding == "csv" else _JSON)

    def encode(self, burst: Burst) -> bytes:
        """Write the readings of ``burst``."""
        if self._heads is None:
            return self._arrow(burst)
        match self._encoding:
            case "csv":
                return _CSV_HEAD + self._text(self._heads, burst, ",{}Z\n")
            case "ndjson":
                return self._text(self._heads, burst, ',"start":"{}Z"}}\n')
            case _:
                rows = self._text(self._heads, burst, ',"start":"{}Z"}},')
                return b'{"readings":[' + rows[:-1] + b"]}"

    def _arrow(self, burst: Burst) -> bytes:
        code = pa.array(self._roster.channel[burst.series])
        columns = [
            self._roster.meters.take(pa.array(burst.series)),
            pa.DictionaryArray.from_arrays(code, self._channels),
            pa.array(burst.start * _US).view(_SCHEMA.field("interval_start").type),
            pa.array(np.full(len(burst), self._roster.interval_s, np.int32)),
            pa.array(burst.amount),
        ]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def _text(self, heads: pa.Array, burst: Burst, ending: str) -> bytes:
        """Rows of a head, a value and an ending that names the start."""
        starts, which = np.unique(burst.start, return_inverse=True)
        stamps = np.datetime_as_string(starts.astype("datetime64[s]")).tolist()
        rows = text_rows(
            _texts_of(heads.take(pa.array(burst.series))), texts([""]), burst.amount.reshape(-1, 1),
            np.arange(len(burst)), tails=texts([ending.format(stamp) for stamp in stamps]),
            tail_of=which.astype(np.int32), before=b"",
        )  # fmt: skip
        return rows.tobytes()


def _heads(roster: Roster, pattern: str) -> pa.Array:
    """What the row of each series begins with."""
    before, rest = pattern.split("{meter}")
    middles = [rest.format(channel=channel, seconds=roster.interval_s) for channel in CHANNELS]
    after = pa.array(middles, pa.string()).take(pa.array(roster.channel))
    return pc.binary_join_element_wise(before.format(), roster.meters, after, "")


def _texts_of(pieces: pa.Array) -> Texts:
    """Return the text of a string array as the row writer takes it, copied so that it may be written to."""
    _, offsets, data = pieces.buffers()
    at = np.frombuffer(offsets, np.int32)[: len(pieces) + 1].astype(np.int64)
    return Texts(np.frombuffer(data, np.uint8).copy(), at)
