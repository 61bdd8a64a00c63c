"""The live side in pieces: what changed since the last save goes to the checkpoints, and comes back after a crash.

Pieces: ``cells/plane/start/slot/chunk`` (as far as there are rows), and by their first number what only grows:
``rows``, ``versions``, ``losers``, ``deliveries``, ``late`` (by log offset) and ``notes``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from meterlake.errors import Damaged
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.live import kernel
from meterlake.live.cut import EntryNote
from meterlake.live.kernel import CHUNK, LOSER, VERSION
from meterlake.live.late import LateBatch, late_rows
from meterlake.live.planes import Plane
from meterlake.live.senders import DELIVERY
from meterlake.live.sets import OpenSet
from meterlake.record import strips_of
from meterlake.strips import Kinds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.live.live import Live
    from meterlake.ports import Checkpoints

FORMAT = 2
"""Number of the layout of state and pieces."""

TYPE_BYTES = 3
"""At the head of a piece of cells: the type of its words."""


class SealedState(Protocol):
    """What the newest landed seal covers."""

    @property
    def sequence(self) -> int:
        """Number of the seal."""

    @property
    def offset(self) -> int:
        """Log offset after the last entry it covers."""

    @property
    def number(self) -> int:
        """Last delivery that it recorded."""

    @property
    def floors(self) -> Mapping[int, int]:
        """By span (s): blocks that begin before this are in the lake as far as they came before ``offset``."""


class Beside(Protocol):
    """What else belongs to a shard's state and is saved of the very moment; all called under the lock of `Live`."""

    def changes(self) -> tuple[Mapping[str, bytes], Sequence[str], dict[str, Any]]:
        """Return pieces (named ``beside/…``) that are not saved yet, those to be dropped, and the rest of the state."""

    def saved(self, pieces: Mapping[str, bytes]) -> None:
        """Note that ``pieces`` are saved now."""

    def restore(self, state: Mapping[str, Any], pieces: Mapping[str, bytes]) -> None:
        """Take over what was saved."""


