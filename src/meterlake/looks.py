"""What a page notes on its way and must not wait for: who looked at whose data, and which sessions are in use."""

from __future__ import annotations

import atexit
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final

from meterlake.errors import MeterlakeError
from meterlake.logs import log

if TYPE_CHECKING:
    from meterlake.accounts import Entry, PeopleChange
    from meterlake.ports import PeopleStore

FLUSH_S: Final = 1.0
WAITING: Final = 100_000
"""Notes that wait at most while the database is away; later ones are lost, and the log says so."""
REMEMBERED: Final = 100_000
AGAIN_S: Final = 10.0
"""How long after a failure it is tried again."""


class Notes:
    """Takes notes at once and writes them within `FLUSH_S` seconds, from one thread. Safe to share."""

    def __init__(self, people: PeopleStore) -> None:
        """Write to ``people``; the thread starts with the first note."""
        self._people = people
        self._lock, self._flushing = Lock(), Lock()
        self._entries: list[Entry] = []
        self._changes: list[PeopleChange] = []
        self._known: set[str] = set()
        self._due, self._stop = Event(), Event()
        self._thread: Thread | None = None

    def entry(self, entry: Entry) -> None:
        """Note a line of the trail; one whose ``once`` was noted lately is left out."""
        with self._lock:
            if entry.once is not None:
                if entry.once in self._known:
                    return
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known.add(entry.once)
            self._entries.append(entry)
            self._begin()

    def change(self, change: PeopleChange) -> None:
        """Note a change that nobody waits for."""
        with self._lock:
            self._changes.append(change)
            self._begin()

    def _begin(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._thread = Thread(target=self._run, name="notes", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._due.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            self._due.clear()
            self._stop.wait(FLUSH_S / 2)
            if not self.flush():
                self._stop.wait(AGAIN_S)

    def flush(self) -> bool:
        """Write what waits, now; False: it could not be written and waits on."""
        with self._flushing:
            with self._lock:
                entries, self._entries = self._entries, []
                changes, self._changes = self._changes, []
            try:
                if entries:
                    self._people.note(entries)
                entries = []
                for change in changes:
                    self._people.change(change)
            except MeterlakeError as error:
                log.warning("notes of looks wait", why=str(error), count=len(entries))
                with self._lock:
                    self._entries = (entries + self._entries)[:WAITING]
                    self._due.set()
                return False
        return True

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._stop.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()
            atexit.unregister(self.close)
        self.flush()
