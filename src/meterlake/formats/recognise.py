"""Which format a file has: told by its first bytes, or declared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meterlake.errors import BadFile, Invalid
from meterlake.formats.codec import Chunk, Codec, Origin, Parsed, ReadOptions
from meterlake.formats.columns import Sheet, guessed, sheet_of
from meterlake.formats.declared import REMEDY
from meterlake.formats.lcl import is_lcl, open_lcl
from meterlake.formats.long import open_csv
from meterlake.formats.ndjson import is_ndjson, open_ndjson
from meterlake.formats.nem12 import is_nem12, open_nem12
from meterlake.formats.wide import open_wide, value_columns
from meterlake.strips import Rejects, Strips

if TYPE_CHECKING:
    from meterlake.ids import MeterIds
    from meterlake.strips import Kinds

FORMATS: Final = ("auto", "lcl", "csv", "wide", "nem12", "ndjson", "parquet")


@dataclass(slots=True)
class EmptyCodec:
    """A file without a reading: nothing at all, or a header alone."""

    name: str
    assumed: dict[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    stamp: str = "start"

    def header_lines(self) -> int:
        """Return 0: there may be no line."""
        return 0

    def border(self, data: bytes) -> int:
        """Cut behind any line."""
        return data.rfind(b"\n") + 1

    def parse(self, chunk: Chunk, ids: MeterIds, kinds: Kinds) -> Parsed:  # noqa: ARG002
        """Find nothing."""
        return Parsed(Strips.empty(), Rejects.empty(), 0, chunk.data.count(b"\n"))


def open_codec(head: bytes, at_end: bool, options: ReadOptions, origin: Origin, name: str) -> Codec:  # noqa: FBT001
    """Codec for a file that begins with ``head`` (UTF-8, without byte order mark).

    ``at_end`` says that ``head`` is the whole file; ``name`` is what messages call it.

    Raises:
        BadFile: it is no text, its format is not known, or it is not what was declared.
        Invalid: an option has a value that does not exist.

    """
    form = options.format
    if form not in FORMATS:
        raise Invalid(f"--format {form}: the formats are {', '.join(FORMATS)}")
    if form == "parquet":
        raise BadFile(f"{name}: it was declared as parquet, but does not begin as Parquet does")
    if b"\0" in head:
        raise BadFile(
            f"{name}: it holds NUL bytes, so it is no UTF-8 text; declare --encoding utf-16 if it is that"
        )
    if at_end and not head.strip():
        return EmptyCodec("csv" if form == "auto" else form)
    if form == "nem12" or (form == "auto" and is_nem12(head)):
        return open_nem12(head, options, origin, name)
    if form == "ndjson" or (form == "auto" and is_ndjson(head, options)):
        return open_ndjson(options, origin, name)
    sheet = sheet_of(head, options, name)
    if at_end and not sheet.rows and not sheet.header:
        return EmptyCodec("csv" if form == "auto" else form)
    return _open_sheet(sheet, head, options, origin)


def _open_sheet(sheet: Sheet, head: bytes, options: ReadOptions, origin: Origin) -> Codec:
    form = options.format
    if form == "lcl" or (form == "auto" and is_lcl(sheet) and not options.map):
        if not is_lcl(sheet):
            raise BadFile(
                f"{sheet.name}: it was declared as lcl, but has no header of London's files; {sheet.seen()}"
            )
        return open_lcl(sheet, options, origin)
    values = None
    if form == "wide" or (form == "auto" and "value" not in options.map):
        values = value_columns(sheet, options)
    if values is not None:
        return open_wide(sheet, values, options, origin)
    if form == "wide":
        raise BadFile(
            f"{sheet.name}: no 24, 48, 96 or 288 value columns are known; {sheet.seen()}; declare them with --columns 4..51"
        )
    if not sheet.rows and guessed(sheet, {}, options.meter):
        return EmptyCodec("csv")
    if form == "auto" and sheet.width < 2:
        raise BadFile(f"{sheet.name}: its format is not known; {sheet.seen()}; {REMEDY}")
    return open_csv(sheet, head, options, origin)
