"""The description of the routes (OpenAPI): what goes in, what comes out, and every status there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi

from meterlake import __version__
from meterlake.api import problems
from meterlake.api.body import MEDIA, PACKINGS
from meterlake.api.negotiate import ARROW, CSV, JSON, PARQUET
from meterlake.api.schemas import SCHEMAS

if TYPE_CHECKING:
    from fastapi import FastAPI

STATUSES: Final = (400, 401, 403, 404, 422, 500, 503)
"""What every route with a key may answer beside what it is for."""
OPEN: Final = ("/healthz", "/readyz")
BINARY: Final = {"type": "string", "format": "binary"}
TEXT: Final = {"type": "string"}

BODIES: Final = {
    "requestBody": {
        "required": True,
        "description": f"One reading, a list, or a batch with defaults; may be packed with {' or '.join(PACKINGS)}.",
        "content": {
            MEDIA[0]: {"schema": {"$ref": "#/components/schemas/Batch.json"}},
            MEDIA[1]: {"schema": TEXT},
            MEDIA[2]: {"schema": TEXT},
            MEDIA[3]: {"schema": BINARY},
        },
    }
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem(status: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "description": problems.KINDS[status][1],
        "content": {problems.MEDIA: {"schema": _ref("Problem")}},
    }
    if status == 503:
        said["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return said


def answers(
    name: str, *, json_only: bool = False, open_: bool = False, stream: bool = False, text: str | None = None
) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route whose answer is the schema ``name``."""
    if text is not None:
        content: dict[str, Any] = {text: {"schema": TEXT}}
    elif stream:
        content = {"text/event-stream": {"schema": TEXT}}
    else:
        content = {JSON: {"schema": _ref(name)}}
        if not json_only:
            content |= {CSV: {"schema": TEXT}, ARROW: {"schema": BINARY}, PARQUET: {"schema": BINARY}}
    described: dict[int | str, dict[str, Any]] = {200: {"description": "Done.", "content": content}}
    if open_:
        if name == "Ready":
            described[503] = {"description": "Not ready.", "content": content}
        return described
    sends = name == "BatchReceipt"
    also = (408, 409, 413, 415) if sends else (406,)
    described |= {status: _problem(status) for status in sorted({*STATUSES, *also})}
    if not sends and not stream and text is None:
        described[304] = {"description": "What you have still holds."}
    return described


def description(app: FastAPI) -> dict[str, Any]:
    """Return the whole description, made once."""
    if app.openapi_schema is None:
        told = get_openapi(
            title="Meterlake", version=__version__, routes=app.routes,
            summary="Meter readings: send them, ask for history and usage, follow what is live.",
        )  # fmt: skip
        parts = told.setdefault("components", {})
        parts["schemas"] = SCHEMAS
        parts["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "mlk_ID_SECRET"}
        }
        for path, operations in told["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None) if path in OPEN else None
                operation["security"] = [] if path in OPEN else [{"key": []}]
        app.openapi_schema = told
    return app.openapi_schema
