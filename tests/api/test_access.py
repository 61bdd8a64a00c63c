"""Who may do what: without a key nothing, with one what its scopes say, and only about meters that exist for it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from meterlake.keys import KEPT_S, KeyRing

from .conftest import NDJSON, NOW, lines, told

SPAN = f"from={told(NOW - 7200)}&to={told(NOW)}"
ROUTES = {
    "read": [
        "/v1/meters", "/v1/service-points", "/v1/meters/m1", "/v1/service-points/P1", f"/v1/meters/m1/history?{SPAN}",
        "/v1/meters/m1/usage?until=2025-11-04", f"/v1/service-points/P1/history?{SPAN}",
        "/v1/service-points/P1/usage?until=2025-11-04", "/v1/live/meters/m1", "/v1/live/meters/m1/events",
        "/v1/service-points/P1/cost?from=2025-11-01&to=2025-11-02",
        "/v1/live/service-points/P1", "/v1/live/service-points/P1/events",
        "/v1/service-points/P1/neighbours?from=2025-10-01&to=2025-11-01&channel=electricity.import",
    ],
    "operate": [
        f"/v1/snapshot?at={told(NOW - 900)}", f"/v1/fleet?{SPAN}", f"/v1/top?{SPAN}", "/v1/live/regions", "/v1/aggregates?from=2025-10-01&to=2025-11-01",
        "/v1/pulse", "/v1/pulse/events", "/v1/silent", "/v1/silent/regions", "/v1/live/fleet",
        "/v1/live/top", "/v1/live/regions/events", "/v1/live/fleet/events", "/v1/live/top/events", "/v1/loads",
        "/v1/batches", "/v1/quarantine", "/v1/runs", "/v1/work", "/v1/customers", f"/v1/meters/m1/deliveries?{SPAN}", "/metrics",
    ],
}  # fmt: skip
ALL = [(scope, path) for scope, paths in ROUTES.items() for path in paths]


def same_but(answer, name):
    """What of an answer must not tell two ids apart."""
    kept = {key: value for key, value in answer.headers.items() if key != "content-length"}
    return answer.status_code, answer.text.replace(name, "ID"), kept


@pytest.mark.parametrize(("scope", "path"), ALL)
def test_no_key_no_data(ask, scope, path):
    for headers in (
        {},
        {"Authorization": "Bearer mlk_x_y"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
    ):
        answer = ask(path, key=None, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/no-key"


@pytest.mark.parametrize(("scope", "path"), ALL)
def test_a_key_without_the_scope_is_denied(ask, scope, path):
    for other in {"read", "operate", "ingest"} - {scope}:
        answer = ask(path, key=other)
        assert (answer.status_code, answer.json()["title"]) == (403, "Not allowed for this key")
        assert scope in answer.json()["detail"] + answer.json()["remedy"]


@pytest.mark.parametrize(("scope", "path"), [one for one in ALL if not one[1].endswith("/events")])
def test_a_key_with_the_scope_is_answered(ask, scope, path):
    assert ask(path, key=scope).status_code == 200


def test_the_description_covers_every_route_tried_here(ask):
    paths = set(ask("/v1/openapi.json", key=None).json()["paths"])
    tried = {path.split("?")[0].replace("/m1", "/{id}").replace("/P1", "/{id}") for _, path in ALL}
    assert paths - tried == {"/v1/readings", "/v1/batches/{id}", "/healthz", "/readyz"}


def test_sending_takes_the_scope_to_send(ask):
    body = lines(("m1", NOW - 900, 1))
    answers = {key: ask.send(body, key=key).status_code for key in (None, "read", "operate", "ingest")}
    assert answers == {None: 401, "read": 403, "operate": 403, "ingest": 200}


@pytest.mark.parametrize("path", [
    "/v1/meters/{}", "/v1/meters/{}/history?" + SPAN, "/v1/meters/{}/usage?until=2025-11-04", "/v1/live/meters/{}",
    "/v1/live/meters/{}/events", "/v1/meters/{}/history?channel=electricity.import&" + SPAN,
])  # fmt: skip
def test_a_foreign_meter_answers_as_an_absent_one(ask, path):
    foreign, absent = (ask(path.format(id_), key="m1") for id_ in ("m2", "zz"))
    assert same_but(foreign, "m2") == same_but(absent, "zz")
    assert foreign.status_code == 404
    for headers in ({"If-None-Match": "*"}, {"Accept": "text/csv"}):
        foreign, absent = (ask(path.format(id_), key="m1", headers=headers) for id_ in ("m2", "zz"))
        assert same_but(foreign, "m2") == same_but(absent, "zz")


@pytest.mark.parametrize("path", [
    "/v1/service-points/{}", "/v1/service-points/{}/history?" + SPAN, "/v1/service-points/{}/usage?until=2025-11-04",
    "/v1/live/service-points/{}", "/v1/live/service-points/{}/events",
    "/v1/service-points/{}/neighbours?from=2025-10-01&to=2025-11-01&channel=electricity.import",
])  # fmt: skip
def test_a_place_of_foreign_meters_answers_as_an_absent_one(ask, path):
    for key in ("m1", "m3"):
        foreign, absent = (ask(path.format(id_), key=key) for id_ in ("P2", "zz"))
        assert same_but(foreign, "P2") == same_but(absent, "zz")
        assert foreign.status_code == 404
    if not path.endswith("/events"):  # which would not end
        assert ask(path.format("P2"), key="both").status_code == 200
        assert ask(path.format("P1"), key="m1").status_code == 200


def test_lists_hold_only_what_exists_for_the_key(ask):
    listed = {
        key: [[next(iter(item.values())) for item in ask(f"/v1/{what}", key=key).json()["items"]] for what in ("meters", "service-points")]
        for key in ("m1", "m3", "both")
    }  # fmt: skip
    assert listed == {"m1": [["m1"], ["P1"]], "m3": [["m3"], []], "both": [["m2", "m3"], ["P2"]]}


@pytest.mark.parametrize(
    "path", [path for path in ROUTES["operate"] if path != "/metrics" and "/m1/" not in path]
)
def test_a_key_of_some_meters_cannot_ask_for_all(ask, path):
    assert ask(path, key="m1").status_code == 403


def test_readings_of_foreign_meters_are_refused_as_unknown(ask):
    told_ = ask.send(lines(("m1", NOW - 3600, 1), ("m2", NOW - 3600, 1)), key="m1").json()
    assert (told_["accepted"], told_["rejected"]) == (1, 1)
    assert told_["errors"][0]["reason"] == "unknown_meter"


def test_a_batch_is_shown_to_its_sender_and_to_operators(ask):
    sent = ask.send(lines(("m1", NOW - 4500, 1)), key="ingest").json()["batch_id"]
    assert ask(f"/v1/batches/{sent}", key="ingest").json()["batch_id"] == sent
    assert ask(f"/v1/batches/{sent}", key="operate").status_code == 200
    for key in ("read", "m1"):
        foreign, absent = ask(f"/v1/batches/{sent}", key=key), ask("/v1/batches/nothing", key=key)
        assert same_but(foreign, sent) == same_but(absent, "nothing")
        assert foreign.status_code == 404


def test_a_revoked_key_ends(ask, monkeypatch):
    text = ask.keyed("gone", "read")
    assert KEPT_S <= 2
    assert ask("/v1/meters", key="gone").status_code == 200
    ask.keyed.keys.revoke(text.split("_")[1], datetime.now(UTC))
    later = time.monotonic() + KEPT_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert ask("/v1/meters", key="gone").status_code == 401


def test_figures_are_for_this_machine_and_for_operators(ask):
    near = {"key": None, "client": ("127.0.0.1", 1)}
    assert ask("/metrics", **near).status_code == 200
    assert ask("/metrics", key=None, client=("::1", 1)).status_code == 200
    assert ask("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, **near).status_code == 401
    assert ask("/metrics", key=None).status_code == 401


def test_figures_name_no_meter_and_no_key(ask):
    ask.send(b"\n".join([lines(("m1", NOW - 5400, 1)), b"nothing"]))
    ask("/v1/meters/m2")
    ask("/v1/nothing/m2")
    text = ask("/metrics", key="operate").text
    assert 'meterlake_readings_total{outcome="accepted"}' in text
    assert 'route="/v1/meters/{id}",status="200"' in text
    for name in (
        "meterlake_freshness_seconds",
        "meterlake_queue_batches",
        "meterlake_live_bytes",
        "meterlake_event_streams",
    ):
        assert f"\n{name} " in text
    assert "m2" not in text
    for made in ask.keyed._made.values():
        assert made.split("_")[1] not in text


def test_logs_hold_no_meter_no_query_and_no_secret(ask):
    with capture_logs() as requests:
        ask("/v1/meters/canary-meter/history?from=canary-query&to=x", headers={"X-Name": "canary-name"})
        ask.send(lines(("canary-meter", NOW - 900, 1.618034)))
    said = json.dumps(requests)
    assert [one["route"] for one in requests if one["event"] == "request"] == [
        "/v1/meters/{id}/history",
        "/v1/readings",
    ]
    assert {"method", "route", "status", "ms", "key", "bytes"} <= set(requests[0])
    assert "canary" not in said
    assert "1618034" not in said.replace(".", "")
    assert ask.keyed("all").rpartition("_")[2] not in said


def test_health_takes_no_key_and_tells_nothing(ask, node):
    assert ask("/healthz", key=None).json() == {"alive": True}
    assert ask("/readyz", key=None).json() == {"ready": True, "reasons": []}
    node.trouble["seal"], node.ready = "a folder at a secret path", False
    try:
        answer = ask("/readyz", key=None)
    finally:
        node.trouble.clear()
        node.ready = True
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["seal fails; the server's log says why"]


def test_a_key_is_asked_for_once_in_a_while(ask):
    asked = []

    class Counting:
        def find(self, sha256):
            asked.append(sha256)
            return ask.keyed.keys.find(sha256)

        def used(self, id_, day):
            ask.keyed.keys.used(id_, day)

    ring = KeyRing(Counting())
    for _ in range(3):
        assert ring.kept(ask.keyed("read")) or ring.asked(ask.keyed("read"))
    assert len(asked) == 1


def test_media_types_of_bodies_are_known_before_the_body_is_read(ask):
    assert ask.send(b"x", media="application/xml").status_code == 415
    assert ask.send(b"x", media=NDJSON, key=None).status_code == 401
