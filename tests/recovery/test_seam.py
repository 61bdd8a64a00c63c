"""While blocks are sealed, late readings flushed and files compacted, no question sees a gap or a reading twice."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest

from meterlake.app import open_node
from meterlake.keys import ApiKey
from meterlake.node_settings import NodeSettings

KEY = ApiKey(
    id="k1", name="one", scopes=frozenset({"ingest"}), source="head-end", meters=None, best_quality=4
)
METERS = range(4)
QUARTER = timedelta(minutes=15)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SPAN = NOW - timedelta(days=5), NOW


class Hammer:
    """Asks and seals without pause while readings of 1 Wh come in: a total is a count."""

    def __init__(self, node):
        self.node = node
        self.acknowledged, self.sent = dict.fromkeys(METERS, 0), dict.fromkeys(METERS, 0)
        self.done, self.wrong = Event(), []

    def send(self, part):
        for meter, _ in part:
            self.sent[meter] += 1
        body = "\n".join(
            json.dumps({
                "meter": f"m{meter}", "channel": "electricity.import", "seconds": 900, "value": "0.001",
                "start": start.isoformat(),
            })
            for meter, start in part
        )  # fmt: skip
        assert self.node.accept(body.encode(), "application/x-ndjson", KEY).accepted == len(part)
        for meter, _ in part:
            self.acknowledged[meter] += 1

    def check(self, what, least, found, most):
        if not least <= found <= most:
            self.wrong.append((what, least, found, most))

    def fleet(self):
        table = self.node.lake.fleet(*SPAN, step="day").to_arrow()
        return sum(amount or 0 for amount in table["amount"].to_pylist()) // 1000

    def work(self, what):
        try:
            what()
        except BaseException as error:
            self.wrong.append(error)
            raise

    def ask(self):
        low = 0
        while not self.done.is_set():
            for meter in METERS:
                least = self.acknowledged[meter]
                if least:
                    rows = self.node.lake.history(f"m{meter}", *SPAN).to_arrow()
                    self.check(f"history m{meter}", least, len(rows), self.sent[meter])
            least = sum(self.acknowledged.values())
            if least:
                found = self.fleet()
                self.check("fleet", low, found, sum(self.sent.values()))
                low = max(low, found)

    def seal(self):
        turn = 0
        while not self.done.is_set():
            turn += 1
            self.node.seal(everything=turn % 2 == 0)
            if turn % 3 == 0:
                self.node.lake.compact()


@pytest.fixture
def node(tmp_path):
    settings = NodeSettings(grace_s=4 * 86_400, flush_s=3600, checkpoint_s=1, batch=False)
    made = open_node(str(tmp_path / "lake"), None, settings)
    made.start()
    yield made
    made.stop()


def test_answers_are_whole_at_every_moment_of_a_seal(node):
    slots = [(meter, NOW - QUARTER * k) for meter in METERS for k in range(1, 4 * 96)]
    random.Random(1).shuffle(slots)
    hammer = Hammer(node)
    threads = [Thread(target=hammer.work, args=[what]) for what in (hammer.ask, hammer.ask, hammer.seal)]
    for thread in threads:
        thread.start()
    try:
        for at in range(0, len(slots), 20):
            hammer.send(slots[at : at + 20])
            if hammer.wrong:
                break
    finally:
        hammer.done.set()
        for thread in threads:
            thread.join()
    assert not hammer.wrong
    node.seal(everything=True)
    assert hammer.fleet() == len(slots)
    assert node.lake.check().ok
