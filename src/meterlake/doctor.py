"""Try every configured part and say how it is: reach, version, rights, space, clock."""

from __future__ import annotations

import platform
import shutil
import time
import uuid
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterlake import __version__
from meterlake.errors import MeterlakeError
from meterlake.progress import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterlake.ports import Lake

LIBRARIES: Final = ("pyarrow", "deltalake", "duckdb", "numba", "numpy", "sqlalchemy", "tzdata")
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


def examine(lake_url: str, registry_url: str | None) -> list[Finding]:
    """Findings on every part, in the order in which they depend on each other."""
    from meterlake.app import lake_at, registry_at
    from meterlake.feeds import read_feeds

    findings = [_versions(), _kernels()]

    def attempt(part: str, test: Callable[[], str]) -> None:
        try:
            findings.append(Finding(part=part, ok=True, what=test()))
        except (MeterlakeError, OSError) as error:
            findings.append(Finding(part=part, ok=False, what=str(error)))

    lakes: list[Lake] = []

    def reach() -> str:
        lake = lake_at(lake_url)
        snapshot = lake.snapshot()
        lakes.append(lake)
        size = scaled(sum(file.bytes for file in snapshot.files), "B")
        return f"{lake.url} at version {snapshot.version}, {len(snapshot.files):,} files, {size}"

    attempt("lake", reach)
    if not lakes:
        return findings
    lake = lakes[0]
    attempt("rights", lambda: _rights(lake))
    if Path(lake.url).is_dir():
        attempt("space", lambda: _space(Path(lake.url)))

    def know() -> str:
        registry = registry_at(registry_url, lake)
        what = registry.examined()
        counts = {name: len(registry.table(name)) for name in ("customers", "service_points", "meters")}
        behind = lake.snapshot().version - registry.series_version()
        late = f"; {behind} versions behind the lake, which the next load makes good" if behind else ""
        return (
            f"{registry.url}: {what}; "
            + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
            + late
        )

    attempt("registry", know)
    attempt("feeds", lambda: f"{len(read_feeds(lake.store))} saved")
    attempt("clock", lambda: _clock(lake))
    return findings


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
    name = f"work/.doctor-{uuid.uuid4().hex}"
    try:
        lake.store.write(name, b"")
        lake.store.delete(name)
    except (OSError, MeterlakeError) as error:
        raise MeterlakeError(
            f"{lake.url} cannot be written ({error}): loads will fail, questions work"
        ) from error
    return f"{lake.url} can be written"


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
