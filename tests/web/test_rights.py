"""Every route, asked by every role about what is theirs, what is somebody else's, and what is not there at all."""

from __future__ import annotations

import json
import re

import pytest
from fastapi.routing import APIRoute

from meterlake.people import Role
from meterlake.testing.street import HOLDS, NOW_S, PASSWORD, START_S, STOP_S, Street, asked, day
from meterlake.web.app import make_web

OWN = {"ann": "H00", "lee": "H02", "bob": "H03", "cat": "H03"}
FOREIGN, ABSENT = "H10", "H77"
METERS = {"H00": "E00", "H02": "E02", "H03": "E03", "H10": "E10", "H77": "E77"}
GIVEN = {
    "from": day(START_S), "to": day(STOP_S), "at": f"{day(START_S)}T00:30:00Z", "channel": "electricity.import",
    "until": day(STOP_S),
}  # fmt: skip
"""What routes need to be told, by the name of the parameter."""
OPEN = {"/healthz", "/readyz"}
OTHERS = re.compile(r"\b[HEX](?!77)\d\d\b")
"""Ids of homes and meters of the street."""


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    made = Street(tmp_path_factory.mktemp("street"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def app(street):
    return make_web(street.node, street.keys, street.desk)


def parameters(dependant):
    """Names of the query parameters of a route."""
    inner = [parameters(one) for one in dependant.dependencies]
    return {field.alias for field in dependant.query_params}.union(*inner)


def every_route(router):
    """Routes of a router and of those within it."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from every_route(route.original_router)


def routes_of(app):
    """Paths of all GET routes with what they need, the place of an id written ``{id}``."""
    found = {}
    for route in every_route(app):
        if "GET" not in route.methods:
            continue
        names = parameters(route.dependant)
        query = "&".join(f"{name}={GIVEN[name]}" for name in sorted(names & GIVEN.keys()))
        if "id" in names:
            query += "&id={id}"
        found[route.path] = f"{route.path}?{query}" if query else route.path
    return found


def asks(path, id_):
    """The path with an id of the kind that it is about."""
    return path.replace("{id}", named(path, id_))


def named(path, id_):
    """Return the id as the route calls its things."""
    if "/users/" in path:
        return f"{int(id_[1:]):016x}"
    return METERS[id_] if "meter" in path else id_


def plain(answer, id_):
    """What of an answer must not tell two ids apart."""
    kept = {name: value for name, value in answer.headers.items() if name not in {"content-length", "date"}}
    text = answer.text
    for name in (id_, METERS[id_], named("/users/", id_)):
        text = text.replace(name, "ID")
    return answer.status, re.sub(r"data-made>[\d.]+", "", text), kept


def test_the_walk_knows_every_route(app):
    described = {path for path, methods in app.openapi()["paths"].items() if "get" in methods}
    assert described <= routes_of(app).keys()


def test_a_foreign_id_answers_as_an_absent_one_on_every_route(app, street):
    tried = 0
    for path in routes_of(app).values():
        if "{id}" not in path:
            continue
        for who in HOLDS:
            for headers in ({}, {"accept": "text/csv"}, {"if_none_match": "*"}):
                foreign, absent = (
                    asked(app, asks(path, id_), street.session[who], **headers) for id_ in (FOREIGN, ABSENT)
                )
                assert plain(foreign, FOREIGN) == plain(absent, ABSENT), (path, who)
                assert foreign.status >= 400
                tried += 1
    assert tried > 100


def test_nothing_that_a_customer_gets_names_another_home_or_its_meters(app, street):
    for path in routes_of(app).values():
        for who, own in OWN.items():
            answer = asked(app, asks(path, own), street.session[who])
            mine = {hold.service_point for hold in HOLDS[who]}
            known = mine | {METERS[id_] for id_ in mine if id_ in METERS} | {"X00", "E01"} & (
                {"X00"} if who == "ann" else {"E01"} if who == "lee" else set()
            )  # fmt: skip
            named = set(OTHERS.findall(answer.text))
            assert answer.status >= 400 or named <= known, (path, who, named - known)


CUSTOMER = {
    "/v1/meters", "/v1/service-points", "/v1/service-points/{id}", "/v1/service-points/{id}/history",
    "/v1/service-points/{id}/usage", "/v1/service-points/{id}/neighbours", "/v1/live/service-points/{id}",
    "/v1/live/service-points/{id}/events",
    "/v1/service-points/{id}/cost",
}  # fmt: skip


def test_each_role_is_answered_on_its_routes_and_on_no_other(app, street):
    routes = {path: ask for path, ask in routes_of(app).items() if path.startswith("/v1/")}
    got = {
        who: {
            path
            for path, ask in routes.items()
            if asked(app, asks(ask, "H00"), street.session[who]).status == 200
        }
        for who in ("ann", "operator", "admin", "analyst")
    }
    assert got["ann"] == CUSTOMER
    assert got["analyst"] == {"/v1/aggregates"}
    assert got["operator"] == got["admin"] == routes.keys() - {"/v1/batches/{id}"}


PAGES = {
    "/home": {"ann"}, "/fleet": {"operator", "admin"}, "/analysis": {"analyst", "operator", "admin"}, "/admin": {"admin"},
    "/account": {"ann", "analyst", "operator", "admin"},
}  # fmt: skip
"""Who may see the pages that begin so."""


def test_each_role_sees_its_pages_and_to_others_they_are_not_there(app, street):
    tried = 0
    for path, ask in routes_of(app).items():
        for begin in (one for one in PAGES if path == one or path.startswith(f"{one}/")):
            assert asked(app, asks(ask, "H00")).status == 303, path
            for who in ("ann", "analyst", "operator", "admin"):
                answer = asked(app, asks(ask, "H00"), street.session[who])
                assert who in PAGES[begin] or answer.status == 404, (path, who)
                assert answer.status < 500, (path, who)
                tried += 1
    assert tried >= 8


def test_nobody_gets_anything(app):
    for path, ask in routes_of(app).items():
        for session in (None, "", "x" * 43):
            answer = asked(app, asks(ask, "H00"), session)
            assert answer.status == 401 or path in OPEN or not path.startswith("/v1/"), path
            assert not OTHERS.search(answer.text.replace("H00", ""))


def test_a_session_never_writes(app, street):
    for who in street.session:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = asked(
                app, "/v1/readings", street.session[who], method, b"{}", content_type="application/json"
            )
            assert answer.status in {401, 405}


def test_a_key_is_asked_before_the_cookie(app, street):
    answer = asked(app, "/v1/fleet", street.session["admin"], authorization="Bearer mlk_a_b")
    assert answer.status == 401


def test_lists_hold_only_what_is_theirs_and_pages_go_no_further(app, street):
    for who, holds in HOLDS.items():
        page = json.loads(asked(app, "/v1/service-points", street.session[who]).text)
        assert [item["service_point_id"] for item in page["items"]] == [hold.service_point for hold in holds]
        assert page["next"] is None
        assert json.loads(asked(app, "/v1/meters", street.session[who]).text) == {"items": [], "next": None}
    first = json.loads(asked(app, "/v1/service-points?limit=1", street.session["lee"]).text)
    cursor = first["next"]
    assert [x["service_point_id"] for x in first["items"]] == ["H01"]
    again = {
        who: [x["service_point_id"] for x in json.loads(asked(app, f"/v1/service-points?cursor={cursor}", street.session[who]).text)["items"]]
        for who in ("lee", "ann", "bob")
    }  # fmt: skip
    assert again == {"lee": ["H02"], "ann": [], "bob": ["H03"]}


@pytest.mark.parametrize(("query", "found"), [
    ("q=H", ["H01", "H02"]), ("q=H02", ["H02"]), ("q=H10", []), ("class=business", []), ("near=51.5,-0.1", ["H01", "H02"]),
    ("channel=electricity.import", []), ("channel=nothing", []),
])  # fmt: skip
def test_a_search_finds_only_what_is_theirs(app, street, query, found):
    page = json.loads(asked(app, f"/v1/service-points?{query}", street.session["lee"]).text)
    assert [item["service_point_id"] for item in page["items"]] == found


@pytest.mark.parametrize("path", ["", "/history?from={from}&to={to}", "/usage?until={until}"])
def test_the_tag_of_somebody_else_is_no_key(app, street, path):
    path = f"/v1/service-points/H03{path.format(**GIVEN)}"
    tags = {who: asked(app, path, street.session[who]).headers["etag"] for who in ("bob", "cat", "operator")}
    assert len(set(tags.values())) == 3
    for who in ("bob", "cat"):
        others = ", ".join(tag for name, tag in tags.items() if name != who)
        assert asked(app, path, street.session[who], if_none_match=others).status == 200
        assert asked(app, path, street.session[who], if_none_match=tags[who]).status == 304
    foreign, absent = (
        asked(app, path.replace("H03", id_), street.session["ann"], if_none_match=", ".join(tags.values()))
        for id_ in ("H03", ABSENT)
    )
    assert foreign.status == absent.status == 404
    assert foreign.text.replace("H03", "ID") == absent.text.replace(ABSENT, "ID")


def test_what_is_held_no_longer_is_gone_at_once(app, street):
    link = street.desk.invite("eve@example.com", Role.CUSTOMER, HOLDS["lee"], None)
    token = street.desk.use_link(link, PASSWORD, "127.0.0.1")
    before = [
        asked(app, path, token).headers["etag"] for path in ("/v1/service-points", "/v1/service-points/H02")
    ]
    street.desk.set_holds(street.desk.named("eve@example.com").id, HOLDS["lee"][:1], None)
    listed = asked(app, "/v1/service-points", token, if_none_match=before[0])
    assert (listed.status, "H02" in listed.text) == (200, False)
    assert asked(app, "/v1/service-points/H02", token, if_none_match=before[1]).status == 404
    street.desk.close(street.desk.named("eve@example.com").id, None)
    assert asked(app, "/v1/service-points", token, if_none_match=before[0]).status == 401


@pytest.mark.parametrize("form", ["json", "csv", "arrow", "parquet"])
def test_downloads_are_refused_as_everything_else(app, street, form):
    path = f"/v1/service-points/{{}}/history?from={GIVEN['from']}&to={GIVEN['to']}&form={form}"
    foreign, absent = (asked(app, path.format(id_), street.session["ann"]) for id_ in (FOREIGN, ABSENT))
    assert plain(foreign, FOREIGN) == plain(absent, ABSENT)
    assert foreign.status == 404
    assert "content-disposition" not in foreign.headers
    assert asked(app, path.format("H00"), street.session["ann"]).status == 200


@pytest.mark.parametrize(
    "id_", ["H00/../H10", "h00", "H00 ", "H0%30", "H00%00", "E00", "X00", "*", "H" * 300, "%2e%2e"]
)
def test_no_spelling_of_an_id_gets_around(app, street, id_):
    for tail in ("", "/history?from={from}&to={to}", "/usage"):
        answer = asked(app, f"/v1/service-points/{id_}{tail.format(**GIVEN)}", street.session["ann"])
        assert answer.status == 404
        assert "values" not in answer.text


def test_a_look_of_who_is_signed_in_is_written_down(app, street):
    asked(app, f"/v1/service-points/H20/usage?until={GIVEN['until']}", street.session["operator"])
    asked(app, f"/v1/service-points/H20/usage?until={GIVEN['until']}", street.session["ann"])
    (entry,) = street.desk.trail(subject="H20")
    assert entry.email == "operator@example.com"


def test_a_stream_ends_with_the_session(app, street):
    link = street.desk.invite("dot@example.com", Role.CUSTOMER, HOLDS["ann"], None)
    token = street.desk.use_link(link, PASSWORD, "127.0.0.1")
    events = []

    def then(text):
        events.append(text)
        street.desk.sign_out(token)
        street.send("X00", NOW_S - 2 * 3600, 9.75)

    path = "/v1/live/service-points/H00/events"
    answer = asked(app, path, token, event=then)
    assert len(events) == 1
    assert "9.75" not in answer.text
    assert asked(app, path, token).status == 401
