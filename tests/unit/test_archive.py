"""The archive holds every accepted reading as it came, once, also after a restart of its node."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pyarrow.dataset as ds

from meterlake.app import open_node
from meterlake.keys import ApiKey
from meterlake.node_settings import NodeSettings

KEY = ApiKey(
    id="k1", name="one", scopes=frozenset({"ingest"}), source="head-end", meters=None, best_quality=4
)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def send(node, *readings):
    """Readings of (meter, quarter hours ago, text of the value)."""
    body = "\n".join(
        json.dumps({
            "meter": meter, "channel": "gas.import", "seconds": 900, "value": value,
            "start": (NOW - timedelta(minutes=15 * ago)).isoformat(),
        })
        for meter, ago, value in readings
    )  # fmt: skip
    return node.accept(body.encode(), "application/x-ndjson", KEY)


def opened(tmp_path):
    settings = NodeSettings(archive=True, grace_s=86_400, flush_s=3600, checkpoint_s=3600, batch=False)
    node = open_node(str(tmp_path / "lake"), None, settings)
    node.start()
    return node


def kept(tmp_path):
    rows = ds.dataset(tmp_path / "lake" / "archive").to_table().to_pylist()
    return sorted((row["batch_id"], row["meter_id"], row["interval_start"], row["amount"]) for row in rows)


def told(receipt, *readings):
    return [
        (receipt.batch_id, meter, NOW - timedelta(minutes=15 * ago), amount)
        for meter, ago, amount in readings
    ]


def test_what_was_accepted_is_kept_as_it_came_once(tmp_path):
    node = opened(tmp_path)
    first = send(node, ("m1", 2, "0.25"), ("m2", 3, "1"))
    node.checkpoint()
    second = send(node, ("m1", 2, "0.5"), ("m1", 500, "0.000001"))
    again = send(node, ("m1", 2, "0.5"), ("m1", 500, "0.000001"))
    assert again.replayed
    node.checkpoint()
    expected = [
        *told(first, ("m1", 2, 250_000), ("m2", 3, 1_000_000)), *told(second, ("m1", 2, 500_000), ("m1", 500, 1)),
    ]  # fmt: skip
    assert kept(tmp_path) == sorted(expected)
    node.stop()
    node = opened(tmp_path)
    third = send(node, ("m3", 1, "7"))
    node.checkpoint()
    node.stop()
    assert kept(tmp_path) == sorted([*expected, *told(third, ("m3", 1, 7_000_000))])
    sources = ds.dataset(tmp_path / "lake" / "archive").to_table()["source"].to_pylist()
    assert set(sources) == {"head-end"}


def test_refused_readings_are_not_in_it(tmp_path):
    node = opened(tmp_path)
    receipt = send(node, ("m1", 2, "0.25"), ("m1", -5000, "1"))
    assert (receipt.accepted, receipt.rejected) == (1, 1)
    node.checkpoint()
    node.stop()
    assert kept(tmp_path) == told(receipt, ("m1", 2, 250_000))
