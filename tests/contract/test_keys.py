"""Every store of keys keeps the contract; the ring that recognises them lets go of revoked ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_keys import SqlKeys
from meterlake.errors import Denied, Invalid
from meterlake.keys import KeyRing, make, quality_of, scopes_of
from meterlake.ports import Keys
from meterlake.testing.keys_contract import KeysContract


class TestKeysInMemory(KeysContract):
    """In the database of a registry without a file."""

    @pytest.fixture
    def keys(self) -> Keys:
        return SqlKeys(SqlRegistry("sqlite://", create=True))


class TestKeysInAFile(KeysContract):
    """In the database of the default registry."""

    @pytest.fixture
    def keys(self, tmp_path: Path) -> Keys:
        return SqlKeys(SqlRegistry(f"sqlite:///{tmp_path}/registry.db", create=True))

    def test_a_key_made_elsewhere_is_seen(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/registry.db"
        a, b = (SqlKeys(SqlRegistry(url, create=True)) for _ in range(2))
        _, stored = make("desk", {"read"})
        a.create(stored)
        assert b.find(stored.sha256) == stored


@pytest.fixture
def keys():
    return SqlKeys(SqlRegistry("sqlite://", create=True))


def test_a_key_is_recognised_until_it_is_revoked(keys):
    text, stored = make("desk", {"read"})
    keys.create(stored)
    ring = KeyRing(keys, kept_s=0.0)
    assert ring.asked(text) == stored.key
    assert keys.all()[0].last_used is not None
    keys.revoke(stored.key.id, datetime.now(UTC))
    assert ring.kept(text) is None
    with pytest.raises(Denied):
        ring.asked(text)


def test_a_key_is_kept_between_requests(keys):
    text, stored = make("desk", {"read"})
    keys.create(stored)
    ring = KeyRing(keys, kept_s=3600)
    assert ring.kept(text) is None
    assert ring.asked(text) == ring.kept(text) == stored.key


def test_only_the_very_text_opens(keys):
    text, stored = make("desk", {"read"})
    keys.create(stored)
    ring = KeyRing(keys, kept_s=3600)
    ring.asked(text)
    prefix, id_, secret = text.split("_", 2)
    wrong = ["", "mlk", "mlk_", secret, f"{prefix}_{id_}", f"{prefix}_{id_}_", f"{prefix}_{id_}_{secret}x"]
    wrong += [
        f"xyz_{id_}_{secret}",
        f"{prefix}_0{id_[1:]}x_{secret}",
        f"{prefix}__{secret}",
        text.upper(),
        "mlk_é_ü",
    ]
    for other in wrong:
        assert ring.kept(other) is None
        with pytest.raises(Denied):
            ring.asked(other)


@pytest.mark.parametrize("wrong", ["", "read,write", "READ", ","])
def test_scopes_are_those_that_there_are(wrong):
    with pytest.raises(Invalid, match="ingest, read, operate"):
        scopes_of(wrong)
    assert scopes_of("ingest, read") == {"ingest", "read"}


def test_a_key_may_claim_a_known_quality():
    assert quality_of("estimated") == 7
    for wrong in ("missing", "good", ""):
        with pytest.raises(Invalid, match="actual"):
            quality_of(wrong)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_a_name_can_be_printed(name):
    with pytest.raises(Invalid, match="printable"):
        make(name, {"read"})