class Saver:
    """What of the live side is in the checkpoints already."""

    def __init__(self, *, shows: bool = False) -> None:
        """Start with nothing saved.

        One that ``shows`` keeps the state where others look at it: the log is not cut by it, nothing is restored of it.
        """
        self._shows = shows
        self.sealed: SealedState | None = None
        """Newest landed seal as of `load`."""
        self.epoch = 0
        """Changes up to this epoch are saved."""
        self.counts: dict[str, int] = {}
        """Saved records by the name of what only grows."""
        self.late: set[int] = set()
        """Offsets of the late batches that are saved."""
        self.notes: dict[str, int] = {}
        """Last delivery by piece of notes."""
        self.deliveries: dict[str, int] = {}
        """Last number by piece of deliveries."""
        self.noted = self.delivered = -1
        """Last delivery whose note, and whose sender, is saved."""
        self.gone: list[str] = []
        """Pieces to be dropped with the next save."""

    def forget_set(self, key: tuple[int, int]) -> None:
        """Let the next save drop the pieces of a set."""
        where = f"{key[0]}/{key[1]}/"
        self.gone += [f"{kind}/{where}*" for kind in ("cells", "versions", "losers")]
        self.counts.pop(f"versions/{where}", None)
        self.counts.pop(f"losers/{where}", None)

    def forget_late(self, batches: Sequence[LateBatch], notes: Sequence[int]) -> None:
        """Let the next save drop late batches, and the pieces of notes that are all among ``notes``."""
        for batch in batches:
            if batch.offset in self.late:
                self.late.remove(batch.offset)
                self.gone.append(f"late/{batch.offset}")
        last = max(notes, default=-1)
        self._drop(self.notes, last + 1)

    def forget_deliveries(self, below: int) -> None:
        """Let the next save drop the pieces of deliveries below a number."""
        self._drop(self.deliveries, below)

    def _drop(self, pieces: dict[str, int], below: int) -> None:
        for name in [name for name, last in pieces.items() if last < below]:
            del pieces[name]
            self.gone.append(name)

    def save(self, live: Live, checkpoints: Checkpoints) -> None:
        """Save what changed since the last save that succeeded."""
        with live.lock:
            pieces: dict[str, bytes] = {}
            counts: dict[str, int] = {}
            for number, plane in enumerate(live.planes):
                self._grown(
                    f"rows/{number}/", len(plane), counts, pieces, lambda a, p=plane: _rows(live, p, a)
                )
            for key, one in live.sets.items():
                self._set(key, one, counts, pieces)
            fresh = [batch for batch in live.late if batch.offset not in self.late]
            pieces |= {f"late/{batch.offset}": table_bytes(late_rows([batch], live.ids)) for batch in fresh}
            notes = self._notes(live, pieces)
            deliveries = self._deliveries(live, pieces)
            told: dict[str, Any] = {}
            dropped: Sequence[str] = ()
            more: Mapping[str, bytes] = {}
            if live.beside is not None and not self._shows:
                more, dropped, told = live.beside.changes()
            state, epoch, gone, offset = _state(live, told), live.epoch, len(self.gone), live.offset
        checkpoints.save(pieces | dict(more), [*self.gone[:gone], *dropped], state)
        with live.lock:
            del self.gone[:gone]
            self.epoch = epoch
            held = {f"{kind}/{p}/{s}/" for p, s in live.sets for kind in ("versions", "losers")}
            self.counts |= {name: n for name, n in counts.items() if name.startswith("rows/") or name in held}
            kept = {batch.offset for batch in live.late}
            self.late |= {batch.offset for batch in fresh}
            self.gone += [f"late/{at}" for at in self.late - kept]
            self.late &= kept
            self.notes |= notes
            self.deliveries |= deliveries
            self.noted = max([self.noted, *notes.values()])
            self.delivered = max([self.delivered, *deliveries.values()])
            if self._shows:
                return
            live.saved_offset = offset
            if live.beside is not None:
                live.beside.saved(more)

    def _grown(self, name: str, n: int, counts: dict[str, int], pieces: dict[str, bytes], data: Any) -> None:
        """Add a piece with the records of ``name`` from the saved ones on; ``data`` makes it."""
        first = self.counts.get(name, 0)
        counts[name] = n
        if n > first:
            pieces[f"{name}{first:010d}"] = data(first)

    def _set(
        self, key: tuple[int, int], one: OpenSet, counts: dict[str, int], pieces: dict[str, bytes]
    ) -> None:
        where = f"{key[0]}/{key[1]}/"
        for name, records in (("versions", one.versions), ("losers", one.losers)):
            self._grown(
                f"{name}/{where}", len(records), counts, pieces, lambda a, r=records: r.view(a).tobytes()
            )
        slots, chunks = np.nonzero(one.place >= 0)
        columns = one.place[slots, chunks]
        fresh = one.changed[columns] > self.epoch
        for slot, chunk, column in zip(
            slots[fresh].tolist(), chunks[fresh].tolist(), columns[fresh].tolist(), strict=True
        ):
            rows = min(CHUNK, len(one.plane) - chunk * CHUNK)  # the others are empty in every column
            cells = one.cells[column * CHUNK : column * CHUNK + rows]
            pieces[f"cells/{where}{slot}/{chunk}"] = cells.dtype.str.encode() + cells.tobytes()

    def _notes(self, live: Live, pieces: dict[str, bytes]) -> dict[str, int]:
        fresh = [note for note in live.unsealed.values() if note.number > self.noted]
        if not fresh:
            return {}
        name = f"notes/{fresh[0].number}"
        pieces[name] = note_bytes(fresh)
        return {name: fresh[-1].number}

    def _deliveries(self, live: Live, pieces: dict[str, bytes]) -> dict[str, int]:
        rows = live.deliveries.rows.view()
        rows = rows[rows["number"] > self.delivered]
        if not len(rows):
            return {}
        name = f"deliveries/{rows['number'][0]}"
        pieces[name] = rows.tobytes()
        return {name: int(rows["number"][-1])}


