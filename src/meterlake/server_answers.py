"""What a server's HTTP answer means to whoever sends it readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.errors import Denied, Invalid, MeterlakeError, TooLarge

if TYPE_CHECKING:
    import httpx

READINGS: Final = "/v1/readings"
AGAIN: Final = (429, 502, 503, 504)
"""Answers after which the same batch is sent again."""
OK: Final = 200


def retry_after_s(answer: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 where it says nothing that is a number."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0


def problem(answer: httpx.Response) -> str:
    """Say what the problem document says, else the beginning of the answer."""
    try:
        told = answer.json()
        parts = [str(told[name]) for name in ("title", "detail", "remedy") if told.get(name)]
    except (ValueError, TypeError, AttributeError, KeyError):
        parts = []
    return "; ".join(parts) or answer.text[:200]


def refusal(answer: httpx.Response, smaller: str) -> MeterlakeError:
    """Return what to raise when a batch can never be taken; ``smaller`` says how to send smaller ones."""
    text = f"the server answered {answer.status_code}: {problem(answer)}"
    match answer.status_code:
        case 401 | 403:
            return Denied(text, known=answer.status_code == 403)
        case 413:
            return TooLarge(f"{text}; {smaller}")
        case _:
            return Invalid(text)
