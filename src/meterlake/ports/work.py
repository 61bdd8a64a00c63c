"""Work: what is live, saved, shown and handed over, and what jobs run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from meterlake.live.live import Live
    from meterlake.site import Site


class Checkpoints(Protocol):
    """The live state as of one log offset: named pieces of bytes that change together."""

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Put ``pieces``, drop the pieces named (or beginning with a name that ends in ``*``) ``gone``, and set ``state``.

        All at once or not at all, and durable.
        """

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]] | None:
        """Return the state and all pieces of the last save; None where there was none; Damaged by checksum."""

    @property
    def generation(self) -> int | None:
        """Number of the last save: who takes over later saves under a greater one. None where nobody can."""

    def close(self) -> None:
        """Let go of the store."""


class Publisher(Protocol):
    """Who shows a live side to other processes."""

    def publish(self, live: Live) -> None:
        """Show what has changed since the last time; all of it where that is gone.

        Raises:
            Fenced: another process shows this shard now.
            MeterlakeError: it cannot be shown right now.

        """

    def close(self) -> None:
        """Let go; what is shown stays."""


class Cuts(Protocol):
    """What processes that hold shards hand to the one that commits, until it has landed."""

    def put(self, shard: str, name: str, data: bytes) -> None:
        """Keep a cut, durable; the same name may be put again."""

    def waiting(self) -> Sequence[tuple[str, str]]:
        """Return shards and names of the cuts that are kept, those of one shard by name."""

    def get(self, shard: str, name: str) -> bytes:
        """Return a cut; NotFound where it was dropped."""

    def drop(self, shard: str, name: str) -> None:
        """Forget a cut, which may be gone already."""


class Stream(Protocol):
    """An engine that takes messages out of the logs for good, batch after batch."""

    def start(self, *, now: bool) -> None:
        """Begin; with ``now`` end where the logs end at this moment."""

    def wait(self, seconds: float) -> bool:
        """Wait so long; return whether it has ended by itself, and raise why where it failed."""

    def stop(self) -> None:
        """End it; a batch that is not committed comes again next time."""

    @property
    def taken(self) -> Mapping[str, int]:
        """Counts since the start: commits, files, messages, bytes."""


class Engine(Protocol):
    """What the parts of a job run on: threads of this process, or the processes of a cluster."""

    def __enter__(self) -> Self:
        """Begin a job."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and let go of what it was given to run on."""

    def map(
        self,
        work: Callable[[Site, Any], Any],
        jobs: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Any]:
        """Yield what ``work`` gives for each of ``jobs``, in their order; ``progress`` is told (done, total).

        ``work`` is a function of a module, jobs and what it gives are small and can be pickled. A task may run more than
        once, also at the same time: what it writes counts only by what it returns.
        """
