"""A Meterlake server as the one who takes readings, over HTTP."""

from __future__ import annotations

from typing import Any, Final

import httpx

from meterlake.errors import Invalid, NotFound, Overloaded
from meterlake.server_answers import AGAIN, OK, READINGS, problem, refusal, retry_after_s

TIMEOUT_S: Final = 60.0
CONNECT_S: Final = 5.0
NOWHERE: Final = (404, 405)
SMALLER: Final = "raise METERLAKE_MAX_BODY there, or send smaller messages"


class HttpReadings:
    """One connection to one server."""

    def __init__(self, url: str, key: str) -> None:
        """Send to the server at ``url`` with an API key."""
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        try:
            self._client = httpx.Client(
                headers=headers, timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S), follow_redirects=False
            )
            self._client.build_request("POST", self._url + READINGS)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise Invalid(f"--to {url} and METERLAKE_KEY cannot be used: {error}") from None

    def send(self, body: bytes, name: str) -> dict[str, Any]:
        """Return the receipt of a batch of lines; see `bridge.run.Receiver`."""
        try:
            answer = self._client.post(self._url + READINGS, content=body, headers={"Idempotency-Key": name})
            if answer.status_code == OK:
                receipt: dict[str, Any] = answer.json()
                return receipt
        except httpx.UnsupportedProtocol as error:
            raise Invalid(f"--to {self._url}: write http://HOST:PORT or https://HOST") from error
        except httpx.TransportError as error:
            raise Overloaded(f"{self._url}: {type(error).__name__}: {error}", 0) from error
        except ValueError as error:
            raise Overloaded(f"{self._url} answered something that is no receipt", 0) from error
        if answer.status_code in AGAIN or answer.status_code >= 500:
            asked_s = int(retry_after_s(answer))
            raise Overloaded(f"{self._url} answered {answer.status_code}: {problem(answer)}", asked_s)
        if answer.status_code in NOWHERE or answer.is_redirect:
            raise NotFound(
                f"{self._url} answered {answer.status_code} and takes no readings: give --to the address that "
                "`meterlake serve` prints"
            )
        raise refusal(answer, SMALLER)

    def close(self) -> None:
        """End the connection."""
        self._client.close()
