"""Carry messages to a server: a batch at a time, in order, acknowledged to the broker once the server has it.

What was carried twice changes nothing, because merging is idempotent; what was not acknowledged comes again. A batch that
the server refuses as a whole is cut in two until the message that it is about stands alone, and that becomes a refused line.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Protocol

from meterlake.bridge.mapping import lines_of, refused
from meterlake.errors import Invalid, Overloaded, TooLarge
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from meterlake.bridge.map_file import BridgeMap
    from meterlake.bridge.moments import Moments

BATCH: Final = 2_000
WAIT_S: Final = 0.5
"""How long a message waits for others."""
QUIET_S: Final = 0.05
"""After this long without another message a batch goes: the broker may be waiting for acknowledgements."""
LOOK_S: Final = 0.2
_BACKOFF_S: Final = (0.25, 15.0)


@dataclass(slots=True, eq=False)
class Message:
    """One message as the broker sent it."""

    topic: str
    payload: bytes
    at_us: int
    """When it came."""
    number: int = 0
    """By which it is acknowledged; 0: it need not be."""
    again: bool = False
    """Whether it was sent before and not acknowledged."""
    retained: bool = False
    """Whether it was there before anybody asked."""
    session: int = 0
    """Connection that it came by."""


class Source(Protocol):
    """Where messages come from."""

    def take(self, most: int, wait_s: float, quiet_s: float) -> Sequence[Message]:
        """Messages in order, none after a short while without any; raises what the broker refuses for good."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these need not be sent again."""

    def close(self) -> None:
        """End the connection and leave the session to the broker."""


class Receiver(Protocol):
    """The server."""

    def send(self, body: bytes, name: str) -> dict[str, Any]:
        """Receipt of a batch of lines.

        Raises:
            Overloaded: it is not there, or not now.
            Denied, TooLarge, Invalid: this batch can never be taken.

        """

    def close(self) -> None:
        """End the connection."""


@dataclass(slots=True)
class Carried:
    """What was carried, and what the server said."""

    messages: int = 0
    """Acknowledged to the broker."""
    readings: int = 0
    """Lines that the server has, refused ones too."""
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    poison: int = 0
    """Messages that could not be read; among the rejected."""
    passed: int = 0
    """Messages of no topic of the map, empty ones, and retained ones without a time."""
    again: int = 0
    """Messages that the broker sent once more."""
    batches: int = 0
    replayed: int = 0
    retries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    trouble: str = ""
    """Why the last attempt that failed did so."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        names = ("messages", "readings", "accepted", "duplicate", "rejected", "poison", "passed", "again")
        told: dict[str, Any] = {
            name: getattr(self, name) for name in (*names, "batches", "replayed", "retries")
        }
        return told | {"rejects": [{"reason": r, "count": n} for r, n in sorted(self.reasons.items())]}

    def take(self, receipt: dict[str, Any], lines: int) -> None:
        """Add the receipt of a batch."""
        self.batches += 1
        self.readings += lines
        self.replayed += bool(receipt.get("replayed"))
        self.accepted += receipt["accepted"]
        self.duplicate += receipt["duplicate"]
        self.rejected += receipt["rejected"]
        for error in receipt["errors"]:
            self.reasons[error["reason"]] += error.get("count", 1)


class Bridge:
    """One source carried to one server, by one thread."""

    def __init__(
        self,
        source: Source,
        receiver: Receiver,
        settings: BridgeMap,
        moments: Moments | None,
        batch: int = BATCH,
    ) -> None:
        """``moments`` are needed where messages are dated by their arrival."""
        self._source, self._receiver, self._settings = source, receiver, settings
        self._moments, self._batch = moments, batch
        self.carried = Carried()

    def run(self, stop: Event, tell: Callable[[Carried], None]) -> None:
        """Carry until ``stop`` is set; raises what the broker or the server refuses for good."""
        while not stop.is_set():
            messages = self._source.take(self._batch, WAIT_S, QUIET_S)
            self.carried.again += sum(message.again for message in messages)
            if messages and self._moments is not None:
                for message in messages:
                    message.at_us = self._moments.recall(message)
                self._moments.keep(messages)
            if messages:
                self._carry(messages, stop)
            tell(self.carried)

    def close(self) -> None:
        """End both connections."""
        self._source.close()
        self._receiver.close()
        if self._moments is not None:
            self._moments.close()

    def _carry(self, messages: Sequence[Message], stop: Event) -> None:
        """Send messages until the server has them, and acknowledge them."""
        lines: list[bytes] = []
        poison = passed = 0
        for one in messages:
            found = lines_of(self._settings.topics, one.topic, one.payload, one.at_us, retained=one.retained)
            lines.extend(found.lines)
            poison += found.poison
            passed += not found.lines
        try:
            if lines and not self._send(lines, stop):
                return
        except (Invalid, TooLarge) as error:
            if len(messages) == 1:
                self._refuse(messages[0], str(error), stop)
                return
            half = len(messages) // 2
            self._carry(messages[:half], stop)
            if not stop.is_set():
                self._carry(messages[half:], stop)
            return
        self.carried.poison += poison
        self.carried.passed += passed
        self._acknowledge(messages)

    def _refuse(self, message: Message, why: str, stop: Event) -> None:
        """Have a message that the server does not take counted there as a line that cannot be read."""
        if self._send([refused(message.topic, message.payload, why)], stop):
            self.carried.poison += 1
            self._acknowledge([message])

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self._source.acknowledge(messages)
        self.carried.messages += len(messages)

    def _send(self, lines: Sequence[bytes], stop: Event) -> bool:
        """Send lines until the server has them: True; or until the bridge is stopped: False."""
        body = b"\n".join(lines) + b"\n"
        name = blake2b(body, digest_size=16).hexdigest()
        least, most = _BACKOFF_S
        attempt = 0
        while True:
            try:
                receipt = self._receiver.send(body, name)
            except Overloaded as error:
                self.carried.retries += 1
                self.carried.trouble = str(error)
                if attempt == 0:
                    log.warning("the server does not take readings", why=str(error))
                pause = min(most, least * 2 ** min(attempt, 10))
                attempt += 1
                if stop.wait(max(error.retry_after_s, random.uniform(0.5, 1.0) * pause)):
                    return False
                continue
            if attempt:
                log.info("the server takes readings again", attempts=attempt)
            self.carried.take(receipt, len(lines))
            return True
