"""How the server is: alive, ready, and in figures."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from meterlake.api.described import answers
from meterlake.api.metrics import MEDIA
from meterlake.errors import Denied

if TYPE_CHECKING:
    from meterlake.api.served import Served

router = APIRouter()


@router.get("/healthz", summary="Whether it runs", responses=answers("Health", json_only=True, open_=True))
async def healthz() -> Response:
    """Say that the process answers."""
    return JSONResponse({"alive": True})


@router.get("/readyz", summary="Whether it accepts", responses=answers("Ready", json_only=True, open_=True))
async def readyz(request: Request) -> Response:
    """Say whether batches are accepted (200, else 503), and which of its works fail right now."""
    served: Served = request.app.state.served
    told: dict[str, Any] = await run_sync(served.node.status)
    reasons = [f"{name} fails; the server's log says why" for name in sorted(told["trouble"])]
    if not told["ready"] and not reasons:
        reasons = ["it is starting or stopping"]
    ready = bool(told["ready"])
    return JSONResponse({"ready": ready, "reasons": reasons}, 200 if ready else 503)


@router.get("/metrics", summary="Figures for Prometheus", responses=answers("Figures", text=MEDIA))
async def metrics(request: Request) -> Response:
    """Return figures; to this machine without a key, else to keys with `operate`."""
    served: Served = request.app.state.served
    if not _is_near(request):
        key = await served.key_of(request)
        if "operate" not in key.scopes:
            raise Denied("this key has no scope operate; ask for one that has it", known=True)
    return Response(await run_sync(served.figures.text), media_type=MEDIA)


def _is_near(request: Request) -> bool:
    """Whether this machine asks, and not somebody behind a proxy on it."""
    if request.client is None or any(name in request.headers for name in ("forwarded", "x-forwarded-for")):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
