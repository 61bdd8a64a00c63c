"""``python -m bench.registry --server postgres|mariadb|sqlite``: a registry at scale, or through restarts of its server."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterlake.adapters.registry import SqlRegistry
from meterlake.merge import SERIES_SCHEMA
from meterlake.registry import SHAPES
from meterlake.testing.restarts import restarted
from meterlake.testing.servers.databases import mariadb, postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY_US = 1_577_836_800_000_000
ASKED = 200


class File:
    """A registry in a file, which no server can lose."""

    def __init__(self, folder: str) -> None:
        """Keep it in ``folder``."""
        self.folder = Path(folder)

    def database(self) -> str:
        """URL of a new one."""
        return f"sqlite:///{self.folder}/registry.db"


@contextmanager
def sqlite() -> Iterator[File]:
    """Keep it in a folder that goes."""
    with tempfile.TemporaryDirectory() as folder:
        yield File(folder)


def table(name: str, count: int, **told: pa.Array) -> pa.Table:
    """Rows of a registry table, null where nothing is ``told``."""
    schema = SHAPES[name].schema
    return pa.table(
        [told[f.name].cast(f.type) if f.name in told else pa.nulls(count, f.type) for f in schema],
        schema=schema,
    )


def texts(form: str, numbers: Any) -> pa.Array:
    """Text of each number."""
    return pa.array([form.format(number) for number in numbers.tolist()])


def points(count: int, tariff: str = "flat") -> pa.Table:
    """Service points as a supplier has them."""
    at, draw = np.arange(count), np.random.default_rng(1)
    told = {
        "service_point_id": texts("P{:08}", at), "customer_id": texts("C{:08}", at),
        "from": pa.array(np.full(count, DAY_US)), "latitude": pa.array(50 + draw.random(count)),
        "longitude": pa.array(-draw.random(count)), "geohash": texts("gcpv{:05}", at % 99_999),
        "class": pa.array(["household"] * count), "zone": pa.array(["Europe/London"] * count),
        "tariff": pa.array([tariff] * count), "feeder": texts("F{}", at // 100), "transformer": texts("T{}", at // 50),
    }  # fmt: skip
    return table("service_points", count, **told)


def meters(count: int) -> pa.Table:
    """One meter at each."""
    at = np.arange(count)
    told = {
        "meter_id": texts("m{:08}", at), "service_point_id": texts("P{:08}", at), "from": pa.array(np.full(count, DAY_US)),
        "channels": pa.array(["electricity.import"] * count), "interval_s": pa.array(np.full(count, 1800)),
    }  # fmt: skip
    return table("meters", count, **told)


def night(rows: pa.Table) -> pa.Table:
    """What a load of a day does to the series of all meters."""
    count = len(rows)
    told = {
        "meter_id": rows["meter_id"], "channel": rows["channels"], "interval_s": rows["interval_s"],
        "first_s": pa.array(np.zeros(count)), "last_s": pa.array(np.full(count, 84_600)), "gained": pa.array(np.full(count, 48)),
    }  # fmt: skip
    return pa.table({name: told[name] for name in SERIES_SCHEMA.names}).cast(SERIES_SCHEMA)


def measure(url: str, count: int) -> None:
    """Print seconds of each piece of work."""
    registry = SqlRegistry(url, create=True)
    places, own = points(count), meters(count)
    few = points(count // 50, "night")
    series = night(own)

    def ask() -> None:
        for at in range(0, count, count // ASKED):
            assert len(registry.installations(f"P{at:08}")) == 1

    work: dict[str, Callable[[], Any]] = {
        f"import {count:,} service points": lambda: registry.import_tables({"service_points": places}),
        f"import {count:,} meters": lambda: registry.import_tables({"meters": own}),
        f"{ASKED} questions about one place": ask,
        "the same service points again": lambda: registry.import_tables({"service_points": places}),
        f"{len(few):,} of them changed": lambda: registry.import_tables({"service_points": few}),
        "read all service points": lambda: registry.table("service_points"),
        f"{count:,} new series": lambda: registry.update_series(series, 1),
        "a night's load of all of them": lambda: registry.update_series(series, 2),
    }
    for name, do in work.items():
        begin = time.perf_counter()
        do()
        print(f"{name:40} {time.perf_counter() - begin:8.2f} s", flush=True)
    registry.close()


def main() -> None:
    """Read the options and run."""
    servers = {"sqlite": sqlite, "postgres": postgres, "mariadb": mariadb}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=servers, default="postgres")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument(
        "--restarts", type=int, default=0, help="kill the server so often while it is written to"
    )
    options = parser.parse_args()
    with servers[options.server]() as server:
        if options.restarts and not isinstance(server, File):
            print(restarted(server.database(), server, options.restarts, 1.0).to_json())
        elif options.restarts:
            sys.exit("SQLite has no server to restart")
        else:
            measure(server.database(), options.points)


if __name__ == "__main__":
    main()
