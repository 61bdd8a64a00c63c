"""What the routes answer: the same as the questions in Python, in every form, page by page, and only when it is new."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pytest

from meterlake.exact import dumps
from meterlake.testing.registry_contract import rows

from .conftest import IMPORT, NOW, told

SPAN = f"from={told(NOW - 7200)}&to={told(NOW)}"
ARROW = "application/vnd.apache.arrow.stream"


def table_of(answer):
    return pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()


@pytest.mark.parametrize(
    "options", ["", "&step=hour", "&gaps=keep", "&zone=Europe/London", f"&channel={IMPORT}"]
)
def test_a_history_is_the_one_of_the_library(ask, node, options):
    answer = ask(f"/v1/meters/m1/history?{SPAN}{options}")
    assert answer.status_code == 200
    asked = dict(pair.split("=") for pair in options.split("&") if pair)
    wanted = node.lake.history("m1", told(NOW - 7200), told(NOW), kind="meter", **asked)
    assert answer.text == dumps(wanted.to_json()) + "\n"


def test_numbers_are_exact_in_every_form(ask):
    url = f"/v1/meters/m1/history?{SPAN}"
    assert '"value": 0.000001,' in ask(url).text
    assert ",0.000001," in ask(url, headers={"Accept": "text/csv"}).text
    assert table_of(ask(url, headers={"Accept": ARROW}))["amount"].to_pylist() == [250_000, 1]


@pytest.mark.parametrize("path", [
    "/v1/meters/m1/usage?until=2025-11-04", f"/v1/snapshot?at={told(NOW - 900)}",
    f"/v1/fleet?{SPAN}&step=hour&by=channel,region,class", f"/v1/top?{SPAN}&n=2", "/v1/meters", "/v1/service-points",
    "/v1/meters/m1", "/v1/service-points/P2", "/v1/live/meters/m1", "/v1/live/regions", "/v1/live/fleet", "/v1/live/top",
    "/v1/loads", "/v1/batches", "/v1/quarantine", "/v1/runs",
])  # fmt: skip
def test_every_answer_comes_in_every_form(ask, path):
    answers = {
        accept: ask(path, headers={"Accept": accept}) for accept in ("application/json", "text/csv", ARROW)
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    for accept, answer in answers.items():
        assert answer.headers["content-type"].startswith(accept)
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["vary"] == "Accept, Authorization, Cookie"
    header = answers["text/csv"].text.split("\n")[0].split(",")
    names = [name for name in table_of(answers[ARROW]).column_names if "amount" not in name]
    assert header == names


def test_a_fleet_is_the_one_of_the_library(ask, node):
    answer = ask(f"/v1/fleet?{SPAN}&step=hour&by=channel,region")
    wanted = node.lake.fleet(told(NOW - 7200), told(NOW), step="hour", by=["channel", "region"])
    assert answer.text == dumps(wanted.to_json()) + "\n"
    assert ask(f"/v1/top?{SPAN}").json()["values"][0] == {
        "meter": "m9", "channel": IMPORT, "value": 7, "filled": 1, "unit": "kWh",
    }  # fmt: skip


@pytest.mark.parametrize(("accept", "form"), [
    ("*/*", "application/json"), ("text/*", "text/csv"), ("text/csv;q=0.5, application/json;q=0.4", "text/csv"),
    ("text/html, */*;q=0.1", "application/json"), ("application/json;q=0, text/csv", "text/csv"), ("TEXT/CSV", "text/csv"),
])  # fmt: skip
def test_the_form_is_the_one_preferred(ask, accept, form):
    assert ask("/v1/meters", headers={"Accept": accept}).headers["content-type"].startswith(form)


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*", ";", "text/csv;q=x"])
def test_a_form_that_there_is_not_is_refused_with_the_list(ask, accept):
    answer = ask("/v1/meters", headers={"Accept": accept})
    assert answer.status_code == 406
    assert "text/csv" in answer.text


def test_what_has_not_changed_is_not_sent_again(ask):
    path = f"/v1/meters/m1/history?{SPAN}"
    first = ask(path)
    tag = first.headers["etag"]
    again = ask(path, headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    others = [
        ask(path + "&gaps=keep", headers={"If-None-Match": tag}), ask(path, headers={"If-None-Match": '"x"'}),
        ask(path, headers={"If-None-Match": tag, "Accept": "text/csv"}), ask(path, key="read", headers={"If-None-Match": tag}),
    ]  # fmt: skip
    assert {answer.status_code for answer in others} == {200}


def test_a_new_reading_makes_a_new_answer(ask):
    from .conftest import lines

    path = f"/v1/meters/m7/history?{SPAN}"
    ask.send(lines(("m7", NOW - 1800, 1)))
    tag = ask(path).headers["etag"]
    ask.send(lines(("m7", NOW - 900, 2)))
    answer = ask(path, headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert [value["value"] for value in answer.json()["values"]] == [1, 2]


@pytest.mark.parametrize("what", ["meters", "service-points"])
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_follow_each_other_and_end(ask, what, limit):
    seen, cursor = [], None
    while True:
        page = ask(f"/v1/{what}", params={"limit": limit} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["items"]) <= limit
        seen += [next(iter(item.values())) for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == (["m1", "m2", "m3"] if what == "meters" else ["P1", "P2", "P3"])


def test_the_next_page_is_named_where_the_form_has_no_place_for_it(ask):
    answer = ask("/v1/meters?limit=1", headers={"Accept": "text/csv"})
    assert answer.headers["link"] == f'<?cursor={ask("/v1/meters?limit=1").json()["next"]}>; rel="next"'


@pytest.mark.parametrize("cursor", ["x", "!", "W10", "WyJtZXRlcnMiLDFd", "bnVsbA", "é", "W1tbW1tb" * 100])
@pytest.mark.parametrize("path", ["meters", "service-points", "loads", "batches", "quarantine", "runs"])
def test_a_cursor_of_nowhere_is_refused(ask, path, cursor):
    answer = ask(f"/v1/{path}", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid")


@pytest.mark.parametrize(("query", "found"), [
    ("q=1", ["m1"]), ("q=m", ["m1", "m2", "m3"]), ("q=x", []), ("q=.", []), ("class=business", ["m2", "m3"]),
    (f"channel={IMPORT}", []), ("channel=(", []), ("near=51.5,-0.1&radius_m=100", ["m1"]),
    ("near=51.5,-0.1&radius_m=1000", ["m1", "m2", "m3"]), ("near=0,0", []), ("near=51.5,-0.1&class=business", ["m2", "m3"]),
])  # fmt: skip
def test_meters_are_found_by_what_is_known_of_them(ask, query, found):
    assert [item["meter_id"] for item in ask(f"/v1/meters?{query}").json()["items"]] == found


@pytest.mark.parametrize(("query", "found"), [
    ("q=P", ["P1", "P2", "P3"]), ("class=residential", ["P1"]), ("channel=gas.import", []), ("channel=nothing", []),
    ("near=53.4,-2.2&radius_m=1", ["P3"]),
])  # fmt: skip
def test_service_points_are_found_by_what_is_known_of_them(ask, query, found):
    assert [item["service_point_id"] for item in ask(f"/v1/service-points?{query}").json()["items"]] == found


@pytest.mark.parametrize(
    "query", ["near=1", "near=a,b", "near=91,0", "near=nan,0", "near=1,2,3", "class=house"]
)
def test_a_place_or_class_that_is_none_is_refused(ask, query):
    assert ask(f"/v1/meters?{query}").status_code == 400


def test_a_meter_shows_its_stays_and_a_place_its_meters(ask):
    meter = ask("/v1/meters/m3").json()
    assert (meter["service_point_id"], meter["class"], meter["zone"]) == ("P2", "business", "Europe/London")
    assert meter["stays"] == [{"service_point_id": "P2", "from": "2025-11-01T00:00:00Z", "to": None}]
    assert [one["meter_id"] for one in ask("/v1/service-points/P2").json()["meters"]] == ["m2", "m3"]
    assert ask("/v1/meters/m9").json()["channels"] == [IMPORT]


def test_a_meter_now(ask):
    told_ = ask("/v1/live/meters/m1").json()
    (now,) = told_["values"]
    assert (now["start"], now["value"], now["unit"], now["seconds"]) == (
        told(NOW - 900),
        0.000001,
        "kWh",
        900,
    )
    assert now["quality"] == "actual"
    assert [one["value"] for one in ask("/v1/live/meters/m1?seconds=7200").json()["recent"]] == [
        0.25,
        0.000001,
    ]


def test_the_fleet_now_is_the_sum_of_its_regions(ask):
    regions, fleet = (ask(f"/v1/live/{what}").json()["values"] for what in ("regions", "fleet"))
    assert {(one["region"], one["class"]) for one in regions} > {
        ("gcpuv", "residential"),
        ("gcpuv", "business"),
    }
    assert sum(one["meters"] for one in regions) == fleet[0]["meters"]
    assert ask("/v1/live/top?n=1").json()["values"][0]["meter"] == "m9"


def test_a_batch_can_be_looked_up(ask):
    from .conftest import lines

    sent = ask.send(lines(("m6", NOW - 2700, 1)) + b"\nnothing").json()
    found = ask(f"/v1/batches/{sent['batch_id']}").json()
    assert found["state"] == "live"
    assert {name: found[name] for name in ("received", "accepted", "rejected")} == {
        name: sent[name] for name in ("received", "accepted", "rejected")
    } == {"received": 2, "accepted": 1, "rejected": 1}  # fmt: skip
    assert ask("/v1/batches?limit=1").json()["items"][0]["batch_id"] == sent["batch_id"]


def test_the_description_names_every_route(ask):
    told_ = ask("/v1/openapi.json", key=None).json()
    served = {
        route.path
        for part in ask.app.routes
        for route in getattr(part, "routes", [part])
        if hasattr(route, "methods")
    }
    assert {"/v1/readings", "/v1/live/meters/{id}/events", "/healthz", "/metrics"} <= set(told_["paths"])
    assert json.dumps(told_)
    assert served


def test_customers_are_found_by_any_part_and_paged(node, ask):
    made = rows(
        "customers",
        *(
            {"customer_id": f"C{n}", "name": name, "email": f"{n}@example.org"}
            for n, name in enumerate(("Ann Lee", "Bo <b>", "Cleo Lee"))
        ),
    )
    node.lake.registry.import_tables({"customers": made})

    def found(query):
        return [item["customer_id"] for item in ask(f"/v1/customers?{query}", "operate").json()["items"]]

    assert found("q=lee") == ["C0", "C2"]
    assert found("q=1@EXAMPLE") == ["C1"]
    assert found("q=nobody") == []
    first = ask("/v1/customers?limit=2", "operate").json()
    assert [item["customer_id"] for item in first["items"]] == ["C0", "C1"]
    assert found(f"limit=2&cursor={first['next']}") == ["C2"]


def test_a_meters_readings_say_which_batch_they_came_in(ask):
    after = told((NOW // 86_400 + 1) * 86_400)[:10]
    before = told((NOW // 86_400 - 1) * 86_400)[:10]
    answer = ask(f"/v1/meters/m1/deliveries?from={before}&to={after}", "operate").json()["items"]
    assert sum(item["readings"] for item in answer) >= 2
    assert {item["kind"] for item in answer} == {"batch"}
    assert ask(f"/v1/meters/nobody/deliveries?from={before}&to={after}", "operate").status_code == 404
