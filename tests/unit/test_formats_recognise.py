"""Which format a file has, what is refused as a whole, and text in other encodings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import BadFile, Invalid
from meterlake.formats.codec import ReadOptions
from meterlake.formats.recognise import open_codec
from meterlake.formats.text import decoder
from meterlake.testing.parsing import ORIGIN, read_text

LONG = b"meter,time,value\nm,2013-01-01 00:00,1\nm,2013-01-01 00:30,2\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"), pytest.param(b"\n\r\n", id="blank lines"), pytest.param(b"sep=,\n", id="sep line"),
        pytest.param(b"meter,time,value\n", id="header"), pytest.param(b"LCLid,tstp,energy(kWh/hh)", id="lcl header"),
        pytest.param(b"100,NEM12,201301020000,A,B\n900\n", id="nem12"),
    ],
)  # fmt: skip
def test_a_file_without_readings_is_valid(data):
    assert (read_text(data).received, read_text(data).refused) == (0, [])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(b"hello\nworld\n", "format is not known.*--format csv --map", id="text"),
        pytest.param(b'{"a": [1, 2, 3], "b": 1}', "--map", id="json"),
        pytest.param(b"<?xml version='1.0'?>\n<feed/>\n", "--map", id="xml"),
        pytest.param(b"m\0e\0t\0e\0r\0", "--encoding utf-16", id="nul bytes"),
        pytest.param(b"x" * (1 << 20), "format is not known", id="one endless line"),
        pytest.param(
            b"200,NMI,E1,1,E1,N1,M,kWh,30,\n300,20130101,1\n", "line 1: .* is no 100 record", id="nem12 cut"
        ),
        pytest.param(
            b"a,time,value\nm,2013-01-01 00:00,1\n",
            r"no column is known for meter.*'a,time,value'",
            id="header",
        ),
    ],
)
def test_a_file_of_no_known_format_says_what_was_seen_and_what_to_do(data, what):
    with pytest.raises(BadFile, match=what) as refused:
        read_text(data)
    assert "test.csv" in str(refused.value)


@pytest.mark.parametrize("form", ["lcl", "wide", "nem12", "parquet"])
def test_a_file_that_is_not_what_was_declared_is_refused(form):
    with pytest.raises(BadFile):
        read_text(LONG, ReadOptions(format=form))


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(format="xls"), ReadOptions(zone="Mars/X"), ReadOptions(stamp="middle"), ReadOptions(unit="stone"),
        ReadOptions(channel="steam"), ReadOptions(quality="great"), ReadOptions(decimal="'"), ReadOptions(delimiter="ab"),
        ReadOptions(time_format="%Q"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_invalid(options):
    with pytest.raises(Invalid):
        read_text(LONG, options)


def test_lines_before_the_header_can_be_passed_over():
    data = b"Report, of things\nmade,by,me\n" + LONG
    found = read_text(data, ReadOptions(skip=2))
    assert [s.line for s in found.slots] == [4, 5]
    assert [s.line for s in read_text(b"sep=;\n" + LONG.replace(b",", b";")).slots] == [3, 4]


def test_declared_columns_make_a_london_header_a_plain_csv():
    data = b"LCLid,tstp,energy(kWh/hh)\nM,2013-01-01 00:00:00, 1 \nM,2013-01-01 01:00:00, 1 \n"
    found = read_text(data, ReadOptions(map={"meter": "1"}))
    assert (found.name, found.assumed["interval"]) == ("csv", "1h")


def test_a_head_in_the_middle_of_a_line_is_enough():
    head = LONG + b"m,2013-01-01 01:0"
    assert open_codec(head, False, ReadOptions(), ORIGIN, "x").name == "csv"


def decoded(data: bytes, encoding: str | None, cuts: list[int]) -> bytes:
    decode, at, parts = decoder(encoding), 0, []
    for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        parts.append(decode(data[at:cut], final=False))
        at = cut
    return b"".join([*parts, decode(b"", final=True)])


@settings(max_examples=60)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\ufeff")), st.lists(st.integers(0, 40)),
    st.sampled_from([None, "utf-8", "utf-16", "utf-16-le", "utf-32"]), st.booleans(),
)  # fmt: skip
def test_any_encoding_becomes_utf8_in_any_pieces(text, cuts, encoding, mark):
    data = ("\ufeff" if mark and encoding in {None, "utf-8"} else "") + text
    assert decoded(data.encode(encoding or "utf-8"), encoding, cuts) == text.encode()


def test_latin_1_is_declared_and_not_guessed():
    data = "Zähler,é".encode("latin-1")
    assert decoded(data, "latin-1", [2]) == "Zähler,é".encode()
    with pytest.raises(BadFile, match=r"byte 2 is not UTF-8.*--encoding latin-1"):
        decoded(data, None, [])
    with pytest.raises(BadFile, match="not UTF-8"):
        decoded("é".encode()[:1], None, [])


def test_utf_16_is_named_by_its_mark():
    with pytest.raises(BadFile, match="--encoding utf-16"):
        decoded("meter".encode("utf-16"), None, [])
    with pytest.raises(BadFile, match="another --encoding"):
        decoded(b"\xff\xfea", "utf-16", [])
    with pytest.raises(Invalid, match="no such encoding"):
        decoder("klingon")