def _state(live: Live, beside: Mapping[str, Any]) -> bytes:
    return json.dumps(
        {
            "format": FORMAT,
            "offset": live.offset,
            "number": live.number,
            "last_us": live.last_us,
            "epoch": live.epoch,
            "sequence": live.sequence,
            "floors": list(live.floors.items()),
            "sources": live.deliveries.sources,
            "planes": [(plane.channel, plane.interval_s) for plane in live.planes],
            "sets": list(live.sets),
            "beside": beside,
        }
    ).encode()


def table_bytes(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def read_table(data: bytes) -> pa.Table:
    """Return the table of an Arrow stream."""
    return pa.ipc.open_stream(data).read_all()


def _rows(live: Live, plane: Plane, first: int) -> bytes:
    meters = live.ids.texts().take(pa.array(plane.meters.view(first))).cast(pa.string())
    phase = pa.array(np.ascontiguousarray(plane.rows.view(first)["phase"]))
    return table_bytes(pa.table({"meter_id": meters, "phase": phase}))


def note_bytes(notes: Sequence[EntryNote]) -> bytes:
    """Return notes as an Arrow stream of what was refused, the rest in its metadata."""
    heads = []
    for note in notes:
        fields = {name: getattr(note, name) for name in EntryNote.__dataclass_fields__ if name != "rejects"}
        heads.append(fields | {"rows": len(note.rejects)})
    rejects = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(note.rejects for note in notes)])
    return table_bytes(rejects.replace_schema_metadata({"notes": json.dumps(heads)}))


def notes_of(data: bytes) -> list[EntryNote]:
    """Return the notes that `note_bytes` wrote."""
    table = read_table(data)
    heads = json.loads(table.schema.metadata[b"notes"])
    table = table.replace_schema_metadata(None)
    notes, at = [], 0
    for head in heads:
        n = head.pop("rows")
        head["counts"] = tuple(head["counts"])
        notes.append(EntryNote(**head, rejects=table.slice(at, n)))
        at += n
    return notes


# -- after a crash -----------------------------------------------------------------------------------------


def load(live: Live, checkpoints: Checkpoints, sealed: SealedState | None) -> None:
    """Fill a new ``live`` from the last checkpoint, but for what ``sealed`` has taken to the lake."""
    saver = live.saver
    saver.sealed = sealed
    floors: dict[int, int] = {}
    found = checkpoints.load()
    if found is not None:
        state = json.loads(found[0])
        if state["format"] != FORMAT:
            raise Damaged(
                f"the checkpoint has layout {state['format']}, this program reads {FORMAT}: use the one that wrote it"
            )
        landed = 0 if sealed is None else sealed.sequence
        if state["sequence"] > landed + 1:
            raise Damaged(
                f"the lake knows of {landed} seals, the checkpoint of {state['sequence']}: the lake is older than what "
                "is live; restore both from one backup"
            )
        floors = {int(span): start for span, start in state["floors"]}
        live.offset, live.number, live.last_us = state["offset"], state["number"], state["last_us"]
        live.epoch = state["epoch"] + 1
    if sealed is not None:
        live.sequence = sealed.sequence  # one that was cut off and has not landed is cut off again
        live.number = max(live.number, sealed.number)
        for span, start in sealed.floors.items():
            floors[int(span)] = max(floors.get(int(span), start), start)
    live.floors |= floors
    if found is not None:
        _fill(live, state, found[1], sealed)
    saver.epoch = live.epoch
    live.saved_offset = live.offset


