"""In which form an answer goes out: by Accept, whole or piece by piece, and not at all where the asker has it."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from starlette.responses import Response, StreamingResponse

from meterlake.api.json_text import ROWS_AT_ONCE, pieces
from meterlake.api.problems import Refused
from meterlake.csv_text import write_csv
from meterlake.output import text_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
FORMS: Final = (JSON, CSV, ARROW, PARQUET)
TYPES: Final = {JSON: JSON, CSV: "text/csv; charset=utf-8", ARROW: ARROW, PARQUET: PARQUET}
NAMED: Final = {"json": JSON, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}
"""Forms by what the parameter ``form`` calls them, which is the ending of the file too."""
NAME_MAX: Final = 120

KEPT: Final = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}


def form_of(accept: str | None) -> str:
    """Choose the form that ``Accept`` prefers, JSON where it does not care.

    Raises:
        Refused: 406, it takes none of them.

    """
    if not accept or accept in {"*/*", JSON}:
        return JSON
    wanted = _wanted(accept)
    best = max(FORMS, key=lambda form: _weight(form, wanted))  # the first of equals
    if _weight(best, wanted) <= 0:
        raise Refused(406, f"none of these forms can be given; the header Accept may name {', '.join(FORMS)}")
    return best


def _wanted(accept: str) -> dict[str, float]:
    """Weight by media range."""
    wanted: dict[str, float] = {}
    for part in accept.split(","):
        name, *rest = (piece.strip().lower() for piece in part.split(";"))
        weight = next((piece[2:].strip() for piece in rest if piece.startswith("q=")), "1")
        try:
            wanted[name] = min(max(float(weight), 0.0), 1.0)
        except ValueError:
            wanted[name] = 0.0
    return wanted


def _weight(form: str, wanted: Mapping[str, float]) -> float:
    """Weight of a form by the most exact range that names it."""
    for name in (form, form.partition("/")[0] + "/*", "*/*"):
        if name in wanted:
            return wanted[name]
    return 0.0


def rendered(answer: Any, form: str, headers: Mapping[str, str]) -> Response:
    """Return the answer in a form; what is long goes out piece by piece while it is written."""
    said = {**KEPT, **headers}
    parts: Iterator[bytes]
    if form == JSON:
        parts = (piece.encode() for piece in pieces(answer))
        rows = _rows_of_json(answer)
    else:
        table = answer.to_arrow()
        rows, parts = len(table), _WRITERS[form](table)
    if rows > ROWS_AT_ONCE:
        return StreamingResponse(parts, headers=said, media_type=TYPES[form])
    return Response(b"".join(parts), headers=said, media_type=TYPES[form])


def _rows_of_json(answer: Any) -> int:
    table = getattr(answer, "table", None)
    if table is not None:
        return len(table)
    return sum(len(listing.start) for listing in getattr(answer, "listings", ()))


def _csv(table: pa.Table) -> Iterator[bytes]:
    for low in range(0, max(len(table), 1), ROWS_AT_ONCE):
        sink = BytesIO()
        write_csv(text_columns(table.slice(low, ROWS_AT_ONCE)), sink)
        text = sink.getvalue()
        yield text[text.index(b"\n") + 1 :] if low else text


def _arrow(table: pa.Table) -> Iterator[bytes]:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
            writer.write_batch(batch)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _parquet(table: pa.Table) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    yield sink.getvalue()


_WRITERS: Final = {CSV: _csv, ARROW: _arrow, PARQUET: _parquet}


def attachment(request: Request, form: str) -> dict[str, str]:
    """Header that makes an answer a file, named after what was asked, in characters that every system takes."""
    route, query = request.url.path.rpartition("/")[2], request.query_params
    told = [*request.path_params.values(), route, query.get("from"), query.get("to")]
    words = (re.sub(r"[^A-Za-z0-9-]+", "_", str(word)).strip("_-") for word in dict.fromkeys(told) if word)
    name = "-".join(word for word in words if word)[:NAME_MAX] or "answer"
    ending = next(word for word, media in NAMED.items() if media == form)
    return {"Content-Disposition": f'attachment; filename="{name}.{ending}"'}


def has_it(tag: str, if_none_match: str | None) -> bool:
    """Whether the asker names ``tag`` among those that it has."""
    if not if_none_match:
        return False
    held = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag.removeprefix("W/") in held


def unchanged(tag: str) -> Response:
    """Return 304: what the asker has still holds."""
    return Response(status_code=304, headers={**KEPT, "ETag": tag})
