"""Bodies of HTTP batches: JSON, NDJSON, CSV and Arrow streams become strips and rejects like files do.

Unlike in files nothing is guessed: columns and members have the names that are documented, times without an
offset are UTC unless a zone is declared, and a reading that does not say its length, where no default does,
is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from meterlake.errors import Invalid
from meterlake.formats import columns
from meterlake.formats.codec import Chunk, Codec, Origin, Parsed, ReadOptions
from meterlake.formats.declared import defaults_of, stamp_of, zone_of
from meterlake.formats.json_text import lines_of
from meterlake.formats.lines import LINE_MAX, join
from meterlake.formats.long import LongCodec
from meterlake.formats.ndjson import MEMBERS, open_ndjson
from meterlake.formats.parquet import arrow_readings
from meterlake.formats.stamps import form_of
from meterlake.strips import Rejects, Strips
from meterlake.zones import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterlake.ids import MeterIds
    from meterlake.strips import Kinds

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
MEDIA: Final = (JSON, NDJSON, CSV, ARROW)

PIECE: Final = 4 << 20
"""Bytes of text that are parsed at once."""

_BOM: Final = b"\xef\xbb\xbf"
_CSV_REMEDY: Final = f"the first line names the columns: {','.join(MEMBERS.values())}"


class _Defaults(msgspec.Struct, forbid_unknown_fields=True):
    """What holds for all readings of a JSON document that do not say it."""

    channel: str | None = None
    seconds: int | None = None
    unit: str | None = None
    quality: str | None = None


def parse_body(  # noqa: PLR0913 - what a codec takes, and the body
    body: bytes | memoryview, media: str, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds,
    *, line_max: int = LINE_MAX,
) -> Parsed:  # fmt: skip
    """Readings of one body; ``unsettled`` is always None, local times are settled within the body.

    Lines of rejects and strips count from 1: of NDJSON and CSV the lines of the body (a header is line 1), of JSON
    the readings by their place, of Arrow the rows. A text line of more than ``line_max`` bytes is one
    ``malformed_line``. A last line needs no newline.

    Raises:
        Invalid: the body as a whole is not what ``media`` says, or ``media`` is none of `MEDIA`.

    """
    match media:
        case "application/json":
            lines, defaults = lines_of(_text(body))
            codec: Codec = open_ndjson(_with_defaults(defaults, options), origin, "the body", line_max)
            parts = _lines(codec, lines, ids, kinds)
        case "application/x-ndjson":
            parts = _lines(open_ndjson(options, origin, "the body", line_max), _text(body), ids, kinds)
        case "text/csv":
            text = _text(body)
            parts = _lines(_open_csv(text, options, origin, line_max), text, ids, kinds)
        case "application/vnd.apache.arrow.stream":
            parts = _batches(body, options, origin, ids, kinds)
        case _:
            raise Invalid(f"{media or 'no content type'}: send one of {', '.join(MEDIA)}")
    return _settled(_joined(list(parts)), options, origin, kinds)


def _text(body: bytes | memoryview) -> bytes:
    """Check that a body is UTF-8, and return it without the mark that it is."""
    text = bytes(body).removeprefix(_BOM)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"the body is no UTF-8 at byte {error.start}; send UTF-8") from error
    return text


def _lines(codec: Codec, text: bytes, ids: MeterIds, kinds: Kinds) -> Iterator[Parsed]:
    """Parse lines piece by piece."""
    if not text.endswith(b"\n"):
        text += b"\n"
    at, line = 0, 1
    while at < len(text):
        stop = (text.rfind(b"\n", at, at + PIECE) + 1) or (text.index(b"\n", at) + 1)
        parsed = codec.parse(Chunk(text[at:stop], line, last=stop == len(text)), ids, kinds)
        yield parsed
        line += parsed.lines + (codec.header_lines() if at == 0 else 0)
        at = stop


def _open_csv(text: bytes, options: ReadOptions, origin: Origin, line_max: int) -> LongCodec:
    """Codec of CSV whose first line names the columns as readings do."""
    head = text.partition(b"\n")[0]
    if not head.strip() or b"\0" in head:
        raise Invalid(f"the body has no line at its top that names columns; {_CSV_REMEDY}")
    sheet = columns.sheet_of(head[:line_max] + b"\n", options, "the body")
    names = [name.strip().lower() for name in sheet.header or ()]
    roles = {role: names.index(name) for role, name in MEMBERS.items() if name in names}
    if options.meter is not None:
        roles.pop("meter", None)
    missing = [MEMBERS[role] for role in ("meter", "time", "value") if role not in roles]
    if missing and not (missing == ["meter"] and options.meter is not None):
        raise Invalid(f"no column {', '.join(missing)} in the body; {sheet.seen()}; {_CSV_REMEDY}")
    assumed: dict[str, str] = {}
    stamp = stamp_of(options, assumed)
    zone, _ = zone_of(options)
    defaults = defaults_of(options, assumed, roles, options.interval_s or 0)
    mark = columns.decimal_mark(sheet, [], options.decimal, assumed)
    form = form_of(options.time_format)
    return LongCodec(
        "csv", sheet, roles, defaults, form, mark, options, origin, zone, stamp, assumed, line_max
    )


def _with_defaults(raw: bytes | None, options: ReadOptions) -> ReadOptions:
    """Options with what a JSON document says for all its readings."""
    if raw is None:
        return options
    try:
        told = msgspec.json.decode(raw, type=_Defaults)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"defaults: {error}; they may say channel, seconds (a whole number), unit and quality"
        ) from error
    return replace(
        options,
        channel=options.channel if told.channel is None else told.channel,
        interval_s=options.interval_s if told.seconds is None else told.seconds,
        unit=options.unit if told.unit is None else told.unit,
        quality=options.quality if told.quality is None else told.quality,
    )


def _batches(
    body: bytes | memoryview, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds
) -> Iterator[Parsed]:
    """Parse an Arrow stream batch by batch."""
    try:
        reader = pa.ipc.open_stream(pa.py_buffer(body))
        readings = arrow_readings(reader.schema, options, origin, ids, kinds)
        line = 1
        for batch in reader:
            batch.validate(full=True)
            yield readings.rows(batch, line)
            line += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Invalid(
            f"the body is no Arrow stream of readings: {error}; write it as an IPC stream, not as a file"
        ) from error


def _joined(parts: list[Parsed]) -> Parsed:
    if len(parts) == 1:
        return parts[0]
    late = [part.unsettled for part in parts if part.unsettled is not None]
    return Parsed(
        Strips.concat(part.strips for part in parts),
        join([Rejects.empty(), *(part.rejects for part in parts)]),
        sum(part.received for part in parts),
        sum(part.lines for part in parts),
        Strips.concat(late) if late else None,
        [text for part in parts for text in part.unsettled_text],
    )


def _settled(parsed: Parsed, options: ReadOptions, origin: Origin, kinds: Kinds) -> Parsed:
    """Decide the readings whose local time exists twice, as in a file."""
    if parsed.unsettled is None:
        return parsed
    zone, stamp = options.zone or "UTC", options.stamp or "start"
    strips, rejects = settle(parsed.unsettled, parsed.unsettled_text, kinds, zone, stamp, origin.now_s)
    whole = Strips.concat([parsed.strips, strips])
    return replace(
        parsed, strips=whole, rejects=join([parsed.rejects, rejects]), unsettled=None, unsettled_text=[]
    )
