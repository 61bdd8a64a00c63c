"""NDJSON: a JSON object a line, with the members meter, channel, start, seconds, value, unit and quality.

Members come in any order, others are passed over, of one said twice the last counts. Values may be numbers or
text and are exact. A line that is no object is a `malformed_line`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from meterlake.formats.codec import Chunk, Origin, Parsed, ReadOptions
from meterlake.formats.columns import Sheet
from meterlake.formats.declared import defaults_of
from meterlake.formats.lines import text_of
from meterlake.formats.long import LongCodec
from meterlake.formats.ndjson_lines import FIELDS, MARK, NAMES, STARTS, flatten
from meterlake.formats.stamps import form_of

if TYPE_CHECKING:
    from meterlake.ids import MeterIds
    from meterlake.strips import Kinds

ROLES: Final = dict(
    zip(("meter", "channel", "time", "interval", "value", "unit", "quality"), range(len(FIELDS)), strict=True)
)
LINE_MAX: Final = 1 << 20
"""Bytes of a line at most; a longer one is no record."""


@dataclass(slots=True)
class NdjsonCodec:
    """A file with a JSON object a line."""

    rows: LongCodec
    assumed: dict[str, str]
    line_max: int = LINE_MAX
    name: str = "ndjson"

    def header_lines(self) -> int:
        """There are none."""
        return 0

    def border(self, data: bytes) -> int:
        """Cut behind any line."""
        return data.rfind(b"\n") + 1

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:
        """Read one chunk of whole lines."""
        raw = chunk.data if chunk.data.endswith(b"\n") or not chunk.data else chunk.data + b"\n"
        flat, deep = _flat(raw, self.line_max)
        if len(deep):
            raw = _plain(raw, deep)
            flat, _ = _flat(raw, self.line_max)
        parsed = self.rows.parse(Chunk(flat, chunk.line, last=chunk.last), ids, kinds)
        if len(parsed.rejects) or parsed.unsettled_text:
            self._quote(parsed, chunk)
        return parsed

    @staticmethod
    def _quote(parsed: Parsed, chunk: Chunk) -> None:
        """Give rejects the text of their line as it came."""
        lines = chunk.data.split(b"\n")
        parsed.rejects.text[:] = [text_of(lines[n - chunk.line]) for n in parsed.rejects.line.tolist()]
        if parsed.unsettled is not None:
            parsed.unsettled_text = [text_of(lines[n - chunk.line]) for n in parsed.unsettled.line.tolist()]


def _flat(raw: bytes, line_max: int) -> tuple[bytes, np.ndarray[Any, Any]]:
    data = np.frombuffer(raw, np.uint8)
    lines = raw.count(b"\n")
    out = np.empty(len(raw) + (len(FIELDS) + 2) * lines, np.uint8)
    deep = np.empty(lines, np.int64)
    written, late = flatten(data, NAMES, STARTS, line_max, out, deep)
    return out[:written].tobytes(), deep[:late]


def _plain(raw: bytes, numbers: np.ndarray[Any, Any]) -> bytes:
    """Write the lines ``numbers`` again without escapes and without what is nested; those that cannot be stay."""
    lines = raw.split(b"\n")
    for number in numbers.tolist():
        try:
            told = json.loads(lines[number], parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, dict):
            kept = {name: told[name] for name in FIELDS if name in told and isinstance(told[name], str | bool | None)}
            if all(name in kept or name not in told for name in FIELDS):
                lines[number] = msgspec.json.encode(kept)
    return b"\n".join(lines)


def open_ndjson(options: ReadOptions, origin: Origin, name: str, line_max: int = LINE_MAX) -> NdjsonCodec:
    """Codec for NDJSON; what lines do not say is what ``options`` declare.

    Raises:
        Invalid: an option has a value that does not exist.

    """
    assumed: dict[str, str] = {}
    sheet = Sheet(name, chr(MARK), list(FIELDS), 0, [], len(FIELDS), b"")
    defaults = defaults_of(options, assumed, ROLES, options.interval_s or 0)
    rows = LongCodec(
        "ndjson", sheet, ROLES, defaults, form_of(None), ord("."), options, origin, options.zone or "UTC",
        options.stamp or "start", assumed,
    )  # fmt: skip
    return NdjsonCodec(rows, assumed, line_max)


def is_ndjson(head: bytes) -> bool:
    """Whether a file begins as NDJSON of readings does."""
    first = head.lstrip()[:1]
    return first == b"{" and b'"meter"' in head.split(b"\n", 1)[0] + head[:4096]
