"""The map: consumption by cell, hour by hour, down to the meters of a cell."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.moments import YEARS
from meterlake.web.security import MAP_STYLE
from meterlake.web.shell import Operator  # noqa: TC001 - FastAPI reads the types

router = APIRouter(prefix="/fleet", include_in_schema=False)

FIRST: Final = date(YEARS[0], 1, 1)


@router.get("/map")
def show(page: Operator, day: Annotated[date | None, Query()] = None) -> Response:
    """Show the map of a day."""
    today = datetime.fromtimestamp(int(time.time()), UTC).date()
    shown = min(max(day or today - timedelta(days=1), FIRST), today)
    channels = sorted(
        {
            one
            for row in page.served.roster.lists().meters["channels"].unique().to_pylist()
            for one in (row or "").split(";")
            if one
        }
    )
    return page.render(
        "map.html", day=shown, today=today, channels=channels, tiles=os.environ.get(MAP_STYLE, "")
    )
