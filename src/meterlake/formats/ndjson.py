"""NDJSON: a JSON object a line, with the members meter, channel, start, seconds, value, unit, quality and stamp.

Members come in any order, others are passed over, of one said twice the last counts. Values are numbers or
text, and exact; ``null`` is as good as not said. A line that is no JSON object, or holds a list or an object
where a word belongs, is a ``malformed_line``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.errors import Invalid
from meterlake.formats.columns import Sheet
from meterlake.formats.declared import defaults_of, stamp_of, zone_of
from meterlake.formats.json_rows import scan_objects
from meterlake.formats.lines import LINE_MAX, Body, body_of
from meterlake.formats.long import LongCodec
from meterlake.formats.octets import PAD
from meterlake.formats.stamps import form_of

if TYPE_CHECKING:
    from meterlake.formats.codec import Chunk, Origin, ReadOptions

MEMBERS: Final = {
    "meter": "meter",
    "time": "start",
    "value": "value",
    "interval": "seconds",
    "quality": "quality",
    "channel": "channel",
    "unit": "unit",
    "stamp": "stamp",
}
"""Member by role."""


@dataclass(slots=True)
class NdjsonCodec(LongCodec):
    """A file with a JSON object a line."""

    def body(self, chunk: Chunk) -> Body:
        """Lines of a chunk, in a copy that the kernel may write to and read a little beyond."""
        body = body_of(chunk, 0, self.sheet.ending)
        size = len(body.raw)
        data = np.empty(size + PAD, np.uint8)
        data[:size], data[size:] = body.data, 10
        data.flags.writeable = False  # one type for the kernels, which write to it all the same
        body.data = data[:size]
        return body


def open_ndjson(options: ReadOptions, origin: Origin, name: str, longest: int = LINE_MAX) -> NdjsonCodec:
    """Codec for NDJSON; what lines do not say is what ``options`` declare. ``longest`` is in bytes.

    Raises:
        Invalid: an option has a value that does not exist.

    """
    members = {**MEMBERS, **_mapped(options)}
    if options.meter is not None:
        del members["meter"]
    roles = {role: k for k, role in enumerate(members)}
    texts = [member.encode() for member in members.values()]
    names = np.frombuffer(b"".join(texts) + bytes(PAD), np.uint8)
    borders = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    assumed: dict[str, str] = {}
    stamp = stamp_of(options, assumed)
    zone, _ = zone_of(options)
    defaults = defaults_of(options, assumed, roles, options.interval_s or 0)
    sheet = Sheet(name, ",", None, 0, [], len(roles), b"}")
    return NdjsonCodec(
        "ndjson", sheet, roles, defaults, form_of(options.time_format), ord("."), options, origin, zone, stamp,
        assumed, longest, partial(scan_objects, names, borders),
    )  # fmt: skip


def _mapped(options: ReadOptions) -> dict[str, str]:
    for role, member in options.map.items():
        if role not in MEMBERS:
            raise Invalid(f"--map {role}={member}: the roles are {', '.join(MEMBERS)}")
    return dict(options.map)


def is_ndjson(head: bytes, options: ReadOptions) -> bool:
    """Whether a file begins as NDJSON of readings does: with an object that names its meter."""
    line = head.lstrip().split(b"\n", 1)[0].rstrip()
    member = options.map.get("meter", MEMBERS["meter"]).encode()
    named = options.meter is not None or b'"' + member + b'"' in line
    return line.startswith(b"{") and (line.endswith(b"}") or line == head.strip()) and named
