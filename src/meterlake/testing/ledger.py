"""A sender that never gives up and remembers what was acknowledged, and the plain sum of it to compare with.

Readings go out in an order that a network might make of them: fresh ones, five minutes old, up to three days
old, batches again under the same key, the same readings cut into other batches. The model is a dictionary.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

SERIES: Final = (("electricity.import", 900), ("gas.import", 3600), ("electricity.export", 5))
AGES_S: Final = (60, 300, 7_200, 86_400, 3 * 86_400)
"""How old readings are at most, by kinds of lateness that are equally likely."""

Slot = tuple[str, str, int, int]
"""Meter, channel, length (s), start (s)."""


@dataclass(slots=True)
class Ledger:
    """What was acknowledged: the newest amount of every slot, in milli units."""

    amounts: dict[Slot, int] = field(default_factory=dict)
    batches: int = 0
    readings: int = 0
    retries: int = 0
    replays: int = 0

    def take(self, sent: list[tuple[Slot, int]]) -> None:
        """Add an acknowledged batch; of two amounts for one slot in it the larger stands."""
        own: dict[Slot, int] = {}
        for slot, amount in sent:
            own[slot] = max(amount, own.get(slot, amount))
        self.amounts.update(own)
        self.batches += 1
        self.readings += len(sent)


METERS: Final = 12
"""Of one sender."""


class Sender(Thread):
    """Sends until told to stop; every batch is retried under its key until it is acknowledged."""

    def __init__(
        self,
        url: Callable[[], str],
        key: str,
        seed: int,
        *,
        readings: int = 40,
        several: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        """``url`` gives the server's address of the moment; of ``several`` one may not know yet what another took.

        After each batch it rests for ``pause_s``.
        """
        super().__init__(daemon=True)
        self.ledger, self.readings = Ledger(), readings
        self.prefix = f"s{seed}-"
        self._url, self._key, self._chance = url, key, random.Random(seed)
        self._sent: list[tuple[str, list[tuple[Slot, int]]]] = []
        self._stop_asked, self._several, self._pause_s = Event(), several, pause_s
        self.error: str | None = None
        self.answered = ""
        """What a batch was refused with last."""

    def finish(self, patience_s: float = 60.0) -> None:
        """Stop after the batch at hand is acknowledged; `error` says where that takes longer than ``patience_s``."""
        self._stop_asked.set()
        self.join(patience_s)
        if self.is_alive():
            self.error = f"the batch at hand was not acknowledged within {patience_s:.0f} s: {self.answered}"
            self.join()

    def run(self) -> None:
        """Send batch after batch."""
        with httpx.Client(timeout=60) as client:
            number = 0
            while not self._stop_asked.wait(self._pause_s) and self.error is None:
                number += 1
                again = self._sent and self._chance.random() < 0.15
                if again:
                    self._deliver(client, *self._chance.choice(self._sent[-50:]), known=True)
                    continue
                sent = self._draw()
                if self._deliver(client, f"{self.prefix}{number}", sent, known=False):
                    self._sent.append((f"{self.prefix}{number}", sent))

    def _draw(self) -> list[tuple[Slot, int]]:
        chance, now = self._chance, int(time.time())
        if self._sent and chance.random() < 0.2:
            old = [one for _, sent in chance.sample(self._sent, min(3, len(self._sent))) for one in sent]
            return chance.sample(old, min(len(old), self.readings))
        drawn = []
        for _ in range(chance.randint(1, self.readings)):
            channel, length = chance.choice(SERIES)
            start = (now - chance.randint(0, chance.choice(AGES_S))) // length * length - length
            meter = f"{self.prefix}m{chance.randrange(METERS)}"
            drawn.append(((meter, channel, length, start), chance.randint(0, 50_000_000)))
        return drawn

    def _deliver(self, client: httpx.Client, key: str, sent: list[tuple[Slot, int]], *, known: bool) -> bool:
        body = "\n".join(
            json.dumps({
                "meter": meter, "channel": channel, "seconds": length, "value": f"{Decimal(amount).scaleb(-6):f}",
                "start": datetime.fromtimestamp(start, UTC).isoformat(),
            })
            for (meter, channel, length, start), amount in sent
        )  # fmt: skip
        headers = {
            "Authorization": f"Bearer {self._key}", "Idempotency-Key": key, "Content-Type": "application/x-ndjson",
        }  # fmt: skip
        while self.error is None:
            try:
                answer = client.post(f"{self._url()}/v1/readings", content=body, headers=headers)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                return self._acknowledged(answer.json(), sent, known=known)
            if answer is not None and answer.status_code not in {429, 503}:
                self.error = f"{answer.status_code}: {answer.text[:300]}"
                return False
            self.answered = "no answer" if answer is None else f"{answer.status_code}: {answer.text[:300]}"
            self.ledger.retries += 1
            time.sleep(0.05)
        return False

    def _acknowledged(self, told: dict[str, Any], sent: list[tuple[Slot, int]], *, known: bool) -> bool:
        if told["received"] != len(sent) or told["rejected"]:
            self.error = f"{len(sent)} readings sent, answered {told}"
        if known and not told["replayed"] and not self._several:
            self.error = f"a batch sent again was taken again: {told}"
        if told["replayed"]:
            self.ledger.replays += 1
        if not known:
            self.ledger.take(sent)
        return True


def stored(url: str, key: str, meters: set[str]) -> dict[Slot, int]:
    """Every filled slot of ``meters`` that the server answers, in milli units."""
    found: dict[Slot, int] = {}
    now = time.time()
    span = {
        "from": datetime.fromtimestamp(now - 5 * 86_400, UTC).isoformat(),
        "to": datetime.fromtimestamp(now + 86_400, UTC).isoformat(),
    }
    with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {key}"}) as client:
        for meter in sorted(meters):
            for channel, _ in SERIES:
                answer = client.get(f"{url}/v1/meters/{meter}/history", params=span | {"channel": channel})
                if answer.status_code == 404:
                    continue
                answer.raise_for_status()
                told = json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)
                several = told if isinstance(told, list) else [told]
                for value in (value for one in several for value in one["values"]):
                    start = int(datetime.fromisoformat(value["start"]).timestamp())
                    slot = (meter, channel, int(value["seconds"]), start)
                    found[slot] = int(value["value"].scaleb(6))
    return found


def differences(expected: dict[Slot, int], found: dict[Slot, int]) -> dict[str, int]:
    """Count lost, changed and invented slots."""
    return {
        "lost": len(expected.keys() - found.keys()),
        "changed": sum(found[slot] != amount for slot, amount in expected.items() if slot in found),
        "invented": len(found.keys() - expected.keys()),
    }
