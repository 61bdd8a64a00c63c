"""Style, scripts and the chart library as they are sent: packed once, kept in memory, named by their contents."""

from __future__ import annotations

import gzip
import mimetypes
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

FOLDER: Final = Path(__file__).with_name("static")
PLOTLY: Final = "plotly.min.js"
FOR_EVER: Final = "public, max-age=31536000, immutable"
PACKED: Final = 1024
"""Bytes from which on a file is sent packed."""

router = APIRouter(include_in_schema=False)

mimetypes.add_type("text/javascript", ".js")


class File(NamedTuple):
    """One file ready to be sent."""

    data: bytes
    packed: bytes | None
    media: str


def _plotly() -> Path:
    """Where the installed plotly package keeps its library; the package itself is not imported."""
    spec = find_spec("plotly")
    assert spec is not None, "it is a dependency"
    assert spec.origin is not None, "it is a package"
    return Path(spec.origin).parent / "package_data" / PLOTLY


@cache
def _paths() -> dict[str, Path]:
    own = {path.name: path for path in sorted(FOLDER.iterdir()) if path.is_file()}
    return own | {PLOTLY: _plotly()}


@cache
def version() -> str:
    """Return a text that changes with the contents of any file: it is part of every address."""
    digest = blake2b(digest_size=6)
    for name, path in _paths().items():
        told = str(path.stat().st_size).encode() if name == PLOTLY else path.read_bytes()
        digest.update(name.encode() + told)
    return digest.hexdigest()


@cache
def _file(name: str) -> File | None:
    path = _paths().get(name)
    if path is None:
        return None
    data = path.read_bytes()
    media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    media = f"{media}; charset=utf-8" if media.startswith("text/") else media
    return File(data, gzip.compress(data, 6, mtime=0) if len(data) >= PACKED else None, media)


def asset(name: str) -> str:
    """Return the address of a file of this version."""
    return f"/static/{version()}/{name}"


@router.get("/static/{version}/{name}")
def static(request: Request, version: str, name: str) -> Response:
    """Send a file; an address of another version leads to what there is now, and is not kept."""
    found = _file(name)
    if found is None:
        raise HTTPException(404)
    kept = FOR_EVER if version == globals()["version"]() else "no-cache"
    headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.media, headers=headers | {"Content-Encoding": "gzip"})
    return Response(found.data, media_type=found.media, headers=headers)
