"""Readings come in: a batch a request, answered once it is durable and visible."""

from __future__ import annotations

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the types

from meterlake.api.body import media_of, packing_of, read, unpacked
from meterlake.api.described import BODIES, answers
from meterlake.api.negotiate import JSON, rendered
from meterlake.api.served import Sends  # noqa: TC001 - FastAPI reads the types
from meterlake.errors import Invalid

KEY_MAX = 200

router = APIRouter(prefix="/v1")


@router.post(
    "/readings",
    summary="Send readings",
    responses=answers("BatchReceipt", json_only=True),
    openapi_extra=BODIES,
)
async def readings(
    asked: Sends,
    idempotency: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="Your name of the batch: sent again, it counts once."),
    ] = None,
) -> Response:
    """Accept a batch; received = accepted + duplicate + rejected, and each refused line is named."""
    request, served = asked.request, asked.served
    if idempotency is not None and not (
        0 < len(idempotency) <= KEY_MAX and idempotency.isascii() and idempotency.isprintable()
    ):
        raise Invalid(f"Idempotency-Key: write 1 to {KEY_MAX} printable ASCII characters")
    media, packing = media_of(request), packing_of(request)
    most = served.node.settings.accept.body
    with served.room.place() as place:
        sent = await read(request, most, served.limits.body_s, place)

        def accepted() -> Response:
            body = unpacked(sent, packing, most, place)
            try:
                receipt = served.node.accept(body, media, asked.key, idempotency)
            except RecursionError as error:
                raise Invalid("the body is nested too deep; send readings as they are described") from error
            served.figures.batch(receipt, len(body))
            return rendered(receipt, JSON, {"Cache-Control": "no-store"})

        return await run_sync(accepted, limiter=served.senders)
