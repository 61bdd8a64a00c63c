"""A stream job: the logs of all shards into the lake's table of received messages, and from there into blocks.

A stream takes messages out of the logs, batch after batch. Every now and then the shards take a *turn* on the engine: a task
restores the checkpoint of one, applies what was received since, hands over what is to be sealed, and saves; one process, this
one, commits. A turn does what a process with the role ``live`` does all day, so both follow the same checkpoints, and a
shard can go from one to the other.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meterlake.errors import Damaged
from meterlake.logs import log
from meterlake.shard import EARLY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from meterlake.handover import Committer
    from meterlake.ports import Engine, Logs, Received, Stream
    from meterlake.shard import Shard
    from meterlake.site import Site

LOOK_S: Final = 0.5


class Parts(NamedTuple):
    """What a turn works with."""

    shard: Shard
    received: Received
    logs: Logs


class Turn(NamedTuple):
    """A task: one shard, and what opens it where the task runs; that can be pickled."""

    shard: str
    opens: Callable[[Site, str], Parts]
    everything: bool = False
    """Whether blocks that are not over yet are sealed too."""


class Turned(NamedTuple):
    """What came of it."""

    shard: str
    applied: int
    """Batches."""
    more: bool
    """Whether another turn has something to do: messages that did not fit, or a seal that is to be committed first."""


def turn(site: Site, job: Turn) -> Turned:
    """Apply what was received of a shard since its checkpoint, hand over what is to be sealed, and save."""
    shard, received, logs = job.opens(site, job.shard)
    known = received.bounds(job.shard)
    if known is None:
        return Turned(job.shard, 0, more=False)
    try:
        shard.restore(known[0])
        for records in received.read(job.shard, shard.live.offset):
            theirs = shard.foreign(records, logs.partitions())
            if theirs:
                logs.append(theirs)
            shard.take(records)
            if shard.live.pressure() > EARLY:
                break
        shard.seal(shard.live.pressure(), everything=job.everything)
        shard.checkpoint()
        more = shard.live.pending is not None or shard.live.offset < known[1]
        return Turned(job.shard, shard.applied, more)
    finally:
        shard.let_go(lost=True)


@dataclass(slots=True)
class StreamReceipt:
    """What a stream job did."""

    commits: int = 0
    files: int = 0
    messages: int = 0
    bytes: int = 0
    """Of the messages as they were sent."""
    batches: int = 0
    """Batches that became readings of the lake's shards."""
    seals: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON values."""
        return asdict(self)


class StreamJob:
    """Receives until told to stop, or what is there now."""

    def __init__(
        self, stream: Stream, engine: Engine, turns: Sequence[Turn], committer: Committer, seal_s: float | None,
        alone: Callable[[], None],
    ) -> None:  # fmt: skip
        """With ``seal_s`` shards take a turn so often; ``alone`` raises where other processes hold them."""
        self._stream, self._engine, self._turns, self._committer = stream, engine, turns, committer
        self._seal_s, self._alone = seal_s, alone
        self.receipt = StreamReceipt()

    def run(self, stop: Event, *, now: bool) -> StreamReceipt:
        """Work until ``stop`` is set, or with ``now`` until all is done that the logs hold at this moment.

        Raises:
            Conflict: processes with the role ``live`` hold the shards that are to be sealed.
            MeterlakeError: the stream or a turn failed; what was committed stays, begin again.

        """
        began = time.monotonic()
        if self._seal_s is not None:
            self._alone()
        with self._engine:
            self._stream.start(now=now)
            try:
                self._attend(stop)
            finally:
                self._stream.stop()
            if self._seal_s is not None and now and not stop.is_set():
                self._seal(everything=True)
        for name, count in self._stream.taken.items():
            setattr(self.receipt, name, count)
        self.receipt.seconds = round(time.monotonic() - began, 3)
        return self.receipt

    def _attend(self, stop: Event) -> None:
        """Wait for the end of the stream, and seal meanwhile."""
        sealed_s = time.monotonic()
        while not stop.is_set():
            if self._stream.wait(LOOK_S):
                return
            if self._seal_s is not None and time.monotonic() - sealed_s >= self._seal_s:
                self._alone()
                self._seal()
                sealed_s = time.monotonic()

    def _seal(self, *, everything: bool = False) -> None:
        """Let shards take turns until there is nothing more to do for any."""
        waiting = [one._replace(everything=everything) for one in self._turns]
        while waiting:
            turned = list(self._engine.map(turn, waiting))
            self.receipt.batches += sum(one.applied for one in turned)
            self.receipt.seals += len(self._committer.work())
            more = {one.shard for one in turned if one.more}
            waiting = [one for one in waiting if one.shard in more]
        log.info("turn", batches=self.receipt.batches, seals=self.receipt.seals)


def follows(name: str, known: tuple[int, int] | None, first: int) -> int:
    """Return the offset to receive a shard from, whose log begins at ``first``.

    Raises:
        Damaged: the log has lost messages that were not received.

    """
    if known is None:
        return first
    if known[1] < first:
        raise Damaged(
            f"{name} is received up to {known[1]}, and its log begins at {first}: somebody has deleted what is between; "
            "move the folder received/ of the lake away, and begin anew with what is there"
        )
    return known[1]
