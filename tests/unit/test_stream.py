"""What is streamed: the numbers of `simulate`, each when its slot has ended, each until it is acknowledged."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import Denied, Invalid
from meterlake.simulate import (
    CHANNELS,
    STREAM_FAULTS,
    SimulateOptions,
    StreamOptions,
    parse_speed,
    parse_stream_faults,
    play,
    simulate,
)
from meterlake.simulate.bodies import ENCODINGS, Bodies
from meterlake.simulate.stream import Meters, span_of

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NOW_S = DAY.timestamp() + 40 * 86_400 + 123.4
MAX = float("inf")


def options(**more) -> StreamOptions:
    return StreamOptions(**{"points": 7, "interval_s": 1800, "speed": MAX, "seed": 3, **more})


def whole(told: StreamOptions, batch: int = 50):
    """All bursts of a play, with the moments at which they are sent."""
    meters = Meters(told, batch)
    span = span_of(told, len(meters.roster), NOW_S)
    bursts, at = [], span.first
    while at < span.stop:
        end = meters.cut(at, span.stop)
        bursts.append((meters.burst(at, end, span.moment_s(end - 1)), span.moment_s(end - 1)))
        at = end
    while meters.waiting:
        bursts.append((meters.rest(), np.inf))
    return meters, bursts


def rows(roster, burst):
    names, channels = roster.meters.to_pylist(), list(CHANNELS)
    return [
        (names[series], channels[roster.channel[series]], start, amount)
        for series, start, amount in zip(
            burst.series.tolist(), burst.start.tolist(), burst.amount.tolist(), strict=True
        )
    ]


def test_the_numbers_are_those_that_simulate_writes_with_the_same_seed(tmp_path):
    made = simulate(
        tmp_path,
        SimulateOptions(
            points=7, days=1, interval_s=1800, seed=3, start=DAY.date(), format="parquet", profile="au"
        ),
    )
    written = pa.concat_tables([pq.read_table(path) for path in made.files])
    expected = {
        (meter, channel, int(start.timestamp()), amount)
        for meter, channel, start, amount in zip(
            *(written[name].to_pylist() for name in ("meter_id", "channel", "interval_start", "amount")),
            strict=True,
        )
    }
    meters, bursts = whole(options(profile="au", from_s=int(DAY.timestamp()), for_s=86_400))
    sent = [row for burst, _ in bursts for row in rows(meters.roster, burst)]
    assert len(sent) == len(expected)
    assert set(sent) == expected


@settings(max_examples=60)
@given(
    interval_s=st.sampled_from([1, 5, 60, 900, 3600]),
    series=st.integers(1, 2_000_000),
    speed=st.sampled_from([0.5, 1.0, 2.0, 60.0, 10_000.0, MAX]),
    for_s=st.none() | st.integers(3600, 10 * 86_400),
    ago_s=st.none() | st.integers(8000, 40 * 86_400),
)
def test_no_reading_is_due_before_its_slot_has_ended_nor_ahead_of_the_clock(
    interval_s, series, speed, for_s, ago_s
):
    told = options(interval_s=interval_s, speed=speed, for_s=for_s, from_s=ago_s and int(NOW_S) - ago_s)
    span = span_of(told, series, NOW_S)
    for number in {span.first, span.first + 1, span.first + series, (span.stop or span.first + 10) - 1}:
        start_s = number // series * interval_s
        assert start_s + interval_s <= span.moment_s(number) < start_s + 2 * interval_s
        due_s = span.due_s(number)
        if span.stop is None or number < span.stop:
            assert start_s + interval_s <= NOW_S + due_s + 1e-3
            assert span.due_by(due_s + 1e-3) > number or span.due_by(due_s + 1e-3) == span.stop
    assert (span.stop is None) == (speed <= 1 and for_s is None)


def test_every_series_has_its_own_place_in_the_interval_and_keeps_it():
    meters, bursts = whole(options(for_s=2 * 86_400), batch=10)
    sent = [series for burst, _ in bursts for series in burst.series.tolist()]
    count = len(meters.roster)
    assert sent[:count] == list(range(count))
    assert sent == sent[:count] * 96
    assert len(set(meters.roster.meters.to_pylist())) == 21


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_says_the_same(encoding):
    meters, bursts = whole(options(for_s=7200, from_s=int(DAY.timestamp())))
    for burst, _ in bursts:
        read = decoded(Bodies(meters.roster, encoding).encode(burst), encoding)
        assert read == [(*row, 1800) for row in rows(meters.roster, burst)]


def decoded(body: bytes, encoding: str):
    if encoding == "arrow":
        table = pa.ipc.open_stream(body).read_all()
        columns = [
            table["meter_id"].to_pylist(), table["channel"].to_pylist(),
            [int(moment.timestamp()) for moment in table["interval_start"].to_pylist()],
            table["amount"].to_pylist(), table["interval_s"].to_pylist(),
        ]  # fmt: skip
        return list(zip(*columns, strict=True))
    match encoding:
        case "json":
            items = json.loads(body, parse_float=Decimal)["readings"]
        case "ndjson":
            items = [json.loads(line, parse_float=Decimal) for line in body.decode().splitlines()]
        case _:
            items = list(csv.DictReader(io.StringIO(body.decode())))
    return [
        (
            item["meter"], item["channel"], int(datetime.fromisoformat(item["start"]).timestamp()),
            int(Decimal(item["value"]) * 1_000_000), int(item["seconds"]),
        )
        for item in items
    ]  # fmt: skip


def test_faults_are_counted_and_every_other_reading_comes_as_it_is():
    shares = dict.fromkeys(STREAM_FAULTS, 0.05)
    told = options(for_s=4 * 86_400)
    clean, sent_clean = whole(told)
    meters, bursts = whole(replace(told, faults=shares))
    good = Counter(row for burst, _ in sent_clean for row in rows(clean.roster, burst))
    all_rows = Counter(row for burst, _ in bursts for row in rows(meters.roster, burst))
    names = [
        name
        for burst, _ in bursts
        for name in (STREAM_FAULTS[code] for code in burst.fault[burst.fault >= 0])
    ]
    injected, total = meters.injected, good.total()
    assert all(abs(count / total - 0.05) < 0.02 for count in injected.values())
    assert Counter(names) == {
        name: count * (2 if name == "duplicate" else 1)
        for name, count in injected.items()
        if name != "missing"
    }
    assert all_rows.total() == total - injected["missing"] + injected["duplicate"]
    spoilt = sum(injected[name] for name in ("spikes", "zeros", "ahead"))
    assert total - injected["missing"] - spoilt <= len(all_rows & good) <= total - injected["missing"]


def test_a_late_reading_comes_after_five_minutes_to_three_days():
    meters, bursts = whole(options(for_s=5 * 86_400, faults={"late": 0.2}))
    series = len(meters.roster)
    for burst, moment_s in bursts:
        late = burst.fault == STREAM_FAULTS.index("late")
        due_s = burst.start[late] + 1800 + burst.series[late] * 1800 / series
        if moment_s < np.inf:
            assert (moment_s >= due_s + 300).all()
            assert (moment_s <= due_s + 3 * 86_400 + 2 * 1800).all()


class Door(ThreadingHTTPServer):
    """A server that answers as its script says (status, headers), then takes everything."""

    daemon_threads = True

    def __init__(self, script=()):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.script, self.batches, self.seen, self.lock = list(script), {}, [], threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, {"status": "ok"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        with self.server.lock:
            self.server.seen.append((self.headers["Authorization"], self.headers["Content-Type"], key))
            status, headers = self.server.script.pop(0) if self.server.script else (200, {})
            count = pa.ipc.open_stream(body).read_all().num_rows
            if status in (200, "lost"):
                self.server.batches.setdefault(key, []).append(body)
        if status == "lost":  # taken, and the answer never comes
            self.close_connection = True
            return
        receipt = {"batch_id": key, "received": count, "accepted": count - 1, "duplicate": 0, "rejected": 1,
                   "errors": [{"line": 1, "reason": "future", "text": ""}], "replayed": False}  # fmt: skip
        problem = {"title": "Not taken", "status": status, "detail": "because", "remedy": "do that"}
        self.answer(status, receipt if status == 200 else problem, headers)

    def answer(self, status, told, headers=None):
        text = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


def test_every_batch_is_sent_under_one_key_until_it_is_acknowledged(tmp_path):
    script = [(503, {"Retry-After": "0"}), ("lost", {}), (429, {}), (200, {}), ("lost", {})]
    with Door(script) as door:
        played = play(door.url, "k1", options(for_s=86_400), batch=100, truth=tmp_path)
    count = 48 * 21
    told = played.to_json()
    assert told["sent"] == told["acknowledged"] == count
    assert told["retries"] == 4
    assert told["batches"] == len(door.batches) == 11
    assert told["accepted"] == count - 11
    assert told["rejects"] == [{"reason": "future", "count": 11}]
    assert all(len(set(bodies)) == 1 for bodies in door.batches.values())
    taken = [pa.ipc.open_stream(bodies[0]).read_all() for bodies in door.batches.values()]
    names = ["meter_id", "channel", "interval_start"]
    readings = {tuple(row.values()) for table in taken for row in table.select(names).to_pylist()}
    assert len(readings) == count
    assert pq.read_table(tmp_path / "sent.parquet").num_rows == count
    assert {(auth, media) for auth, media, _ in door.seen} == {("Bearer k1", ENCODINGS["arrow"])}


@pytest.mark.parametrize(("status", "error"), [(400, Invalid), (403, Denied), (500, Invalid)])
def test_a_batch_that_is_refused_for_good_ends_the_play_with_the_reason_of_the_server(status, error):
    with Door([(status, {})] * 50) as door, pytest.raises(error, match="Not taken; because; do that"):
        play(door.url, "k1", options(for_s=86_400), batch=10)


def test_an_address_without_a_server_is_said_at_once():
    with Door() as door:
        url = door.url
    with pytest.raises(Invalid, match="no server answers"):
        play(url, "k1", options())


def test_what_cannot_be_played_is_refused_by_name():
    for text in ("missing=x", "outages=0.1", "missing=0.3,late=0.3", "late=-1", "late=nan"):
        with pytest.raises(Invalid):
            parse_stream_faults(text)
    for text in ("", "fast", "0x", "-1x", "infx"):
        with pytest.raises(Invalid):
            parse_speed(text)
    assert (parse_speed("max"), parse_speed("60x"), parse_speed("1")) == (MAX, 60.0, 1.0)
    with pytest.raises(Invalid, match="--from is ahead"):
        span_of(options(from_s=int(NOW_S)), 10, NOW_S)
    with pytest.raises(Invalid, match="nothing to play"):
        span_of(options(for_s=1, speed=1.0), 1, NOW_S)


def command(url, *words, key="k1"):
    environment = {**os.environ, "METERLAKE_KEY": key, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "meterlake", "stream", "--to", url, "--output", "json", *words]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_without_a_key_in_the_environment_nothing_is_sent():
    with Door() as door:
        out, err = command(door.url, key="").communicate()
        assert not door.seen
    assert "METERLAKE_KEY" in err
    assert not out


def test_an_interrupt_ends_the_play_with_its_receipt():
    with Door() as door:
        process = command(door.url, "--points", "50", "--interval", "1s")
        while not door.batches and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        told = json.loads(out)
    assert told["interrupted"]
    assert told["acknowledged"] == sum(
        pa.ipc.open_stream(b[0]).read_all().num_rows for b in door.batches.values()
    )
