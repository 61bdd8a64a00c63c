"""What is being done to a lake right now, by any process: a small file each, read by all who look.

A job that takes less than `BEAT_S` leaves no file. One that was cut off is shown as such for a day.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import MeterlakeError
from meterlake.moments import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterlake.ports import Store

    Tell = Callable[[str, int, int], None]

FOLDER: Final = "work"
BEAT_S: Final = 1.0
LOST_S: Final = 15.0
"""A job that says nothing for so long was cut off."""
SHOWN_S: Final = 86_400.0
"""How long what was cut off is shown."""


@dataclass(frozen=True, slots=True)
class Job:
    """One load, nightly run or compaction; moments in seconds since 1970 UTC."""

    id: str
    kind: str
    what: str
    began_s: float
    phase: str = ""
    done: int = 0
    total: int = 0
    phase_began_s: float = 0.0
    told_s: float = field(default=0.0)

    def to_json(self, now_s: float) -> dict[str, Any]:
        """Return it as JSON values, with its rate (units a second) and the seconds that its phase still takes."""
        spent = max(self.told_s - self.phase_began_s, 0.0)
        rate = self.done / spent if spent > 0 and self.done else None
        left = round((self.total - self.done) / rate) if rate and self.total >= self.done else None
        return {
            "id": self.id, "kind": self.kind, "what": self.what, "phase": self.phase, "done": self.done,
            "total": self.total, "rate": None if rate is None else round(rate, 1), "seconds_left": left,
            "began_at": text_of(int(self.began_s), "UTC"), "told_at": text_of(int(self.told_s), "UTC"),
            "cut_off": now_s - self.told_s > LOST_S,
        }  # fmt: skip


class _Writer:
    """Writes how far a job has come, now and then, in a thread of its own."""

    def __init__(self, store: Store, job: Job) -> None:
        self._store, self._name, self._job = store, f"{FOLDER}/{job.id}.json", job
        self._lock, self._over, self._wrote = Lock(), Event(), False
        self._thread = Thread(target=self._run, name="work", daemon=True)
        self._thread.start()

    def tell(self, phase: str, done: int, total: int) -> None:
        """Note how far it is."""
        with self._lock:
            if phase != self._job.phase:
                self._job = replace(self._job, phase_began_s=time.time())
            self._job = replace(self._job, phase=phase, done=done, total=total)

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            with self._lock:
                told = asdict(replace(self._job, told_s=time.time()))
            with suppress(OSError, MeterlakeError):  # a full disk must not stop the job itself
                self._store.write(self._name, json.dumps(told).encode())
                self._wrote = True

    def end(self) -> None:
        """Take the file away."""
        self._over.set()
        self._thread.join()
        if self._wrote:
            with suppress(OSError, MeterlakeError):
                self._store.delete(self._name)


@contextmanager
def at_work(store: Store, kind: str, what: str, also: Tell | None = None) -> Iterator[Tell]:
    """Give a function that is told (phase, done, total) of a job, and passes it on to ``also``."""
    now = time.time()
    writer = _Writer(store, Job(f"{os.getpid()}-{uuid.uuid4().hex[:8]}", kind, what, now))

    def tell(phase: str, done: int, total: int) -> None:
        writer.tell(phase, done, total)
        if also is not None:
            also(phase, done, total)

    try:
        yield tell
    finally:
        writer.end()


def jobs(store: Store, now_s: float) -> list[dict[str, Any]]:
    """Return the jobs of a lake as JSON values, those begun first first; what was cut off long ago is forgotten."""
    found = []
    for kept in store.list(f"{FOLDER}/"):
        with suppress(ValueError, TypeError):  # it ended meanwhile
            job = Job(**json.loads((store.read(kept.name) or (b"",))[0]))
            if now_s - job.told_s > SHOWN_S:
                store.delete(kept.name)
            else:
                found.append(job)
    return [job.to_json(now_s) for job in sorted(found, key=lambda job: job.began_s)]
