"""NEM12: registers, ranges of quality, update times, and every real file to the last digit."""

from __future__ import annotations

import json
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import BadFile
from meterlake.formats.codec import ReadOptions
from meterlake.formats.nem12 import channel_of
from meterlake.readings import REASONS
from meterlake.testing.parsing import NOW_S, ORIGIN, read_text
from meterlake.units import unit_of

SHARED = Path(__file__).parents[3] / "shared" / "data"
FACTS = json.loads((SHARED / "facts.json").read_text()) if SHARED.exists() else {}
REAL = sorted(path for path, fact in FACTS.items() if path.startswith("nem12_nem13") and fact.get("version"))
T0 = 1_356_962_400  # 2013-01-01 00:00 +10:00
NEM12 = ReadOptions(format="nem12")


def nem12(*records: str) -> bytes:
    return "\r\n".join(["100,NEM12,201301020000,MDP,FRMP", *records, "900", ""]).encode()


def head(nmi: str = "NMI1", suffix: str = "E1", unit: str = "KWH", minutes: int | str = 30) -> str:
    return f"200,{nmi},E1,1,{suffix},N1,METER,{unit},{minutes},"


def day(values: int = 48, quality: str = "A", date: str = "20130101", tail: str = ",,,") -> str:
    return ",".join(["300", date, *[str(k) for k in range(values)], quality + tail])


def content(path: str) -> bytes:
    file = SHARED / path
    if file.suffix != ".zip":
        return file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        return archive.read(archive.namelist()[0])


@pytest.mark.skipif(not REAL, reason="no shared NEM12 files")
def test_every_real_file_gives_its_exact_sums_and_counts():
    for path in REAL:
        found = read_text(content(path))
        sums: dict[tuple[str, str, int], list[int]] = {}
        for slot in found.slots:
            key = slot.meter, slot.kind.channel, slot.kind.interval_s
            total = sums.setdefault(key, [0, 0])
            total[0], total[1] = total[0] + slot.amount, total[1] + 1
        expected = {}
        for name, fact in FACTS[path].get("series", {}).items():
            nmi, suffix, unit, length = name.split("/")
            if channel_of(suffix) and not FACTS[path].get("problems", [""])[0].startswith("line 3:"):
                total = round(Fraction(str(fact["sum"])) * unit_of(unit).ratio())
                expected[nmi, channel_of(suffix), int(length[:-3]) * 60] = [total, fact["values"]]
        assert sums == expected, path
        assert found.adds_up(), path
        assert found.reasons().get("unsupported_interval", 0) == FACTS[path].get("n_250", 0)


@pytest.mark.skipif(not REAL, reason="no shared NEM12 files")
def test_invalid_examples_are_refused_with_the_line():
    folder = "nem12_nem13/aguinane__nem-reader/invalid/Example_NEM12_"
    with pytest.raises(BadFile, match=r"test\.csv: line 1: '' is no 100 record"):
        read_text(content(folder + "missing_header.csv"))
    mismatch = read_text(content(folder + "15min_200_30min_300.csv"))
    assert [(r.line, r.reason, r.count) for r in mismatch.refused] == [(3, "malformed_line", 1)]
    assert read_text(content(folder + "empty.csv")).received == 0


@pytest.mark.parametrize(
    ("suffix", "channel"),
    [
        ("E1", "electricity.import"), ("E", "electricity.import"), ("E2", "electricity.import.2"),
        ("B1", "electricity.export"), ("B2", "electricity.export.2"), ("Q1", "electricity.reactive.import"),
        ("K2", "electricity.reactive.export.2"), ("V1", None), ("E0", None), ("EA", None), ("", None),
    ],
)  # fmt: skip
def test_suffixes_name_channels(suffix, channel):
    assert channel_of(suffix) == channel


def test_a_day_is_one_strip_of_market_time():
    found = read_text(nem12(head(), day(), head(suffix="B1", minutes=15, unit="Wh"), day(96)))
    assert (found.name, found.strips, found.received) == ("nem12", 2, 144)
    assert [s.start for s in found.slots[:2]] == [T0, T0 + 1800]
    assert found.slots[-1].amount == 95_000
    assert {s.line for s in found.slots} == {3, 5}
    assert found.assumed["zone"].startswith("UTC+10:00")


@pytest.mark.parametrize(("letter", "quality"), [("A", 4), ("S14", 7), ("E52", 7), ("F14", 5)])
def test_quality_letters_are_ranks(letter, quality):
    assert {s.kind.quality for s in read_text(nem12(head(), day(quality=letter))).slots} == {quality}


def test_null_days_are_missing_values():
    found = read_text(nem12(head(), day(quality="N")))
    assert (found.reasons(), found.strips, found.received) == ({"missing_value": 48}, 0, 48)


def test_ranges_give_each_slot_its_quality():
    ranges = ["400,1,10,A,,", "400,11,20,F55,1,", "400,21,21,N,,", "400,22,48,A,,"]
    found = read_text(nem12(head(), day(quality="V"), *ranges, "500,N,,20130102000000,1"))
    assert [s.kind.quality for s in found.slots] == [4] * 10 + [5] * 10 + [4] * 27
    assert [s.start for s in found.slots][20] == T0 + 21 * 1800
    assert found.reasons() == {"missing_value": 1}
    assert found.adds_up()


