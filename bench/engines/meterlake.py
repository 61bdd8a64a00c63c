"""Meterlake through its Python API, with the defaults a newcomer gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import meterlake
from bench.engines import CHANNEL, RANGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    import pyarrow as pa

    from bench.engines import Layout


class Meterlake:
    """A lake in a folder. Unlike a peer's load, ours also writes a receipt, a registry and a record for undo."""

    grain = 1

    def __init__(self, folder: Path) -> None:
        """Open the lake, or make one."""
        self._folder = folder
        self._lake = meterlake.open(str(folder))

    def load(self, paths: Sequence[Path], layout: Layout) -> None:  # noqa: ARG002 - recognised
        """Load, and make sure that the receipt refuses nothing."""
        receipt = self._lake.load(paths)
        if any(file.error or file.rejected for file in receipt.files):
            raise RuntimeError(f"the load refused readings of clean files: {receipt}")

    def correct(self, paths: Sequence[Path]) -> None:
        """Load: what arrives later replaces what stood."""
        self.load(paths, "long")

    def settle(self) -> None:
        """Compact, then drop the files that only earlier versions name, as Delta's VACUUM does when they have aged."""
        from deltalake import DeltaTable

        self._lake.compact()
        DeltaTable(str(self._folder / "interval_blocks")).vacuum(
            retention_hours=0, enforce_retention_duration=False, dry_run=False
        )

    def sizes(self) -> Mapping[str, int]:
        """Whole folder: blocks, commit logs, side tables, registry."""
        from meterlake.adapters.files import LEVEL_FINAL

        total = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        return {f"whole folder, zstd {LEVEL_FINAL}": total}

    def history(self, meter: str, start: datetime, stop: datetime) -> pa.Table:
        """Ask for all columns, as a caller gets them; the amounts count."""
        return self._lake.history(meter, start, stop, channel=CHANNEL).to_arrow().select(["start", "amount"])

    def usage(self, meter: str, until: date) -> Sequence[int]:
        """Ask for the five ranges; the answer also holds those of the period before."""
        figures = self._lake.usage(meter, until=until, zone="UTC").channels[CHANNEL]
        return [figures[name][0].amount for name in RANGES]

    def month_totals(self, start: datetime, stop: datetime) -> pa.Table:
        """Ask for the largest consumers without a limit."""
        table = self._lake.top(start, stop, None, channel=CHANNEL).to_arrow()
        return table.select(["meter", "amount"])

    def load_curve(self, start: datetime, stop: datetime) -> pa.Table:
        """Ask for the fleet by interval: all channels come, and intervals without readings; those of one are taken."""
        import pyarrow.compute as pc

        table = self._lake.fleet(start, stop).to_arrow()
        mine = pc.and_(pc.equal(table["channel"], CHANNEL), pc.greater(table["filled"], 0))
        return table.filter(mine).select(["start", "amount"])

    def close(self) -> None:
        """Nothing is held open that the process would not let go of."""


def open_store(folder: Path) -> Meterlake:
    """Open the lake in ``folder``."""
    return Meterlake(folder)
