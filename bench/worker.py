"""One engine in a process of its own, so that its memory is its own and no library meets another.

Before a load the process loads the first lines of the file into a throw-away store: libraries are then imported,
compiled kernels are read from their cache, threads are up. Only the calls themselves are timed.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.engines import digest, open_engine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from bench.engines import Layout

SAMPLE_LINES = 100


@dataclass(frozen=True, slots=True)
class Reply:
    """What calls took and gave: seconds by call, the hash of all answers, peak memory of the process so far."""

    seconds: list[float]
    hashes: list[str]
    peak_bytes: int
    value: Any = None


class BenchFailedError(Exception):
    """An engine failed, or two engines disagree."""


class Worker:
    """A running engine: ``with Worker("duckdb", folder) as worker: worker.call("load", [(paths, "long")])``."""

    def __init__(self, engine: str, folder: Path, sample: tuple[Path, Layout] | None = None) -> None:
        """Start the process; of ``sample``, a file and its layout, a few lines are loaded to warm up."""
        self.engine, self.folder = engine, folder
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, engine, folder, sample))
        self._process.start()
        theirs.close()
        self._receive()

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]] = ((),)) -> Reply:
        """Call a method of the engine once for each tuple of arguments, timing each call."""
        self._pipe.send((method, list(arguments)))
        return self._receive()

    def _receive(self) -> Reply:
        try:
            reply = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise BenchFailedError(
                f"the process of {self.engine} ended: exit {self._process.exitcode}"
            ) from None
        if isinstance(reply, str):
            raise BenchFailedError(f"{self.engine} in {self.folder}: {reply}")
        return reply  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        """Hand over the running process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the process close its store and end."""
        self._pipe.close()
        self._process.join()


def _peak_bytes() -> int:
    """Peak resident memory of this process alone; ``ru_maxrss`` may still know the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _warm(engine: str, folder: Path, path: Path, layout: Layout) -> None:
    scratch = folder.with_name(folder.name + "-warm")
    scratch.mkdir()
    few = scratch / "few.csv"
    with path.open("rb") as file:
        few.write_bytes(b"".join(file.readline() for _ in range(SAMPLE_LINES)))
    store = open_engine(engine, scratch / "store")
    store.load([few], layout)
    store.close()
    shutil.rmtree(scratch)


def _serve(pipe: Connection, engine: str, folder: Path, sample: tuple[Path, Layout] | None) -> None:
    """Answer calls until the pipe is closed."""
    try:
        if sample is not None:
            _warm(engine, folder, *sample)
        store = open_engine(engine, folder)
        pipe.send(Reply([], [], _peak_bytes()))
        while True:
            try:
                method, arguments = pipe.recv()
            except EOFError:
                store.close()
                return
            pipe.send(_timed(getattr(store, method), arguments, store.grain))
    except Exception:  # noqa: BLE001 - whatever fails is told to the bench, which ends
        pipe.send(traceback.format_exc())


def _timed(method: Any, arguments: list[tuple[Any, ...]], grain: int) -> Reply:
    seconds, hashes, answer = [], [], None
    for values in arguments:
        start = time.perf_counter()
        answer = method(*values)
        seconds.append(time.perf_counter() - start)
        if answer is not None and not isinstance(answer, dict):
            hashes.append(digest(answer, grain))
    return Reply(seconds, hashes, _peak_bytes(), answer if isinstance(answer, dict) else None)
