"""Help: every word, column and flag explained, and the routes of the API."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.web.shell import Anybody  # noqa: TC001 - FastAPI reads the types

router = APIRouter(prefix="/help", include_in_schema=False)


@cache
def glossary() -> list[dict[str, Any]]:
    """Return the glossary as sections: a title, sentences, and tables (a head and rows of cells)."""
    sections: list[dict[str, Any]] = []
    for line in (files("meterlake") / "glossary.md").read_text("utf-8").splitlines():
        if line.startswith("#"):
            sections.append({"title": line.lstrip("# "), "text": [], "head": [], "rows": []})
        elif line.startswith("|"):
            cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
            if not sections[-1]["head"]:
                sections[-1]["head"] = cells
            elif set("".join(cells)) - set("-: "):
                sections[-1]["rows"].append(cells)
        elif line.strip():
            sections[-1]["text"].append(line.strip())
    return sections


@router.get("")
def words(page: Anybody) -> Response:
    """Explain every word."""
    return page.render("help.html", sections=glossary())


@router.get("/api")
def api(page: Anybody) -> Response:
    """List the routes of the API with their parameters."""
    told = page.request.app.openapi()
    routes = [
        {"path": path, "method": method.upper(), **operation}
        for path, item in sorted(told["paths"].items())
        for method, operation in item.items()
    ]
    return page.render("help_api.html", routes=routes)
