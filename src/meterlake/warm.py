"""Compile every kernel once, by doing a little of everything: ``python -m meterlake.warm``.

Numba keeps what it compiled beside the modules (or in NUMBA_CACHE_DIR), so no later run waits for it.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from meterlake.api.json_text import pieces
from meterlake.app import open_lake, open_node
from meterlake.formats.batch import ARROW, CSV, JSON, NDJSON
from meterlake.formats.codec import ReadOptions
from meterlake.intake import LoadOptions
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.keys import ApiKey
from meterlake.logs import only_warnings
from meterlake.node_settings import NodeSettings
from meterlake.simulate import SimulateOptions, simulate

LAYOUTS: Final = {
    "wide": ReadOptions(),
    "csv": ReadOptions(),
    "lcl-raw": ReadOptions(),
    "nem12": ReadOptions(),
    "parquet": ReadOptions(),
    "blocks": ReadOptions(),
}


def warm(folder: Path) -> None:
    """Simulate and load a few homes in every layout into one lake, so that deliveries meet each other too."""
    lake = open_lake(str(folder / "lake"))
    options = SimulateOptions(points=2, days=2, utilities=("electricity",), faults={"missing": 0.01})
    for layout, read in LAYOUTS.items():
        out = folder / layout
        simulate(out, replace(options, format=layout))
        for source in ("a", "b"):
            lake.load([out / "readings"], LoadOptions(read=read, source=source))
    own = folder / "own.csv"
    own.write_text("m1;01/03/2026 00:30;1,5\nm1;01/03/2026 01:00;x\n")
    columns = {"meter": "1", "time": "2", "value": "3"}
    read = ReadOptions(
        format="csv", map=columns, time_format="%d/%m/%Y %H:%M", decimal=",", delimiter=";", interval_s=1800,
        zone="Europe/London",
    )  # fmt: skip
    lake.load([own], LoadOptions(read=read))


def warm_live(folder: Path) -> None:
    """Serve a lake without a socket: accept in every form, meet what is held, seal, restore, ask."""
    settings = NodeSettings(grace_s=2 * DAY_S, batch=False)
    key = ApiKey(
        id="warm", name="warm", scopes=frozenset({"ingest"}), source="warm", meters=None, best_quality=4
    )
    now = int(time.time()) // HOUR_S * HOUR_S - HOUR_S
    lines = [
        json.dumps(
            {"meter": f"m{m}", "seconds": s, "value": v, "start": datetime.fromtimestamp(at, UTC).isoformat()}
        )
        for m, s, v, at in (
            (1, 900, 1, now),
            (1, 5, 0.1, now - 5),
            (1, 5, 0.2, now),
            (2, 900, 2, now - 5 * DAY_S),
        )
    ]
    again = [line.replace('"value": 1', '"value": 3') for line in lines for _ in range(2)]
    columns = {
        "meter": ["m1"],
        "start": pa.array([now * 1_000_000], pa.timestamp("us", "UTC")),
        "seconds": [900],
        "amount": [1],
    }
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for number in range(2):
        node = open_node(str(folder), None, settings)
        node.start()
        node.accept("\n".join([*lines, lines[0].replace("m1", f"n{number}")]).encode(), NDJSON, key)
        node.accept("\n".join([*again, lines[0].replace("m1", f"o{number}")]).encode(), NDJSON, key)
        node.accept(sink.getvalue().to_pybytes(), ARROW, key)
        node.accept(lines[number].encode(), JSON, key)
        node.accept(f"meter,start,seconds,value\nm{number},2026-01-01T00:00:00Z,900,1".encode(), CSV, key)
        day = datetime.fromtimestamp(now - DAY_S, UTC), datetime.fromtimestamp(now + DAY_S, UTC)
        list(pieces(node.lake.history("m1", *day)))
        node.live.regions(now)
        node.live.part(None, now - DAY_S, now + DAY_S)
        node.checkpoint()
        node.seal(everything=number == 1)
        node.stop()


def main() -> None:
    """Compile, and say how long it took."""
    started = time.monotonic()
    only_warnings()
    with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
        warm(Path(folder))
        warm_live(Path(folder) / "served")
    print(f"kernels are ready ({time.monotonic() - started:.1f} s)")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
