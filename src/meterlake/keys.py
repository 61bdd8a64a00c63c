"""API keys: what one may do, how it is made, and how the one that a request shows is recognised.

A key is ``mlk_<id>_<secret>``. The secret is 32 random bytes, so its SHA-256 is all that is kept: nobody can
guess what was drawn from 2**256, and a slow hash would only make every request slow.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import Denied, Invalid
from meterlake.readings import QUALITY_NAMES, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meterlake.ports import Keys

SCOPES: Final = ("ingest", "read", "operate")
PREFIX: Final = "mlk"
SECRET_BYTES: Final = 32
ID_BYTES: Final = 5
KEPT_S: Final = 2.0
"""How long a key is trusted before the registry is asked again: so fast does a revocation work."""
KEPT_KEYS: Final = 10_000
NAME_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """Who asks or sends, and what they may."""

    id: str
    name: str
    scopes: frozenset[str]
    source: str
    """Source of what is sent with it."""
    meters: frozenset[str] | None
    """Meters that exist for it; None: all."""
    best_quality: int
    """Code of the best quality that it may claim."""
    holds: Mapping[str, tuple[tuple[int, int], ...]] | None = field(default=None, hash=False)
    """Service points that exist for a customer, each with its times (s since 1970 UTC, half open); None: no customer."""
    account: str | None = None
    """Id of the account of who is signed in; None: a key."""
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key as the registry keeps it."""

    key: ApiKey
    sha256: bytes
    """Hash of the secret."""
    created_at: datetime
    revoked_at: datetime | None = None
    last_used: date | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what may be shown of it."""
        key = self.key
        return {
            "id": key.id,
            "name": key.name,
            "scopes": [scope for scope in SCOPES if scope in key.scopes],
            "source": key.source,
            "meters": None if key.meters is None else len(key.meters),
            "quality": QUALITY_NAMES[key.best_quality],
            "created_at": _told(self.created_at),
            "revoked_at": None if self.revoked_at is None else _told(self.revoked_at),
            "last_used": None if self.last_used is None else self.last_used.isoformat(),
        }


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def scopes_of(text: str) -> frozenset[str]:
    """Scopes of a list such as ``ingest,read``; Invalid names what is none."""
    told = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in told if word not in SCOPES]
    if unknown or not told:
        raise Invalid(f"scope {', '.join(unknown) or text!r}: write any of {', '.join(SCOPES)}")
    return frozenset(told)


def quality_of(text: str) -> int:
    """Code of a quality that a key may claim at best."""
    if text not in QUALITY_NAMES[Quality.REVENUE :]:
        raise Invalid(f"quality {text!r}: write one of {', '.join(QUALITY_NAMES[Quality.REVENUE :])}")
    return QUALITY_NAMES.index(text)


def make(
    name: str,
    scopes: Iterable[str],
    *,
    source: str | None = None,
    meters: Iterable[str] | None = None,
    best_quality: int = Quality.ACTUAL,
) -> tuple[str, StoredKey]:
    """Draw a key; return its text, which nobody can find again, and what is to be kept of it.

    Raises:
        Invalid: the name is empty, too long, or not printable.

    """
    for what, text in (("name", name), ("source", source or name)):
        if not text.strip() or len(text) > NAME_MAX or not text.isprintable():
            raise Invalid(f"{what} {text[:40]!r}: write 1 to {NAME_MAX} printable characters")
    id_, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(
        id=id_, name=name, scopes=frozenset(scopes), source=source or name,
        meters=None if meters is None else frozenset(meters), best_quality=int(best_quality),
    )  # fmt: skip
    stored = StoredKey(key=key, sha256=hashed(secret), created_at=datetime.now(UTC).replace(microsecond=0))
    return f"{PREFIX}_{id_}_{secret}", stored


def hashed(secret: str) -> bytes:
    """SHA-256 of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class KeyRing:
    """Recognises keys; asks the registry about each at most once in `KEPT_S`. Safe to share between threads."""

    def __init__(self, keys: Keys, kept_s: float = KEPT_S) -> None:
        """Ask ``keys``."""
        self._keys, self._kept_s = keys, kept_s
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[float, StoredKey]] = OrderedDict()

    def kept(self, token: str) -> ApiKey | None:
        """Return the key of ``token`` where it is known without asking the registry."""
        id_, sha256 = _parts(token)
        with self._lock:
            until, stored = self._kept.get(sha256, (0.0, None))
        return (
            stored.key
            if stored is not None and until > time.monotonic() and _is(stored, id_, sha256)
            else None
        )

    def asked(self, token: str) -> ApiKey:
        """Return the key of ``token`` as the registry has it.

        Raises:
            Denied: no such key, or it was revoked.

        """
        id_, sha256 = _parts(token)
        stored = self._keys.find(sha256)
        if stored is None or stored.revoked_at is not None or not _is(stored, id_, sha256):
            with self._lock:
                self._kept.pop(sha256, None)
            raise Denied("this key is not known or was revoked; `meterlake keys create` makes one")
        today = datetime.now(UTC).date()
        if stored.last_used != today:
            self._keys.used(id_, today)
            stored = replace(stored, last_used=today)
        with self._lock:
            self._kept[sha256] = time.monotonic() + self._kept_s, stored
            self._kept.move_to_end(sha256)
            if len(self._kept) > KEPT_KEYS:
                self._kept.popitem(last=False)
        return stored.key


def _parts(token: str) -> tuple[str, bytes]:
    """Id and hash of the secret of a token; those of no key where it is malformed."""
    prefix, _, rest = token.partition("_")
    id_, _, secret = rest.partition("_")
    return (id_ if prefix == PREFIX else ""), hashed(secret)


def _is(stored: StoredKey, id_: str, sha256: bytes) -> bool:
    return hmac.compare_digest(stored.sha256, sha256) and hmac.compare_digest(
        stored.key.id.encode(), id_.encode()
    )
