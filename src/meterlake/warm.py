"""Compile every kernel once, by doing a little of everything: ``python -m meterlake.warm``.

Numba keeps what it compiled beside the modules (or in NUMBA_CACHE_DIR), so no later run waits for it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from meterlake.app import open_lake
from meterlake.formats.codec import ReadOptions
from meterlake.intake import LoadOptions
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


def main() -> None:
    """Compile, and say how long it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="meterlake-") as folder:
        warm(Path(folder))
    print(f"kernels are ready ({time.monotonic() - started:.1f} s)")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
