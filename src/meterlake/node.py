"""One server at work: what it restores at the start, keeps doing, and leaves behind.

Start: the live side is restored from its checkpoint and the log after it. Then one thread commits what is
accepted (`accept`), one seals, saves checkpoints and cuts the log, one runs the nightly batch.
A crash at any moment is repaired by the next start.
"""

from __future__ import annotations

import json
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from meterlake import archive as archives
from meterlake.accept import Acceptor
from meterlake.changes import Changes
from meterlake.chores import Chores, Nights
from meterlake.entry import Entry
from meterlake.errors import Damaged, NotFound
from meterlake.logs import log
from meterlake.nightly.history import runs
from meterlake.publishing import Publishing
from meterlake.seal import seal, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from meterlake.app import Meterlake
    from meterlake.bodies import BatchReceipt
    from meterlake.keys import ApiKey
    from meterlake.live.live import Live
    from meterlake.node_settings import NodeSettings
    from meterlake.ports import Archive, Checkpoints, Log, Publisher
    from meterlake.seal import SealReceipt

SPANS_S: Final = (86_400, 3_600)
"""Lengths of the blocks that are open: days, and hours for intervals below a minute."""

WHOLE: Final = "all"
"""Name of the one shard of a process that holds everything."""
REGION_DIGITS: Final = 5
EARLY: Final = 0.7
"""Of the memory for live readings in use: beyond it blocks are sealed without their grace."""


