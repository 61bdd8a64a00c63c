"""`meterlake serve` and `meterlake keys` as they are typed: a process that says where it is, answers, and ends in order."""

from __future__ import annotations

import json

import httpx
import pytest

from meterlake.cli import run
from meterlake.testing.serving import Server

from .conftest import NDJSON, NOW, lines


def test_a_served_lake_is_asked_and_stopped(tmp_path):
    lake = tmp_path / "lake"
    server = Server(lake)
    key = server.key()
    headers = {"Authorization": f"Bearer {key}"}
    with server, httpx.Client(base_url=server.url, headers=headers) as client:
        assert server.url.startswith("http://127.0.0.1:")
        body = lines(("m1", NOW - 900, 0.25))
        assert (
            client.post("/v1/readings", content=body, headers={"Content-Type": NDJSON}).json()["accepted"]
            == 1
        )
        assert client.get("/readyz").json() == {"ready": True, "reasons": []}
        with client.stream("GET", "/v1/live/meters/m1/events") as stream:
            told = stream.iter_lines()
            assert next(told)
            assert server.stop() == 0
    log = (tmp_path / "lake.log").read_text()
    assert "METERLAKE_MAX_BODY=64MiB" in log
    assert "m1" not in log
    assert key.rpartition("_")[2] not in log
    assert "Traceback" not in log


@pytest.fixture
def meterlake(tmp_path, capsys):
    def do(*words):
        status = run(["--lake", str(tmp_path / "lake"), *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return do


def test_a_key_is_made_listed_and_revoked(meterlake, tmp_path):
    (tmp_path / "own.txt").write_text("m1\nm2\n\n")
    words = (
        "--scope",
        "ingest,read",
        "--meters",
        str(tmp_path / "own.txt"),
        "--quality",
        "estimated",
        "--output",
        "json",
    )
    status, out, _ = meterlake("keys", "create", "desk", *words)
    made = json.loads(out)
    assert (status, made["scopes"], set(made)) == (0, ["ingest", "read"], {"id", "key", "scopes"})
    assert made["key"].startswith(f"mlk_{made['id']}_")
    _, out, _ = meterlake("keys", "list", "--output", "json")
    (listed,) = json.loads(out)["items"]
    assert {name: listed[name] for name in ("name", "source", "meters", "quality", "revoked_at")} == {
        "name": "desk", "source": "desk", "meters": 2, "quality": "estimated", "revoked_at": None,
    }  # fmt: skip
    assert made["key"].rpartition("_")[2] not in out
    assert meterlake("keys", "revoke", made["id"])[0] == 0
    assert json.loads(meterlake("keys", "list", "--output", "json")[1])["items"][0]["revoked_at"]
    assert meterlake("keys", "revoke", "nothing")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--scope", "write"),
        ("--scope", "read", "--quality", "best"),
        ("--scope", "read", "--meters", "absent"),
    ],
)
def test_a_key_that_cannot_be_is_refused_in_one_line(meterlake, words):
    status, out, err = meterlake("keys", "create", "desk", *words)
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_a_port_that_is_taken_is_named(meterlake, free_server):
    status, _, err = meterlake("serve", "--port", str(free_server))
    assert (status, err.count("\n")) == (1, 1)
    assert str(free_server) in err


@pytest.fixture
def free_server():
    from meterlake.api.server import listen

    with listen("127.0.0.1", 0) as socket:
        yield socket.getsockname()[1]
