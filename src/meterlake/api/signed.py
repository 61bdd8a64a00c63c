"""Who is signed in, as the API sees them: what their role may ask, and about which service points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyio.to_thread import run_sync

from meterlake.errors import Denied
from meterlake.keys import ApiKey
from meterlake.people import Role
from meterlake.readings import Quality

if TYPE_CHECKING:
    from fastapi import Request

    from meterlake.people import Desk, Signed

COOKIE: Final = "meterlake_session"
FLEET: Final = frozenset({"read", "operate"})
AGGREGATE: Final = "aggregate"
"""Scope of who sees sums of many and never one; no key has it."""

_SCOPES: Final = {
    Role.CUSTOMER: frozenset({"read"}),
    Role.OPERATOR: FLEET,
    Role.ANALYST: frozenset({AGGREGATE}),
    Role.ADMIN: FLEET,
}


def principal(signed: Signed) -> ApiKey:
    """Return the key that stands for who is signed in; no meter exists for a customer."""
    role = signed.account.role
    holds: dict[str, tuple[tuple[int, int], ...]] | None = None
    if role == Role.CUSTOMER:
        holds = {}
        for hold in signed.holds:
            holds[hold.service_point] = (*holds.get(hold.service_point, ()), hold.span)
    return ApiKey(
        id=f"session:{signed.account.id}", name=signed.account.email, scopes=_SCOPES[role], source="",
        meters=None if role in {Role.OPERATOR, Role.ADMIN} else frozenset(), best_quality=int(Quality.PROJECTED),
        holds=holds, account=signed.account.id, role=str(role),
    )  # fmt: skip


async def signed_of(desk: Desk, request: Request) -> Signed | None:
    """Return who the cookie of a request says is signed in; None where there is no cookie.

    Raises:
        Denied: the session is not known, or has ended.

    """
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    signed = desk.kept(token)
    if signed is None:
        signed = await run_sync(desk.signed, token)
    if signed is None:
        raise Denied("your session has ended; sign in again")
    return signed
