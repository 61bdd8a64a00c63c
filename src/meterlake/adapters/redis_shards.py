"""What of a shard is read from Redis: a small live side of some meters, or all of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterlake.ids import MeterIds
from meterlake.intervals import DAY_S, HOUR_S, block_slots
from meterlake.live.checkpoint import read_table, table_bytes
from meterlake.live.kernel import CHUNK, LOSER, VERSION
from meterlake.live.live import Live

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.live.limits import LiveLimits

COLUMNS: Final = 256
"""Columns of all rows that are read at once."""
FLOORS: Final = {DAY_S: 0, HOUR_S: 0}
Rows = dict[int, list[tuple[str, int, int]]]
"""By plane: meter, row, phase."""


class Moved(Exception):
    """What was being read has changed meanwhile: read again."""


class Columns(NamedTuple):
    """Columns of cells as pieces, and by set the greatest version that one names."""

    pieces: dict[str, bytes]
    most: dict[str, int]


class Shown:
    """One shard, and what of it is kept here: what only grows."""

    def __init__(self, name: str, prefix: str) -> None:
        """Begin with nothing."""
        self.name, self.prefix = name, prefix
        self.generation = self.epoch = -1
        self.state: dict[str, Any] = {}
        self.grown: dict[str, bytes] = {}
        """Versions and losers by set; of one generation."""
        self.late: dict[int, pa.Table] = {}
        self.deliveries = b""
        self.dropped = -1

    def forget(self, generation: int) -> None:
        """Begin anew: another process shows it, or the same from the beginning."""
        self.generation, self.grown, self.late = generation, {}, {}
        self.deliveries, self.dropped = b"", -1


class Pieces:
    """`ports.Checkpoints` that were read for one question."""

    def __init__(self, state: Mapping[str, Any], pieces: Mapping[str, bytes]) -> None:
        """Hold them."""
        self._state, self._pieces = state, pieces

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Nothing is saved: it is a copy."""

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]]:
        """Return state and pieces."""
        return json.dumps(dict(self._state) | {"sequence": 0}).encode(), iter(self._pieces.items())

    @property
    def generation(self) -> None:
        """None: nobody takes over a copy."""

    def close(self) -> None:
        """Nothing is open."""


