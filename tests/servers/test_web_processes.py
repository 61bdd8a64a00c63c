"""One process takes readings in and others, with no memory of their own, serve pages and questions over Redis."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import httpx
import pytest

from meterlake.testing.serving import Server

SLOT_S = 900
BASE = time.time() // SLOT_S * SLOT_S


@pytest.fixture
def env(redis):
    redis.flush()
    return redis.env | {"METERLAKE_LIVE": redis.url, "METERLAKE_BATCH": "no"}


def minutes(n):
    return datetime.fromtimestamp(BASE - SLOT_S * n, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(meter, slot, value):
    return json.dumps(
        {
            "meter": meter,
            "channel": "electricity.import",
            "start": minutes(slot),
            "seconds": SLOT_S,
            "value": value,
            "unit": "kWh",
        }
    )


def ask(url, path, key):
    return httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30)


def until(get, wanted, seconds=30):
    """Ask until the answer is ``wanted``; return how long that took."""
    began = time.monotonic()
    while (found := get()) != wanted:
        assert time.monotonic() - began < seconds, f"{found} instead of {wanted}"
        time.sleep(0.02)
    return time.monotonic() - began


def send(server, key, lines):
    answer = httpx.post(
        f"{server.url}/v1/readings", content="\n".join(lines), timeout=30,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def history(url, key, meter="m1"):
    found = ask(url, f"/v1/meters/{meter}/history?from={minutes(3)}&to={minutes(0)}", key)
    return (
        [row.get("value") for row in found.json()["values"]]
        if found.status_code == 200
        else found.status_code
    )


def now(url, key, meter="m1"):
    found = ask(url, f"/v1/live/meters/{meter}", key)
    return [row["value"] for row in found.json()["values"]] if found.status_code == 200 else found.status_code


def test_any_web_process_serves_any_meter(tmp_path, env, redis):
    """What is sent to one is seen by the others, as it comes; what Redis loses is shown again."""
    lake = tmp_path / "lake"
    with Server(lake, env) as whole:
        key = whole.key()
        send(whole, key, [line(f"m{n}", 1, 0.5 + n) for n in range(3)])
        webs = [Server(lake, env, options=["--role", "web"], name=f"web{n}").start() for n in range(2)]
        try:
            for web in webs:
                until(lambda url=web.url: now(url, key), [1.5])
                assert history(web.url, key) == history(whole.url, key)
                assert ask(web.url, "/readyz", key).status_code == 200
                refused = httpx.post(f"{web.url}/v1/readings", content=line("m1", 0, 1), headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"})  # fmt: skip
                assert refused.status_code == 400
                assert "role ingest" in refused.text
            heard = stream_of(webs[1].url, key, lambda: send(whole, key, [line("m1", 1, 9.25)]))
            assert "9.25" in heard
            for web in webs:
                until(lambda url=web.url: now(url, key), [9.25])
                until(lambda url=web.url: history(url, key)[-1], 9.25)
            redis.flush()
            until(lambda: now(webs[0].url, key), [9.25])
            until(lambda: ask(webs[0].url, "/readyz", key).status_code, 200)
        finally:
            for web in webs:
                web.kill()


def stream_of(url, key, then):
    """What an event stream says after its first event, once ``then`` was done."""
    with httpx.stream("GET", f"{url}/v1/live/meters/m1/events", headers={"Authorization": f"Bearer {key}"}, timeout=30) as stream:  # fmt: skip
        lines = stream.iter_lines()
        for text in lines:
            if text.startswith("data:"):
                break
        then()
        return next(text for text in lines if text.startswith("data:") and "9.25" in text)


def test_while_redis_is_away_answers_are_those_of_the_lake_and_say_so(tmp_path, env, redis):
    lake = tmp_path / "lake"
    with Server(lake, env | {"METERLAKE_GRACE": "1s", "METERLAKE_FLUSH": "1s"}) as whole:
        key = whole.key()
        send(whole, key, [line("m1", 200, 0.5)])
        with Server(lake, env, options=["--role", "web"], name="web") as web:
            path = f"/v1/meters/m1/history?from={minutes(201)}&to={minutes(198)}"
            values = lambda: [row.get("value") for row in ask(web.url, path, key).json().get("values", [])]  # noqa: E731
            until(lambda: 0.5 in values(), True)
            until(lambda: ask(whole.url, "/v1/batches", key).json()["items"][0]["state"], "sealed")
            redis.kill()
            try:
                said = ["live view fails; the server's log says why"]
                until(lambda: ask(web.url, "/readyz", key).json()["reasons"], said)
                assert "What came in lately is not shown" in httpx.get(f"{web.url}/").text
                assert 0.5 in values()
                assert ask(web.url, "/v1/live/fleet", key).status_code == 200
                send(whole, key, [line("m1", 199, 0.75)])
            finally:
                redis.start()
            until(lambda: ask(web.url, "/readyz", key).json()["reasons"], [], seconds=60)
            assert "What came in lately is not shown" not in httpx.get(f"{web.url}/").text
            until(lambda: 0.75 in values(), True)


def test_a_process_that_only_shows_pages_says_what_it_needs(tmp_path):
    with pytest.raises(RuntimeError, match="--live redis"):
        Server(tmp_path / "lake", options=["--role", "web"]).start()
