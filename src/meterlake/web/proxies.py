"""Where a request came from: the address of its connection, or what a proxy that is trusted says of it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

PROXIES: Final = "METERLAKE_PROXIES"
UNKNOWN: Final = "unknown"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def proxies_from(environment: Mapping[str, str]) -> tuple[Network, ...]:
    """Return the addresses and networks whose X-Forwarded-For is believed; none where none are told.

    Raises:
        Invalid: a word is neither.

    """
    words = environment.get(PROXIES, "").replace(",", " ").split()
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in words)
    except ValueError as error:
        raise Invalid(
            f"{PROXIES}: {error}; write addresses such as 127.0.0.1, or networks such as 10.0.0.0/8"
        ) from None


def where(request: Request) -> str:
    """Return the address that a request came from; of those that X-Forwarded-For names, the last that is no proxy of ours."""
    proxies: Sequence[Network] = request.app.state.proxies
    found = request.client.host if request.client else UNKNOWN
    told = [word.strip() for line in request.headers.getlist("x-forwarded-for") for word in line.split(",")]
    while told and _among(found, proxies):
        try:
            found = str(ipaddress.ip_address(told.pop()))
        except ValueError:
            return found
    return found


def _among(address: str, proxies: Sequence[Network]) -> bool:
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(one in network for network in proxies)
