"""The partition of one meter id, in plain Python: the reader's twin of `ids.hash_bytes`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_MASK: Final = (1 << 64) - 1
_TOP_BITS: Final = 10
"""ids.PARTITIONS is 2**10; it is not imported, because `ids` loads the compiler."""


@lru_cache(maxsize=65_536)
def partition_of(meter_id: str) -> int:
    """Partition of ``meter_id``, 0 to 1023: the top bits of 64-bit FNV-1a finished by the murmur3 mixer."""
    h = 0xCBF29CE484222325
    for byte in meter_id.encode():
        h = (h ^ byte) * 0x100000001B3 & _MASK
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCD & _MASK
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53 & _MASK
    return (h ^ (h >> 33)) >> (64 - _TOP_BITS)
