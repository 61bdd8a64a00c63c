"""Questions that need the registry: exchanged meters, zones, regions and classes; and questions that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from meterlake.adapters.registry import SqlRegistry
from meterlake.errors import Invalid, NotFound
from meterlake.query import Questions
from meterlake.query.single import Piece
from meterlake.registry import SHAPES
from meterlake.testing.handmade import Reading, lake_of

DAY = 86_400
START = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp())
NOON = START + 2 * DAY + DAY // 2
CHANNEL = "electricity.import"
READINGS = [
    *(Reading("old", CHANNEL, 1800, START + k * 1800, 1_000_000) for k in range(5 * 48)),
    *(Reading("new", CHANNEL, 1800, START + k * 1800, 3_000_000) for k in range(5 * 48)),
    *(Reading("shop", CHANNEL, 1800, START + k * 1800, 7_000_000) for k in range(48)),
    *(Reading("loose", CHANNEL, 1800, START + k * 1800, 11_000_000) for k in range(48)),
]


def moment(second):
    return datetime.fromtimestamp(second, UTC)


def rows(name, *given):
    return pa.Table.from_pylist(list(given), schema=pa.schema(list(SHAPES[name].columns.items())))


@pytest.fixture(scope="module")
def questions():
    registry = SqlRegistry("sqlite://", create=True)
    place = {"customer_id": None, "zone": "Europe/London", "from": None, "to": None}
    registry.import_tables(
        {
            "service_points": rows(
                "service_points",
                place | {"service_point_id": "home", "geohash": "gcpuvpk44", "class": "residential"},
                place | {"service_point_id": "store", "geohash": "gcpvj0duq", "class": "business"},
            ),
            "meters": rows(
                "meters",
                {"meter_id": "old", "service_point_id": "home", "from": moment(START), "to": moment(NOON)},
                {"meter_id": "new", "service_point_id": "home", "from": moment(NOON)},
                {"meter_id": "shop", "service_point_id": "store", "from": moment(START), "interval_s": 1800},
            ),
        }
    )
    return Questions(lake_of(READINGS, (START + DAY, START + 3 * DAY)), registry)


def test_a_service_point_spans_a_meter_exchange(questions):
    (listing,) = questions.history("home", "2024-03-29", "2024-04-02", step="day", zone="UTC").listings
    assert listing.amount.tolist() == [48_000_000, 48_000_000, 24_000_000 + 72_000_000, 144_000_000]
    assert listing.expected.tolist() == listing.filled.tolist() == [48] * 4
    (every,) = questions.history("home", "2024-03-29", "2024-04-03", gaps="keep").listings
    assert len(every.start) == every.passport.expected == every.passport.filled == 5 * 48
    assert set(every.amount[every.start < NOON].tolist()) == {1_000_000}
    assert set(every.amount[every.start >= NOON].tolist()) == {3_000_000}


def test_a_meter_is_asked_for_all_time_but_expected_while_installed(questions):
    (listing,) = questions.history("old", "2024-03-28", "2024-04-05", step="day").listings
    assert listing.filled.tolist() == [0, 48, 48, 48, 48, 48, 0, 0]
    assert listing.expected.tolist() == [0, 48, 48, 48, 48, 48, 0, 0]
    (silent,) = questions.history("new", "2024-04-01T12:00Z", "2024-04-05", step="day").listings
    assert silent.expected.tolist() == [24, 48, 48, 48]
    assert silent.filled.tolist() == [24, 48, 0, 0]


def test_usage_takes_the_zone_of_the_service_point(questions):
    answer = questions.usage("home", ranges=("1d", "2d"))
    assert (answer.zone, answer.to_json()["until"]) == ("Europe/London", "2024-04-03")
    figure, before = answer.channels[CHANNEL]["1d"]
    assert (figure.amount, figure.passport.expected) == (48 * 3_000_000, 48)
    assert (before.amount, before.passport.expected) == (48 * 3_000_000, 48)
    summer = questions.usage("home", until="2024-04-01", ranges=("1d",)).channels[CHANNEL]["1d"][0]
    assert summer.passport.expected == summer.passport.filled == 46


def test_a_fleet_is_split_by_region_and_class(questions):
    day = ("2024-03-29", "2024-03-30")
    rows = questions.fleet(*day, step="day", by=("class",)).to_json()["values"]
    found = {row["class"]: (row["value"], row["filled"], row["expected"]) for row in rows}
    assert found == {
        "residential": (48 * 4_000_000, 96, 96), "business": (48 * 7_000_000, 48, 48), None: (48 * 11_000_000, 48, 48),
    }  # fmt: skip
    regions = questions.fleet(*day, by=("region", "class"), region_digits=4).to_arrow()
    assert set(regions["region"].to_pylist()) == {"gcpu", "gcpv", None}
    assert sum(regions["amount"].to_pylist()) == 48 * 22_000_000
    top = questions.top(*day, by="region", region_digits=2).to_arrow().to_pylist()
    assert {row["region"]: row["amount"] for row in top} == {"gc": 48 * 11_000_000, None: 48 * 11_000_000}


def test_expected_slots_are_those_of_installed_meters(questions):
    table = questions.fleet("2024-03-31", "2024-04-01", step="hour", by=("class",)).to_arrow().to_pylist()
    homes = [row["expected"] for row in table if row["class"] == "residential"]
    assert homes == [4] * 24  # both meters send all day, though each is installed for half of it
    empty = questions.fleet("2024-04-04", "2024-04-05", step="day", by=("class",)).to_arrow()
    assert len(empty) == 0 or sum(empty["filled"].to_pylist()) == 0


def test_answers_turn_into_json_arrow_and_text(questions):
    answer = questions.history("shop", "2024-03-29", "2024-03-30", step="day")
    assert answer.to_json()["values"] == [
        {
            "start": "2024-03-29T00:00:00Z",
            "seconds": DAY,
            "value": 48 * 7_000_000,
            "filled": 48,
            "expected": 48,
            "estimated": 0,
        }
    ]
    assert answer.to_arrow()["value"].to_pylist() == [Decimal(336)]
    assert "electricity.import" in repr(answer)
    assert "more rows" in repr(questions.history("shop", "2024-03-29", "2024-03-30"))
    assert questions.usage("shop", until="2024-03-30", ranges=("1d",)).to_arrow()["value"].to_pylist() == [
        Decimal(336)
    ]
    at = questions.snapshot("2024-03-29T10:10Z").to_json()
    assert {row["meter"]: row["value"] for row in at["values"]} == {
        "old": 1_000_000, "new": 3_000_000, "shop": 7_000_000, "loose": 11_000_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        pytest.param(
            lambda q: q.history("nobody", "2024-03-29", "2024-03-30"), NotFound, "no meter", id="unknown-id"
        ),
        pytest.param(
            lambda q: q.usage("nobody", until="2024-03-29"), NotFound, "no meter", id="unknown-usage"
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-29", "2024-03-30", channel="gas.import"),
            NotFound,
            "it has electricity",
            id="unknown-channel",
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-30", "2024-03-29"), Invalid, "not before", id="backwards"
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-29", "2024-03-30", zone="Mars"),
            Invalid,
            "time zone",
            id="zone",
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-29", "2024-03-30", step="week"),
            Invalid,
            "no step",
            id="step",
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-29", "2024-03-30", gaps="no"),
            Invalid,
            "keep or drop",
            id="gaps",
        ),
        pytest.param(
            lambda q: q.history("shop", "2024-03-29", "2024-03-30", kind="x"),
            Invalid,
            "service_point",
            id="kind",
        ),
        pytest.param(
            lambda q: q.usage("shop", kind="service_point"), NotFound, "it is a meter", id="no-point"
        ),
        pytest.param(lambda q: q.usage("shop", until="soon"), Invalid, "no date", id="until"),
        pytest.param(
            lambda q: q.usage("shop", until="2024-03-29", ranges=("1x",)), Invalid, "no range", id="range"
        ),
        pytest.param(lambda q: q.fleet("2024-03-29", "2024-03-30", by=("town",)), Invalid, "town", id="by"),
        pytest.param(lambda q: q.top("2024-03-29", "2024-03-30", 0), Invalid, "1 or more", id="n"),
    ],
)
def test_a_question_that_cannot_be_says_why(questions, ask, error, says):
    with pytest.raises(error, match=says):
        ask(questions)


def test_values_longer_than_the_step_are_refused():
    daily = [Reading("m", "gas.import", DAY, START + k * DAY, 5) for k in range(3)]
    questions = Questions(lake_of(daily))
    with pytest.raises(Invalid, match=r"every 24 h.*by day"):
        questions.history("m", "2024-03-29", "2024-03-31", step="hour")
    for step in ("15min", "hour"):
        with pytest.raises(Invalid, match="by day"):
            questions.fleet("2024-03-29", "2024-03-31", step=step)
    with pytest.raises(Invalid, match=r"every 30 min.*15min"):
        Questions(lake_of(READINGS)).history("shop", "2024-03-29", "2024-03-30", step="15min")


def test_the_billed_length_counts_before_a_longer_one():
    from meterlake.query import single

    readings = [Reading("m", "gas.import", 3600, START + k * 3600, 100) for k in range(24)]
    readings += [Reading("m", "gas.import", 900, START + k * 900, 1) for k in range(96)]
    questions = Questions(lake_of(readings))
    span = (START, START + DAY)
    asked = single.Asked(id="m", start=span[0], stop=span[1], zone="UTC", step="day")
    for billed, total in ((None, 2400), (900, 96)):
        (listing,) = single.history(
            questions._states.files(), [Piece("m", span, (span,), billed)], asked
        ).listings
        assert listing.amount.tolist() == [total]


def test_an_import_changes_the_meters_that_an_id_stands_for():
    registry = SqlRegistry("sqlite://", create=True)
    questions = Questions(lake_of(READINGS), registry)
    totals = []
    for meter in ("old", "new"):
        stay = {"meter_id": meter, "service_point_id": "place", "from": moment(START)}
        registry.import_tables({"meters": pa.Table.from_pylist([stay], schema=SHAPES["meters"].schema)})
        answers = [questions.history("place", moment(START), moment(START + DAY)) for _ in range(2)]
        totals.append([int(answer.listings[0].amount.sum()) for answer in answers])
    assert totals == [[48 * 1_000_000] * 2, [48 * 4_000_000] * 2]
