"""A server among several: takes batches into the logs of shards, holds some of the shards, or both.

What it holds it answers for; the rest of what is live is with others.
"""

from __future__ import annotations

import json
import time
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from meterlake.changes import Changes
from meterlake.chores import Chores, Nights
from meterlake.errors import Invalid, NotFound
from meterlake.holding import Holding
from meterlake.live.together import Together
from meterlake.nightly.history import runs
from meterlake.publishing import Publishing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.app import Meterlake
    from meterlake.bodies import BatchReceipt
    from meterlake.handover import Committer
    from meterlake.ingest import Ingest
    from meterlake.keys import ApiKey
    from meterlake.live.cut import EntryNote
    from meterlake.live.part import Elsewhere
    from meterlake.node_settings import NodeSettings
    from meterlake.ports import Logs, Publisher
    from meterlake.shard import Shard

COMMIT_S: Final = 0.5


class ClusterNode:
    """One process of several on a lake; what it does follows from its parts."""

    def __init__(  # noqa: PLR0913 - the parts of a server
        self, lake: Meterlake, live: Together | Elsewhere, logs: Logs | None, settings: NodeSettings, *, ingest: Ingest | None,
        make: Callable[[str], Shard] | None, committer: Committer | None = None,
        holds: Together | None = None, shows: Callable[[str, int | None], Publisher] | None = None,
    ) -> None:  # fmt: skip
        """Without ``ingest`` no batches are taken, without ``make`` no shards held, without ``committer`` no cuts committed.

        ``live`` is what questions are answered from, ``holds`` the shards of this process, which ``shows`` shows to others.
        """
        self.lake, self.live, self.logs, self.settings = lake, live, logs, settings
        self.changes, self.chores = Changes(), Chores()
        self.ingest = ingest
        self.holding = None
        self._publishing = None
        if make is not None:
            assert logs is not None, "shards are of logs"
            assert holds is not None, "shards are held"
            changed = self.changes.tell if live is holds else _nobody
            self.holding = Holding(logs, make, holds, lake.registry, settings, self.chores, changed)
            if shows is not None:
                self._publishing = Publishing(self.holding.shown, shows, self.chores)
        self.ready = False
        self._threads = []
        if committer is not None:
            self._committer = committer
            self._threads.append(Thread(target=self._commit, name="commit", daemon=True))
        if settings.batch:
            self._threads.append(
                Thread(target=Nights(lake, settings, self.chores).run, name="night", daemon=True)
            )

    @property
    def trouble(self) -> dict[str, str]:
        """What does not work right now, by the name of the work."""
        return self.chores.trouble

    def start(self) -> None:
        """Begin to work; shards come as others let go of them."""
        if self.holding is not None:
            self.holding.start()
        if not isinstance(self.live, Together):
            self.live.start(self.chores.trouble, self.changes.tell)
        for thread in self._threads:
            thread.start()
        if self._publishing is not None:
            self._publishing.start()
        self.ready = True

    def stop(self) -> None:
        """Refuse what comes, finish what was begun, save, and let go."""
        self.ready = False
        if self.ingest is not None:
            self.ingest.stop()
        self.chores.stop.set()
        if self.holding is not None:
            self.holding.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        if self._publishing is not None:
            self._publishing.stop()
        if not isinstance(self.live, Together):
            self.live.stop()
        if self.logs is not None:
            self.logs.close()

    def _commit(self) -> None:
        while not self.chores.stop.wait(COMMIT_S):
            self.chores.attempt("seal", self._committer.work)

    # -- batches -------------------------------------------------------------------------------------

    def accept(self, body: bytes, media: str, key: ApiKey, idempotency: str | None = None) -> BatchReceipt:
        """Take a batch; see `Ingest.accept`."""
        if self.ingest is None:
            raise Invalid("this server takes no readings: send them to one with the role ingest")
        return self.ingest.accept(body, media, key, idempotency)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return what became of an accepted batch: receipt, state (live or sealed) and counts of its slots.

        Raises:
            NotFound: no such batch is known.

        """
        notes = self.live.notes_of(batch_id)
        told = self._memo(batch_id, notes)
        if notes:
            return told | {"state": "live", "slots": _summed([note.told() for note in notes])}
        rows = self.lake.lake.records("deliveries")
        sealed = pc.any(pc.equal(rows["load_id"], batch_id)).as_py()
        return told | {"state": "sealed" if sealed else "live"}

    def _memo(self, batch_id: str, notes: list[EntryNote]) -> dict[str, Any]:
        """What its sender was told; where this process does not reach the log, what is recorded of it."""
        if self.logs is not None:
            name = f"batch:{batch_id}"
            memo = self.logs.find([name]).get(name)
            if memo is None:
                raise NotFound(f"no batch {batch_id}")
            found: dict[str, Any] = json.loads(memo)
            return found
        if notes:
            return _by_id(notes)[batch_id]
        rows = self.lake.lake.records("deliveries")
        landed = _by_batch(rows.filter(pc.equal(rows["load_id"], batch_id)))
        if not landed:
            raise NotFound(f"no batch {batch_id}")
        return _landed(landed[0])

    def batches(self, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Accepted batches by falling number, those below ``before``: number, batch_id, source, received_at, counts.

        A batch of several shards is one row with the greatest of its numbers.
        """
        landed = self.lake.lake.records("deliveries")
        rows = [_landed(row) for row in _by_batch(landed.filter(pc.equal(landed["path"], "")))]
        known = {row["number"] for row in rows}
        live = _by_id([note for note in self.live.notes().values() if note.number not in known])
        rows = [row for row in rows if row["batch_id"] not in live]
        rows += [row | {"state": "live"} for row in live.values()]
        rows = [row for row in rows if before is None or row["number"] < before]
        return sorted(rows, key=lambda row: -int(row["number"]))[:limit]

    def runs(self) -> list[dict[str, Any]]:
        """Receipts of the nightly batch, newest first."""
        return runs(self.lake.lake)

    # -- how it is -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return whether it is ready, what is wrong, and how far each part has come."""
        now, shards = time.monotonic(), [] if self.holding is None else list(self.holding.shards.values())
        waiting, waiting_bytes = (0, 0) if self.ingest is None else self.ingest.queue
        return {
            "ready": self.ready,
            "trouble": dict(self.trouble),
            "shards": sorted(shard.name for shard in shards),
            "offset": sum(shard.live.offset for shard in shards),
            "log_kept": sum(shard.live.offset - shard.live.saved_offset for shard in shards),
            "waiting_batches": waiting,
            "waiting_bytes": waiting_bytes,
            "newest_us": self.live.newest_us,
            "seal_age_s": round(max((now - shard.sealed_s for shard in shards), default=0.0), 3),
            "checkpoint_age_s": round(max((now - shard.saved_s for shard in shards), default=0.0), 3),
            "live": self.live.sizes(),
        }


def _nobody(_epoch: int) -> None:
    """Tell nobody: who looks is told by what is shown."""


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def _by_batch(rows: pa.Table) -> list[dict[str, Any]]:
    """One row a batch of what is recorded, whatever shards it was cut into."""
    how = [
        ("number", "max"),
        ("received_at", "min"),
        ("received", "sum"),
        ("stored", "sum"),
        ("source", "min"),
    ]
    grouped = rows.group_by("load_id").aggregate(how)
    told: list[dict[str, Any]] = grouped.rename_columns(
        [name.rpartition("_")[0] if name != "load_id" else name for name in grouped.column_names]
    ).to_pylist()
    return told


def _by_id(notes: list[EntryNote]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for note in notes:
        row, known = note.row(), found.get(note.batch_id)
        if known is not None:
            row = row | {name: row[name] + known[name] for name in ("received", "accepted")}
            row["number"] = max(row["number"], known["number"])
        found[note.batch_id] = row
    return found


def _landed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"], "batch_id": row["load_id"], "source": row["source"],
        "received_at": row["received_at"].isoformat().replace("+00:00", "Z"),
        "received": row["received"], "accepted": row["stored"], "state": "sealed",
    }  # fmt: skip
