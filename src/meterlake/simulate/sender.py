"""Bursts to a server over HTTP until each is acknowledged, from a few threads, and what came of it."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np

from meterlake.errors import Invalid, MeterlakeError
from meterlake.server_answers import AGAIN, OK, READINGS, problem, refusal, retry_after_s

if TYPE_CHECKING:
    import httpx

    from meterlake.simulate.bodies import Bodies
    from meterlake.simulate.stream import Burst

SMALLER: Final = "send smaller batches with --batch"
_TIMEOUT_S: Final = 60.0
_CONNECT_S: Final = 5.0
_BACKOFF_S: Final = (0.1, 10.0)
_LATENCIES: Final = 100_000
"""Batches of which the time to their acknowledgement is kept: the newest."""
_LOOK_S: Final = 0.2
"""How often who waits looks whether to stop."""


@dataclass(slots=True)
class Tally:
    """What was sent and what the server said."""

    sent: int = 0
    acknowledged: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason; those that the server counts and does not list are ``unlisted``."""
    batches: int = 0
    replayed: int = 0
    """Batches that the server knew already: an earlier answer to them was lost."""
    retries: int = 0
    lag_s: float = 0.0
    """How long after it was due the last batch was sent."""
    lag_max_s: float = 0.0
    waits_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Seconds from the first attempt to the acknowledgement, by batch."""
    trouble: str = ""
    """Why the last attempt that failed did so."""

    def take(self, receipt: dict[str, Any], readings: int, wait_s: float) -> None:
        """Add the server's receipt of a batch."""
        self.batches += 1
        self.acknowledged += readings
        self.accepted += receipt["accepted"]
        self.duplicate += receipt["duplicate"]
        self.replayed += bool(receipt.get("replayed"))
        reasons: Counter[str] = Counter()
        for error in receipt["errors"]:
            reasons[error["reason"]] += error.get("count", 1)
        if unlisted := receipt["rejected"] - reasons.total():
            reasons["unlisted"] = unlisted
        self.rejected += reasons
        self.waits_s.append(wait_s)

    def wait_ms(self, percent: float) -> float | None:
        """Percentile of the time to an acknowledgement; None before the first."""
        return round(float(np.percentile(self.waits_s, percent)) * 1e3, 3) if self.waits_s else None


class Sender:
    """Threads that each keep one connection and have one batch under way; as many more wait, and then `put` does."""

    def __init__(self, url: str, key: str, bodies: Bodies, threads: int) -> None:
        """Send to the server at ``url`` with an API key; Invalid where nobody answers there."""
        if not 1 <= threads <= 64:
            raise Invalid(f"{threads} senders: ask for 1 to 64")
        import httpx

        self.tally = Tally()
        self._trust = httpx.create_ssl_context()  # slow to make, so once for all clients
        self._url, self._bodies = url.rstrip("/"), bodies
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": bodies.media}
        self._run = uuid4().hex
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failed: MeterlakeError | None = None
        self._waiting: queue.Queue[tuple[int, Burst, float] | None] = queue.Queue(threads)
        self._count = 0
        self._probe()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, burst: Burst, due: float) -> None:
        """Send ``burst``, due at `time.monotonic` second ``due``; waits for room, raises what a batch failed with."""
        self._count += 1
        self._offer((self._count, burst, due))

    def wait_until(self, moment: float) -> None:
        """Sleep until `time.monotonic` second ``moment``; raises what a batch failed with meanwhile."""
        if self._stop.wait(max(0.0, moment - time.monotonic())) and self._failed is not None:
            raise self._failed

    def _offer(self, item: tuple[int, Burst, float] | None) -> None:
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                self._waiting.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return

    def finish(self) -> None:
        """Wait until all is acknowledged; raises what a batch failed with."""
        for _ in self._threads:
            self._offer(None)
        while any(thread.is_alive() for thread in self._threads):
            for thread in self._threads:
                thread.join(_LOOK_S)
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Send nothing more, and wait for the answers to what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _client(self) -> httpx.Client:
        import httpx

        timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
        return httpx.Client(headers=self._headers, timeout=timeout, verify=self._trust)

    def _probe(self) -> None:
        import httpx

        try:
            with self._client() as client:
                client.get(self._url + "/healthz")
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Invalid(
                f"no server answers at {self._url} ({error}): give --to the address that `meterlake serve` prints"
            ) from None

    def _serve(self) -> None:
        """Send what is waiting, until there is no more or something fails for good."""
        try:
            with self._client() as client:
                while not self._stop.is_set():
                    try:
                        item = self._waiting.get(timeout=_LOOK_S)
                    except queue.Empty:
                        continue
                    if item is None:
                        return
                    self._deliver(client, *item)
        except MeterlakeError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a thread must not die in silence: who puts is told
            self._fail(MeterlakeError(f"{self._url}: {type(error).__name__}: {error}"))

    def _fail(self, error: MeterlakeError) -> None:
        self._failed = error
        self._stop.set()

    def _deliver(self, client: httpx.Client, number: int, burst: Burst, due: float) -> None:
        """Send one batch under one key until it is acknowledged or the sender stops."""
        import httpx

        body = self._bodies.encode(burst)
        headers = {"Idempotency-Key": f"{self._run}-{number}"}
        begin = time.monotonic()
        with self._lock:
            self.tally.sent += len(burst)
            self.tally.lag_s = max(0.0, begin - due)
            self.tally.lag_max_s = max(self.tally.lag_max_s, self.tally.lag_s)
        attempt = 0
        while True:
            asked_s, trouble = 0.0, ""
            try:
                answer = client.post(self._url + READINGS, content=body, headers=headers)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code == OK:
                    with self._lock:
                        self.tally.take(answer.json(), len(burst), time.monotonic() - begin)
                    return
                if answer.status_code not in AGAIN:
                    raise refusal(answer, SMALLER)
                asked_s, trouble = retry_after_s(answer), f"{answer.status_code} {problem(answer)}"
            if self._stop.is_set():
                return
            with self._lock:
                self.tally.retries += 1
                self.tally.trouble = trouble
            least, most = _BACKOFF_S
            self._stop.wait(asked_s + random.uniform(0.5, 1.0) * min(most, least * 2 ** min(attempt, 10)))
            attempt += 1
