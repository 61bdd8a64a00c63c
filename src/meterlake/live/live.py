"""What was acknowledged and is not in the lake yet: open blocks, late readings, and what is derived from them.

`apply` folds one log entry into the open sets by the law of `merge`; whatever has no open block waits as
late. `freeze` cuts off what a seal shall commit, `release` drops it once it landed. All under one lock.
"""

from __future__ import annotations

from collections import defaultdict
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterlake.blocks import sort_blocks
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.live import phases, routing, views
from meterlake.live.checkpoint import Saver, load
from meterlake.live.cut import Applied, Cut, EntryNote, note_of
from meterlake.live.late import LateBatch, filled, late_rows, late_rows_of
from meterlake.live.part import Part
from meterlake.live.planes import Plane, has_plane
from meterlake.live.senders import Deliveries, Landed
from meterlake.live.sets import OpenSet, Pieces
from meterlake.live.tables import NO_BLOCKS, NONE_LOST, Copy, few_tables, tables_of
from meterlake.strips import Strips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.entry import Entry
    from meterlake.ids import MeterIds
    from meterlake.live.checkpoint import Beside, SealedState
    from meterlake.live.limits import LiveLimits
    from meterlake.live.sets import View
    from meterlake.merge import Bools
    from meterlake.ports import Checkpoints
    from meterlake.strips import Codes, Kind

AHEAD_S = 86_400
"""A floor rises at most so far beyond the newest arrival: a clock that jumps ahead closes no day to come."""

ID_BYTES = 48
"""Of a meter's id and the tables that find it, about."""

LATE_SLOT_BYTES = 48
"""Memory of one late reading, its strip included."""


