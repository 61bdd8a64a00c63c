"""The play: meters against a server by the clock, from the first reading to the receipt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterlake.errors import Invalid
from meterlake.output import Listed
from meterlake.readings import READING_SCHEMA
from meterlake.simulate.bodies import Bodies
from meterlake.simulate.loads import CHANNELS
from meterlake.simulate.sender import Sender
from meterlake.simulate.stream import STREAM_FAULTS, Meters, span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from meterlake.simulate.sender import Tally
    from meterlake.simulate.stream import Burst, Roster, Span, StreamOptions

BATCH_MAX: Final = 1_000_000
WAIT_S: Final = 0.5
"""Longest time that a reading which is due waits for others."""

SENT_SCHEMA: Final = pa.schema(
    [*(READING_SCHEMA.field(name) for name in ("meter_id", "channel", "interval_start", "interval_s", "amount")),
     pa.field("fault", pa.dictionary(pa.int8(), pa.string()))]
)  # fmt: skip
"""Readings as they were sent, in that order; ``fault`` says what is wrong with one, null for nothing."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a play did."""

    tally: Tally
    injected: Mapping[str, int]
    seconds: float
    interrupted: bool

    def to_json(self) -> dict[str, Any]:
        """Return the receipt."""
        tally = self.tally
        return {
            "sent": tally.sent, "acknowledged": tally.acknowledged, "accepted": tally.accepted,
            "duplicate": tally.duplicate, "rejected": tally.rejected.total(),
            "rejects": [{"reason": reason, "count": count} for reason, count in tally.rejected.most_common()],
            "faults": dict(self.injected), "batches": tally.batches, "replayed": tally.replayed, "retries": tally.retries,
            "seconds": round(self.seconds, 3),
            "readings_per_s": round(tally.acknowledged / self.seconds) if self.seconds else 0,
            "ack_p50_ms": tally.wait_ms(50), "ack_p99_ms": tally.wait_ms(99),
            "lag_s": round(tally.lag_s, 3), "lag_max_s": round(tally.lag_max_s, 3),
            "interrupted": self.interrupted,
        }  # fmt: skip

    def to_arrow(self) -> pa.Table:
        """Return the receipt as one row."""
        return Listed([self.to_json()]).to_arrow()


def play(  # noqa: PLR0913 - a server, what to play, how to send it
    url: str,
    key: str,
    options: StreamOptions,
    *,
    batch: int = 5000,
    senders: int = 2,
    encoding: str = "arrow",
    truth: Path | None = None,
    tell: Callable[[Tally, int | None], None] | None = None,
) -> Played:
    """Play simulated meters against the server at ``url`` with an API key that may ingest.

    Batches have at most ``batch`` readings and wait for them no longer than half a second. ``truth`` is a
    folder for ``sent.parquet`` (SENT_SCHEMA). ``tell`` is called with the tally so far and the number of
    readings in all (None: no end). An interrupt from the keyboard ends the play early, with its receipt.

    Raises:
        Invalid: options that cannot be played, no server, or a server that refuses a batch for good.

    """
    if not 1 <= batch <= BATCH_MAX:
        raise Invalid(f"batches of {batch}: ask for 1 to {BATCH_MAX} readings")
    meters = Meters(options, batch)
    record = None if truth is None else _Record(truth, meters.roster)
    sender = Sender(url, key, Bodies(meters.roster, encoding), senders)
    begin, interrupted = time.monotonic(), False
    span = span_of(options, len(meters.roster), time.time())
    total = None if span.stop is None else span.stop - span.first
    try:
        for burst, due in _bursts(meters, span, begin, sender):
            sender.put(burst, due)
            if record is not None:
                record.write(burst)
            if tell is not None:
                tell(sender.tally, total)
        sender.finish()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        sender.stop()
        if record is not None:
            record.close()
    return Played(sender.tally, meters.injected, time.monotonic() - begin, interrupted)


def _bursts(meters: Meters, span: Span, begin: float, sender: Sender) -> Iterator[tuple[Burst, float]]:
    """Yield bursts with the monotonic second at which each was due, when it is; what is late then comes last."""
    at = span.first
    while span.stop is None or at < span.stop:
        end = meters.cut(at, at + BATCH_MAX if span.stop is None else span.stop)
        sender.wait_until(begin + min(span.due_s(end - 1), span.due_s(at) + WAIT_S))
        due_by = span.due_by(time.monotonic() - begin)
        stop = end if due_by is None else max(at + 1, min(end, due_by))
        burst = meters.burst(at, stop, span.moment_s(stop - 1))
        if len(burst):
            yield burst, time.monotonic() if span.speed == np.inf else begin + span.due_s(stop - 1)
        at = stop
    while meters.waiting:
        yield meters.rest(), time.monotonic()


class _Record:
    """The file of what was sent."""

    def __init__(self, folder: Path, roster: Roster) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._roster = roster
        self._file = pq.ParquetWriter(folder / "sent.parquet", SENT_SCHEMA, compression="zstd")

    def write(self, burst: Burst) -> None:
        code = pa.array(self._roster.channel[burst.series])
        columns = [
            self._roster.meters.take(pa.array(burst.series)),
            pa.DictionaryArray.from_arrays(code, pa.array(list(CHANNELS))),
            pa.array(burst.start * 1_000_000).view(SENT_SCHEMA.field("interval_start").type),
            pa.array(np.full(len(burst), self._roster.interval_s, np.int32)),
            pa.array(burst.amount),
            pa.DictionaryArray.from_arrays(
                pa.array(burst.fault, mask=burst.fault < 0), pa.array(STREAM_FAULTS)
            ),
        ]
        self._file.write_batch(pa.RecordBatch.from_arrays(columns, schema=SENT_SCHEMA))

    def close(self) -> None:
        self._file.close()
