"""What who is signed in gets of a home: its readings for as long as it is theirs, and the sums of many."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterlake.api.app import make_app
from meterlake.intervals import DAY_S, HOUR_S
from meterlake.people import Hold, Role
from meterlake.testing.street import (
    EXPORT,
    HOMES,
    IMPORT,
    MOVED_S,
    NOW_S,
    PASSWORD,
    START_S,
    STOP_S,
    Street,
    asked,
    day,
    readings,
    value_of,
)

MONTH = f"from={day(START_S)}&to={day(STOP_S)}"
SLOT = (MOVED_S - START_S) // HOUR_S
"""The slot within which Cat moved in."""
SLOTS = (STOP_S - START_S) // HOUR_S


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    made = Street(tmp_path_factory.mktemp("street"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ask(street):
    app = make_app(street.node, street.keys, desk=street.desk)
    return lambda path, who: asked(app, path, street.session[who])


def told(answer):
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def milli(value):
    return None if value is None else round(value * 1000)


def test_a_history_ends_and_begins_with_the_hold(ask):
    bob, cat = (
        told(ask(f"/v1/service-points/H03/history?{MONTH}&channel={IMPORT}", who)) for who in ("bob", "cat")
    )
    every = [value_of(3, slot) for slot in range(SLOTS)]
    assert [milli(one["value"]) for one in bob["values"]] == every[:SLOT]
    assert [milli(one["value"]) for one in cat["values"]] == every[SLOT + 1 :]
    assert (bob["passport"]["expected"], cat["passport"]["expected"]) == (SLOT, SLOTS - SLOT - 1)


def test_who_moved_out_never_learns_of_the_panels_that_came_later(ask):
    for path in (
        f"history?{MONTH}",
        f"history?{MONTH}&step=day",
        f"history?{MONTH}&gaps=keep",
        f"usage?until={day(STOP_S)}",
    ):
        assert EXPORT not in ask(f"/v1/service-points/H03/{path}", "bob").text
        assert EXPORT in ask(f"/v1/service-points/H03/{path}", "cat").text
    later = f"from={day(STOP_S - 5 * DAY_S)}&to={day(STOP_S)}"
    for channel in (EXPORT, IMPORT, "gas.import", "nothing"):
        answer = told(ask(f"/v1/service-points/H03/history?{later}&channel={channel}", "bob"))
        assert answer == []


def test_usage_counts_what_is_theirs_now_and_in_the_period_before(ask):
    until = f"until={day(MOVED_S + DAY_S)}&ranges=1w"
    bob, cat = (
        told(ask(f"/v1/service-points/H03/usage?{until}", who))["channels"][IMPORT] for who in ("bob", "cat")
    )
    low, high = (
        (MOVED_S // DAY_S * DAY_S - 6 * DAY_S - START_S) // HOUR_S,
        (MOVED_S // DAY_S * DAY_S + DAY_S - START_S) // HOUR_S,
    )
    figures = [one["ranges"]["1w"] for one in (bob, cat)]
    assert [milli(one["value"]) for one in figures] == [
        sum(value_of(3, slot) for slot in range(low, SLOT)), sum(value_of(3, slot) for slot in range(SLOT + 1, high)),
    ]  # fmt: skip
    assert milli(figures[0]["previous"]["value"]) == sum(value_of(3, slot) for slot in range(low - 168, low))
    assert figures[1]["previous"]["value"] is None


def test_usage_of_who_moved_out_ends_on_their_last_day(ask):
    assert told(ask("/v1/service-points/H03/usage", "bob"))["until"] == day(MOVED_S + DAY_S)


def test_a_home_is_shown_as_it_was_in_their_time(ask):
    bob, cat, all_ = (told(ask("/v1/service-points/H03", who)) for who in ("bob", "cat", "operator"))
    moved = all_["from"]
    assert (bob["from"], bob["to"], cat["from"], cat["to"]) == (None, moved, moved, None)
    assert [(one["from"], one["to"]) for one in bob["meters"] + cat["meters"]] == [
        (None, moved),
        (moved, None),
    ]
    assert (bob["feeder"], cat["transformer"], all_["feeder"]) == (None, None, "F1")


def test_a_home_now_is_that_of_its_customer_of_now(ask, street):
    bob, cat, ann = (
        told(ask(f"/v1/live/service-points/{id_}", who))
        for id_, who in (("H03", "bob"), ("H03", "cat"), ("H00", "ann"))
    )
    assert (bob["values"], bob["recent"]) == ([], [])
    assert [(one["channel"], one["value"]) for one in cat["values"] + ann["values"]] == [(IMPORT, 1.25)] * 2
    meter = told(ask("/v1/live/meters/E03", "operator"))
    point = told(ask("/v1/live/service-points/H03", "operator"))
    assert point == meter | {"id": "H03"} == cat


def test_a_stream_of_a_home_tells_what_its_route_does(ask):
    text = ask("/v1/live/service-points/H03/events", "cat").text
    data = next(line for line in text.splitlines() if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: ")) == told(ask("/v1/live/service-points/H03", "cat"))


def test_sums_that_reach_back_beyond_the_hold_are_not_told(street):
    from meterlake.api.together import together

    live, since = street.node.live, NOW_S - 2 * HOUR_S
    street.send("E20", NOW_S - 3 * HOUR_S, 5)
    street.send("E20", NOW_S - HOUR_S, 2)
    stands, recent = (one.to_pylist() for one in together(live, [("E20", since)], NOW_S + 1, DAY_S))
    assert [(one["amount"], one["w1h"], one["average"]) for one in stands] == [(2_000_000, 2_000_000, None)]
    assert stands[0]["today"] == (2_000_000 if since <= NOW_S // DAY_S * DAY_S else None)
    assert [one["start"] for one in recent] == [NOW_S - HOUR_S]
    stands, _ = together(live, [("E20", NOW_S)], NOW_S + 1, DAY_S)
    assert len(stands) == 0


def test_who_moved_in_an_hour_ago_sees_what_came_since(street):
    hold = Hold("H21", NOW_S - 2 * HOUR_S, None)
    link = street.desk.invite("fay@example.com", Role.CUSTOMER, [hold], None)
    token = street.desk.use_link(link, PASSWORD, "127.0.0.1")
    street.send("E21", NOW_S - 3 * HOUR_S, 5)
    street.send("E21", NOW_S - HOUR_S, 2)
    app = make_app(street.node, street.keys, desk=street.desk)
    now = told(asked(app, "/v1/live/service-points/H21?seconds=86400", token))
    assert [(one["value"], one["average"]) for one in now["values"]] == [(2, None)]
    assert [one["value"] for one in now["recent"]] == [2]
    assert '"value": 5' not in asked(app, "/v1/live/service-points/H21/events?seconds=86400", token).text


def test_meters_of_one_home_are_added_up(street):
    from meterlake.api.together import together

    stands, recent = (
        one.to_pylist() for one in together(street.node.live, [("E01", 0), ("E10", 0)], NOW_S + 1, DAY_S)
    )
    assert [(one["amount"], one["today"] in (0, 2_500_000)) for one in stands] == [(2_500_000, True)]
    assert [one["amount"] for one in recent] == [2_500_000]


spans = st.lists(st.integers(-3, SLOTS * 3 + 3), min_size=2, max_size=4, unique=True).map(sorted)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=spans, home=st.sampled_from(["H00", "H03"]), step=st.sampled_from(["interval", "day", "month"]))
def test_what_is_within_is_what_begins_and_ends_within(street, cuts, home, step):
    """Of random times, each in thirds of a slot."""
    within = [
        (START_S + low * 1200, START_S + high * 1200)
        for low, high in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    lake, month = street.node.lake, (day(START_S), day(STOP_S))
    all_ = lake.history(home, *month, kind="service_point")
    plain = {
        one.channel: [
            (start, amount)
            for start, amount in zip(one.start.tolist(), one.amount.tolist(), strict=True)
            if any(low <= start and start + HOUR_S <= high for low, high in within)
        ]
        for one in all_.listings
    }
    found = lake.history(home, *month, kind="service_point", step=step, within=within)
    assert {one.channel for one in found.listings} == {channel for channel, values in plain.items() if values}
    for one in found.listings:
        if step == "interval":
            assert list(zip(one.start.tolist(), one.amount.tolist(), strict=True)) == plain[one.channel]
        else:
            own = [
                (start, amount)
                for start, amount in zip(one.start.tolist(), one.amount.tolist(), strict=True)
                if amount
            ]
            cell = {
                start: start // DAY_S * DAY_S if step == "day" else START_S for start, _ in plain[one.channel]
            }
            assert own == [
                (at, sum(amount for start, amount in plain[one.channel] if cell[start] == at))
                for at in sorted(set(cell.values()))
            ]
    used = lake.usage(home, until=day(STOP_S), ranges=["1m"], kind="service_point", within=within).channels
    assert {channel: pair["1m"][0].amount for channel, pair in used.items()} == {
        channel: sum(amount for _, amount in values) for channel, values in plain.items() if values
    }


@pytest.mark.parametrize(("form", "read"), [
    ("parquet", lambda body: pq.read_table(BytesIO(body))), ("arrow", lambda body: pa.ipc.open_stream(body).read_all()),
])  # fmt: skip
def test_a_download_holds_what_the_answer_says(ask, form, read):
    path = f"/v1/service-points/H00/history?{MONTH}&channel={IMPORT}"
    file = ask(f"{path}&form={form}", "ann")
    assert file.headers["content-disposition"] == (
        f'attachment; filename="H00-history-{day(START_S)}-{day(STOP_S)}.{form}"'
    )
    values = [one["value"] for one in told(ask(path, "ann"))["values"]]
    assert [float(one) for one in read(file.body)["value"].to_pylist()] == values


def test_the_form_wins_over_the_header_and_its_name_is_harmless(ask, street):
    app = make_app(street.node, street.keys, desk=street.desk)
    nasty = '/v1/meters/a"b;c/usage?until=2026-01-01&form=csv'
    assert "content-disposition" not in asked(app, nasty, street.session["operator"]).headers
    answer = asked(
        app, "/v1/meters?form=csv&q=%22%0d%0a", street.session["operator"], accept="application/json"
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="meters.csv"'
    assert asked(app, "/v1/meters?form=xml", street.session["operator"]).status == 422


def test_neighbours_are_the_mean_of_the_others_of_the_class(ask):
    answer = told(ask(f"/v1/service-points/H00/neighbours?{MONTH}&channel={IMPORT}", "ann"))
    others = HOMES - 2  # Ann herself, and the only business
    assert (answer["suppressed"], answer["group"]["class"], answer["group"]["members"]) == (
        False,
        "residential",
        others,
    )
    assert len(answer["values"]) == SLOTS // 24
    for number, value in enumerate(answer["values"]):
        day_of = range(number * 24, number * 24 + 24)
        assert milli(value["own"]) == sum(value_of(0, slot) for slot in day_of)
        mean = sum(value_of(n, slot) for n in range(1, HOMES - 1) for slot in day_of) / others
        assert value["group_mean"] == pytest.approx(mean / 1000, abs=1e-6)


def test_neighbours_show_whole_steps_of_the_hold_alone(ask):
    bob, cat = (
        told(ask(f"/v1/service-points/H03/neighbours?{MONTH}&channel={IMPORT}", who))["values"]
        for who in ("bob", "cat")
    )
    at = (MOVED_S - START_S) // DAY_S
    for values, theirs in ((bob, range(at)), (cat, range(at + 1, len(cat)))):
        for name in ("own", "group_mean"):
            assert {n for n, one in enumerate(values) if one[name] is not None} == set(theirs)


def test_a_class_of_one_has_no_neighbours(ask):
    answer = told(ask(f"/v1/service-points/H{HOMES - 1}/neighbours?{MONTH}&channel={IMPORT}", "operator"))
    assert (answer["suppressed"], answer["group"], answer["values"]) == (True, None, [])


def test_a_channel_of_few_has_no_neighbours(ask):
    answer = told(ask(f"/v1/service-points/H03/neighbours?{MONTH}&channel={EXPORT}", "cat"))
    assert answer["suppressed"]


def test_a_month_that_goes_on_is_not_compared(ask):
    now = f"from={day(STOP_S)}&to={day(STOP_S + DAY_S)}"
    assert told(ask(f"/v1/service-points/H00/neighbours?{now}&channel={IMPORT}", "ann"))["suppressed"]
    assert told(ask(f"/v1/aggregates?{now}", "analyst"))["values"] == []


@pytest.mark.parametrize("step", ["hour", "day", "month"])
@pytest.mark.parametrize("who", ["analyst", "operator"])
def test_sums_of_many_are_those_of_the_fleet(ask, step, who):
    rows = told(ask(f"/v1/aggregates?{MONTH}&step={step}&by=class&channel={IMPORT}", who))["values"]
    shown = [one for one in rows if not one["suppressed"]]
    assert {one["class"] for one in shown} == {"residential"}
    assert {one["value"] for one in rows if one["suppressed"]} == {None}
    slots = {"hour": 1, "day": 24, "month": SLOTS}[step]
    assert [milli(one["value"]) for one in shown] == [
        sum(value_of(n, slot) for n in range(HOMES - 1) for slot in range(low, low + slots)) for low in range(0, SLOTS, slots)
    ]  # fmt: skip


def test_what_one_home_would_follow_from_is_hidden(ask):
    for query in ("by=", "by=region", "by=region&region_digits=1", "by=region&region_digits=5"):
        rows = told(ask(f"/v1/aggregates?{MONTH}&step=month&channel={IMPORT}&{query}", "analyst"))["values"]
        assert rows
        assert all(one["suppressed"] and one["value"] is None and one.get("homes") is None for one in rows)


@pytest.mark.parametrize("query", [
    f"from={day(START_S)}T00:30:00Z&to={day(STOP_S)}", f"from={day(START_S)}&to={day(STOP_S)}T01:00:00Z&step=day",
    f"from={day(START_S + DAY_S)}&to={day(STOP_S)}&step=month", f"{MONTH}&by=meter",
])  # fmt: skip
def test_parts_of_steps_and_other_splits_are_refused(ask, query):
    assert ask(f"/v1/aggregates?{query}", "analyst").status == 400


@pytest.mark.parametrize(("count", "shown"), [(15, False), (16, True)])
def test_who_asks_is_not_one_of_the_fifteen(tmp_path, count, shown):
    """Fifteen homes may be summed up for others, but to one of them they are fourteen."""
    table = readings()
    street = Street(
        tmp_path, table.filter(pa.array([int(name[1:]) < count for name in table["meter"].to_pylist()]))
    )
    app = make_app(street.node, street.keys, desk=street.desk)
    path = f"/v1/service-points/H01/neighbours?{MONTH}&channel={IMPORT}"
    assert told(asked(app, path, street.session["lee"]))["suppressed"] is not shown
    path = f"/v1/aggregates?{MONTH}&step=month&by=class&channel={IMPORT}"
    assert [one["homes"] for one in told(asked(app, path, street.session["analyst"]))["values"]] == [count]
    street.stop()


def test_an_hour_that_few_sent_is_not_told(tmp_path):
    """Also of a group that may be shown."""
    gone, table = START_S + 5 * HOUR_S, readings()
    here = table["start"].cast(pa.int64()).to_numpy() // 1_000_000 == gone
    few = np.array([int(name[1:]) >= 10 for name in table["meter"].to_pylist()])
    street = Street(tmp_path, table.filter(pa.array(~(here & few))))
    app = make_app(street.node, street.keys, desk=street.desk)
    path = f"/v1/aggregates?from={day(START_S)}&to={day(START_S + DAY_S)}&step=hour&by=class&channel={IMPORT}"
    rows = [
        one for one in told(asked(app, path, street.session["analyst"]))["values"] if not one["suppressed"]
    ]
    assert [at for at, one in enumerate(rows) if one["value"] is None] == [5]
    assert rows[5]["filled"] == 0
    street.stop()
