"""What came out: ratios, a table to read, a JSON file to keep, and the machine that it was measured on."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS: Final = Path(__file__).parent / "results"
RATIOS: Final = {
    "load_long_csv": ("load_long_csv", "seconds"),
    "load_wide": ("load_wide", "seconds"),
    "history_month_p50": ("history_month", "p50"),
    "history_month_p99": ("history_month", "p99"),
    "history_year_p50": ("history_year", "p50"),
    "history_year_p99": ("history_year", "p99"),
    "usage_ranges_p50": ("usage_ranges", "p50"),
    "month_totals": ("month_totals", "p50"),
    "load_curve": ("load_curve", "p50"),
    "corrections": ("corrections", "seconds"),
    "live_update": ("live_update", "seconds"),
    "bytes_vs_clickhouse": ("bytes_long", "bytes"),
    "bytes_wide_vs_clickhouse": ("bytes_wide", "bytes"),
    "bytes_vs_clickhouse_london": ("bytes_london", "bytes"),
}
"""Figure of which work by name of the ratio; smaller figures are better."""


def ratios(work: Mapping[str, Any]) -> dict[str, float]:
    """How many times better Meterlake is than the best peer (of bytes: than ClickHouse); above 1 is better."""
    found = {}
    for name, (item, figure) in RATIOS.items():
        engines = work.get(item, {}).get("engines", {})
        if "clickhouse" in name:
            engines = {engine: engines[engine] for engine in ("meterlake", "clickhouse") if engine in engines}
        peers = [values[figure] for engine, values in engines.items() if engine != "meterlake"]
        if peers and "meterlake" in engines:
            found[name] = round(min(peers) / engines["meterlake"][figure], 3)
    return found


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    model = platform.processor()
    about = Path("/proc/cpuinfo")
    if about.exists():
        names = [
            line.partition(":")[2].strip() for line in about.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    versions = {}
    for package in ("meterlake", "pyarrow", "numpy", "numba", "deltalake", "duckdb", "chdb", "polars"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def save(result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write the result under the time of now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def table(result: Mapping[str, Any]) -> str:
    """Lay out all work as text: a line a figure, a column an engine, the ratio last."""
    work, found = result["work"], result["ratios"]
    engines = list(dict.fromkeys(engine for item in work.values() for engine in item.get("engines", {})))
    lines = [["", *engines, "ratio"]]
    for name, (item, figure) in RATIOS.items():
        if item in work and "engines" in work[item]:
            cells = [_cell(figure, work[item], engine) for engine in engines]
            lines.append([name, *cells, f"{found[name]:.2f}" if name in found else ""])
    loads = [item for item in ("load_long_csv", "load_wide") if item in work]
    lines += [
        [f"{item}, peak", *(_peak(work[item]["engines"].get(engine)) for engine in engines), ""]
        for item in loads
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    skipped = [f"{name}: skipped, {item['skipped']}" for name, item in work.items() if "skipped" in item]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], *skipped])


def _cell(figure: str, item: Mapping[str, Any], engine: str) -> str:
    values = item["engines"].get(engine)
    if values is None:
        return ""
    match figure:
        case "seconds":
            return f"{values['seconds']:.2f} s {values['readings_per_s'] / 1e6:.2f} M/s"
        case "bytes":
            return f"{values['bytes_per_reading']:.3f} B"
        case _:
            return f"{values[figure] * 1e3:.2f} ms"


def _peak(values: Mapping[str, Any] | None) -> str:
    return f"{values['peak_bytes'] / 1e9:.2f} GB" if values else ""
