"""Try every configured part and say how it is: reach, version, rights, space, clock."""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterlake import __version__
from meterlake.errors import Conflict, MeterlakeError
from meterlake.progress import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.ports import Lake
    from meterlake.settings import Settings

LIBRARIES: Final = ("pyarrow", "deltalake", "duckdb", "numba", "numpy", "sqlalchemy", "tzdata")
CLOCKS_S: Final = 60
"""Clocks that are further apart than this give readings wrong stamps."""
SPACE_LOW: Final = 1 << 30
"""Less free space than this (bytes) is too little to rewrite a month's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one part is."""

    part: str
    ok: bool
    what: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


def examine(settings: Settings, mqtt: str | None = None) -> list[Finding]:
    """Findings on every part that is set, in the order in which they depend on each other.

    ``mqtt`` is the broker of a bridge, where there is one; mail is set by the environment.
    """
    from meterlake import app
    from meterlake.feeds import read_feeds

    findings = [_versions(), _kernels()]

    def attempt(part: str, test: Callable[[], str]) -> bool:
        try:
            findings.append(Finding(part=part, ok=True, what=test()))
        except (MeterlakeError, OSError) as error:
            findings.append(Finding(part=part, ok=False, what=" ".join(str(error).split())))
        return findings[-1].ok

    lakes: list[Lake] = []
    if attempt("lake", lambda: _reach(settings.lake, lakes)):
        lake = lakes[0]
        attempt("rights", lambda: _rights(lake))
        if Path(lake.url).is_dir():
            attempt("space", lambda: _space(Path(lake.url)))
        attempt("registry", lambda: _know(settings.registry, lake))
        attempt("feeds", lambda: f"{len(read_feeds(lake.store))} saved")
    attempt("log", lambda: _log(settings))
    for part, test in app.trials_of(settings, mqtt):
        attempt(part, test)
    if lakes:
        attempt("clock", lambda: _clock(lakes[0]))
    return findings


def _reach(url: str, lakes: list[Lake]) -> str:
    from meterlake.app import lake_at

    lake = lake_at(url)
    snapshot = lake.snapshot()
    lakes.append(lake)
    size = scaled(sum(file.bytes for file in snapshot.files), "B")
    return f"{lake.url} at version {snapshot.version}, {len(snapshot.files):,} files, {size}"


def _know(url: str | None, lake: Lake) -> str:
    from meterlake.app import registry_at

    registry = registry_at(url, lake)
    what = registry.examined()
    counts = {name: len(registry.table(name)) for name in ("customers", "service_points", "meters")}
    behind = lake.snapshot().version - registry.series_version()
    late = f"; {behind} versions behind the lake, which the next load makes good" if behind else ""
    told = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
    return f"{registry.url}: {what}; {told}{late}"


def _log(settings: Settings) -> str:
    """Look at the folder of a log that is a file; one in Kafka is asked by its adapter."""
    from meterlake.app import log_folder, trial_of_log

    if settings.log and not settings.log.startswith("sqlite:"):
        return trial_of_log(settings.log)
    if settings.log is None and settings.lake.startswith("s3:"):
        return "none is set: loads and questions work, `meterlake serve` needs --log"
    folder = log_folder(settings.lake, settings.log)
    if not folder.is_dir():
        return f"none yet; `meterlake serve` makes it in {folder}"
    if not os.access(folder, os.W_OK):
        raise MeterlakeError(
            f"{folder} cannot be written: no batch can be taken; give the server's user its rights"
        )
    return f"{folder} can be written; {_space(folder)}"


def _versions() -> Finding:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    own = f"meterlake {__version__}, Python {platform.python_version()}"
    return Finding(part="versions", ok=True, what=f"{own}, {libraries}")


def _kernels() -> Finding:
    """Say whether the compiled kernels are kept; where not, the first load compiles them."""
    kept = len(list(Path(__file__).parent.rglob("*.nbi")))
    what = (
        f"{kept} compiled and kept" if kept else "not compiled yet: the first load takes a few seconds more"
    )
    return Finding(part="kernels", ok=True, what=what)


def _rights(lake: Lake) -> str:
    """Write, list and delete; and see that of two who make one name the second is refused, as commits need it."""
    store, name = lake.store, f"work/.doctor-{uuid.uuid4().hex}"
    try:
        store.write(name, b"", new=True)
        try:
            store.write(name, b"", new=True)
        except Conflict:
            guarded = True
        else:
            guarded = False
        seen = [one.modified_s for one in store.list(name) if one.name == name]
        store.delete(name)
    except (OSError, MeterlakeError) as error:
        raise MeterlakeError(
            f"{lake.url} cannot be written: loads will fail, questions work ({error})"
        ) from error
    if not guarded:
        raise MeterlakeError(
            f"{lake.url} takes the same name twice: two writers would lose commits; use a store with conditional writes"
        )
    if not seen:
        raise MeterlakeError(f"{lake.url} does not list what was written: allow its user to list")
    apart = seen[0] - time.time()
    if abs(apart) > CLOCKS_S:
        raise MeterlakeError(
            f"the clock of {lake.url} is {apart:+,.0f} s from this machine's: set both by NTP"
        )
    return f"{lake.url} can be written, listed, and guards its commits"


def _space(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < SPACE_LOW:
        raise MeterlakeError(
            f"{scaled(free, 'B')} free on the disk of {folder}: make room before the next load"
        )
    return f"{scaled(free, 'B')} free"


def _clock(lake: Lake) -> str:
    """Compare the clock with the newest load: one set back would give new readings old stamps."""
    import pyarrow.compute as pc

    newest = pc.max(lake.records("deliveries")["landed_at"].cast("int64")).as_py()
    behind = (newest or 0) // 1_000_000 - time.time()
    if behind > 1:
        raise MeterlakeError(f"this machine's clock is {behind:,.0f} s behind the newest load: set it right")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
