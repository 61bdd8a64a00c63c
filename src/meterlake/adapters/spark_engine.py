"""Tasks on Apache Spark: each takes a small job, reads and writes the lake's files itself, and returns what it wrote.

There is no shuffle, and no readings pass through the driver. Tasks open lake and registry by their URLs, once a process;
secrets travel with the task, never as a setting or an argument that others can see.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from meterlake.errors import MeterlakeError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

    from meterlake.ports import Engine
    from meterlake.site import Site

PASSED_ON: Final = ("METERLAKE_", "AWS_")
"""Variables of the environment that tasks need too begin so."""
LOOK_S: Final = 0.25
TRIES: Final = 4
"""Times that a task is tried, on whatever worker."""
LOCAL: Final = ("127.0.0.1", "localhost", "::1")
QUIET: Final = {
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR",
    "spark.task.maxFailures": str(TRIES),
}  # fmt: skip


class Place(NamedTuple):
    """Where tasks find what they work on, and the variables they need."""

    run: str
    opens: Callable[[], Site]
    variables: dict[str, str]


class SparkEngine:
    """`ports.Engine` of a Spark cluster, or of Spark within this process (``local[N]``)."""

    def __init__(
        self, master: str, opens: Callable[[], Site], settings: Mapping[str, str] | None = None
    ) -> None:
        """Work by ``master`` on the lake and registry that ``opens`` gives in each process; it can be pickled.

        ``settings`` are Spark's, beside our own.
        """
        self._master, self._opens, self._settings = master, opens, settings or {}
        self._session: Any = None
        self._runs = 0

    def __enter__(self) -> Self:
        """Begin a job; the cluster is asked for cores with the first tasks."""
        self._runs += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the cores back."""
        if self._session is not None:
            self._session.stop()
            self._session = None

    @property
    def session(self) -> Any:
        """The session, begun when it is first needed."""
        if self._session is None:
            self._session = session_at(self._master, self._settings)
        return self._session

    def place(self) -> Place:
        """Return what tasks of this job need to know."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return Place(f"{os.getpid()}-{id(self)}-{self._runs}", self._opens, variables)

    def map(
        self,
        work: Callable[[Site, Any], Any],
        jobs: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Any]:
        """Yield what ``work`` gives for each of ``jobs``, in their order, when all are done."""
        if not jobs:
            return
        context = self.session.sparkContext
        place = self.place()
        parts = context.parallelize(list(jobs), len(jobs)).mapPartitions(_Task(work, place))
        group = f"{place.run}-{work.__name__}"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_collected, context, parts, group)
            _watch(context, group, running, progress, len(jobs))
            found = running.result()
        for failed, given in found:
            if failed:
                raise given
            yield given


def session_at(master: str, settings: Mapping[str, str] | None = None) -> Any:
    """Return a session of Spark at ``master``, of our ``settings`` and those in SPARK_CONF_DIR.

    Raises:
        MissingExtra: pyspark is not installed.
        MeterlakeError: the master does not answer, or Java is missing.

    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra("pyspark", "spark") from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_SCALA_VERSION", "2.13")
    builder = SparkSession.builder.master(patient(master)).appName("meterlake")
    for name, value in {**QUIET, **(settings or {})}.items():
        builder = builder.config(name, value)
    told = Path(__file__).with_name("spark-log4j2.properties")
    builder = builder.config("spark.driver.extraJavaOptions", f"-Dlog4j2.configurationFile=file:{told}")
    if master.startswith("local") or urlsplit(master).hostname in LOCAL:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    try:
        return builder.getOrCreate()
    except Exception as error:
        what = str(error).strip().splitlines()[0]
        raise MeterlakeError(
            f"Spark at {master} did not begin: {what}; is it running, and Java 17 here?"
        ) from error


def _collected(context: Any, parts: Any, group: str) -> list[Any]:
    context.setJobGroup(group, "meterlake", interruptOnCancel=True)
    try:
        found: list[Any] = parts.collect()
    except Exception as error:
        raise MeterlakeError(
            f"a task failed {TRIES} times: {cause(str(error))}; the lake is as it was, run the same again"
        ) from error
    return found


def cause(said: str) -> str:
    """Return the line that matters of what Spark says of an error: how the Python of a task ended, else what Java names first."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    begins = [i for i, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    if begins:
        ends = (line for line in lines[begins[-1] + 1 :] if not line.startswith((" ", "\t")))
        return next(ends, lines[-1].strip())
    named = (line.lstrip(": \t") for line in lines if "Error:" in line or "Exception:" in line)
    return next(named, lines[0].strip() if lines else "it does not say why")


def patient(master: str) -> str:
    """Return ``master`` so that Spark within this process tries a task as often as a cluster does, and not once.

    >>> patient("local[2]"), patient("spark://one:7077")
    ('local[2,4]', 'spark://one:7077')
    """
    return f"{master[:-1]},{TRIES}]" if master.startswith("local[") and "," not in master else master


def _watch(
    context: Any, group: str, running: Future[Any], progress: Callable[[int, int], None] | None, total: int
) -> None:
    """Tell how many tasks are done until the last is."""
    tracker = context.statusTracker()
    while progress is not None and not running.done():
        done = 0
        for job in tracker.getJobIdsForGroup(group):
            stages = tracker.getJobInfo(job)
            for stage in stages.stageIds if stages is not None else ():
                told = tracker.getStageInfo(stage)
                done += told.numCompletedTasks if told is not None else 0
        progress(min(done, total), total)
        try:
            running.exception(LOOK_S)
        except TimeoutError:
            continue


def examined(master: str) -> str:
    """Say which Spark it is, by a task.

    Raises:
        MeterlakeError: the master does not answer, or no worker can import this program.

    """
    session = session_at(master)
    try:
        found = _collected(
            session.sparkContext, session.sparkContext.parallelize([0], 1).map(_version), "doctor"
        )
        return f"{master}: Spark {session.version}, a worker with meterlake {found[0]} did a task"
    finally:
        session.stop()


def _version(_: int) -> str:
    from meterlake import __version__

    return __version__


_sites: dict[str, Site] = {}


class _Task:
    """What runs in a worker's process; made here, pickled by Spark."""

    def __init__(self, work: Callable[[Site, Any], Any], place: Place) -> None:
        self._work, self._place = work, place

    def __call__(self, jobs: Iterator[Any]) -> Iterator[tuple[bool, Any]]:
        from pyspark import TaskContext

        site = as_site(self._place)
        about = TaskContext.get()
        last = about is None or about.attemptNumber() + 1 >= TRIES
        for job in jobs:
            try:
                yield False, self._work(site, job)
            except MeterlakeError as error:
                if not last:
                    raise
                yield True, error


def as_site(place: Place) -> Site:
    """Lake and registry of this process; what tasks of earlier jobs shared is forgotten."""
    if place.run not in _sites:
        os.environ.update(place.variables)
        _sites.clear()
        _sites[place.run] = place.opens()
    return _sites[place.run]


if TYPE_CHECKING:
    _CONFORMS: type[Engine] = SparkEngine
