"""Parquet of readings and of blocks: the same readings as text, checked slot by slot."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.errors import BadFile
from meterlake.formats.codec import ReadOptions
from meterlake.formats.parquet import read
from meterlake.ids import MeterIds
from meterlake.readings import MILLI, READING_SCHEMA
from meterlake.strips import Kinds
from meterlake.testing.parsing import NOW_S, ORIGIN, Read, collect, read_text

T0 = 1_356_998_400
UTC_STAMP = pa.timestamp("us", tz="UTC")


def parsed(tmp_path, table: pa.Table, options: ReadOptions | None = None) -> Read:
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    ids, kinds = MeterIds(), Kinds()
    options = options or ReadOptions()
    source = read(path, options, ORIGIN, ids, kinds)
    parts = list(source)
    return collect(
        Read("parquet", source.assumed), parts, ids, kinds, options.zone or "UTC", options.stamp or "start"
    )


def times(n: int, step: int = 1800, kind: pa.DataType = UTC_STAMP) -> pa.Array:
    return pa.array((T0 + np.arange(n) * step) * 1_000_000).cast(pa.timestamp("us")).cast(kind)


def plain(n: int = 3, **columns) -> pa.Table:
    return pa.table({"meter": ["m"] * n, "start": times(n), "value": [1.5] * n} | columns)


def test_readings_by_plain_names(tmp_path):
    found = parsed(tmp_path, plain())
    assert (found.strips, found.amounts(), found.starts()[1]) == (1, [1_500_000] * 3, T0 + 1800)
    assert [s.line for s in found.slots] == [1, 2, 3]
    assert found.assumed["interval"] == "30min"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array([0.1, 1.9220001, 2.0]), id="floats"),
        pytest.param(pa.array([Decimal("0.1"), Decimal("1.9220001"), Decimal(2)]), id="decimals"),
        pytest.param(pa.array(["0.1", "1.9220001", "2"]), id="text"),
    ],
)
def test_values_are_as_exact_as_in_text(tmp_path, values):
    assert parsed(tmp_path, plain(value=values)).amounts() == [100_000, 1_922_000, 2_000_000]


def test_the_schema_of_readings_keeps_amounts_qualities_and_stamps(tmp_path):
    stamp = pa.array([datetime(2013, 2, 1, tzinfo=UTC)] * 2 + [datetime(2099, 1, 1, tzinfo=UTC)], UTC_STAMP)
    table = pa.table(
        [
            pa.array(["m"] * 3), pa.array(["gas.import"] * 3).dictionary_encode(), times(3), pa.array([1800] * 3, pa.int32()),
            pa.array([7, None, -9]), pa.array([4, 4, 7], pa.uint8()), stamp, pa.array([3] * 3, pa.int32()),
        ],
        schema=READING_SCHEMA,
    )  # fmt: skip
    found = parsed(tmp_path, table)
    assert [(s.amount, s.kind.channel, s.kind.quality, s.kind.delivery) for s in found.slots] == [
        (7, "gas.import", 4, ORIGIN.delivery), (-9, "gas.import", 7, ORIGIN.delivery),
    ]  # fmt: skip
    assert [s.kind.stamp_us for s in found.slots] == [1_359_676_800_000_000, NOW_S * 1_000_000]
    assert found.reasons() == {"missing_value": 1}


def test_faults_have_their_reasons(tmp_path):
    n = 9
    start = times(n).to_pylist()
    start[1], start[2] = None, start[2].replace(microsecond=5)
    start[8] = datetime(2050, 1, 1, tzinfo=UTC)
    table = plain(
        n,
        meter=pa.array(["", *["m"] * (n - 1)]),
        start=pa.array(start, UTC_STAMP),
        value=pa.array(["1", "1", "1", None, "x", "1", "1", "1e20", "1"]),
        channel=["import"] * 5 + ["steam", "water", "import", "import"],
        unit=["kWh"] * n,
        seconds=[1800] * n,
    )
    found = parsed(tmp_path, table)
    assert [(r.line, r.reason) for r in found.refused] == list(enumerate([
        "malformed_line", "bad_time", "off_grid", "missing_value", "bad_number", "unsupported_channel", "unit_mismatch",
        "out_of_range", "future",
    ], start=1))  # fmt: skip
    assert found.adds_up()


def test_naive_times_are_of_the_declared_zone(tmp_path):
    naive = pa.timestamp("ms")
    table = plain(start=times(3, kind=naive))
    assert parsed(tmp_path, table).assumed["zone"] == "UTC"
    assert (
        parsed(tmp_path, table, ReadOptions(zone="Asia/Tokyo", stamp="end")).starts()[0]
        == T0 - 9 * 3600 - 1800
    )
    hours = pa.array([datetime(2013, 10, 27, 1), datetime(2013, 10, 27, 1, 30)] * 2, naive)  # noqa: DTZ001
    autumn = parsed(tmp_path, plain(4, start=hours), ReadOptions(zone="Europe/London", interval_s=1800))
    assert len(set(autumn.starts())) == 4
    assert autumn.adds_up()
    skipped = pa.array([datetime(2013, 3, 31, 1)] * 3, naive)  # noqa: DTZ001
    spring = parsed(tmp_path, plain(start=skipped), ReadOptions(zone="Europe/London", interval_s=1800))
    assert spring.reasons() == {"nonexistent_local_time": 3}


def test_wrong_columns_are_refused_with_what_was_expected(tmp_path):
    with pytest.raises(BadFile, match=r"has columns a; expected meter_id or meter.*values.*--map"):
        parsed(tmp_path, pa.table({"a": [1]}))
    with pytest.raises(BadFile, match="timestamps"):
        parsed(tmp_path, plain(start=["2013-01-01"] * 3))
    with pytest.raises(BadFile, match="--interval"):
        parsed(tmp_path, plain(1))
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadFile, match="cannot be read as Parquet"):
        read(tmp_path / "no.parquet", ReadOptions(), ORIGIN, MeterIds(), Kinds())


def test_columns_can_be_mapped_and_the_meter_declared(tmp_path):
    table = pa.table({"when": times(2), "kwh": [1, 2]})
    found = parsed(tmp_path, table, ReadOptions(map={"time": "when", "value": "kwh"}, meter="home"))
    assert [(s.meter, s.amount) for s in found.slots] == [("home", MILLI), ("home", 2 * MILLI)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.sampled_from(["1", "0.5", "x", ""])),
        min_size=1,
    )
)
def test_parquet_and_csv_of_the_same_rows_agree(tmp_path_factory, rows):
    options = ReadOptions(interval_s=1800)
    table = pa.table({
        "meter": [m for m, _, _ in rows], "value": [v for _, _, v in rows],
        "start": pa.array([(T0 + k * 1800) * 1_000_000 for _, k, _ in rows]).cast(UTC_STAMP),
    })  # fmt: skip
    lines = [f"{m},{T0 + k * 1800},{v}" for m, k, v in rows]
    text = read_text(
        "\n".join(["meter,time,value", *lines, ""]).encode(),
        ReadOptions(interval_s=1800, time_format="epoch_s"),
    )
    found = parsed(tmp_path_factory.mktemp("p"), table, options)
    assert [s[:3] for s in found.slots] == [s[:3] for s in text.slots]
    assert [(r.line + 1, r.reason) for r in found.refused] == [(r.line, r.reason) for r in text.refused]


def block(**changes) -> dict:
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    row = {
        "meter_id": "m", "channel": "electricity.import", "interval_s": 3600, "start": moment, "offset_s": 0, "scale": 3,
        "values": [1, None, *[2] * 22], "wide_values": None, "quality": 4, "qualities": None, "delivery": 1,
        "stamp": moment, "origin": None, "filled": 23, "total": 45_000,
    }  # fmt: skip
    return row | changes


def blocks(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema([f.with_nullable(True) for f in BLOCK_SCHEMA]))


def test_blocks_are_unpacked_run_by_run(tmp_path):
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    runs = [
        {"first": 0, "count": 1, "delivery": 1, "stamp": moment},
        {"first": 2, "count": 22, "delivery": 2, "stamp": moment},
    ]
    mixed = block(
        meter_id="n", quality=None, qualities=[4, 0, *[7] * 22], delivery=None, stamp=None, origin=runs, scale=0,
        values=None, wide_values=[10**12, None, *[1] * 22], total=10**12 + 22,
    )  # fmt: skip
    found = parsed(tmp_path, blocks(block(), mixed))
    assert found.refused == []
    assert [s.amount for s in found.slots] == [1000, *[2000] * 22, 10**12, *[1] * 22]
    assert [s.kind.quality for s in found.slots][23:25] == [4, 7]
    assert found.starts()[:2] == [T0, T0 + 7200]
    assert {(s.line, s.kind.per_line, s.kind.delivery) for s in found.slots} == {(1, False, 7), (2, False, 7)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"total": 45_001}, id="total"), pytest.param({"filled": 22}, id="filled"),
        pytest.param({"values": [1] * 23}, id="width"), pytest.param({"values": None}, id="no values"),
        pytest.param({"wide_values": [1] * 24}, id="both"), pytest.param({"interval_s": 3601}, id="interval"),
        pytest.param({"offset_s": 3600}, id="offset"), pytest.param({"scale": 60}, id="scale"),
        pytest.param({"scale": None}, id="no scale"), pytest.param({"quality": 9}, id="quality"),
        pytest.param({"quality": 0}, id="no quality"), pytest.param({"quality": None}, id="neither quality"),
        pytest.param({"quality": None, "qualities": [0] * 24}, id="qualities"), pytest.param({"delivery": None}, id="origin"),
        pytest.param({"start": datetime(2013, 1, 1, 1, tzinfo=UTC)}, id="start"), pytest.param({"meter_id": ""}, id="meter"),
        pytest.param({"channel": None}, id="channel"),
        pytest.param({"delivery": None, "stamp": None, "origin": [
            {"first": 3, "count": 99, "delivery": 1, "stamp": datetime(2013, 1, 1, tzinfo=UTC)}]}, id="runs beyond"),
        pytest.param({"delivery": None, "stamp": None, "origin": [
            {"first": 0, "count": 5, "delivery": 1, "stamp": datetime(2013, 1, 1, tzinfo=UTC)}]}, id="runs short"),
    ],
)  # fmt: skip
def test_a_block_whose_parts_do_not_agree_is_malformed(tmp_path, changes):
    found = parsed(tmp_path, blocks(block(), block(meter_id="n") | changes, block(meter_id="o")))
    assert [(r.line, r.reason, r.count) for r in found.refused] == [(2, "malformed_line", 1)]
    assert {s.meter for s in found.slots} == {"m", "o"}
    assert found.adds_up()


def test_blocks_of_unknown_channels_and_of_the_future_are_refused_by_slot(tmp_path):
    late = datetime.fromtimestamp(NOW_S, UTC).replace(hour=0, minute=0, second=0)
    found = parsed(tmp_path, blocks(block(channel="steam"), block(start=late)))
    assert found.reasons()["unsupported_channel"] == 23
    assert found.reasons()["future"] > 0
    assert found.adds_up()
