"""Checkpoints of a live state in a store: what a save changed as one object, and a manifest that says what counts.

A manifest's name is the number of its save, and is taken once: of two processes that save the same state, the store
lets one through, and the other knows that it works on this no more. The newest manifest always stays, so one that
is so far behind that its number is free again sees that there are later ones.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from meterlake.errors import Conflict, Damaged, Fenced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.ports import Checkpoints, Kept, Store

FOLDER: Final = "live"
KEPT: Final = 3
"""Saves whose objects stay, for who reads them meanwhile."""
WASTE: Final = 2
"""Bytes kept for each that counts, beyond which what counts is written anew."""
LEAST: Final = 1 << 20
ABANDONED_S: Final = 86_400.0
_REMEDY: Final = "move the checkpoints away: the next start reads the log instead, as far back as it goes"


class _Piece(NamedTuple):
    """Where a piece is."""

    object: str
    at: int
    size: int
    crc: int


class StoreCheckpoints:
    """`ports.Checkpoints` of one shard in a store."""

    def __init__(self, store: Store, shard: str) -> None:
        """Keep them under the shard's name."""
        self._store, self._folder = store, f"{FOLDER}/{shard}"
        self.url = f"{store.url}/{self._folder}"
        self._number = 0
        self._pieces: dict[str, _Piece] = {}
        self._sizes: dict[str, int] = {}
        """Bytes of every object that the newest save names."""
        self._used: list[set[str]] = []
        """Objects of the last saves, the newest last."""

    def save(self, pieces: Mapping[str, bytes], gone: Sequence[str], state: bytes) -> None:
        """Drop what is ``gone`` (a name, or all that begin with what stands before ``*``), put ``pieces``, set ``state``.

        Raises:
            Fenced: another process has saved since this one loaded; nothing was changed.
            MeterlakeError: the store did not take it; the checkpoint before this one stays.

        """
        left = {name: piece for name, piece in self._pieces.items() if not _is_gone(name, gone)}
        fresh = dict(pieces)
        live = sum(piece.size for name, piece in left.items() if name not in fresh)
        if sum(self._sizes.values()) > WASTE * live + LEAST:
            fresh |= dict(self._read({name: piece for name, piece in left.items() if name not in fresh}))
        left |= self._put(fresh)
        manifest = {
            "state": base64.b64encode(state).decode(), "crc": zlib.crc32(state), "pieces": left,
            "sizes": self._sizes_of(left, fresh),
        }  # fmt: skip
        try:
            self._store.write(self._manifest(self._number + 1), json.dumps(manifest).encode(), new=True)
        except Conflict as error:
            raise Fenced(f"{self.url}: another process has saved since: it works on this now") from error
        kept = self._store.list(f"{self._folder}/")
        if any(one.name.endswith(".json") and one.name > self._manifest(self._number + 1) for one in kept):
            # the one that works on this now was so far ahead that it had dropped the save of our number
            self._store.delete(self._manifest(self._number + 1))
            raise Fenced(f"{self.url}: another process has saved since: it works on this now")
        self._number, self._pieces, self._sizes = self._number + 1, left, manifest["sizes"]  # type: ignore[assignment]
        self._used.append(set(self._sizes))
        self._sweep(kept)

    def _put(self, pieces: Mapping[str, bytes]) -> dict[str, _Piece]:
        if not pieces:
            return {}
        object_, at, found = f"{self._folder}/{uuid.uuid4().hex}.data", 0, {}
        for name, data in pieces.items():
            found[name] = _Piece(object_, at, len(data), _checksum(name, data))
            at += len(data)
        self._store.write(object_, b"".join(pieces.values()))
        return found

    def _sizes_of(self, pieces: Mapping[str, _Piece], fresh: Mapping[str, bytes]) -> dict[str, int]:
        used = {piece.object for piece in pieces.values()}
        new = sum(map(len, fresh.values()))
        return {name: self._sizes.get(name, new) for name in sorted(used)}

    def _manifest(self, number: int) -> str:
        return f"{self._folder}/{number:012d}.json"

    def _sweep(self, held: Sequence[Kept]) -> None:
        """Delete what only older saves named, and objects of attempts that were given up a day ago.

        Nothing else: another process may just be writing the object of its first save.
        """
        before, self._used = self._used[:-KEPT], self._used[-KEPT:]
        named = set().union(*self._used)
        over = set().union(*before) - named
        border = time.time() - ABANDONED_S
        for kept in held:
            old = kept.name.endswith(".json") and kept.name <= self._manifest(self._number - KEPT)
            lost = kept.name.endswith(".data") and kept.name not in named and kept.modified_s < border
            if old or lost or kept.name in over:
                self._store.delete(kept.name)

    def load(self) -> tuple[bytes, Iterator[tuple[str, bytes]]] | None:
        """Return the state and, one at a time, all pieces of the last save; a save meanwhile changes neither."""
        names = [one.name for one in self._store.list(f"{self._folder}/") if one.name.endswith(".json")]
        found = self._store.read(names[-1]) if names else None
        if found is None:
            return None
        told = json.loads(found[0])
        state = base64.b64decode(told["state"])
        if zlib.crc32(state) != told["crc"]:
            raise Damaged(f"{self.url}: its state is not what was written; {_REMEDY}")
        self._number = int(names[-1].rpartition("/")[2].removesuffix(".json"))
        self._pieces = {name: _Piece(*piece) for name, piece in told["pieces"].items()}
        self._sizes, self._used = dict(told["sizes"]), [set(told["sizes"])]
        return state, self._read(self._pieces)

    def _read(self, pieces: Mapping[str, _Piece]) -> Iterator[tuple[str, bytes]]:
        """Yield pieces, object by object."""
        held, data = "", b""
        for name, piece in sorted(pieces.items(), key=lambda one: one[1][:2]):
            if piece.object != held:
                found = self._store.read(piece.object)
                if found is None:
                    raise Damaged(f"{self.url}: {piece.object} is missing; {_REMEDY}")
                held, data = piece.object, found[0]
            own = data[piece.at : piece.at + piece.size]
            if _checksum(name, own) != piece.crc:
                raise Damaged(f"{self.url}: piece {name} is not what was written; {_REMEDY}")
            yield name, own

    @property
    def generation(self) -> int:
        """Number of the last save."""
        return self._number

    def close(self) -> None:
        """Nothing is held open."""


def _is_gone(name: str, gone: Sequence[str]) -> bool:
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in gone)


def _checksum(name: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(name.encode()))


if TYPE_CHECKING:
    _: type[Checkpoints] = StoreCheckpoints
