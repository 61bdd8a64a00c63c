"""Stamps mean what ISO 8601 and strptime say they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.formats.stamps import ABSOLUTE, BAD, FRACTION, ROOM, form_of
from meterlake.testing.parsing import read_stamp

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - clocks of walls are meant
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda m: m.replace(microsecond=0))  # noqa: DTZ001
ROOM_TO_WORK = np.empty(ROOM, np.int64)


def stamp(text: str, time_format: str | None = None) -> tuple[int, int, int]:
    form = form_of(time_format)
    data = np.frombuffer(text.encode() + b"\n", np.uint8)[:-1]
    return tuple(map(int, read_stamp(data, form.mode, form.program, ROOM_TO_WORK)))


def seconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(seconds=1)


@given(MOMENTS, st.sampled_from([" ", "T", "t"]), st.integers(0, 9))
def test_iso_stamps_without_offset_are_local(moment, separator, digits):
    text = (
        f"{moment:%Y-%m-%d}".rjust(10, "0")
        + separator
        + f"{moment:%H:%M:%S}"
        + ("." + "0" * digits if digits else "")
    )
    assert stamp(text) == (0, seconds(moment), 0)


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_iso_stamps_with_offset_are_moments(moment, minutes):
    text = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat()
    expected = seconds(moment) - minutes * 60
    assert stamp(text) == (ABSOLUTE, expected, minutes * 60)
    assert stamp(text[:-3] + text[-2:]) == (ABSOLUTE, expected, minutes * 60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-01-01", "2013-01-01T00:00"),
        ("2013-01-01 00:30", "2013-01-01T00:30"),
        ("2012-10-12 00:30:00.0000000", "2012-10-12T00:30"),
        ("2013-01-01 24:00", "2013-01-02T00:00"),
        ("2013-12-31T24:00:00", "2014-01-01T00:00"),
    ],
)
def test_other_iso_forms(text, expected):
    assert stamp(text) == (0, seconds(datetime.fromisoformat(expected)), 0)


@pytest.mark.parametrize(
    "text", ["2013-01-01T00:30Z", "2013-01-01 00:30:00Z", "2013-01-01T01:30+01", "2013-01-01 00:30 z"]
)
def test_offsets_in_short_forms(text):
    assert stamp(text)[:2] == (ABSOLUTE, seconds(datetime(2013, 1, 1, 0, 30)))  # noqa: DTZ001


def test_a_fraction_of_a_second_is_told():
    assert stamp("2013-01-01 00:00:00.0000001")[0] == FRACTION
    assert stamp("1356998400.5", "epoch_s")[0] == ABSOLUTE | FRACTION
    assert stamp("1356998400001", "epoch_ms")[0] == ABSOLUTE | FRACTION


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "2013", "2013-02-29", "2013-13-01", "2013-00-01", "2013-01-00", "2013-1-1", "0000-01-01", "2013-01-01T",
        "2013-01-01 25:00", "2013-01-01 24:01", "2013-01-01 00:60", "2013-01-01 00:00:60", "2013-01-01 00:00:00.",
        "2013-01-01 00:00:0", "2013-01-01 00:00+", "2013-01-01 00:00+99:00", "2013-01-01 00:00 x", "2013/01/01",
    ],
)  # fmt: skip
def test_what_is_no_iso_stamp_is_bad(text):
    assert stamp(text)[0] & BAD


@given(st.integers(0, 10**10), st.booleans())
def test_counts_since_1970_are_moments(count, minus):
    signed = -count if minus else count
    assert stamp(str(signed), "epoch_s")[:2] == (ABSOLUTE, signed)
    assert stamp(str(signed * 1000), "epoch_ms")[:2] == (ABSOLUTE, signed)


FORMATS = [
    "%d/%m/%Y %H:%M", "%d/%m/%y", "%m/%d/%Y %I:%M:%S %p", "%d %b %Y %H:%M:%S", "%b %d %Y %I:%M%p", "%Y%m%d%H%M%S",
    "%Y-%j %H", "%d.%m.%Y %H.%M.%S", "%H:%M %d-%b-%y", "100%% %Y/%m/%d",
]  # fmt: skip


@given(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), st.sampled_from(FORMATS))  # noqa: DTZ001
def test_a_format_reads_what_strptime_reads(moment, time_format):
    text = moment.strftime(time_format)
    assert stamp(text, time_format)[:2] == (0, seconds(datetime.strptime(text, time_format)))  # noqa: DTZ007


@given(MOMENTS.filter(lambda m: m.year >= 1000), st.sampled_from(["+00:00", "+0530", "-03:30", "Z"]))
def test_a_format_may_hold_an_offset(moment, offset):
    text = f"{moment:%Y%m%d %H%M%S}{offset}"
    exact = datetime.strptime(text, "%Y%m%d %H%M%S%z")
    assert stamp(text, "%Y%m%d %H%M%S%z")[:2] == (
        ABSOLUTE,
        int((exact - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()),
    )


@given(st.text("0123456789/: -APMJanFeb", max_size=20), st.sampled_from(FORMATS))
def test_no_format_takes_what_strptime_refuses(text, time_format):
    try:
        datetime.strptime(text, time_format)  # noqa: DTZ007
    except ValueError:
        assert stamp(text, time_format)[0] & BAD


def test_an_unsupported_directive_is_refused_by_name():
    with pytest.raises(Invalid, match="%Q"):
        form_of("%Y %Q")
    with pytest.raises(Invalid, match="not supported"):
        form_of("%Y %")