class Reader:
    """Reads shards through one client."""

    def __init__(self, redis: Any, cells: Any, limits: LiveLimits) -> None:
        """``cells`` is the script that reads cells."""
        self._redis, self._cells, self._limits = redis, cells, limits

    def some(self, shard: Shown, planes: Rows, meters: Sequence[str]) -> Live:
        """Make the live side of some rows of a shard."""
        sets = [(plane, start) for plane, start in shard.state["sets"] if plane in planes]
        pieces = {f"rows/{plane}/0": _row_bytes(rows) for plane, rows in planes.items()}
        cells = self._columns_of(shard, sets, planes)
        self._grow(shard, sets)
        for plane, start in sets:
            where = f"{plane}/{start}"
            versions = shard.grown[f"versions/{where}"]
            if cells.most.get(where, 0) * VERSION.itemsize >= len(versions):
                raise Moved  # the set went while it was read
            pieces[f"versions/{where}/0"] = versions
            losers = _losers(shard.grown[f"losers/{where}"], [row for _, row, _ in planes[plane]])
            if losers:
                pieces[f"losers/{where}/0"] = losers
        pieces |= cells.pieces | self._beside(shard, pa.array(meters, pa.string()))
        live = Live(MeterIds(), self._limits, FLOORS)
        live.restore(Pieces(shard.state | {"sets": sets}, pieces), None)
        self._carried(shard, live, planes)
        return live

    def _columns_of(self, shard: Shown, sets: Sequence[tuple[int, int]], planes: Rows) -> Columns:
        asked: list[Any] = []
        for plane, start in sets:
            places = [word for _, row, _ in planes[plane] for word in (row // CHUNK, row % CHUNK)]
            width = block_slots(shard.state["planes"][plane][1])
            asked += [f"{plane}/{start}", width, len(planes[plane]), *places]
        found = self._cells([], [f"{shard.prefix}c/", *asked]) if asked else []
        return _columns(found, {f"{plane}/{start}": len(planes[plane]) for plane, start in sets})

    def _grow(self, shard: Shown, sets: Sequence[tuple[int, int]]) -> None:
        """Read what has been added to versions, losers, late readings and deliveries since the last time."""
        names = [f"{kind}/{plane}/{start}" for plane, start in sets for kind in ("versions", "losers")]
        listed = {f"{kind}/{p}/{s}" for p, s in shard.state["sets"] for kind in ("versions", "losers")}
        shard.grown = {name: data for name, data in shard.grown.items() if name in listed}
        shard.late = {offset: rows for offset, rows in shard.late.items() if offset in shard.state["late"]}
        wanted = [offset for offset in shard.state["late"] if offset not in shard.late]
        if shard.dropped != shard.state["dropped"]:
            shard.dropped, shard.deliveries = shard.state["dropped"], b""
        with self._redis.pipeline(transaction=False) as line:
            for name in names:
                line.getrange(f"{shard.prefix}{name}", len(shard.grown.get(name, b"")), -1)
            line.getrange(f"{shard.prefix}deliveries/{shard.dropped}", len(shard.deliveries), -1)
            for offset in wanted:
                line.hget(f"{shard.prefix}late", str(offset))
            found = line.execute()
        for name, data in zip(names, found[: len(names)], strict=True):
            shard.grown[name] = shard.grown.get(name, b"") + data
        shard.deliveries += found[len(names)]
        for offset, data in zip(wanted, found[len(names) + 1 :], strict=True):
            if data is None:
                raise Moved
            shard.late[offset] = read_table(data)

    def _beside(self, shard: Shown, meters: pa.Array | None) -> dict[str, bytes]:
        """Deliveries, and late readings of some meters or of all."""
        pieces = {"deliveries/0": shard.deliveries} if shard.deliveries else {}
        for offset, rows in shard.late.items():
            mine = rows if meters is None else rows.filter(pc.is_in(rows["meter_id"], value_set=meters))
            if len(mine):
                pieces[f"late/{offset}"] = table_bytes(mine)
        return pieces

    def _carried(self, shard: Shown, live: Live, planes: Rows | None) -> None:
        """Lay in what sealed hours of today add up to."""
        for number, (day_s, n) in shard.state["days"].items():
            plane = live.planes[int(number)]
            rows = range(n) if planes is None else [row for _, row, _ in planes.get(int(number), ())]
            if not n or not len(rows):
                continue
            plane.day_s = day_s
            for name in ("total", "filled"):
                key = f"{shard.prefix}day/{number}/{name}"
                if planes is None:
                    held = np.frombuffer(self._redis.get(key) or b"", np.int64)
                else:
                    with self._redis.pipeline(transaction=False) as line:
                        for row in rows:
                            line.getrange(key, 8 * row, 8 * row + 7)
                        held = np.frombuffer(b"".join(data or bytes(8) for data in line.execute()), np.int64)
                setattr(plane, f"day_{name}", held[: len(plane)].copy())

    def whole(self, shard: Shown) -> Live:
        """Make the live side of all meters of a shard."""
        sets = [(plane, start) for plane, start in shard.state["sets"]]
        rows = self._all_rows(shard)
        pieces = {f"rows/{plane}/0": data for plane, (data, _) in rows.items()}
        most: dict[str, int] = {}
        for plane, start in sets:
            columns = self._all_columns(shard, plane, start, rows[plane][1])
            pieces |= columns.pieces
            most |= columns.most
        self._grow(shard, sets)
        for where, code in most.items():
            if code * VERSION.itemsize >= len(shard.grown[f"versions/{where}"]):
                raise Moved
        pieces |= {f"{name}/0": data for name, data in shard.grown.items()}
        live = Live(MeterIds(), self._limits, FLOORS)
        live.restore(Pieces(shard.state, pieces | self._beside(shard, None)), None)
        self._carried(shard, live, None)
        return live

    def _all_rows(self, shard: Shown) -> dict[int, tuple[bytes, int]]:
        """Meters of every plane by row, and how many there are."""
        found = {}
        for plane in range(len(shard.state["planes"])):
            source = pa.BufferReader(self._redis.get(f"{shard.prefix}rows/{plane}") or b"")
            tables = []
            while source.tell() < source.size():
                tables.append(pa.ipc.open_stream(source).read_all())
            whole = (
                pa.concat_tables(tables)
                if tables
                else pa.table({"meter_id": pa.array([], pa.string()), "phase": pa.array([], pa.int16())})
            )
            found[plane] = table_bytes(whole), len(whole)
        return found

    def _all_columns(self, shard: Shown, plane: int, start: int, rows: int) -> Columns:
        places = [
            f"{slot}/{chunk}"
            for slot in range(block_slots(shard.state["planes"][plane][1])) for chunk in range(-(-rows // CHUNK))
        ]  # fmt: skip
        pieces: dict[str, bytes] = {}
        most = 0
        for low in range(0, len(places), COLUMNS):
            some = places[low : low + COLUMNS]
            for place, data in zip(
                some,
                self._redis.mget([f"{shard.prefix}c/{plane}/{start}/{one}" for one in some]),
                strict=True,
            ):
                if data:
                    pieces[f"cells/{plane}/{start}/{place}"] = data
                    most = max(most, int(np.frombuffer(data[3:], data[:3].decode())[1::2].max(initial=0)))
        return Columns(pieces, {f"{plane}/{start}": most})


def _row_bytes(rows: Sequence[tuple[str, int, int]]) -> bytes:
    phases = pa.array([phase for *_, phase in rows], pa.int16())
    return table_bytes(
        pa.table({"meter_id": pa.array([meter for meter, *_ in rows], pa.string()), "phase": phases})
    )


def _columns(found: Sequence[Any], rows: Mapping[str, int]) -> Columns:
    """Cells of some rows (set and slot, which row, type and cell) as columns of a small live side."""
    by_slot: dict[str, list[tuple[int, bytes]]] = {}
    for at in range(0, len(found), 3):
        by_slot.setdefault(found[at].decode(), []).append((int(found[at + 1]), found[at + 2]))
    pieces: dict[str, bytes] = {}
    most: dict[str, int] = {}
    for place, cells in by_slot.items():
        where, _, slot = place.rpartition("/")
        head = max((data[:3] for _, data in cells), key=lambda one: int(one[2:]))
        column = np.zeros((rows[where], 2), head.decode())
        for row, data in cells:
            column[row] = np.frombuffer(data[3:], data[:3].decode())
        most[where] = max(most.get(where, 0), int(column[:, 1].max()))
        pieces[f"cells/{where}/{slot}/0"] = head + column.tobytes()
    return Columns(pieces, most)


def _losers(data: bytes, rows: Sequence[int]) -> bytes:
    """Losers of some rows, with the numbers that these have among themselves."""
    if not data:
        return b""
    held = np.frombuffer(data, LOSER)
    order = np.argsort(rows)
    at = np.minimum(np.searchsorted(np.array(rows)[order], held["row"]), len(rows) - 1)
    number = order[at]
    mine = np.array(rows)[number] == held["row"]
    found = held[mine].copy()
    found["row"], found["next"] = number[mine], 0
    told: bytes = found.tobytes()
    return told
