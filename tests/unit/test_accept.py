"""What is answered is durable, visible and counted once; what is not may be sent again."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from meterlake.adapters.memory import MemoryLake
from meterlake.adapters.memory_log import MemoryCheckpoints, MemoryLog
from meterlake.app import Meterlake, registry_at
from meterlake.errors import Conflict, Invalid, LogFailed, Overloaded, TooLarge
from meterlake.ids import MeterIds
from meterlake.keys import ApiKey
from meterlake.live.live import Live
from meterlake.node import SPANS_S, Node
from meterlake.node_settings import AcceptLimits, NodeSettings

NDJSON = "application/x-ndjson"
KEY = ApiKey(
    id="k1", name="one", scopes=frozenset({"ingest"}), source="head-end", meters=None, best_quality=4
)
NOW = int(time.time()) // 900 * 900


class FailingLog(MemoryLog):
    """A log whose disk fails from the second append on."""

    calls = 0

    def append(self, batches):
        self.calls += 1
        if self.calls > 1:
            raise LogFailed("the disk says no; replace it and start again")
        return super().append(batches)


def make_node(log=None, **limits):
    settings = NodeSettings(accept=AcceptLimits(**limits), batch=False)
    floors = {span: (NOW - 3600) // span * span for span in SPANS_S}
    lake = MemoryLake()
    live = Live(MeterIds(), settings.live, floors)
    node = Node(
        Meterlake(lake, registry_at(None, lake, create=True), live=live),
        live,
        log or MemoryLog(),
        MemoryCheckpoints(),
        settings,
    )
    node.start()
    return node


@pytest.fixture
def node():
    made = make_node()
    yield made
    made.stop()


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def lines(*readings):
    return "\n".join(
        json.dumps({
            "meter": meter, "channel": "electricity.import", "seconds": 900, "value": value,
            "start": datetime.fromtimestamp(start, UTC).isoformat(),
        })
        for meter, start, value in readings
    ).encode()  # fmt: skip


def test_a_batch_is_visible_when_it_is_answered(node):
    receipt = node.accept(lines(("m1", NOW - 900, 0.25), ("m1", NOW - 1800, 0.5)), NDJSON, KEY)
    assert (receipt.received, receipt.accepted, receipt.duplicate, receipt.rejected) == (2, 2, 0, 0)
    table = node.lake.history("m1", at(NOW - 7200), at(NOW)).to_arrow()
    assert table["amount"].to_pylist() == [500_000, 250_000]
    assert node.batch(receipt.batch_id)["state"] == "live"


def test_received_is_accepted_and_duplicate_and_rejected_with_line_and_reason(node):
    body = lines(("m1", NOW - 900, 0.25), ("m1", NOW - 900, 0.25), ("m2", NOW + 86_400, 1)) + b"\nnonsense"
    receipt = node.accept(body, NDJSON, KEY)
    assert (receipt.received, receipt.accepted, receipt.duplicate, receipt.rejected) == (4, 1, 1, 2)
    assert [(e["line"], e["reason"]) for e in receipt.errors] == [(3, "future"), (4, "malformed_line")]
    assert receipt.errors[1]["text"] == "nonsense"


def test_a_batch_again_counts_once_by_key_or_by_content(node):
    body = lines(("m1", NOW - 900, 0.25))
    first = node.accept(body, NDJSON, KEY, "a")
    for again in (
        node.accept(body, NDJSON, KEY, "a"),
        node.accept(body, NDJSON, KEY),
        node.accept(body, NDJSON, KEY, "b"),
    ):
        assert again.replayed
        assert (again.batch_id, again.accepted, again.duplicate) == (first.batch_id, 0, 1)
    assert node.log.bounds()[1] == 1


def test_a_key_used_for_another_content_is_refused(node):
    node.accept(lines(("m1", NOW - 900, 0.25)), NDJSON, KEY, "a")
    with pytest.raises(Conflict, match="another content"):
        node.accept(lines(("m1", NOW - 900, 0.75)), NDJSON, KEY, "a")


def test_the_same_batch_from_eight_senders_at_once_is_taken_once(node):
    body = lines(*[(f"m{i}", NOW - 900, i) for i in range(50)])
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: node.accept(body, NDJSON, KEY, "same"), range(8)))
    assert sum(r.accepted for r in receipts) == 50
    assert len({r.batch_id for r in receipts}) == 1
    assert node.log.bounds()[1] == 1


def test_a_later_batch_wins_its_slot(node):
    node.accept(lines(("m1", NOW - 900, 0.25)), NDJSON, KEY)
    node.accept(lines(("m1", NOW - 900, 0.125)), NDJSON, KEY)
    table = node.lake.history("m1", at(NOW - 900), at(NOW)).to_arrow()
    assert table["amount"].to_pylist() == [125_000]


def test_a_key_with_meters_sends_for_no_other(node):
    own = ApiKey(
        id="k2",
        name="two",
        scopes=frozenset({"ingest"}),
        source="s",
        meters=frozenset({"m1"}),
        best_quality=4,
    )
    receipt = node.accept(lines(("m1", NOW - 900, 1), ("m9", NOW - 900, 1)), NDJSON, own)
    assert (receipt.accepted, receipt.rejected) == (1, 1)
    assert receipt.errors[0]["reason"] == "unknown_meter"


def test_limits_and_unknown_media_are_refused_whole():
    node = make_node(body=1000, readings=3)
    try:
        with pytest.raises(TooLarge, match="bytes"):
            node.accept(b" " * 1001, NDJSON, KEY)
        with pytest.raises(TooLarge, match="readings"):
            node.accept(lines(*[("m", NOW - 900 * i, 1) for i in range(1, 6)]), NDJSON, KEY)
        with pytest.raises(Invalid, match="application/json"):
            node.accept(b"x", "text/html", KEY)
        assert node.log.bounds()[1] == 0
    finally:
        node.stop()


def test_too_much_at_once_is_told_to_wait_and_what_was_answered_stays():
    node = make_node(waiting=4000)
    bodies = [lines(*[(f"m{i}", NOW - 900, k)]) + b" " * 1500 for i in range(40) for k in range(1)]

    def send(body):
        try:
            return node.accept(body, NDJSON, KEY).accepted
        except Overloaded as error:
            return 0 if error.retry_after_s >= 1 else -1_000

    try:
        with ThreadPoolExecutor(16) as pool:
            accepted = sum(pool.map(send, bodies))
        assert node.log.bounds()[1] == accepted
        assert node.acceptor.queue == (0, 0)
    finally:
        node.stop()


def test_after_a_failed_sync_nothing_is_acknowledged_and_it_says_why():
    node = make_node(FailingLog())
    try:
        node.accept(lines(("m1", NOW - 900, 1)), NDJSON, KEY)
        for value in (2, 3):
            with pytest.raises(LogFailed, match="disk says no"):
                node.accept(lines(("m1", NOW - 900, value)), NDJSON, KEY)
        assert not node.status()["ready"]
        assert "disk says no" in node.status()["trouble"]["log"]
    finally:
        node.stop()
