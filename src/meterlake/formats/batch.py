"""Bodies of HTTP batches: JSON, NDJSON, CSV and Arrow streams become strips and rejects like files do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from meterlake.errors import BadFile, Invalid
from meterlake.formats.codec import Chunk, Codec, Origin, Parsed, ReadOptions
from meterlake.formats.lines import join
from meterlake.formats.ndjson import LINE_MAX, open_ndjson
from meterlake.formats.parquet import arrow_readings
from meterlake.formats.recognise import open_codec
from meterlake.strips import Rejects, Strips
from meterlake.zones import settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meterlake.ids import MeterIds
    from meterlake.strips import Kinds

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
MEDIA: Final = (JSON, NDJSON, CSV, ARROW)

HEAD: Final = 1 << 20
_DEFAULTS: Final = {"channel", "seconds", "unit", "quality"}
_BETWEEN: Final = re.compile(rb"[\r\n]+")


def parse_body(  # noqa: PLR0913 - what a codec takes, and the body
    body: bytes, media: str, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds,
    *, line_max: int = LINE_MAX,
) -> Parsed:  # fmt: skip
    """Readings of one body. Lines count from 1: of JSON the readings, of CSV with its header, of Arrow the rows.

    Raises:
        Invalid: the body as a whole is not what ``media`` says, or ``media`` is none of `MEDIA`.

    """
    if media in {JSON, NDJSON, CSV}:
        _check_text(body)
    match media:
        case "application/json":
            body, options = _lines_of(body, options)
            parts = [_whole(open_ndjson(options, origin, "the body", line_max), body, ids, kinds)]
        case "application/x-ndjson":
            parts = [_whole(open_ndjson(options, origin, "the body", line_max), body, ids, kinds)]
        case "text/csv":
            body = body.removeprefix(b"\xef\xbb\xbf")
            codec = open_codec(
                body[:HEAD], len(body) <= HEAD, replace(options, format="csv"), origin, "the body"
            )
            parts = [_whole(codec, body, ids, kinds)]
        case "application/vnd.apache.arrow.stream":
            parts = list(_arrow(body, options, origin, ids, kinds))
        case _:
            raise Invalid(f"{media or 'no content type'}: send one of {', '.join(MEDIA)}")
    return _settled(_joined(parts), options, origin, kinds)


def _check_text(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is no UTF-8 at byte {error.start}: send text in UTF-8") from error


def _whole(codec: Codec, body: bytes, ids: MeterIds, kinds: Kinds) -> Parsed:
    """Parse all of ``body``; a last line without its newline is a line."""
    whole = body if not body or body.endswith(b"\n") else body + b"\n"
    return codec.parse(Chunk(whole, 1, last=True), ids, kinds)


def _lines_of(body: bytes, options: ReadOptions) -> tuple[bytes, ReadOptions]:
    """Readings of a JSON document as NDJSON, and the options with its defaults."""
    body = _BETWEEN.sub(b" ", body)
    try:
        first = body.lstrip()[:1]
        if first == b"[":
            readings = msgspec.json.decode(body, type=list[msgspec.Raw])
        else:
            told: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            if "readings" not in told:
                return body, options
            readings = msgspec.json.decode(told["readings"], type=list[msgspec.Raw])
            options = _with_defaults(told.get("defaults"), options)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"the body is no JSON of readings: {error}; send a reading, a list, or defaults and readings"
        ) from error
    return b"\n".join(readings), options


def _with_defaults(raw: msgspec.Raw | None, options: ReadOptions) -> ReadOptions:
    if raw is None:
        return options
    told: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    unknown = set(told) - _DEFAULTS
    if unknown:
        raise Invalid(f"defaults {', '.join(sorted(unknown))}: there are only {', '.join(sorted(_DEFAULTS))}")
    seconds = told.get("seconds", options.interval_s)
    words = {name: told[name] for name in ("channel", "unit", "quality") if name in told}
    if not (seconds is None or type(seconds) is int) or not all(
        isinstance(word, str) for word in words.values()
    ):
        raise Invalid("defaults: seconds is a whole number, channel, unit and quality are text")
    return replace(options, interval_s=seconds, **words)


def _arrow(
    body: bytes, options: ReadOptions, origin: Origin, ids: MeterIds, kinds: Kinds
) -> Iterable[Parsed]:
    try:
        reader = pa.ipc.open_stream(pa.py_buffer(body))
        readings = arrow_readings(reader.schema, options, origin, ids, kinds)
        line = 1
        for batch in reader:
            batch.validate(full=True)
            yield readings.rows(batch, line)
            line += len(batch)
    except BadFile:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Invalid(f"the body is no Arrow stream of readings: {error}") from error


def _joined(parts: list[Parsed]) -> Parsed:
    if len(parts) == 1:
        return parts[0]
    late = [part.unsettled for part in parts if part.unsettled is not None]
    return Parsed(
        Strips.concat([part.strips for part in parts]),
        join([Rejects.empty(), *(part.rejects for part in parts)]),
        sum(part.received for part in parts),
        sum(part.lines for part in parts),
        Strips.concat(late) if late else None,
        [text for part in parts for text in part.unsettled_text],
    )


def _settled(parsed: Parsed, options: ReadOptions, origin: Origin, kinds: Kinds) -> Parsed:
    """Decide the readings whose local time exists twice, as in a file."""
    if parsed.unsettled is None or not len(parsed.unsettled):
        return parsed
    strips, rejects = settle(
        parsed.unsettled,
        parsed.unsettled_text,
        kinds,
        options.zone or "UTC",
        options.stamp or "start",
        origin.now_s,
    )
    parsed.strips = Strips.concat([parsed.strips, strips])
    parsed.rejects = join([parsed.rejects, rejects])
    parsed.unsettled, parsed.unsettled_text = None, []
    return parsed
