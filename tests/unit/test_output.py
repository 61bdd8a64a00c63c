"""Answers in every form say the same, digit by digit."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterlake.csv_text import write_csv
from meterlake.errors import Invalid
from meterlake.exact import VALUE_TYPE, Exact, dumps
from meterlake.output import Listed, plain, render, text_columns

AMOUNTS = st.integers(-(10**18), 10**18)


def rendered(rows, form, under=None):
    out = io.BytesIO()
    render(Listed(rows, under), form, out)
    return out.getvalue()


@given(st.lists(AMOUNTS, min_size=1, max_size=20))
def test_values_read_back_exactly_from_every_form(amounts):
    values = [Decimal(a).scaleb(-6) for a in amounts]
    table = pa.table({"value": pa.array(values, VALUE_TYPE), "amount": amounts})
    parsed = json.loads(rendered(table, "json"), parse_float=Decimal, parse_int=Decimal)
    assert [row["value"] for row in parsed] == values
    rows = list(csv.DictReader(io.StringIO(rendered(table, "csv").decode())))
    assert [Decimal(row["value"]) for row in rows] == values
    assert all("amount" not in row for row in rows)
    assert pa.ipc.open_stream(rendered(table, "arrow")).read_all().equals(table)
    assert pq.read_table(io.BytesIO(rendered(table, "parquet")))["amount"].to_pylist() == amounts


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), min_size=1, max_size=9)
)
def test_csv_is_read_back_by_any_reader(rows):
    columns = list(zip(*rows, strict=True))
    out = io.BytesIO()
    write_csv(
        pa.table({name: pa.array(cells, pa.string()) for name, cells in zip("ab", columns, strict=True)}), out
    )
    found = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    assert found == [["a", "b"], *rows]


def test_trailing_zeros_are_not_written():
    column = pa.array(
        [Decimal("10.000000"), Decimal("0.000001"), Decimal("-2.500000"), Decimal(0), None], VALUE_TYPE
    )
    assert text_columns(pa.table({"v": column}))["v"].to_pylist() == ["10", "0.000001", "-2.5", "0", None]


def test_moments_carry_the_offset_of_their_zone():
    summer = pa.array([datetime(2024, 7, 1, tzinfo=UTC), None])
    for zone, text in (("UTC", "2024-07-01T00:00:00Z"), ("Europe/London", "2024-07-01T01:00:00+01:00")):
        column = summer.cast(pa.timestamp("us", tz=zone))
        assert text_columns(pa.table({"t": column}))["t"].to_pylist() == [text, None]


def test_what_json_lacks_is_written_as_text_or_null():
    told = {
        "a": float("nan"), "b": datetime(2024, 1, 1, tzinfo=UTC), "c": date(2024, 1, 1), "d": timedelta(minutes=1),
        "e": b"\x01", "f": [Decimal("1.10")], "g": {"h": Decimal("NaN")}, "i": True,
    }  # fmt: skip
    assert dumps(plain(told)) == (
        '{"a": null, "b": "2024-01-01T00:00:00Z", "c": "2024-01-01", "d": 60.0, "e": "01", "f": [1.1], '
        '"g": {"h": null}, "i": true}'
    )


def test_a_table_aligns_numbers_to_the_right():
    table = pa.table(
        {"meter": ["m1", "a longer id"], "value": pa.array([Decimal("1.5"), Decimal(20)], VALUE_TYPE)}
    )
    assert rendered(table, "table").decode() == "meter        value\nm1             1.5\na longer id     20\n"


def test_nothing_is_still_an_answer():
    table = pa.table({"meter": pa.array([], pa.string())})
    assert json.loads(rendered(table, "json", "items")) == {"items": []}
    assert rendered(table, "csv") == b"meter\n"
    assert b"nothing" in rendered(table, "table")
    assert rendered([], "json") == b"[]\n"


def test_objects_within_rows_become_json_text():
    rows = [{"amount": Exact(1_500_000), "files": [{"path": "a"}]}]
    assert Listed(rows).to_arrow().to_pylist() == [{"amount": "1.5", "files": '[{"path": "a"}]'}]


def test_binary_forms_are_kept_from_terminals():
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    with pytest.raises(Invalid, match="> FILE"):
        render(Listed([{"a": 1}]), "arrow", Terminal())
    with pytest.raises(Invalid, match="table, json"):
        render(Listed([]), "xml", io.BytesIO())