def _fill(live: Live, state: Mapping[str, Any], pieces: Any, sealed: SealedState | None) -> None:
    saver, listed = live.saver, {tuple(key) for key in state["sets"]}
    for source in state["sources"]:
        live.deliveries.source(source)
    for number, (channel, interval_s) in enumerate(state["planes"]):
        live.plane_of[channel, interval_s] = number
        live.planes.append(Plane(channel, interval_s))
    for key in sorted(listed):
        plane = live.planes[key[0]]
        if sealed is None or key[1] >= dict(sealed.floors).get(plane.span_s, key[1]):
            live.sets[key] = one = OpenSet(plane, key[1], len(live.places))
            one.versions.n = 0
        else:
            saver.forget_set(key)
    grown: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    beside: dict[str, bytes] = {}
    for name, data in pieces:
        kind, *rest = name.split("/")
        if kind == "beside":
            beside[name] = data
            continue
        if kind == "cells":
            p, start_s, slot, chunk = map(int, rest)
            if (p, start_s) in live.sets:
                _put(live.sets[p, start_s], slot, chunk, data)
        else:
            grown["/".join([kind, *rest[:-1]]) + "/"].append((int(rest[-1]), data))
    for some in grown.values():
        some.sort()
    _fill_rows(live, grown)
    _fill_sets(live, grown)
    _fill_deliveries(live, grown, sealed)
    live.forget_deliveries()
    if live.beside is not None:
        live.beside.restore(state.get("beside", {}), beside)


def _put(one: OpenSet, slot: int, chunk: int, data: bytes) -> None:
    held = np.frombuffer(data[TYPE_BYTES:], data[:TYPE_BYTES].decode()).reshape(-1, 2)
    cells = np.zeros((CHUNK, 2), held.dtype)
    cells[: len(held)] = held
    one.put(slot, chunk, cells)


def _fill_rows(live: Live, grown: Mapping[str, list[tuple[int, bytes]]]) -> None:
    for number, plane in enumerate(live.planes):
        name = f"rows/{number}/"
        for _, data in grown.get(name, []):
            table = read_table(data)
            codes = live.ids.codes_of(table["meter_id"])
            live.reach(len(live.ids))
            plane.adopt(codes, table["phase"].to_numpy(), live.epoch, len(live.place_of))
        live.saver.counts[name] = len(plane)


def _fill_sets(live: Live, grown: Mapping[str, list[tuple[int, bytes]]]) -> None:
    for (number, start_s), one in live.sets.items():
        where = f"{number}/{start_s}/"
        for kind, records, dtype in (("versions", one.versions, VERSION), ("losers", one.losers, LOSER)):
            for _, data in grown.get(f"{kind}/{where}", []):
                records.append(np.frombuffer(data, dtype))
            live.saver.counts[f"{kind}/{where}"] = len(records)
        one.lost_of = np.zeros(len(one.plane.rows.data), np.int32)
        kernel.chain(one.losers.view(), one.lost_of, 0)
        one.reach_rows(len(one.plane))
        one.recount(len(live.places))


def _fill_deliveries(
    live: Live, grown: Mapping[str, list[tuple[int, bytes]]], sealed: SealedState | None
) -> None:
    saver = live.saver
    for first, data in grown.get("deliveries/", []):
        rows = np.frombuffer(data, DELIVERY)
        live.deliveries.rows.append(rows)
        saver.deliveries[f"deliveries/{first}"] = saver.delivered = int(rows["number"][-1])
    for offset, data in grown.get("late/", []):
        if sealed is not None and offset < sealed.offset:
            saver.gone.append(f"late/{offset}")
            continue
        kinds, table = Kinds(), read_table(data)
        strips = strips_of(table, live.ids, kinds, live.deliveries.senders())
        live.reach(len(live.ids))
        live.late.append(LateBatch(offset, int(table["delivery"][0].as_py()), strips, tuple(kinds.table)))
        live.has_late[strips.meter] = True
        saver.late.add(offset)
    for first, data in grown.get("notes/", []):
        notes = notes_of(data)
        saver.noted = notes[-1].number
        kept = [note for note in notes if sealed is None or note.number > sealed.number]
        live.unsealed |= {note.batch_id: note for note in kept}
        live.refused_bytes += sum(note.rejects.nbytes for note in kept)
        if kept:
            saver.notes[f"notes/{first}"] = notes[-1].number
        else:
            saver.gone.append(f"notes/{first}")
