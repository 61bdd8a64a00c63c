"""Accounts of people: roles, what a customer holds, sessions, one-time links and the lines of the audit trail."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

EMAIL_MAX: Final = 254
TEXT_MAX: Final = 200
LOCALE_MAX: Final = 35
JOINERS: Final = dict.fromkeys((0x200C, 0x200D))
"""Letters of names in Persian or Hindi, and of pictures, that are not printed by themselves."""
_EVER: Final = (-(2**63), 2**63 - 1)


class Role(StrEnum):
    """What an account may see."""

    CUSTOMER = "customer"
    """The service points that it holds, for as long as it holds them."""
    OPERATOR = "operator"
    """Everything about the fleet; changes nothing."""
    ANALYST = "analyst"
    """Sums of many, never one."""
    ADMIN = "admin"
    """All an operator sees, and the accounts and the audit trail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may sign in."""

    id: str
    email: str
    role: Role
    created_at: datetime
    closed_at: datetime | None = None
    has_password: bool = False
    locale: str = ""
    """Language tag such as ``en-GB``; empty: that of the browser."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A service point that is a customer's from a moment to before another (s since 1970 UTC); None: open."""

    service_point: str
    from_s: int | None = None
    to_s: int | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Both ends as numbers; the ends of time where they are open."""
        return (
            _EVER[0] if self.from_s is None else self.from_s,
            _EVER[1] if self.to_s is None else self.to_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Who is signed in, by one session."""

    account: Account
    holds: tuple[Hold, ...]
    csrf: str
    session_id: str
    signed_in_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the audit trail: who did what to whom or what, when and from where."""

    at: datetime
    what: str
    account: str = ""
    """Id of the account that did it; empty: nobody known, or the command line."""
    subject: str = ""
    """Whose data, or the id of the account that it was done to."""
    where: str = ""
    once: str | None = None
    """Of the lines with the same text here only the first is kept."""
    number: int = 0
    """Place in the trail, for `Trail.entries`."""
    email: str = ""
    """E-mail of ``account`` as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccount:
    """An account with the hash of its password and what it holds."""

    account: Account
    password: str | None = None
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session; of its token only the hash."""

    sha256: bytes
    id: str
    account_id: str
    csrf: str
    signed_in_at: datetime
    seen_at: datetime
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLink:
    """A one-time link to set a password; of its token only the hash."""

    sha256: bytes
    account_id: str
    until: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleChange:
    """What happens to one account, whole or not at all, in the order of these fields."""

    account_id: str
    at: datetime
    new: StoredAccount | None = None
    knows: str | None = None
    """Hash that a password was tried against: it must be that of the account still, and the account open."""
    uses_link: bytes | None = None
    """Hash of a link that must be neither used nor over."""
    password: str | None = None
    """The new hash."""
    holds: tuple[Hold, ...] | None = None
    closed: bool | None = None
    locale: str | None = None
    role: Role | None = None
    email: str | None = None
    ends_session: str | None = None
    ends_sessions: bool = False
    keeps_session: str | None = None
    """Id of the session that ``ends_sessions`` leaves."""
    ends_links: bool = False
    seen_session: str | None = None
    session: StoredSession | None = None
    link: StoredLink | None = None
    entry: Entry | None = None


def email_of(text: str) -> str:
    """Return an e-mail address as accounts are known by it: lower case, one form of each letter.

    Raises:
        Invalid: it is none.

    """
    email = unicodedata.normalize("NFKC", text).strip().lower()
    name, at, host = email.rpartition("@")
    plain = email.isprintable() and not any(letter.isspace() or letter in ',;<>"()' for letter in email)
    if not (name and at and host) or "@" in name or not plain or len(email) > EMAIL_MAX:
        raise Invalid(f"e-mail {text[:60]!r}: write an address such as ada@example.com")
    return email


def role_of(text: str) -> Role:
    """Role by its name; Invalid lists those that there are."""
    try:
        return Role(text)
    except ValueError as error:
        raise Invalid(f"role {text[:40]!r}: write one of {', '.join(Role)}") from error


def text_of(what: str, text: str, most: int = TEXT_MAX) -> str:
    """Return a short text without blanks around it; Invalid where it is too long or cannot be printed."""
    plain = text.strip()
    if len(plain) > most or not plain.translate(JOINERS).isprintable():
        raise Invalid(f"{what} {text[:40]!r}: write at most {most} printable characters")
    return plain


def locale_of(text: str) -> str:
    """Return a language tag such as ``en-GB``; empty where none is told."""
    tag = text.strip().replace("_", "-")
    if len(tag) > LOCALE_MAX or (tag and not all(p.isascii() and p.isalnum() for p in tag.split("-"))):
        raise Invalid(f"locale {text[:40]!r}: write a language tag such as en-GB")
    return tag


def holds_of(role: Role, holds: Iterable[Hold]) -> tuple[Hold, ...]:
    """Return holds by service point and time, those that touch joined.

    Raises:
        Invalid: one is empty or names nothing, or the role is not one that holds.

    """
    joined: list[Hold] = []
    for hold in sorted(holds, key=lambda hold: (hold.service_point, hold.span)):
        start, end = hold.span
        if not text_of("service point", hold.service_point) or start >= end:
            raise Invalid(
                f"service point {hold.service_point!r}: it needs a name, and to end after it begins"
            )
        last = joined[-1] if joined else None
        if last is None or last.service_point != hold.service_point or last.span[1] < start:
            joined.append(hold)
        elif last.span[1] < end:
            joined[-1] = Hold(hold.service_point, last.from_s, hold.to_s)
    if joined and role is not Role.CUSTOMER:
        raise Invalid(f"an account of role {role} holds no service point; only customers do")
    return tuple(joined)
