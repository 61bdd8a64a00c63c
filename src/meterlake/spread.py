"""Which shard a reading belongs to: its commodity, and the part of all meters that its meter is in.

A shard is one log in strict order with its own live side, checkpoints and seals. How many parts the meters are cut into is
fixed when the logs are made: a meter must never move from one shard to another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from meterlake.ids import PARTITIONS
from meterlake.partition import partition_of
from meterlake.readings import channel_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meterlake.ids import MeterIds
    from meterlake.strips import Ints, Kind, Strips

COMMODITIES: Final = ("electricity", "gas", "water")


def shard_name(commodity: str, part: int) -> str:
    """Name of a shard."""
    return f"{commodity}-{part}"


def commodity_of(channel: str) -> str:
    """Commodity of a channel that a codec let pass."""
    family = channel_family(channel)
    assert family is not None, "codecs refuse other channels"
    return family.commodity


def part_of(meter_id: str, parts: int) -> int:
    """Part of ``parts`` that a meter is in."""
    return partition_of(meter_id) * parts // PARTITIONS


def parts_of(strips: Strips, ids: MeterIds, parts: int) -> Ints:
    """Part of ``parts`` that the meter of each strip is in."""
    numbers: Ints = ids.partitions(strips.meter).astype(np.int64) * parts // PARTITIONS
    return numbers


def spread(strips: Strips, kinds: Sequence[Kind], ids: MeterIds, parts: int) -> Iterator[tuple[str, Strips]]:
    """Yield the strips of each shard that has some."""
    if not len(strips):
        return
    commodity = np.array([COMMODITIES.index(commodity_of(kind.channel)) for kind in kinds], np.int64)
    number = commodity[strips.kind] * parts + parts_of(strips, ids, parts)
    for shard in np.unique(number).tolist():
        yield shard_name(COMMODITIES[shard // parts], shard % parts), strips.where(number == shard)
