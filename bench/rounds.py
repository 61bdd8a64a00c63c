"""The work, engine after engine and round after round, and the comparison of answers."""

from __future__ import annotations

import os
import shutil
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.worker import BenchFailedError, Reply, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.engines import Layout
    from bench.files import Input, Size

Figures = dict[str, Any]


@dataclass
class Bench:
    """A run: where it works, which engines, what has been measured so far."""

    folder: Path
    engines: Sequence[str]
    size: Size
    tell: Callable[[str], None]
    work: dict[str, Figures] = field(default_factory=dict)

    def store(self, name: str, engine: str) -> Path:
        """Folder of one store of one engine."""
        return self.folder / f"{name}-{engine}"

    def note(self, name: str, about: Mapping[str, Any], engines: Mapping[str, Figures]) -> None:
        """Keep the figures of one work item."""
        self.work[name] = {**about, "engines": dict(engines)}


def agree(what: str, hashes: Mapping[str, Sequence[str]]) -> str:
    """Return the one hash that all engines gave, over all their answers; BenchFailedError where two differ."""
    first, *others = hashes
    for other in others:
        if hashes[other] != hashes[first]:
            at = next(
                (
                    i
                    for i, pair in enumerate(zip(hashes[first], hashes[other], strict=False))
                    if len({*pair}) > 1
                ),
                0,
            )
            raise BenchFailedError(f"{what}: {first} and {other} disagree, first in answer {at}")
    return hashes[first][0] if len(hashes[first]) == 1 else f"{len(hashes[first])} answers"


def _fresh(path: Path) -> Path:
    """Remove a store, and let the disk come to rest, so that nobody pays for the writes of another."""
    shutil.rmtree(path, ignore_errors=True)
    os.sync()
    return path


def _timed(rounds: Mapping[str, list[Reply]], readings: int) -> dict[str, Figures]:
    return {
        engine: {
            "seconds": statistics.median(sum(reply.seconds) for reply in replies),
            "rounds": [sum(reply.seconds) for reply in replies],
            "readings_per_s": round(readings / statistics.median(sum(reply.seconds) for reply in replies)),
            "peak_bytes": max(reply.peak_bytes for reply in replies),
        }
        for engine, replies in rounds.items()
    }


def load(bench: Bench, name: str, layout: Layout, given: Input, rounds: int | None = None) -> None:
    """Load into fresh stores; the last round's stay. All load curves must be the same."""
    replies: dict[str, list[Reply]] = {engine: [] for engine in bench.engines}
    for turn in range(rounds or bench.size.load_rounds):
        curves = {}
        for engine in bench.engines:
            bench.tell(f"load {layout}, round {turn + 1}: {engine}")
            with Worker(engine, _fresh(bench.store(layout, engine)), (given.paths[0], layout)) as worker:
                replies[engine].append(worker.call("load", [(given.paths, layout)]))
                curves[engine] = worker.call("load_curve", [(given.start, given.stop)]).hashes
        shared = agree(name, curves)
    about = {"readings": given.readings, "bytes_in": given.bytes, "files": len(given.paths), "hash": shared}
    bench.note(name, about, _timed(replies, given.readings))


def settle(bench: Bench, layout: str, readings: int) -> None:
    """Let every store come to rest and weigh it."""
    found: dict[str, Figures] = {}
    for engine in bench.engines:
        bench.tell(f"bytes of {layout}: {engine}")
        with Worker(engine, bench.store(layout, engine)) as worker:
            seconds = worker.call("settle").seconds[0]
            sizes = worker.call("sizes").value
        best = min(sizes, key=sizes.get)
        found[engine] = {
            "bytes_per_reading": sizes[best] / readings, "bytes": sizes[best], "as": best, "settle_seconds": seconds,
            "variants": sizes,
        }  # fmt: skip
    bench.note(f"bytes_{layout}", {"readings": readings}, found)


Question = tuple[str, str, "list[tuple[Any, ...]]"]


def ask(bench: Bench, layout: str, questions: Sequence[Question]) -> None:
    """Ask (name, method, arguments by call); the first round warms up, and is noted apart."""
    samples: dict[str, dict[str, list[list[float]]]] = {
        name: {e: [] for e in bench.engines} for name, _, _ in questions
    }
    shared: dict[str, str] = {}
    with ExitStack() as stack:
        workers = {e: stack.enter_context(Worker(e, bench.store(layout, e))) for e in bench.engines}
        for turn in range(bench.size.question_rounds + 1):
            for name, method, arguments in questions:
                bench.tell(f"{name}, round {turn}")
                replies = {engine: worker.call(method, arguments) for engine, worker in workers.items()}
                shared[name] = agree(name, {engine: reply.hashes for engine, reply in replies.items()})
                for engine, reply in replies.items():
                    samples[name][engine].append(reply.seconds)
    for name, _, arguments in questions:
        about = {"calls": len(arguments), "rounds": bench.size.question_rounds, "hash": shared[name]}
        bench.note(name, about, {engine: _latency(rounds) for engine, rounds in samples[name].items()})


def _latency(rounds: list[list[float]]) -> Figures:
    warm = np.concatenate(rounds[1:])
    return {
        "p50": float(np.percentile(warm, 50)),
        "p99": float(np.percentile(warm, 99)),
        "first_p50": float(np.percentile(rounds[0], 50)),
    }


def correct(bench: Bench, given: Input, span: Input) -> None:
    """Load corrections over a copy of the settled long store, then ask for the load curve once: both count.

    The question is part of it because an engine may leave the work of replacing to whoever reads next.
    """
    replies: dict[str, list[Reply]] = {engine: [] for engine in bench.engines}
    curves: dict[str, list[float]] = {engine: [] for engine in bench.engines}
    for turn in range(bench.size.load_rounds):
        hashes = {}
        for engine in bench.engines:
            bench.tell(f"corrections, round {turn + 1}: {engine}")
            store = _fresh(bench.store("corrected", engine))
            shutil.copytree(bench.store("long", engine), store, symlinks=True)
            os.sync()
            with Worker(engine, store, (span.paths[0], "long")) as worker:
                done = worker.call("correct", [(given.paths,)])
                asked = worker.call("load_curve", [(span.start, span.stop)])
            hashes[engine] = asked.hashes
            curves[engine].append(asked.seconds[0])
            replies[engine].append(Reply(done.seconds + asked.seconds, [], done.peak_bytes))
        shared = agree("corrections", hashes)
    if shared == bench.work["load_long_csv"]["hash"]:
        raise BenchFailedError("corrections: the load curve is what it was before")
    figures = _timed(replies, given.readings)
    for engine, seconds in curves.items():
        figures[engine]["of_these_asking"] = statistics.median(seconds)
    bench.note("corrections", {"readings": given.readings, "bytes_in": given.bytes, "hash": shared}, figures)
