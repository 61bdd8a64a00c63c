"""Since when a service point is somebody's, as the registry has it."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from meterlake.accounts import Hold
from meterlake.adapters.registry import SqlRegistry
from meterlake.holds import held_now
from meterlake.registry import SHAPES


def day(text):
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def second(text):
    return int(day(text).timestamp())


def test_a_customer_holds_a_place_for_all_rows_in_a_row_that_name_them():
    told = [
        ("moved", "before", None, None), ("moved", "ada", "2026-01-05", None),
        ("tariffs", "ada", "2025-01-01", None), ("tariffs", "ada", "2025-06-01", None),
        ("tariffs", "ada", "2026-03-01", "2026-09-01"), ("tariffs", "next", "2026-09-01", None),
        ("gap", "ada", "2020-01-01", "2021-01-01"), ("gap", "ada", "2022-01-01", None),
        ("vacant", None, "2020-01-01", "2025-01-01"), ("vacant", None, "2025-01-01", None),
        ("over", "ada", None, "2020-01-01"),
    ]  # fmt: skip
    rows = [
        {"service_point_id": id_, "customer_id": who, "from": day(start), "to": day(end)}
        for id_, who, start, end in told
    ]
    registry = SqlRegistry("sqlite://", create=True)
    registry.import_tables(
        {"service_points": pa.Table.from_pylist(rows, schema=SHAPES["service_points"].schema)}
    )
    wanted = ["moved", "tariffs", "gap", "vacant", "over", "nowhere", "moved"]
    assert held_now(registry, wanted, day("2026-02-01")) == (
        Hold("moved", second("2026-01-05"), None),
        Hold("tariffs", second("2025-01-01"), second("2026-09-01")),
        Hold("gap", second("2022-01-01"), None),
        Hold("vacant", second("2025-01-01"), None),
        Hold("over"),
        Hold("nowhere"),
    )
    assert held_now(registry, [], day("2026-02-01")) == ()