@pytest.mark.parametrize(
    ("ranges", "line"),
    [
        pytest.param([], 3, id="none"),
        pytest.param(["400,1,47,A,,"], 3, id="the last is not covered"),
        pytest.param(["400,1,49,A,,"], 4, id="past the day"),
        pytest.param(["400,1,10,A,,", "400,12,48,A,,"], 5, id="a hole"),
        pytest.param(["400,1,10,A,,", "400,10,48,A,,"], 5, id="an overlap"),
        pytest.param(["400,1,48,V,,"], 4, id="no quality"),
        pytest.param(["400,a,48,A,,"], 4, id="no number"),
        pytest.param(["400,1"], 4, id="too short"),
    ],
)
def test_ranges_that_do_not_cover_the_day_refuse_it(ranges, line):
    found = read_text(nem12(head(), day(quality="V"), *ranges, head(), day()))
    assert [(r.line, r.reason, r.count) for r in found.refused] == [(line, "malformed_line", 48)]
    assert (len(found.slots), found.received) == (48, 96)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(day(47), id="a value too few"), pytest.param(day(49), id="a value too many"),
        pytest.param(day(96), id="another length"), pytest.param(day(quality="X"), id="no quality"),
        pytest.param(day(date="20130230"), id="no date"), pytest.param(day(date="2013"), id="short date"),
        pytest.param(day(tail=",,,yesterday"), id="no update time"), pytest.param("300", id="nothing"),
        pytest.param("301,1", id="unknown record"), pytest.param("rubbish", id="rubbish"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_counts_one(record):
    found = read_text(nem12(head(), record, day(date="20130102")))
    assert [(r.line, r.reason, r.count) for r in found.refused] == [(3, "malformed_line", 1)]
    assert len(found.slots) == 48


def test_a_bad_head_refuses_its_days():
    found = read_text(
        nem12(head(minutes=7), day(), head(minutes="x"), day(), head(nmi=""), day(), "200,N", day())
    )
    assert found.reasons() == {"malformed_line": 8}


def test_channels_and_units_that_do_not_fit_refuse_whole_days():
    found = read_text(nem12(head(suffix="V1"), day(), head(unit="kVArh"), day(), head(unit=""), day()))
    assert [(r.reason, r.count) for r in found.refused] == [
        ("unsupported_channel", 48), ("unit_mismatch", 48), ("unit_mismatch", 48),
    ]  # fmt: skip


def test_the_update_time_is_the_senders_stamp_and_not_after_now():
    updated = read_text(nem12(head(), day(tail=",,,20130102030000,20130103000000")))
    (kind,) = {s.kind for s in updated.slots}
    assert (kind.stamp_us, kind.sender_stamp) == ((T0 + 27 * 3600) * 1_000_000, True)
    (late,) = {s.kind for s in read_text(nem12(head(), day(tail=",,,20990101000000,"))).slots}
    assert late.stamp_us == NOW_S * 1_000_000
    (plain,) = {s.kind for s in read_text(nem12(head(), day())).slots}
    assert (plain.stamp_us, plain.sender_stamp) == (ORIGIN.received_us, False)


def test_a_declared_zone_with_clock_changes_is_read_by_the_clock():
    found = read_text(
        nem12(head(), day(date="20131006"), day(date="20130407")), ReadOptions(zone="Australia/Sydney")
    )
    assert found.reasons() == {"nonexistent_local_time": 2, "ambiguous_local_time": 2}
    assert found.adds_up()


def test_register_reads_wait_for_their_table():
    data = b"100,NEM13,201301020000,MDP,FRMP\n250,N,11,1,11,11,M,E,1,20130101,A,,,2,20130201,A,,,1,kWh,,20130202,\n550,N\n900\n"
    assert read_text(data).reasons() == {"unsupported_interval": 1}


def test_a_file_without_its_end_record_is_named():
    assert "900" in read_text(nem12(head(), day())[:-5]).assumed["end"]
    assert "end" not in read_text(nem12(head(), day())[:-2]).assumed


def test_a_cut_last_record_is_truncated():
    cut = nem12(head(), day(), day(date="20130102"))[:-60]
    assert read_text(cut).reasons() == {"truncated": 1}


def test_chunks_end_only_in_front_of_a_200_or_900_record():
    from meterlake.formats.recognise import open_codec

    data = nem12(head(), day(), head(), day())
    codec = open_codec(data, True, NEM12, ORIGIN, "x")
    assert data[codec.border(data) :].startswith(b"900")
    assert data[codec.border(data[:-8]) :].startswith(b"200")
    assert codec.border(day().encode()) == 0


RECORDS = st.lists(
    st.one_of(
        st.builds(head, st.sampled_from(["N1", "N2"]), st.sampled_from(["E1", "B1", "V1"]), st.sampled_from(["kWh", "x"])),
        st.builds(day, st.sampled_from([47, 48, 48, 48, 49]), st.sampled_from(["A", "V", "N", "E1", "?"])),
        st.sampled_from(["400,1,48,A,,", "400,1,20,N,,", "400,21,48,S14,,", "500,N", "550", "900", "", "x", '"', "250,1"]),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.lists(st.integers(0, 2500), max_size=5), st.booleans())
def test_any_cut_gives_the_same_and_all_adds_up(records, cuts, newline):
    data = nem12(*records)[: None if newline else -9]
    whole, parts = read_text(data, NEM12), read_text(data, NEM12, cuts)
    assert sorted(parts.slots) == sorted(whole.slots)
    assert sorted(parts.refused) == sorted(whole.refused)
    assert whole.adds_up()
    assert {r.reason for r in whole.refused} <= set(REASONS)