class Node:
    """A lake that is served: its questions, what is live, and the threads between them."""

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        lake: Meterlake,
        live: Live,
        log_: Log,
        checkpoints: Checkpoints,
        settings: NodeSettings,
        archive: Archive | None = None,
        shows: Callable[[str, int | None], Publisher] | None = None,
    ) -> None:
        """``lake`` answers questions with ``live`` laid over what is stored; ``shows`` makes what shows it to others."""
        self.lake, self.live, self.log = lake, live, log_
        self.checkpoints, self.settings, self.archive = checkpoints, settings, archive
        self.changes = Changes()
        self.acceptor = Acceptor(
            live, log_, self.lake.lake, settings.accept, self.changes.tell, self._log_failed
        )
        self.ready = False
        self.sealed_s = self.saved_s = time.monotonic()
        self.chores = Chores()
        self._sealing = Lock()
        self._placed: tuple[Any, Any] | None = None
        self._publishing = None
        if shows is not None:
            self._publishing = Publishing(lambda: {WHOLE: (live, None)}, shows, self.chores)
        self._threads = [
            Thread(target=self._keep, name="keep", daemon=True),
            Thread(target=Nights(lake, settings, self.chores).run, name="night", daemon=True),
        ]

    @property
    def trouble(self) -> dict[str, str]:
        """What does not work right now, by the name of the work."""
        return self.chores.trouble

    # -- start and stop ------------------------------------------------------------------------------

    def start(self) -> None:
        """Restore, then begin to accept, seal and compute."""
        last_us = self._restore()
        self.checkpoint()
        self.place()
        self.acceptor.start(last_us)
        for thread in self._threads:
            thread.start()
        if self._publishing is not None:
            self._publishing.start()
        self.ready = True

    def _restore(self) -> int:
        """Bring the live side to the end of the log; return the arrival (us) of its last batch."""
        began = time.monotonic()
        offset = self.live.restore(self.checkpoints, sealed(self.lake.lake))
        first, end = self.log.bounds()
        if not first <= offset <= end:
            raise Damaged(
                f"{self.log.url} has offsets {first} to {end}, the checkpoint stands at {offset}: they are not of one "
                "time; restore both from one backup, or move both away, and what was not sealed is lost"
            )
        last_us = self.live.last_us
        for at, data in self.log.read(offset):
            entry = Entry.decode(data, self.live.ids)
            self.live.replay(entry, at)
            last_us = max(last_us, entry.received_us)
        log.info("restored", batches=end - offset, seconds=round(time.monotonic() - began, 3))
        return last_us

    def stop(self) -> None:
        """Refuse what comes, finish what was begun, save, and let go of the files."""
        self.ready = False
        self.chores.stop.set()
        self.acceptor.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        if self._publishing is not None:
            self._publishing.stop()
        if self.acceptor.failure is None:
            self.checkpoint()
        self.checkpoints.close()
        self.log.close()

    def _log_failed(self, why: str) -> None:
        self.ready = False
        self.trouble["log"] = why
        log.error("log failed", why=why)

    # -- accepting -----------------------------------------------------------------------------------

    def accept(self, body: bytes, media: str, key: ApiKey, idempotency: str | None = None) -> BatchReceipt:
        """Take a batch; see `Acceptor.accept`."""
        return self.acceptor.accept(body, media, key, idempotency)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return what became of an accepted batch: receipt, state (live or sealed) and counts of its slots.

        Raises:
            NotFound: no such batch is known.

        """
        memo = self.log.find([f"batch:{batch_id}"]).get(f"batch:{batch_id}")
        if memo is None:
            raise NotFound(f"no batch {batch_id}")
        told: dict[str, Any] = json.loads(memo)
        note = self.live.note(batch_id)
        if note is None:
            return told | {"state": "sealed"}
        return told | {"state": "live", "slots": note.told()}

    def batches(self, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Accepted batches by falling number, those below ``before``: number, batch_id, source, received_at, counts."""
        rows = [note.row() | {"state": "live"} for note in self.live.notes().values()]
        landed = self.lake.lake.records("deliveries")
        landed = landed.filter(pc.equal(landed["path"], ""))
        live = {row["number"] for row in rows}
        landed = landed.filter(pc.less(landed["number"], before)) if before is not None else landed
        newest = landed.sort_by([("number", "descending")]).slice(0, limit)
        rows += [_landed(row) for row in newest.to_pylist() if row["number"] not in live]
        rows = [row for row in rows if before is None or row["number"] < before]
        return sorted(rows, key=lambda row: -int(row["number"]))[:limit]

    # -- what goes on beside -------------------------------------------------------------------------

    def place(self) -> None:
        """Tell the live side where its meters are, when the registry has changed."""
        meters, points = self.lake.registry.table("meters"), self.lake.registry.table("service_points")
        before = self._placed
        if before is not None and before[0] is meters and before[1] is points:
            return
        at = pc.index_in(meters["service_point_id"], value_set=points["service_point_id"].combine_chunks())
        now = [pc.is_valid(at), pc.is_null(meters["to"])]
        here = pc.and_(*now)
        chosen = pc.filter(at, here)
        region = pc.utf8_slice_codeunits(points["geohash"], 0, REGION_DIGITS).take(chosen)
        self.live.set_places(
            _one(meters["meter_id"].filter(here)), _one(region), _one(points["class"].take(chosen))
        )
        self._placed = meters, points

    def checkpoint(self) -> None:
        """Save the live side and cut the log below it; not after a failure, when more may be in the log than is known."""
        with self._sealing:
            if self.acceptor.failure is not None:
                return
            self.live.save(self.checkpoints)
            if self.archive is not None:
                self._archive(self.archive, self.live.saved_offset)
            self.log.truncate(self.live.saved_offset)
            self.saved_s = time.monotonic()

    def _archive(self, archive: Archive, end: int) -> None:
        """Keep the batches below ``end`` as Parquet."""
        entries = (
            (offset, Entry.decode(data, self.live.ids))
            for offset, data in self.log.read(max(archive.end(), self.log.bounds()[0]))
            if offset < end
        )
        for first, last, rows in archives.files(entries, self.live.ids):
            archive.keep(first, last, rows)

    def seal(self, *, everything: bool = False) -> SealReceipt | None:
        """Take what is due, late or not yet recorded to the lake; None where there is nothing."""
        with self._sealing:
            grace = 0 if self.live.pressure() > EARLY else self.settings.grace_s
            cut = self.live.freeze(int(time.time()), grace, everything=everything)
            if cut is None:
                self.sealed_s = time.monotonic()
                return None
            receipt = seal(self.lake.lake, self.lake.registry, cut)
            self.live.release(cut)
            self.sealed_s = time.monotonic()
        self.changes.tell(self.live.epoch)
        self.checkpoint()
        return receipt

    def _keep(self) -> None:
        while not self.chores.stop.wait(0.5):
            self.chores.attempt("seal", self._seal_if_due)
            if time.monotonic() - self.saved_s >= self.settings.checkpoint_s:
                self.chores.attempt("checkpoint", self.checkpoint)
            self.chores.attempt("registry", self.place)

    def _seal_if_due(self) -> None:
        waited = time.monotonic() - self.sealed_s >= self.settings.flush_s
        if waited or self.live.pressure() > EARLY or self.live.due(int(time.time()), self.settings.grace_s):
            self.seal()

    # -- how it is -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return whether it is ready, what is wrong, and how far each part has come."""
        now, (waiting, waiting_bytes) = time.monotonic(), self.acceptor.queue
        first, end = self.log.bounds()
        return {
            "ready": self.ready and self.acceptor.failure is None,
            "trouble": dict(self.trouble),
            "offset": end,
            "log_kept": end - first,
            "waiting_batches": waiting,
            "waiting_bytes": waiting_bytes,
            "newest_us": self.live.last_us,
            "seal_age_s": round(now - self.sealed_s, 3),
            "checkpoint_age_s": round(now - self.saved_s, 3),
            "live": self.live.sizes(),
        }

    def runs(self) -> list[dict[str, Any]]:
        """Receipts of the nightly batch, newest first."""
        return runs(self.lake.lake)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _landed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"], "batch_id": row["load_id"], "source": row["source"],
        "received_at": row["received_at"].isoformat().replace("+00:00", "Z"),
        "received": row["received"], "accepted": row["stored"], "state": "sealed",
    }  # fmt: skip
