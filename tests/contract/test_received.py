"""What was received is there once, in a folder; a bucket is tried with a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import deltalake
import pytest

from meterlake.adapters.delta import DeltaLake
from meterlake.adapters.received import DeltaReceived, write
from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.store_folder import FolderStore
from meterlake.errors import Damaged
from meterlake.ledger import operation_row
from meterlake.ports import Change
from meterlake.receiving import follows
from meterlake.retain import retain
from meterlake.seal import SealReceipt
from meterlake.testing.received_contract import ReceivedContract, read, several

numbers = count(1)


class TestFolder(ReceivedContract):
    @pytest.fixture
    def store(self, tmp_path):
        return FolderStore(tmp_path / "lake")

    @pytest.fixture
    def received(self, store):
        return DeltaReceived(store)

    @pytest.fixture
    def another(self, store):
        return lambda: DeltaReceived(store)

    @pytest.fixture
    def put(self, store):
        return partial(write, store)

    def test_other_programs_see_who_sent_what(self, store, received, put):
        received.commit([put(several("gas-0", 0, 3))], {"gas-0": 0})
        rows = deltalake.DeltaTable(f"{store.url}/received").to_pyarrow_table().sort_by("offset").to_pylist()
        assert [row["batch_id"] for row in rows] == ["b0", None, "b2"]
        assert [row["source"] for row in rows] == ["hes", None, "hes"]


def sealed(lake, shard, offset):
    """The record of a seal that reaches ``offset``."""
    base, number = lake.snapshot(), next(numbers)
    receipt = SealReceipt(number, offset, 0, {}, [], version=base.version + 1, shard=shard)
    row = operation_row("seal", shard, base.version + 1, number, receipt.to_json())
    lake.commit(Change(base, [], [], f"seal:{shard}:{number}", number, {"operations": row}))


def test_messages_go_with_the_archive_once_they_are_old_and_sealed(tmp_path):
    store = FolderStore(tmp_path)
    lake, received = DeltaLake(store, create=True), DeltaReceived(store)
    registry = SqlRegistry("sqlite://", create=True)
    for shard in ("gas-0", "gas-1"):
        for first in (0, 5):
            received.commit([write(store, several(shard, first, first + 5))], {shard: 0})
    now = datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(days=40)
    assert retain(lake, registry, {"archive": "30d"}, now, received=received).tiers[0]["blocks"] == 0
    sealed(lake, "gas-0", 7)
    asked = retain(lake, registry, {"archive": "50d"}, now, received=received, dry_run=True)
    assert asked.tiers[0]["blocks"] == 0
    asked = retain(lake, registry, {"archive": "30d"}, now, received=received, dry_run=True)
    assert (asked.tiers[0]["blocks"], asked.tiers[0]["readings"]) == (1, 5)
    assert len(read(received, "gas-0")) == 10
    done = retain(lake, registry, {"archive": "30d"}, now, received=received)
    assert done.tiers == asked.tiers
    assert read(received, "gas-0") == several("gas-0", 5, 10)
    assert len(read(received, "gas-1")) == 10


def test_files_that_no_commit_names_are_swept_when_they_are_old(tmp_path):
    store = FolderStore(tmp_path)
    lake, received = DeltaLake(store, create=True), DeltaReceived(store)
    kept = write(store, several("gas-0", 0, 5))
    received.commit([kept], {"gas-0": 0})
    lost = write(store, several("gas-0", 5, 9))
    store.write("staging/load/strips", b"left")
    lake.sweep()
    assert store.read(f"received/{lost.path}")
    assert store.read("staging/load/strips")
    lake.sweep(now_s=datetime.now(UTC).timestamp() + 2 * 86_400)
    assert store.read(f"received/{lost.path}") is None
    assert store.read("staging/load/strips") is None
    assert store.read(f"received/{kept.path}")


def test_messages_that_were_deleted_before_they_were_received_are_told():
    assert follows("gas-0", None, 7) == 7
    assert follows("gas-0", (3, 9), 5) == 9
    assert follows("gas-0", (3, 9), 9) == 9
    with pytest.raises(Damaged, match="between"):
        follows("gas-0", (3, 9), 10)
