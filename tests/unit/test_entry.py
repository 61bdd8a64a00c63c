"""A log entry comes back from its bytes as it was, whatever ids the reader has numbered before."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.entry import FORMAT, Entry
from meterlake.errors import Damaged, Invalid
from meterlake.ids import MeterIds
from meterlake.ledger import QUARANTINE_SCHEMA
from meterlake.strips import MISSING, Kind, Strips

KINDS = (
    Kind("electricity.import", 1800, 4, 4, 1_700_000_000_000_000, False, "head-end", 7),
    Kind("gas.import", 86_400, 3, 5, 1_600_000_000_000_000, True, "späte Quelle", 7, per_line=False, phase=3600),
)  # fmt: skip
REJECTS = pa.Table.from_pylist(
    [
        {"load_id": "b1", "delivery": 7, "file": "", "line": 3, "text": 'm1,"x', "reason": "bad_time", "count": 1},
        {"load_id": "b1", "delivery": 7, "file": "", "line": 9, "text": None, "reason": "future", "count": 48},
    ],
    schema=QUARANTINE_SCHEMA,
)  # fmt: skip

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
amounts = st.one_of(
    st.integers(-5, 5_000),
    st.sampled_from([MISSING, 2**31 - 1, -(2**31) + 1]),
    st.sampled_from([-(2**31), 2**31, 2**62, MISSING + 1]),
)
strip = st.tuples(
    names, st.integers(0, 1), st.sampled_from([0, 1_700_000_000, -1800]), st.lists(amounts, max_size=5)
)


def entry_of(rows, ids, rejects=REJECTS):
    meters = ids.codes_of(pa.array([row[0] for row in rows], pa.string()))
    strips = Strips(
        meters,
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.int64),
        np.array([len(row[3]) for row in rows], np.int32),
        np.zeros(len(rows), np.int64),
        np.array([amount for row in rows for amount in row[3]], np.int64),
    )
    return Entry(
        7, "b1", "key-1", "head-end", 1_700_000_000_000_001, None, "ab" * 32, 50, 2, KINDS, strips, rejects
    )


def rows_of(entry, ids):
    strips, texts = entry.strips, ids.texts().to_pylist()
    borders = strips.offsets()
    return [
        (texts[m], k, s, strips.amounts[a:b].tolist())
        for m, k, s, a, b in zip(
            strips.meter, strips.kind, strips.start, borders[:-1], borders[1:], strict=True
        )
    ]


def facts(entry):
    return [getattr(entry, f.name) for f in fields(entry) if f.name not in {"strips", "rejects"}]


@given(st.lists(strip, max_size=30), st.lists(names, max_size=20), st.booleans())
def test_an_entry_comes_back_whatever_ids_are_known(rows, others, rejects):
    ids, known = MeterIds(), MeterIds()
    known.codes_of(pa.array(others, pa.string()))
    entry = entry_of(rows, ids, REJECTS if rejects else QUARANTINE_SCHEMA.empty_table())
    back = Entry.decode(entry.encode(ids), known)
    assert rows_of(back, known) == rows
    assert facts(back) == facts(entry)
    assert back.rejects.equals(entry.rejects)
    for f in fields(Strips):
        assert getattr(back.strips, f.name).dtype == getattr(entry.strips, f.name).dtype
        assert getattr(back.strips, f.name).flags.writeable


def test_a_precedence_comes_back():
    ids = MeterIds()
    entry = replace(entry_of([("m1", 0, 0, [1])], ids), precedence=90)
    assert Entry.decode(entry.encode(ids), ids).precedence == 90


def test_a_lone_slot_of_every_meter_takes_few_bytes():
    ids = MeterIds()
    entry = entry_of([(f"meter-{i:06d}", 0, 0, [i]) for i in range(5000)], ids)
    assert len(entry.encode(ids)) < 5000 * 21


@settings(max_examples=200)
@given(st.data())
def test_what_is_no_entry_is_damaged(data):
    ids = MeterIds()
    whole = entry_of([("m1", 0, 0, [1, 2]), ("m2", 1, 0, [3])], ids).encode(ids)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Damaged, match="restore"):
        Entry.decode(whole[:cut], MeterIds())


def test_a_later_format_is_refused_with_the_remedy():
    ids = MeterIds()
    whole = entry_of([("m1", 0, 0, [1])], ids).encode(ids)
    with pytest.raises(Invalid, match="install a later Meterlake"):
        Entry.decode((FORMAT + 1).to_bytes(4, "little") + whole[4:], ids)


@given(st.lists(names, min_size=1, max_size=50), st.data())
def test_taking_ids_gives_their_texts_in_the_order_asked(texts, data):
    ids = MeterIds()
    codes = ids.codes_of(pa.array(texts, pa.string()))
    places = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=80))
    taken = ids.take(codes[np.array(places, np.int64)])
    taken.validate(full=True)
    assert taken.to_pylist() == [texts[place] for place in places]