class Live:
    """The unsealed readings of a node. Safe to share between threads."""

    def __init__(self, ids: MeterIds, limits: LiveLimits, floors: Mapping[int, int]) -> None:
        """Start with nothing; ``floors`` say by span (a day and an hour, s) which blocks are late: those before."""
        self.ids, self.limits = ids, limits
        self.floors = {DAY_S: floors[DAY_S], HOUR_S: floors[HOUR_S]}
        self.epoch = 0
        self.offset = self.number = self.last_us = self.sequence = 0
        """Next log offset to be applied, last delivery applied and its arrival, last seal that was cut."""
        self.saved_offset = 0
        """What is below this in the log is in a checkpoint."""
        self.lock = RLock()
        self.planes: list[Plane] = []
        self.sets: dict[tuple[int, int], OpenSet] = {}
        """By plane number and start (s)."""
        self.late: list[LateBatch] = []
        self.deliveries = Deliveries()
        self.places: list[tuple[str | None, str | None]] = [(None, None)]
        """Region and class by place code."""
        self.plane_of: dict[tuple[str, int], int] = {}
        self.place_of = np.zeros(1024, np.int32)
        self.late_touched = np.zeros(1024, np.int64)
        self.has_late = np.zeros(1024, bool)
        self.unsealed: dict[str, EntryNote] = {}
        self.refused_bytes = 0
        """Of the refused lines in these."""
        self.pending: tuple[Cut, list[tuple[int, int]], int] | None = None
        """The cut not released yet, its sets, and how many of the late batches are in it."""
        self.saver = Saver()
        self.shown: list[Saver] = []
        """What others see of it, kept by those who publish it."""
        self.beside: Beside | None = None
        """What is saved and restored together with it."""

    # -- readings come in ----------------------------------------------------------------------------------

    def apply(self, entry: Entry, offset: int) -> Applied:
        """Fold the entry at ``offset`` of the log into what is held."""
        with self.lock:
            return self._take(entry, offset, sealed=None)

    def replay(self, entry: Entry, offset: int) -> None:
        """Apply an entry again after `restore`: what the newest seal has of it is left out."""
        with self.lock:
            sealed = self.saver.sealed
            self._take(entry, offset, sealed=sealed if sealed and entry.number <= sealed.number else None)

    def passed(self, offset: int) -> None:
        """Note that what lies at ``offset`` of the log changes nothing here."""
        with self.lock:
            self.offset = max(self.offset, offset + 1)

    def _take(self, entry: Entry, offset: int, *, sealed: SealedState | None) -> Applied:
        self.epoch += 1
        self.reach(len(self.ids))
        self.deliveries.add(entry.number, entry.source, entry.received_us, entry.precedence)
        counts, late = np.zeros(5, np.int64), []
        strips = entry.strips
        if len(strips):
            for plane, some in self._by_plane(entry):
                if plane < 0:
                    late.append(some)
                else:
                    late += self._route(plane, some, entry, counts)
        pile = Strips.concat(late)
        n = filled(pile)
        self.late_touched[pile.meter] = self.epoch
        if len(pile) and sealed is None:
            self.late.append(LateBatch(offset, entry.number, pile, entry.kinds))
            self.has_late[pile.meter] = True
        if sealed is None or entry.number > sealed.number:
            if entry.batch_id not in self.unsealed:
                self.refused_bytes += entry.rejects.nbytes
            self.unsealed[entry.batch_id] = note_of(entry, offset, counts, n)
        self.offset, self.number = offset + 1, max(self.number, entry.number)
        self.last_us = max(self.last_us, entry.received_us)
        return Applied(counts, n)

    def _by_plane(self, entry: Entry) -> list[tuple[int, Strips]]:
        """Strips by the number of their plane, -1 where blocks of their length are not kept open."""
        plane = np.array([self.plane(kind) for kind in entry.kinds], np.int64)
        if (plane == plane[0]).all():
            return [(int(plane[0]), entry.strips)]
        mine = plane[entry.strips.kind]
        return [(p, entry.strips.where(mine == p)) for p in np.unique(mine).tolist()]

    def plane(self, kind: Kind) -> int:
        """Number of the plane of a kind, new or known; -1 where it has none."""
        key = kind.channel, kind.interval_s
        number = self.plane_of.get(key)
        if number is None:
            if not has_plane(kind.interval_s):
                return -1
            number = self.plane_of[key] = len(self.planes)
            self.planes.append(Plane(*key))
        return number

    def reach(self, codes: int) -> None:
        """Make room for meter codes below ``codes``."""
        if codes > len(self.place_of):
            more = max(codes, 2 * len(self.place_of)) - len(self.place_of)
            self.place_of = np.concatenate([self.place_of, np.zeros(more, np.int32)])
            self.late_touched = np.concatenate([self.late_touched, np.zeros(more, np.int64)])
            self.has_late = np.concatenate([self.has_late, np.zeros(more, bool)])

    def _route(self, number: int, strips: Strips, entry: Entry, counts: np.ndarray[Any, Any]) -> list[Strips]:
        """Fold strips of one plane into its open sets; return those that are late."""
        plane = self.planes[number]
        most = len(plane) + self.limits.rows - sum(len(one) for one in self.planes)
        routed = routing.route(plane, strips, self.place_of, self.epoch, self.floors[plane.span_s], most)
        for start_s, pieces in routed.blocks:
            one = self.sets.get((number, start_s))
            if one is None:
                one = self.sets[number, start_s] = OpenSet(plane, start_s, len(self.places))
            self._fold(one, pieces, entry, counts, overlap=routed.overlap)
        return routed.late

    def _fold(
        self, one: OpenSet, pieces: Pieces, entry: Entry, counts: np.ndarray[Any, Any], *, overlap: bool
    ) -> None:
        kinds = entry.kinds
        if len(kinds) == 1:
            code = one.add_versions(
                [(kinds[0], self.deliveries.source(kinds[0].source))], entry.number, entry.received_us
            )
            codes = np.full(len(pieces.row), code[0], np.int32)
        else:
            used = np.flatnonzero(np.bincount(pieces.kind))
            of_kind = np.zeros(len(kinds), np.int32)
            of_kind[used] = one.add_versions(
                [(kinds[k], self.deliveries.source(kinds[k].source)) for k in used.tolist()],
                entry.number,
                entry.received_us,
            )
            codes = of_kind[pieces.kind]
        one.write(pieces, codes, self.deliveries.ranks, self.epoch, counts, overlap=overlap)

    def phases_clash(self, strips: Strips, kinds: Sequence[Kind]) -> Bools:
        """Which strips lie beside the phase of their row; of unknown rows, beside that of most of these strips."""
        return phases.clash(self, strips, kinds)

    # -- what is held, for questions -----------------------------------------------------------------------

    def part(self, meters: Sequence[str] | None, start_s: int, stop_s: int) -> Part | None:
        """Readings of some meters (None: all) in blocks that may hold slots of ``[start_s, stop_s)``; None for none."""
        if meters is None:
            return self._part_of_all(start_s, stop_s)
        names = sorted(set(meters))
        found = self.ids.find(names)
        names = pa.array([name for name, code in zip(names, found, strict=True) if code >= 0], pa.string())
        codes = found[found >= 0]
        if not len(codes):
            return None
        with self.lock:
            late = self._late_of(names, codes, start_s, stop_s)
            within: defaultdict[int, list[OpenSet]] = defaultdict(list)
            for (number, _), one in sorted(self.sets.items()):
                if one.start_s < stop_s and start_s < one.stop_s:
                    within[number].append(one)
            pairs = [
                pair for number, sets in within.items() for pair in self._few(number, sets, names, codes)
            ]
            return self._joined(pairs, late)

    def reaches(self, meters: Sequence[str], start_s: int, stop_s: int) -> bool:
        """Whether `part` may have anything of ``meters``; False is certain."""
        # without the lock: what is being applied meanwhile is not acknowledged yet
        if any(one.start_s < stop_s and start_s < one.stop_s for one in list(self.sets.values())):
            return True
        if not self.late:
            return False
        codes, has_late = self.ids.find(meters), self.has_late
        return bool(has_late[codes[(codes >= 0) & (codes < len(has_late))]].any())

    def _late_of(self, names: pa.Array, codes: Codes, start_s: int, stop_s: int) -> pa.Table:
        some = np.flatnonzero(codes < len(self.has_late))
        some = some[self.has_late[codes[some]]]
        if not len(some):
            return NONE_LOST
        return late_rows_of(self.late, names.take(pa.array(some)), codes[some], start_s, stop_s)

    def _few(
        self, number: int, sets: Sequence[OpenSet], names: pa.Array, codes: Codes
    ) -> list[tuple[pa.Table, pa.Table]]:
        """Blocks of some meters in sets of one plane, by meter and start, and losers."""
        plane = self.planes[number]
        rows = plane.rows_of(codes)
        some = np.flatnonzero(rows >= 0)
        if not len(some):
            return []
        if len(some) < len(rows):
            rows, names = rows[some], names.take(pa.array(some))
        blocks, lost = few_tables(plane, [(one.start_s, one.view(rows)) for one in sets], rows, names)
        return [(blocks, NONE_LOST), *((NO_BLOCKS, one) for one in lost)]

    def _part_of_all(self, start_s: int, stop_s: int) -> Part | None:
        with self.lock:
            copies = [
                Copy(one, self.epoch)
                for one in self.sets.values()
                if one.start_s < stop_s and start_s < one.stop_s
            ]
        for copy in copies:
            copy.bulk(self.lock)
        with self.lock:
            views = [(copy.of, copy.finish()) for copy in copies]
            late = list(self.late)
            senders = self.deliveries.senders()
        return self._whole(views, late_rows(late, self.ids, start_s, stop_s), senders)

    def _whole(
        self, views: Sequence[tuple[OpenSet, View]], late: pa.Table, senders: Any = None
    ) -> Part | None:
        texts: Any = self.ids.texts() if views else None
        pairs = []
        for one, view in views:
            rows = one.plane.order(texts, view.rows)
            names = texts.take(pa.array(one.plane.meters.data[rows])).cast(pa.string())
            pairs.append(tables_of(one.plane, one.start_s, view, rows, names))
        return self._joined(pairs, late, senders)

    def _joined(
        self, pairs: Sequence[tuple[pa.Table, pa.Table]], late: pa.Table, senders: Any = None
    ) -> Part | None:
        some = [blocks for blocks, _ in pairs if len(blocks)]
        if not some and not len(late):
            return None
        blocks = some[0] if len(some) == 1 else pa.concat_tables([NO_BLOCKS, *some])
        if len(some) > 1:
            blocks = sort_blocks(blocks)
        losers = [lost for _, lost in pairs if len(lost)]
        lost = pa.concat_tables(losers) if losers else NONE_LOST
        senders = self.deliveries.senders() if senders is None else senders
        return Part(blocks, lost, late, senders, Landed(senders))

    # -- seals ---------------------------------------------------------------------------------------------

    def due(self, now_s: int, grace_s: int) -> bool:
        """Whether a set is over for ``grace_s`` seconds, so that `freeze` would take it."""
        with self.lock:
            return any(
                one.stop_s + grace_s <= now_s or one.start_s < self.floors[one.plane.span_s]
                for one in self.sets.values()
            )

    def freeze(self, now_s: int, grace_s: int, *, everything: bool = False) -> Cut | None:
        """Cut off what a seal shall commit: sets that ended ``grace_s`` seconds ago, late readings, batches.

        With ``everything`` all open sets, whose readings are late from now on. None where there is nothing.
        Until a cut is released, every freeze returns that very cut again.
        """
        with self.lock:
            if self.pending is not None:
                return self.pending[0]
            for span_s in self.floors:
                floor = min(now_s - grace_s, self.last_us // 1_000_000 + AHEAD_S) // span_s * span_s
                ends = [one.stop_s for one in self.sets.values() if everything and one.plane.span_s == span_s]
                self.floors[span_s] = max(self.floors[span_s], floor, *ends)
            keys = [key for key, one in self.sets.items() if one.start_s < self.floors[one.plane.span_s]]
            late, notes = list(self.late), list(self.unsealed.values())
            if not keys and not late and not notes:
                return None
            frozen = [self.sets[key] for key in keys]
            known = self.number, self.offset, self.sequence + 1, dict(self.floors)
            senders = self.deliveries.senders()
        part = self._whole([(one, one.view()) for one in frozen], late_rows(late, self.ids), senders)
        nothing = Part(
            NO_BLOCKS,
            NONE_LOST,
            NONE_LOST,
            senders,
            Landed(senders),
        )
        sets = [(one.plane.channel, one.plane.interval_s, one.start_s) for one in frozen]
        cut = Cut(*known, sets, part if part is not None else nothing, notes)
        with self.lock:
            self.sequence = cut.sequence
            self.pending = cut, keys, len(late)
        return cut

    def release(self, cut: Cut, sequence: int | None = None) -> None:
        """Drop what ``cut`` holds: it is in the lake, by a seal of its own sequence or of another."""
        with self.lock:
            if self.pending is None or self.pending[0] is not cut:
                return
            self.sequence = cut.sequence if sequence is None else sequence
            _, keys, late = self.pending
            self.pending = None
            for key in keys:
                views.carry(self.sets.pop(key))
            self._forget_phases()
            for saver in (self.saver, *self.shown):
                for key in keys:
                    saver.forget_set(key)
                saver.forget_late(self.late[:late], [note.number for note in cut.entries])
            del self.late[:late]
            self.has_late[:] = False
            for batch in self.late:
                self.has_late[batch.strips.meter] = True
            for note in cut.entries:
                if self.unsealed.pop(note.batch_id, None) is not None:
                    self.refused_bytes -= note.rejects.nbytes
            self.forget_deliveries()
            self.epoch += 1

    def _forget_phases(self) -> None:
        """Let meters of an odd phase begin anew where nothing of them is open: it may have been one wrong clock."""
        for number, plane in enumerate(self.planes):
            rows = plane.odd()
            for (owner, _), one in self.sets.items():
                if owner == number and len(rows):
                    rows = rows[~one.holds(rows)]
            plane.forget(rows)

    def forget_deliveries(self) -> None:
        """Forget the deliveries that nothing names any more."""
        needed = [
            int(one.versions.view(1)["delivery"].min()) for one in self.sets.values() if len(one.versions) > 1
        ]
        needed += [batch.number for batch in self.late]
        needed += [note.number for note in self.unsealed.values()]
        below = min(needed, default=self.number + 1)
        self.deliveries.drop_below(below)
        for saver in (self.saver, *self.shown):
            saver.forget_deliveries(below)

    def note(self, batch_id: str) -> EntryNote | None:
        """Return what became of a batch that no seal has recorded yet; None for any other."""
        with self.lock:
            return self.unsealed.get(batch_id)

    def notes(self) -> Mapping[str, EntryNote]:
        """Batches that no seal has recorded yet, by batch id."""
        with self.lock:
            return dict(self.unsealed)

    # -- checkpoints ---------------------------------------------------------------------------------------

    def save(self, checkpoints: Checkpoints) -> None:
        """Save what has changed since the last save; the log below ``saved_offset`` is not needed then."""
        self.saver.save(self, checkpoints)

    def restore(self, checkpoints: Checkpoints, sealed: SealedState | None) -> int:
        """Take over the last checkpoint but for what the newest landed seal holds; return the offset to replay from.

        Only to be called before anything was applied.
        """
        with self.lock:
            load(self, checkpoints, sealed)
            return self.offset

    # -- derived -------------------------------------------------------------------------------------------

    def set_places(self, meter_ids: pa.Array, region: pa.Array, class_: pa.Array) -> None:
        """Say where meters are (others: nowhere), and add up the sums by place anew."""
        codes = self.ids.codes_of(meter_ids) if len(meter_ids) else np.empty(0, np.int32)
        places, place = views.places_of(region, class_)
        with self.lock:
            self.reach(len(self.ids))
            self.places = places
            self.place_of[:] = 0
            self.place_of[codes] = place
            for plane in self.planes:
                plane.reach(len(self.place_of))
                plane.rows.view()["place"] = self.place_of[plane.meters.view()]
            for one in self.sets.values():
                one.recount(len(places))
            self.epoch += 1

    def touched(self, meters: Sequence[str]) -> int:
        """Epoch at which something of ``meters`` last came; 0 if nothing did."""
        codes = self.ids.find(meters)
        codes = codes[codes >= 0]
        newest, late = 0, self.late_touched
        for plane in list(self.planes):  # without the lock, as `reaches`
            rows = plane.rows_of(codes)
            newest = max(newest, int(plane.rows.data["touched"][rows[rows >= 0]].max(initial=0)))
        return max(newest, int(late[codes[codes < len(late)]].max(initial=0)))

    def meter(self, meter_id: str, now_s: int) -> pa.Table | None:
        """How a meter stands: a row of `views.METER_SCHEMA` by channel and interval; None where nothing is held."""
        with self.lock:
            return views.meter(self, meter_id, now_s)

    def recent(self, meter_id: str, now_s: int, seconds: int = HOUR_S) -> pa.Table:
        """Slots of a meter that began in the last ``seconds``: rows of `views.RECENT_SCHEMA`."""
        with self.lock:
            return views.recent(self, meter_id, now_s, seconds)

    def quarters(self, meter_id: str, now_s: int, seconds: int = HOUR_S) -> pa.Table:
        """Quarter hours that a meter's shorter intervals add up to, of the last ``seconds``: `views.QUARTER_SCHEMA`."""
        with self.lock:
            return views.rollup(self, meter_id, now_s, seconds)

    def regions(self, now_s: int) -> pa.Table:
        """Sums by region, class, channel and interval: rows of `views.REGION_SCHEMA`."""
        with self.lock:
            return views.regions(self, now_s)

    def fleet(self, now_s: int) -> pa.Table:
        """Sums by channel and interval: rows of `views.FLEET_SCHEMA`."""
        return views.fleet(self.regions(now_s))

    def top(self, n: int, channel: str | None, now_s: int | None = None) -> pa.Table:
        """The ``n`` meters with the greatest power in their latest slot, of the last hour: rows of `views.TOP_SCHEMA`.

        The hour ends at ``now_s``, or with the newest slot there is.
        """
        with self.lock:
            return views.top(self, n, channel, now_s)

    def newest(self, known: views.Newest = views.NOTHING) -> views.Newest:
        """Newest interval of each meter, with what was ``known`` of those that were released since."""
        with self.lock:
            return views.newest(self, known)

    # -- how much there is ---------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Bytes of memory that the readings and the rows take."""
        held = sum(one.nbytes for one in self.sets.values()) + sum(plane.nbytes for plane in self.planes)
        held += self.deliveries.rows.nbytes + LATE_SLOT_BYTES * sum(batch.slots for batch in self.late)
        return held + ID_BYTES * len(self.ids) + self.refused_bytes

    def pressure(self) -> float:
        """Return the larger of used memory and late readings, each as a share of its limit."""
        with self.lock:
            late = sum(batch.slots for batch in self.late)
            return max(self.used_bytes / self.limits.bytes, late / self.limits.late_slots)

    def sizes(self) -> dict[str, int]:
        """Return how much is held: bytes, rows, open sets, late readings, batches not yet recorded."""
        with self.lock:
            return {
                "bytes": self.used_bytes,
                "rows": sum(len(plane) for plane in self.planes),
                "sets": len(self.sets),
                "late": sum(batch.slots for batch in self.late),
                "batches": len(self.unsealed),
            }
