"""Server-sent events over a real connection: at once, then with each change, for as long as somebody listens."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest

from meterlake.api.app import make_app
from meterlake.api.limits import ApiLimits
from meterlake.api.server import listen, server_of

from .conftest import NOW, lines, make_asking, make_node

PATH = "/v1/live/meters/m1/events"


class Serving:
    """A server in a thread."""

    def __init__(self, node, **limits):
        self.node = node
        self.asking = make_asking(node)
        self.ready = threading.Event()
        self.socket = listen("127.0.0.1", 0)
        own = ApiLimits(**limits)
        app = make_app(node, self.asking.keyed.keys, own)
        self.server = server_of(app, own, self.socket, self.told)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))

    def told(self, url):
        self.url = url
        self.ready.set()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
        assert not self.thread.is_alive()

    @property
    def streams(self):
        return self.server.config.app.state.served.streams

    def client(self, key="all"):
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.asking.keyed(key)}"}, timeout=10
        )

    def send(self, *readings):
        with self.client() as client:
            headers = {"Content-Type": "application/x-ndjson"}
            assert client.post("/v1/readings", content=lines(*readings), headers=headers).status_code == 200


def wait_for(true):
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def data_of(stream):
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def serving():
    node = make_node()
    with Serving(node, streams=3, stop_s=5) as server:
        server.send(("m1", NOW - 1800, 0.25))
        yield server
    node.stop()


def test_the_first_event_comes_at_once_and_others_with_changes(serving):
    with serving.client() as client, client.stream("GET", PATH) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache"
        events = data_of(stream)
        assert next(events) == client.get("/v1/live/meters/m1").json()
        serving.send(("m1", NOW - 900, 0.5))
        assert [one["value"] for one in next(events)["values"]] == [0.5]


def test_a_change_elsewhere_is_no_event(serving):
    with serving.client() as client, client.stream("GET", PATH) as stream:
        events = data_of(stream)
        next(events)
        serving.send(("m2", NOW - 900, 1))
        serving.send(("m1", NOW - 900, 0.75))
        assert next(events)["values"][0]["value"] == 0.75


def test_all_live_routes_can_be_followed(serving):
    with serving.client() as client:
        for what in ("regions", "fleet", "top"):
            with client.stream("GET", f"/v1/live/{what}/events") as stream:
                assert next(data_of(stream)) == client.get(f"/v1/live/{what}").json()


def test_a_stream_ends_when_its_reader_goes(serving):
    with serving.client() as client, client.stream("GET", PATH) as stream:
        events = data_of(stream)
        next(events)
        assert serving.streams.count == 1
    wait_for(lambda: serving.streams.count == 0)
    assert not serving.node.changes._watchers


def test_more_streams_than_there_may_be_are_told_to_come_again(serving):
    with serving.client() as client:
        held = [client.stream("GET", PATH) for _ in range(3)]
        opened = [one.__enter__() for one in held]
        assert [one.status_code for one in opened] == [200] * 3
        refused = client.get(PATH)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
        assert int(refused.headers["retry-after"]) > 0
        for one in held:
            one.__exit__(None, None, None)
    wait_for(lambda: serving.streams.count == 0)


def test_a_stream_of_nothing_is_refused_before_it_begins(serving):
    with serving.client() as client:
        assert client.get("/v1/live/meters/zz/events").status_code == 404
    with serving.client("m1") as client:
        assert client.get("/v1/live/meters/m2/events").status_code == 404
        assert client.get("/v1/live/fleet/events").status_code == 403
    assert serving.streams.count == 0


def test_a_connection_that_says_nothing_is_closed():
    node = make_node()
    with Serving(node, headers_s=0.2, body_s=0.2) as server:
        address = server.socket.getsockname()
        for said in (
            b"",
            b"GE",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /",
        ):
            with socket.create_connection(address, timeout=10) as silent:
                silent.sendall(said)
                pieces = []
                while piece := silent.recv(65_536):
                    pieces.append(piece)
                assert (b"alive" in b"".join(pieces)) == said.endswith(b"GET /")
        token = server.asking.keyed("all").encode()
        head = b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token
        head += b"\r\nContent-Type: text/csv\r\nContent-Length: 100\r\n\r\nabc"
        with socket.create_connection(address, timeout=10) as slow:
            slow.sendall(head)
            answer = b""
            while piece := slow.recv(65_536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408")
    node.stop()


def test_a_server_that_stops_ends_its_streams():
    node = make_node()
    with Serving(node) as server:
        server.send(("m1", NOW - 900, 1))
        client = server.client()
        stream = client.stream("GET", PATH)
        events = data_of(stream.__enter__())
        next(events)
        server.server.should_exit = True
        assert list(events) == []
        stream.__exit__(None, None, None)
        client.close()
    node.stop()
