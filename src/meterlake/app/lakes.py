"""A lake with its registry, as programs and commands use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterlake.app.parts import BUCKETS, engine_at, lake_at, people_store, received_of, registry_at
from meterlake.errors import Invalid
from meterlake.query.questions import Questions
from meterlake.work import at_work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from meterlake.check import CheckReport
    from meterlake.compact import CompactReceipt
    from meterlake.intake import LoadOptions
    from meterlake.live.part import LiveSource
    from meterlake.nightly.batch import BatchReceipt
    from meterlake.ports import Engine, Lake, Registry
    from meterlake.receipt import Receipt
    from meterlake.retain import RetainReceipt
    from meterlake.undo import UndoReceipt

    Progress = Callable[[str, int, int], None]


class Meterlake(Questions):
    """A lake with its registry, ready for files and questions; made by `open`."""

    def __init__(
        self, lake: Lake, registry: Registry, *, live: LiveSource | None = None, engine: str | None = None
    ) -> None:
        """Put the parts together; ``live`` is what was acknowledged and is not in the lake yet.

        ``engine`` is the URL of what large jobs run on; None: threads of this process.
        """
        self.lake, self.registry, self._engine_url = lake, registry, engine
        parts = None
        if engine not in {None, "local"} and live is None:
            from meterlake.report_tasks import TaskParts

            parts = TaskParts(lake, self._engine)
        super().__init__(lake, registry, live=live, parts=parts)

    def _engine(self) -> Engine:
        return engine_at(self._engine_url, self.lake, self.registry)

    def load(
        self,
        paths: str | Path | Sequence[str | Path],
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        **told: Any,
    ) -> Receipt:
        """Load files, folders, globs and archives.

        ``told`` are options by their names on the command line, such as ``zone="Europe/London"``,
        ``interval="30min"``, ``feed="nightly"`` or ``dry_run=True``; or give them as ``options``.
        """
        from meterlake.feeds import options_of
        from meterlake.intake import LoadOptions
        from meterlake.load import Load

        if told and options is not None:
            raise Invalid("give the options of a load by name or as LoadOptions, not both")
        chosen = options or (options_of(told, self.lake.store) if told else LoadOptions())
        named = [paths] if isinstance(paths, str | Path) else paths
        shown = f"{named[0]} and {len(named) - 1} more" if len(named) > 1 else str(named[0] if named else "")
        with at_work(self.lake.store, "load", shown, progress) as tell:
            texts = [str(path) for path in named]
            if self._engine_url in {None, "local"}:
                return Load(self.lake, self.registry, chosen, tell).run(texts)
            with self._engine() as engine:
                return Load(self.lake, self.registry, chosen, tell, engine).run(texts)

    def undo(self, load_id: str, *, dry_run: bool = False) -> UndoReceipt:
        """Take a load back as a new version."""
        from meterlake.series import resettle
        from meterlake.undo import undo

        receipt = undo(self.lake, load_id, dry_run=dry_run)
        if not dry_run:
            resettle(self.lake, self.registry)
        return receipt

    def loads(self) -> list[dict[str, Any]]:
        """Receipts of all loads, newest first; one that was undone says by which version."""
        import json

        import pyarrow as pa
        import pyarrow.compute as pc

        operations = self.lake.records("operations")
        told = pa.array(["load", "undo"])
        operations = operations.filter(pc.is_in(operations["operation"], value_set=told)).to_pylist()
        undone = {o["load_id"]: o["version"] for o in operations if o["operation"] == "undo"}
        receipts = [
            json.loads(o["receipt"])
            | {
                "landed_at": o["landed_at"].isoformat().replace("+00:00", "Z"),
                "undone_by": undone.get(o["load_id"]),
            }
            for o in operations
            if o["operation"] == "load"
        ]
        return sorted(receipts, key=lambda receipt: -receipt["version"])

    def quarantine(self, load_id: str | None = None) -> pa.Table:
        """Refused readings: load_id, file, line, text, reason, count."""
        import pyarrow.compute as pc

        rows = self.lake.records("quarantine").drop_columns(["delivery"])
        return rows if load_id is None else rows.filter(pc.equal(rows["load_id"], load_id))

    def check(self, progress: Callable[[int, int], None] | None = None) -> CheckReport:
        """Read everything back and verify it."""
        from meterlake.check import check

        return check(self.lake, progress, self._engine())

    def compact(self, progress: Callable[[int, int], None] | None = None) -> CompactReceipt:
        """Rewrite the files of many loads into month files."""
        from meterlake.compact import compact
        from meterlake.series import resettle

        with at_work(self.lake.store, "compact", "") as tell:
            receipt = compact(self.lake, _counted("compact", tell, progress), self._engine())
        resettle(self.lake, self.registry)
        return receipt

    def batch(self, day: str | date, progress: Callable[[int, int], None] | None = None) -> BatchReceipt:
        """Recompute a UTC day from the complete record, then drop what is older than the lake's own ages."""
        from meterlake.nightly.batch import batch
        from meterlake.nightly.days import day_of
        from meterlake.retain import read_ages

        with at_work(self.lake.store, "batch", str(day)) as tell:
            told = _counted("batch", tell, progress)
            receipt = batch(self.lake, self.registry, day_of(day), told, self._engine())
        if read_ages(self.lake.store):
            self.retain()
        return receipt

    def runs(self) -> list[dict[str, Any]]:
        """Receipts of the nightly batch, newest first."""
        from meterlake.nightly.history import runs

        return runs(self.lake)

    def due_days(self, now: datetime, grace_s: int, first: date | None = None) -> list[date]:
        """UTC days, oldest first, whose batch has not run yet; see `nightly.history.due_days`."""
        from meterlake.nightly.history import due_days

        return due_days(self.lake, now, grace_s, first)

    def retain(self, *, dry_run: bool = False, now: datetime | None = None, **ages: str) -> RetainReceipt:
        """Drop what is older than its age; ``ages`` by tier are laid over those of the lake's retention.toml."""
        from datetime import UTC, datetime

        from meterlake.retain import read_ages, retain
        from meterlake.series import resettle

        told = read_ages(self.lake.store) | ages
        receipt = retain(
            self.lake,
            self.registry,
            told,
            now or datetime.now(UTC),
            dry_run=dry_run,
            trail=people_store(self.registry),
            received=received_of(self.lake),
        )
        if not dry_run:
            resettle(self.lake, self.registry)
        return receipt

    def sql(self, query: str) -> pa.Table:
        """Answer a DuckDB query over the views readings, blocks, days, meters and service_points."""
        from meterlake.sql import run

        return run(self.lake, self.registry, query)


def _counted(
    phase: str, tell: Progress, also: Callable[[int, int], None] | None
) -> Callable[[int, int], None]:
    """Pass (done, total) on to both."""

    def both(done: int, total: int) -> None:
        tell(phase, done, total)
        if also is not None:
            also(done, total)

    return both


def open_lake(
    url: str = "./lake",
    registry: str | None = None,
    *,
    create: bool = True,
    buckets: int = BUCKETS,
    engine: str | None = None,
) -> Meterlake:
    """Open the lake at ``url``; with ``create`` make it, and its registry, where there is none.

    ``engine`` is what large jobs run on: ``local``, ``spark://HOST:PORT`` or ``local[N]``.
    """
    lake = lake_at(url, create=create, buckets=buckets)
    return Meterlake(lake, registry_at(registry, lake, create=create), engine=engine)
