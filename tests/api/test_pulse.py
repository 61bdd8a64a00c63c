"""How the server does, and who is silent: counted as they are, a page after the other, each second anew."""

from __future__ import annotations

import asyncio
import json
import time
from threading import Event

import httpx
import pytest

from meterlake.api.metrics import RING_S, Rates
from meterlake.api.vitals import Slow
from meterlake.errors import Invalid

from .conftest import NOW, lines, make_asking, make_node
from .conftest import told as told_of

HOUR_S = 3600


@pytest.fixture
def own():
    node = make_node()
    yield node
    node.stop()


@pytest.fixture
def asking(own):
    made = make_asking(own)
    sent = (
        ("m1", NOW - 1800, 0.25),
        ("m1", NOW - 900, 0.5),
        ("m3", NOW - 5 * HOUR_S, 2),
        ("m9", NOW - 900, 7),
    )
    assert made.send(lines(*sent)).json()["accepted"] == 4
    assert made.send(b'{"meter": "m1"}\n').json()["rejected"] == 1
    return made


@pytest.fixture
def sealed(own, asking):
    """The same once all is in the lake, where m9 is known too."""
    own.seal(everything=True)
    return asking


def told(asking, path):
    answer = asking(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pulse_of(asking, path="/v1/pulse"):
    """The pulse, once all its figures are there."""
    while True:
        pulse = told(asking, path)
        if pulse["quarantine"] and pulse["completeness"] and pulse["silent"]:
            return pulse
        time.sleep(0.05)


def test_the_newest_intervals_go_on_from_what_was_known_as_if_counted_anew():
    node = make_node()
    asking, known, plain = make_asking(node), None, {}
    sent = [
        (("a", NOW - 900), ("b", NOW - 2700)), (("b", NOW - 3600), ("c", NOW - 40 * 86_400)), (("b", NOW - 900),),
        (("c", NOW - 41 * 86_400), ("d", NOW - 900)), (("a", NOW - 1800),),
    ]  # fmt: skip
    for batch in sent:
        assert asking.send(lines(*((meter, start, 1) for meter, start in batch))).json()["accepted"] == len(
            batch
        )
        known = node.live.newest() if known is None else node.live.newest(known)
        plain = {m: max([plain.get(m, 0), *(s + 900 for n, s in batch if n == m)]) for m in "abcd"}
        ids = node.live.ids.texts().to_pylist()
        for newest in (known, node.live.newest()):
            assert {m: int(newest.ends[ids.index(m)]) if m in ids else 0 for m in "abcd"} == plain
    node.stop()


def test_installed_meters_are_silent_since_their_newest_reading(asking):
    page = told(asking, "/v1/silent?min_s=10800")
    assert page["meters"] == 2  # m2 is installed no more, m9 nowhere
    assert [item["meter_id"] for item in page["items"]] == ["m3"]
    (item,) = page["items"]
    assert item["service_point_id"] == "P2"
    assert item["newest"] == told_of(NOW - 5 * HOUR_S + 900)
    assert item["silent_s"] >= 5 * HOUR_S - 900


def test_what_was_sealed_is_no_more_silent_than_before(own, asking):
    before = told(asking, "/v1/silent?min_s=0&max_s=10800")
    own.seal(everything=True)
    after = told(asking, "/v1/silent?min_s=0&max_s=10800")
    fresh = told(make_asking(own), "/v1/silent?min_s=0&max_s=10800")  # it knows nothing of what was live
    assert [(i["meter_id"], i["newest"]) for i in before["items"]] == [("m1", told_of(NOW))]
    assert [item | {"silent_s": 0} for item in after["items"]] == [
        item | {"silent_s": 0} for item in fresh["items"]
    ]
    assert [(i["meter_id"], i["newest"]) for i in after["items"]] == [
        ("m1", told_of(NOW)),
        ("m9", told_of(NOW)),
    ]


def test_pages_go_on_where_the_last_ended(sealed):
    first = told(sealed, "/v1/silent?min_s=0&limit=1")
    assert first["total"] == 3
    second = told(sealed, f"/v1/silent?min_s=0&limit=5&cursor={first['next']}")
    ids = [item["meter_id"] for item in first["items"] + second["items"]]
    assert (ids, second["next"]) == (["m3", "m1", "m9"], None)


@pytest.mark.parametrize(
    "query", ["min_s=-1", "max_s=0", "region=ai", "limit=0", "cursor=abc", "region=gcpvjgcpvjg"]
)
def test_what_cannot_be_asked_is_refused(asking, query):
    assert asking(f"/v1/silent?{query}").status_code in {400, 422}


def test_regions_count_installed_and_silent(sealed):
    rows = told(sealed, "/v1/silent/regions?min_s=10800&region_digits=3")["values"]
    assert rows == [{"region": "gcp", "meters": 2, "silent": 1}, {"region": None, "meters": 1, "silent": 0}]


def test_the_pulse_counts_what_came_and_what_was_refused(sealed):
    pulse = pulse_of(sealed)
    assert pulse["ready"] is True
    assert pulse["quarantine"] == {"today": 1, "total": 1}
    assert 0 <= pulse["freshness_s"] < 600
    assert len(pulse["accepted"]["seconds"]) == 60
    assert pulse["silent"]["meters"] == 3
    assert pulse["silent"]["over"][0] == {"seconds": 3600, "meters": 1}


def test_completeness_is_of_what_is_due_today(asking):
    complete = pulse_of(asking, "/v1/pulse?zone=UTC")["completeness"]
    for channel in complete["channels"]:
        assert 0 <= channel["filled"] <= channel["expected"]
        assert 0 <= channel["share"] <= 1
    since = time.strptime(complete["from"], "%Y-%m-%dT%H:%M:%SZ")
    assert (since.tm_hour, since.tm_min) == (0, 0)


def test_an_empty_server_has_a_pulse():
    node = make_node()
    pulse = pulse_of(make_asking(node), "/v1/pulse?zone=Europe/London")
    node.stop()
    assert (pulse["freshness_s"], pulse["newest_received_at"], pulse["accepted"]["last_60_s"]) == (
        None,
        None,
        0,
    )
    assert pulse["silent"]["never"] == 2


@pytest.mark.parametrize("path", ["/v1/silent", "/v1/silent/regions", "/v1/pulse", "/v1/pulse/events"])
@pytest.mark.parametrize(("key", "status"), [("read", 403), ("ingest", 403), ("m1", 403), (None, 401)])
def test_only_who_operates_asks(asking, path, key, status):
    assert asking(path, key).status_code == status


def test_a_stream_for_no_zone_is_refused(asking):
    assert asking("/v1/pulse/events?zone=Nowhere").status_code == 400


def test_the_pulse_beats_though_nothing_comes(asking, own):
    """Two events of a real server's stream, a second apart."""
    from meterlake.api.pulse import EverySecond
    from meterlake.api.vitals import Vitals

    async def two():
        beats = EverySecond().watch(0.0)
        found = [await anext(beats), await anext(beats)]
        await beats.aclose()
        return found

    first, second = asyncio.run(two())
    assert second > first
    assert isinstance(asking.app.state.vitals, Vitals)


def test_a_stream_tells_the_pulse_and_ends(asking):
    async def first_event():
        transport = httpx.ASGITransport(asking.app, client=("192.0.2.7", 1))
        streams = asking.app.state.served.streams

        async def close():
            while not streams.count:  # noqa: ASYNC110 - there is nothing else to wait for
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            streams.close()

        async with httpx.AsyncClient(transport=transport, base_url="http://test") as asker:
            ending = asyncio.create_task(close())
            headers = {"Authorization": f"Bearer {asking.keyed('all')}"}
            answer = await asker.get("/v1/pulse/events", headers=headers)
            await ending
        return answer.text

    text = asyncio.run(first_event())
    data = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
    assert json.loads(data)["ready"] is True


def test_rates_are_of_whole_seconds_and_forget():
    rates = Rates()
    for second, n in ((100, 5), (100, 2), (102, 1), (100 + RING_S, 9)):
        rates.add(n, second)
    assert rates.last(3, 103) == [0, 0, 1]
    assert rates.last(2, 101 + RING_S) == [0, 9]
    assert sum(rates.last(60, 1000)) == 0


def test_what_is_slow_is_made_once_and_shown_while_the_next_is_made():
    slow, made, go = Slow(60.0), [], Event()

    def make():
        made.append(1)
        return len(made)

    assert [slow.get("a", make) for _ in range(3)] == [1, 1, 1]
    again = Slow(-1.0)
    again.get("a", lambda: 1)
    time.sleep(0.05)  # what was quick to make is soon too old
    assert again.get("a", lambda: go.wait(5) and 2) == 1
    go.set()


def test_what_takes_long_is_not_known_at_first_and_is_tried_again_after_a_failure():
    slow, go = Slow(-1.0, patience_s=0.01), Event()
    assert slow.get("a", lambda: go.wait(5) and 7) is None
    go.set()
    until = time.monotonic() + 5
    while slow.get("a", lambda: 7) != 7 and time.monotonic() < until:
        time.sleep(0.01)
    assert slow.get("a", lambda: 7) == 7

    def fail():
        raise Invalid("not now")

    assert slow.get("b", fail) is None
    while slow.get("b", lambda: 3) != 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert slow.get("b", lambda: 3) == 3
