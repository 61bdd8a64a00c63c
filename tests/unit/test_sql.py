"""SQL over the views gives what the other questions give, and sees nothing but the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from meterlake.errors import Invalid
from meterlake.query import Questions
from meterlake.sql import run
from meterlake.testing.handmade import RECEIVED_S, Reading, lake_of

START = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
READINGS = [
    *(Reading("m1", "electricity.import", 1800, START + k * 1800, 1000 * k - 7, 4 if k % 5 else 7, 1 + k % 3) for k in range(96) if k != 13),
    *(Reading("m2", "gas.import", 3600, START + k * 3600, 10**13 if k == 3 else 1) for k in range(24)),
    *(Reading("m2", "gas.import", 900, START + k * 900, 5) for k in range(96)),
]  # fmt: skip


@pytest.fixture(scope="module")
def lake():
    return lake_of(READINGS, (START + 86_400,))


def test_readings_are_every_filled_slot(lake):
    rows = run(lake, None, "SELECT * FROM readings ORDER BY meter, channel, seconds, start").to_pylist()
    wanted = sorted(READINGS, key=lambda r: (r.meter, r.channel, r.interval, r.start))
    assert [
        (
            r["meter"],
            r["channel"],
            r["seconds"],
            int(r["start"].timestamp()),
            r["value"],
            int(r["received_at"].timestamp()),
        )
        for r in rows
    ] == [
        (r.meter, r.channel, r.interval, r.start, Decimal(r.amount).scaleb(-6), RECEIVED_S[r.delivery])
        for r in wanted
    ]
    assert [r["quality"] for r in rows] == [{4: "actual", 7: "estimated"}[r.quality] for r in wanted]


def test_days_are_the_days_of_a_history(lake):
    rows = run(lake, None, "SELECT * FROM days ORDER BY meter, day").to_pylist()
    questions = Questions(lake)
    wanted = []
    for meter, stop in (("m1", "2024-03-31"), ("m2", "2024-03-30")):
        table = questions.history(meter, "2024-03-29", stop, step="day").to_arrow().to_pylist()
        wanted += [
            (meter, r["channel"], r["start"].date(), r["value"], r["filled"], r["expected"]) for r in table
        ]
    assert [tuple(r.values()) for r in rows] == wanted


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT * FROM read_csv('/etc/passwd')", id="another-file"),
        pytest.param("SELECT * FROM '/etc/passwd'", id="a-file-as-a-table"),
        pytest.param("SET memory_limit = '1GB'", id="a-setting"),
        pytest.param("COPY readings TO '/tmp/out.csv'", id="a-file-written"),
        pytest.param("SELECT 1; SELECT 2", id="two-statements"),
        pytest.param("DROP VIEW readings", id="a-view-dropped"),
        pytest.param("SELECT nothing FROM readings", id="an-unknown-column"),
        pytest.param("SELECT * FROM lake", id="a-variable-of-the-program"),
        pytest.param("SELEC", id="no-sql"),
    ],
)
def test_a_query_may_only_select_from_the_lake(lake, query):
    with pytest.raises(Invalid):
        run(lake, None, query)


def test_a_query_that_takes_too_long_is_stopped(lake):
    with pytest.raises(Invalid, match="took more than"):
        run(
            lake,
            None,
            "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b",
            seconds_max=0.2,
        )
