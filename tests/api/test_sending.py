"""Bodies: what is taken, what is refused and how, and that none of them costs more than its limit."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading

import httpx
import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from .conftest import NDJSON, NOW, lines, make_asking, make_node

ONE = lines(("m1", NOW - 900, 0.5))


@pytest.fixture(scope="module")
def small():
    node = make_node(body=50_000, waiting=200_000)
    yield make_asking(node, body_s=0.2)
    node.stop()


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


def unsized(pieces):
    async def body():
        for piece in pieces:
            yield piece

    return body()


@pytest.mark.parametrize("pack", [lambda b: (b, {}), lambda b: (b, {"Content_Encoding": "identity"}),
                                  lambda b: (gzip.compress(b), {"Content_Encoding": "gzip"}),
                                  lambda b: (gzip.compress(b[:9]) + gzip.compress(b[9:]), {"Content_Encoding": "GZip"}),
                                  lambda b: (zstd(b), {"Content_Encoding": "zstd"})])  # fmt: skip
def test_a_batch_counts_the_same_however_it_is_packed(ask, pack):
    body, headers = pack(lines(("m1", NOW - 9000, 0.125), ("m1", NOW - 8100, 0.25)))
    told = ask.send(body, **headers).json()
    assert (told["received"], told["rejected"]) == (2, 0)


def test_a_batch_sent_again_counts_once(ask):
    body = lines(("m1", NOW - 9900, 3))
    first, again = (ask.send(body, Idempotency_Key="night-1").json() for _ in range(2))
    assert (first["accepted"], first["replayed"]) == (1, False)
    assert (again["accepted"], again["duplicate"], again["replayed"], again["batch_id"]) == (
        0,
        1,
        True,
        first["batch_id"],
    )
    other = ask.send(lines(("m1", NOW - 9900, 4)), Idempotency_Key="night-1")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/conflict")


def test_each_refused_line_is_named(ask):
    told = ask.send(ONE + b"\nnothing\n" + lines(("m2", NOW - 9900, 1))).json()
    assert (told["received"], told["rejected"]) == (3, 1)
    assert [(one["line"], one["reason"]) for one in told["errors"]] == [(2, "malformed_line")]


@pytest.mark.parametrize("name", ["", "x" * 201, "a\tb", "é".encode()])
def test_an_idempotency_key_can_be_printed(ask, name):
    assert ask.send(ONE, Idempotency_Key=name).status_code == 400


@pytest.mark.parametrize(("headers", "named"), [
    ({"Content_Encoding": "br"}, "gzip"), ({"Content_Encoding": "gzip, gzip"}, "zstd"), ({"Content_Type": "text/html"}, "text/csv"),
    ({"Content_Type": ""}, "text/csv"),
])  # fmt: skip
def test_what_is_not_taken_is_answered_with_what_is(ask, headers, named):
    answer = (
        ask.send(ONE, **headers)
        if "Content_Encoding" in headers
        else ask.send(ONE, media=headers["Content_Type"])
    )
    assert answer.status_code == 415
    assert named in answer.json()["remedy"]


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage", [lambda b: b[:-3], lambda b: b"x" + b, lambda b: b[:10], lambda b: b"", lambda b: b + b"x"]
)
def test_a_broken_package_is_refused(ask, packing, damage):
    packed = gzip.compress(ONE) if packing == "gzip" else zstd(ONE)
    answer = ask.send(damage(packed), Content_Encoding=packing)
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert answer.json()["received"] in {0, 1}


@pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_bomb_is_cut_off_while_it_unpacks(small, packing, pack):
    bomb = pack(b"0" * 40_000_000)
    assert len(bomb) < 50_000
    before = pa.total_allocated_bytes()
    answer = small.send(bomb, Content_Encoding=packing)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert pa.total_allocated_bytes() - before < 5_000_000


def test_a_body_beyond_the_limit_is_refused(small):
    assert small.send(b"x" * 50_001).status_code == 413
    answer = small.send(unsized([b"x" * 30_000] * 3))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_a_body_that_does_not_end_is_refused(small):
    async def slow():
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    answer = small.send(slow())
    assert (answer.status_code, answer.json()["type"]) == (408, "/problems/too-slow")


def test_bodies_that_were_refused_leave_no_trace(small):
    room = small.app.state.served.room
    assert room._used == 0
    for _ in range(8):
        small.send(b"x" * 49_000)
    assert room._used == 0


def test_senders_wait_where_there_is_no_room(small):
    room = small.app.state.served.room
    room.take(199_990)
    try:
        answer = small.send(ONE)
    finally:
        room._used = 0
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_many_send_at_once(ask):
    bodies = [lines(*((f"n{n}", NOW - 900 * k, k) for k in range(1, 9))) for n in range(24)]

    async def send():
        headers = {"Authorization": f"Bearer {ask.keyed('all')}", "Content-Type": NDJSON}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ask.app), base_url="http://test") as asker:
            return await asyncio.gather(
                *(asker.post("/v1/readings", content=body, headers=headers) for body in bodies)
            )

    answers = asyncio.run(send())
    assert [answer.json()["accepted"] for answer in answers] == [8] * 24
    assert threading.active_count() < 100


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"readings": 1}', b"\xff"]
)
def test_json_that_is_no_batch_is_a_problem_and_no_failure(ask, body):
    answer = ask.send(body, media="application/json")
    assert answer.status_code in {200, 400}
    assert json.loads(answer.text)


def test_errors_look_the_same_everywhere(ask):
    asked = {
        404: ask("/v1/nothing"), 405: ask("/v1/meters", method="DELETE"), 422: ask("/v1/meters?limit=0"),
        400: ask("/v1/meters/m1/history?from=x&to=y"), 401: ask("/v1/meters", key=None),
    }  # fmt: skip
    for status, answer in asked.items():
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        told = answer.json()
        assert {"type", "title", "status", "detail", "remedy"} <= set(told)
        assert told["status"] == status
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert asked[405].headers["allow"] == "GET"


def test_a_failure_is_answered_without_its_insides(ask, node, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("canary inside")

    monkeypatch.setattr(node.lake, "history", broken)
    with capture_logs() as said:
        answer = ask("/v1/meters/m1/history?from=2025-01-01&to=2025-01-02")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/failed")
    assert "canary" not in answer.text + json.dumps(said)
    assert said[0]["error"] == "RuntimeError"


@pytest.mark.parametrize("path", [
    "history?from=0001-01-01&to=9999-12-31", "history?from=2025-01-01&to=2025-01-02&zone=x", "history?from=2025-01-02&to=2025-01-01",
    "history?from=2025-01-01&to=2025-01-02&step=year", "history?from=2025-01-01&to=2025-01-02&as_of=99", "usage?until=0001-01-01",
    "usage?ranges=,&until=2025-01-01", "usage?zone=../x",
    "history?from=2025-01-01&to=2025-01-02&zone=%00",
])  # fmt: skip
def test_a_question_that_cannot_be_is_a_problem(ask, path):
    answer = ask(f"/v1/meters/m1/{path}")
    assert answer.status_code in {400, 404}
    assert "memory:" not in answer.text


@pytest.mark.parametrize(
    "path", ["until=9999-12-31", "ranges=999y&until=2025-01-01", "until=1901-01-01&ranges=9y"]
)
def test_a_question_about_the_ends_of_time_is_no_failure(ask, path):
    assert ask(f"/v1/meters/m1/usage?{path}").status_code in {200, 400}


@pytest.mark.parametrize("path", [
    "meters/m1/history?gaps=keep", "meters/m1/history?step=hour", "meters/zero/history?step=15min", "fleet?step=hour", "fleet?x=1",
    "service-points/P1/history?gaps=keep",
])  # fmt: skip
def test_a_question_for_more_than_can_be_listed_is_refused_before_it_costs(ask, path):
    ask.send(lines(("zero", NOW - 900, 1)))
    answer = ask(f"/v1/{path}&from=1901-01-01&to=2199-01-01")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid")
    assert "shorter" in answer.json()["remedy"]


def test_a_long_time_with_few_values_is_answered(ask):
    for how in ("step=month", "step=day", "gaps=drop"):
        assert ask(f"/v1/meters/m1/history?{how}&from=1901-01-01&to=2199-01-01").status_code == 200
