"""Cuts of shards as objects of a lake's store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterlake.ports import Cuts, Store

FOLDER: Final = "cuts"


class StoreCuts:
    """`ports.Cuts` in a store, a folder a shard."""

    def __init__(self, store: Store) -> None:
        """Keep them in ``store``."""
        self._store = store

    def put(self, shard: str, name: str, data: bytes) -> None:
        """Keep a cut, durable."""
        self._store.write(_name(shard, name), data)

    def waiting(self) -> Sequence[tuple[str, str]]:
        """Return shards and names of the cuts that are kept, those of one shard by name."""
        names = [kept.name.removesuffix(".arrow").split("/") for kept in self._store.list(f"{FOLDER}/")]
        return [(shard, name) for _, shard, name in names]

    def get(self, shard: str, name: str) -> bytes:
        """Return a cut; NotFound where it was dropped."""
        found = self._store.read(_name(shard, name))
        if found is None:
            raise NotFound(f"no cut {name} of {shard}")
        return found[0]

    def drop(self, shard: str, name: str) -> None:
        """Forget a cut, which may be gone already."""
        self._store.delete(_name(shard, name))


def _name(shard: str, name: str) -> str:
    return f"{FOLDER}/{shard}/{name}.arrow"


if TYPE_CHECKING:
    _: type[Cuts] = StoreCuts
