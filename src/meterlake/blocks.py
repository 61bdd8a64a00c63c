"""Interval blocks: the unit of storage, one row for all slots of a (meter, channel, day).

A block's key is (meter_id, channel, interval_s, start). ``start`` is the UTC midnight (below a minute:
the UTC hour) that the block covers; slot k starts at ``start + offset_s + k * interval_s`` seconds.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from meterlake.readings import UTC_US

KEY: Final = ("meter_id", "channel", "interval_s", "start")

ORIGIN_RUN: Final = pa.struct(
    [
        pa.field("first", pa.int16()),
        pa.field("count", pa.int16()),
        pa.field("delivery", pa.int32()),
        pa.field("stamp", UTC_US),
    ]
)

BLOCK_SCHEMA: Final = pa.schema(
    [
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("interval_s", pa.int32(), nullable=False),
        pa.field("start", UTC_US, nullable=False),
        pa.field("offset_s", pa.int32(), nullable=False),
        pa.field("scale", pa.int8(), nullable=False),
        pa.field("values", pa.list_(pa.int32())),
        pa.field("wide_values", pa.list_(pa.int64())),
        pa.field("quality", pa.int8()),
        pa.field("qualities", pa.list_(pa.int8())),
        pa.field("delivery", pa.int32()),
        pa.field("stamp", UTC_US),
        pa.field("origin", pa.list_(ORIGIN_RUN)),
        pa.field("filled", pa.int32(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
    ]
)
"""One block a row.

``values`` holds every slot as ``amount / 10**scale``, null where empty; the rare block whose quotients
exceed int32 has them in ``wide_values`` instead, and null in ``values``. ``quality`` is the code all filled
slots share, else null and ``qualities`` has one a slot (0 where empty). ``delivery`` and ``stamp`` are
likewise shared, else both null and ``origin`` lists runs of slots, ordered, covering the filled ones only.
``filled`` counts filled slots; ``total`` is the exact sum of amounts in milli base units.
"""
