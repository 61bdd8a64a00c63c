"""Where tasks run: the lake and the registry as that process has them, and the threads that are an engine of their own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from meterlake.ports import Engine, Lake, Registry

T = TypeVar("T")


class Site:
    """One process of an engine, and what its tasks share. Safe to share between threads."""

    def __init__(self, lake: Lake, registry: Registry | None) -> None:
        """Work on ``lake`` and ``registry``; None where no task asks for one."""
        self.lake, self._registry = lake, registry
        self._made: dict[Any, Any] = {}
        self._lock = RLock()

    @property
    def registry(self) -> Registry:
        """The registry of the lake."""
        assert self._registry is not None, "whoever began the job gave none"
        return self._registry

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` gave for ``key``; it is made by the first task that asks here."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            found: T = self._made[key]
            return found

    def close(self) -> None:
        """Forget what was shared."""
        self._made.clear()


class Threads:
    """`ports.Engine` of one machine: the kernels let go of the interpreter while they work."""

    def __init__(self, lake: Lake, registry: Registry | None = None) -> None:
        """Work on these."""
        self._site = Site(lake, registry)

    def __enter__(self) -> Self:
        """Begin a job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; the next one knows nothing of it."""
        self._site.close()

    def map(
        self,
        work: Callable[[Site, Any], Any],
        jobs: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Any]:
        """Yield what ``work`` gives for each of ``jobs``, in their order."""
        site = self._site
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, found in enumerate(pool.map(lambda job: work(site, job), jobs), 1):
                if progress is not None:
                    progress(done, len(jobs))
                yield found


if TYPE_CHECKING:
    _CONFORMS: type[Engine] = Threads
