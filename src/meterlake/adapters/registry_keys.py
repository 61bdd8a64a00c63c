"""API keys in the registry's database."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Integer, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from meterlake.adapters.registry_database import PEOPLE, transaction
from meterlake.adapters.registry_schema import HASH, ID, METADATA, NUMBER, WORDS
from meterlake.errors import Conflict, NotFound
from meterlake.keys import ApiKey, StoredKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from meterlake.adapters.registry import SqlRegistry
    from meterlake.ports import Keys

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("sha256", HASH, nullable=False, unique=True),
    Column("name", WORDS, nullable=False),
    Column("scopes", WORDS, nullable=False),
    Column("source", WORDS, nullable=False),
    Column("meters", WORDS),
    Column("best_quality", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("last_used", Integer),
)
"""``meters`` is a JSON list, null for all; moments are microseconds, ``last_used`` is days since 1970 UTC."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ONE: Final = date(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)


class SqlKeys:
    """`ports.Keys` in a database."""

    def __init__(self, registry: SqlRegistry) -> None:
        """Use the database of ``registry``."""
        self._engine = registry._engine  # noqa: SLF001 - one database, one pool of connections

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[Connection]:
        """One transaction that is whole or absent."""
        turn = PEOPLE if writes else None
        with transaction(self._engine, "the keys in the registry", turn) as connection:
            try:
                yield connection
            except IntegrityError as error:
                raise Conflict("this key is there already; make another one") from error

    def create(self, stored: StoredKey) -> None:
        """Keep a new key; Conflict where its id or its secret is taken."""
        key = stored.key
        row = {
            "id": key.id, "sha256": stored.sha256, "name": key.name, "scopes": ",".join(sorted(key.scopes)),
            "source": key.source, "meters": None if key.meters is None else json.dumps(sorted(key.meters)),
            "best_quality": key.best_quality, "created_at": _micros(stored.created_at),
            "revoked_at": None if stored.revoked_at is None else _micros(stored.revoked_at),
            "last_used": None if stored.last_used is None else (stored.last_used - _DAY_ONE).days,
        }  # fmt: skip
        with self._connected(writes=True) as connection:
            connection.execute(insert(API_KEYS).values(**row))

    def all(self) -> Sequence[StoredKey]:
        """Return every key, revoked ones too, in the order in which they were made."""
        return self._read(select(API_KEYS).order_by(API_KEYS.c.number))

    def find(self, sha256: bytes) -> StoredKey | None:
        """Return the key whose secret has this hash, revoked or not; None where there is none."""
        return next(iter(self._read(select(API_KEYS).where(API_KEYS.c.sha256 == sha256))), None)

    def _read(self, query: Any) -> list[StoredKey]:
        with self._connected() as connection:
            return [_stored(row) for row in connection.execute(query).mappings()]

    def revoke(self, id_: str, at: datetime) -> StoredKey:
        """End a key at a moment, or leave it ended as it was; return it. NotFound where there is none."""
        named = select(API_KEYS).where(API_KEYS.c.id == id_)
        if not self._read(named):
            raise NotFound(f"no key {id_}; `meterlake keys list` shows those that there are")
        ended = update(API_KEYS).where(API_KEYS.c.id == id_, API_KEYS.c.revoked_at.is_(None))
        with self._connected(writes=True) as connection:
            connection.execute(ended.values(revoked_at=_micros(at)))
        return self._read(named)[0]

    def used(self, id_: str, day: date) -> None:
        """Note that a key was used on a day; an earlier day than the one known changes nothing."""
        days = (day - _DAY_ONE).days
        older = API_KEYS.c.last_used.is_(None) | (API_KEYS.c.last_used < days)
        with self._connected(writes=True) as connection:
            connection.execute(update(API_KEYS).where(API_KEYS.c.id == id_, older).values(last_used=days))


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _stored(row: Any) -> StoredKey:
    key = ApiKey(
        id=row["id"], name=row["name"], scopes=frozenset(row["scopes"].split(",")), source=row["source"],
        meters=None if row["meters"] is None else frozenset(json.loads(row["meters"])),
        best_quality=row["best_quality"],
    )  # fmt: skip
    revoked, used = row["revoked_at"], row["last_used"]
    return StoredKey(
        key=key, sha256=row["sha256"], created_at=_EPOCH + row["created_at"] * _MICROSECOND,
        revoked_at=None if revoked is None else _EPOCH + revoked * _MICROSECOND,
        last_used=None if used is None else _DAY_ONE + timedelta(days=used),
    )  # fmt: skip


if TYPE_CHECKING:
    _CONFORMS: type[Keys] = SqlKeys
