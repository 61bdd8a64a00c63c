"""The contract of `ports.Keys`: subclass it with a ``keys`` fixture and every adapter keeps the same promises."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from meterlake.errors import Conflict, NotFound
from meterlake.keys import hashed, make

if TYPE_CHECKING:
    from meterlake.ports import Keys

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class KeysContract:
    """What every store of keys promises; ``keys`` is a fixture that gives an empty one."""

    def test_a_new_store_knows_no_key(self, keys: Keys) -> None:
        """And says so without having been written to."""
        assert list(keys.all()) == []
        assert keys.find(hashed("secret")) is None

    def test_a_key_reads_back_as_it_was_made(self, keys: Keys) -> None:
        """Found by its secret's hash; all of it."""
        _, bound = make("desk", {"read", "operate"}, source="s", meters=["m2", "m1", "mø"], best_quality=7)
        _, free = make("head-end", {"ingest"})
        for stored in (bound, free):
            keys.create(stored)
        assert list(keys.all()) == [bound, free]
        assert keys.find(bound.sha256) == bound
        assert keys.find(free.sha256) == free

    def test_the_text_of_a_key_is_not_kept(self, keys: Keys) -> None:
        """Nothing that is read back holds the secret."""
        text, stored = make("desk", {"read"})
        keys.create(stored)
        assert text.rpartition("_")[2] not in repr(keys.all())

    def test_a_key_is_made_once(self, keys: Keys) -> None:
        """Neither its id nor its secret may come again."""
        _, stored = make("desk", {"read"})
        keys.create(stored)
        with pytest.raises(Conflict):
            keys.create(stored)
        assert len(keys.all()) == 1

    def test_a_revoked_key_stays_revoked_as_it_was(self, keys: Keys) -> None:
        """The first moment counts, the key can still be listed."""
        _, stored = make("desk", {"read"})
        keys.create(stored)
        assert keys.revoke(stored.key.id, NOON).revoked_at == NOON
        assert keys.revoke(stored.key.id, NOON.replace(year=2027)).revoked_at == NOON
        found = keys.find(stored.sha256)
        assert found is not None
        assert found.revoked_at == NOON

    def test_an_unknown_key_cannot_be_revoked(self, keys: Keys) -> None:
        """The message says where the known ones are listed."""
        with pytest.raises(NotFound, match="keys list"):
            keys.revoke("nothing", NOON)

    def test_the_last_day_of_use_only_moves_on(self, keys: Keys) -> None:
        """Whatever comes in which order."""
        _, stored = make("desk", {"read"})
        keys.create(stored)
        for day in (2, 3, 1):
            keys.used(stored.key.id, date(2026, 1, day))
        assert keys.all()[0].last_used == date(2026, 1, 3)
