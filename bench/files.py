"""The input of a bench: simulated files, a file of corrections, and the London files where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from meterlake.simulate import SimulateOptions, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.engines import Layout

START: Final = date(2023, 1, 1)
REPEATS: Final = 0.005
"""Share of rows of the long file that come twice."""
CORRECTED: Final = 0.01
"""Share of meter-days whose readings are sent again, each 7 Wh larger."""
LONDON: Final = Path(__file__).parents[2] / "shared/data/lcl_london/Ryanhilde__meter_readings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much work: meters of the long file (a year), of the wide file (a month), meters asked, and rounds."""

    long_meters: int
    wide_meters: int
    asked: int
    load_rounds: int
    question_rounds: int
    long_days: int = 365
    wide_days: int = 31


_MEDIUM: Final = Size(long_meters=571, wide_meters=6720, asked=300, load_rounds=3, question_rounds=5)
SIZES: Final = {
    "small": Size(long_meters=20, wide_meters=300, asked=20, load_rounds=1, question_rounds=3),
    "medium": _MEDIUM,
    "normal": _MEDIUM,
}
"""By the name that ``SIZE=`` takes; ``normal`` is the word of the other doors."""


@dataclass(frozen=True, slots=True)
class Input:
    """Some files and what is known of them."""

    paths: tuple[Path, ...]
    readings: int
    """Rows with a value, repeats included."""
    start: datetime
    stop: datetime

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.paths)


def simulated(folder: Path, layout: Layout, points: int, days: int) -> Input:
    """Simulate electricity of ``points`` half-hour meters; layout ``long`` has rows that repeat."""
    long = layout == "long"
    made = simulate(
        folder,
        SimulateOptions(
            points=points, days=days, format="csv" if long else "wide", start=START, utilities=("electricity",),
            faults={"duplicate": REPEATS} if long else {},
        ),
    )  # fmt: skip
    start = datetime(START.year, START.month, START.day, tzinfo=UTC)
    return Input(made.files, made.readings, start, start + timedelta(days=days))


def meters_of(points: int, asked: int) -> list[str]:
    """Pick meters to ask about, in random order."""
    from meterlake.simulate.fleet import meter_id

    chosen = np.random.default_rng(1).permutation(points)[:asked]
    return [meter_id("electricity", int(point)) for point in chosen]


def corrections(paths: Sequence[Path], out: Path, share: float = CORRECTED) -> Input:
    """Write a long file of some meter-days of ``paths``, every value 0.007 larger."""
    chance = np.random.default_rng(2)
    rows = 0
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(("meter", "channel", "start", "value"), pa.string())
    )
    with out.open("wb") as sink:
        sink.write(b"meter,channel,start,value\n")
        for path in paths:
            for batch in pacsv.open_csv(path, convert_options=options):
                some = _some_days(batch, share, chance)
                values = pc.add(
                    pc.cast(some["value"], pa.decimal128(12, 6)),
                    pa.scalar("0.007").cast(pa.decimal128(12, 6)),
                )
                some = some.set_column(3, "value", pc.cast(values, pa.string()))
                lines = pc.binary_join_element_wise(*some.columns, ",")
                sink.write("".join(f"{line}\n" for line in lines.to_pylist()).encode())
                rows += len(some)
    start = datetime(START.year, START.month, START.day, tzinfo=UTC)
    return Input((out,), rows, start, start)


def _some_days(batch: pa.RecordBatch, share: float, chance: np.random.Generator) -> pa.Table:
    """Rows of ``share`` of the (meter, channel, day) of a batch."""
    rows = pa.Table.from_batches([batch])
    day = pc.utf8_slice_codeunits(rows["start"], 0, 10)
    key = (
        pc.binary_join_element_wise(rows["meter"], rows["channel"], day, " ")
        .combine_chunks()
        .dictionary_encode()
    )
    chosen = chance.random(len(key.dictionary)) < share
    return rows.filter(pa.array(chosen[key.indices.to_numpy()]))


def london() -> Input | None:
    """The real London files of 2013, None where they are not at hand."""
    paths = tuple(sorted(LONDON.glob("MAC*.csv")))
    readings = sum(path.read_bytes().count(b"\n") - 1 for path in paths)
    year = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 2, tzinfo=UTC)
    return Input(paths, readings, *year) if paths else None
