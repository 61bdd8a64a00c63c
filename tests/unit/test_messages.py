"""What is sent as a message comes back as it was; whatever else a topic holds is told apart, and nothing raises."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.entry import Entry
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.messages import FOREIGN, Poison, entry_of, message_of, name_of
from meterlake.strips import Kind, Strips


def entry(ids, n=3):
    codes = ids.codes_of(pa.array([f"m{i}" for i in range(n)]))
    strips = Strips(
        codes, np.zeros(n, np.int32), np.full(n, 1_700_000_100 // 900 * 900), np.full(n, 2, np.int32),
        np.zeros(n, np.int64), np.arange(2 * n, dtype=np.int64),
    )  # fmt: skip
    kind = Kind("electricity.import", 900, 4, 3, 0, sender_stamp=False, source="s", delivery=0)
    return Entry(
        0, "b1", "own", "s", 0, None, "hash", 2 * n, 0, (kind,), strips, QUARANTINE_SCHEMA.empty_table()
    )


def test_a_message_comes_back_as_the_batch_it_was():
    ids, others = MeterIds(), MeterIds()
    others.codes_of(pa.array(["other", "m2"]))
    sent = entry(ids)
    value, headers = message_of(sent, ids)
    back = entry_of(value, headers, others)
    assert (back.batch_id, back.source, back.content, back.kinds) == ("b1", "s", "hash", sent.kinds)
    assert others.take(back.strips.meter).to_pylist() == ["m0", "m1", "m2"]
    assert back.strips.amounts.tolist() == sent.strips.amounts.tolist()
    assert name_of(value) == name_of(message_of(entry(MeterIds()), ids)[0])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v, h: (v[:-1] + b"x", h), "checksum"),
        (lambda v, h: (b"", h), "checksum"),
        (lambda _v, h: (None, h), "checksum"),
        (lambda v, h: (v, [("ml-format", b"9"), *h[1:]]), "format"),
        (lambda v, h: (v, [("ml-format", None), *h[1:]]), ""),
    ],
)
def test_what_is_not_what_it_says_is_poison(change, why):
    ids = MeterIds()
    found = entry_of(*change(*message_of(entry(ids), ids)), ids)
    assert found is FOREIGN if not why else isinstance(found, Poison) and why in found.why


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise(value, ours):
    headers = [("ml-format", b"1"), ("ml-crc", f"{zlib.crc32(value):08x}".encode())] if ours else None
    found = entry_of(value, headers, MeterIds())
    assert isinstance(found, Poison) if ours else found is FOREIGN
