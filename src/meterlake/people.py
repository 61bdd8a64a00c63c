"""The desk: who may sign in, who is signed in, and what of it is written down.

Tokens of sessions and links are 32 random bytes of which only the SHA-256 is kept. Everything that changes an
account is one change in the database together with its line in the audit trail.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meterlake.accounts import (
    LOCALE_MAX,
    Account,
    Entry,
    Hold,
    PeopleChange,
    Role,
    Signed,
    StoredAccount,
    StoredLink,
    StoredSession,
    email_of,
    holds_of,
    locale_of,
    text_of,
)
from meterlake.errors import Conflict, Denied, Invalid, NotFound
from meterlake.looks import Notes
from meterlake.passwords import Passwords, check_password
from meterlake.throttle import Throttle, network_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meterlake.mail import Mail
    from meterlake.ports import PeopleStore

__all__ = ["Account", "Desk", "Entry", "Hold", "Role", "Signed"]

TOKEN_BYTES: Final = 32
ID_BYTES: Final = 8
IDLE: Final = timedelta(hours=12)
LONGEST: Final = timedelta(days=30)
"""A session ends after so long without a request, or so long after its sign-in."""
INVITED: Final = timedelta(days=7)
RESET: Final = timedelta(days=1)
KEPT_S: Final = 2.0
"""How long a session is trusted before the database is asked again."""
KEPT_SESSIONS: Final = 10_000
SEEN: Final = timedelta(minutes=5)
"""How old the note of a session's last use may get."""
TRIES: Final = 10
TRIES_OF_ADDRESS: Final = 50
WITHIN_S: Final = 900.0
"""Wrong passwords an account, and an address, may try in this time."""
REFUSED: Final = "e-mail or password is wrong; if you have forgotten it, ask for a new link"


class Desk:
    """Signs people in and keeps their accounts; one a server, shared by its threads."""

    def __init__(
        self, people: PeopleStore, mail: Mail | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """Keep everything in ``people``; links go out by ``mail`` too; ``now`` is in seconds since 1970 UTC."""
        self._people, self._mail, self._now = people, mail, now
        self._passwords, self._notes = Passwords(), Notes(people)
        self._of_account = Throttle(TRIES, WITHIN_S, now)
        self._of_address = Throttle(TRIES_OF_ADDRESS, WITHIN_S, now)
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[float, Signed]] = OrderedDict()
        self._turn = 0
        """Counts the changes, so that nothing read before one is kept after it."""

    def stop(self) -> None:
        """Write down what still waits; call it at the end."""
        self._notes.close()

    # -- signing in and out ----------------------------------------------------------------------------

    def sign_in(self, email: str, password: str, where: str) -> str:
        """Return the token of a new session, for the cookie; ``where`` is the address it is asked from.

        Raises:
            Denied: e-mail or password is wrong, or the account is closed: nobody is told which.
            Overloaded: there were too many wrong ones lately, or too many people come at once.

        """
        try:
            name = email_of(email)
        except Invalid:
            name = ""
        with _Try(self._of_account, f"sign-in {name}"), _Try(self._of_address, network_of(where)):
            stored = self._people.account(email=name)
            opened = stored is not None and stored.account.closed_at is None
            good, renewed = self._passwords.opens(password, stored.password if stored and opened else None)
            if stored is None or not good:
                who = "" if stored is None else stored.account.id
                self._people.note([self._entry("sign-in refused", "", subject=who, where=where)])
                raise Denied(REFUSED)
        entry = self._entry("sign-in", stored.account.id, where=where)
        try:
            return self._begin(stored.account.id, where, entry, password=renewed, knows=stored.password)
        except Conflict as error:
            raise Denied(REFUSED) from error

    def _begin(self, account_id: str, where: str, entry: Entry, **more: Any) -> str:
        token, at = secrets.token_urlsafe(TOKEN_BYTES), self._at()
        session = StoredSession(
            sha256=_hashed(token), id=secrets.token_hex(ID_BYTES), account_id=account_id,
            csrf=secrets.token_urlsafe(TOKEN_BYTES), signed_in_at=at, seen_at=at, where=where[:64],
        )  # fmt: skip
        self._change(account_id, entry, session=session, **more)
        return token

    def kept(self, token: str) -> Signed | None:
        """Return whose session it is where that is known without asking the database."""
        with self._lock:
            until, signed = self._kept.get(_hashed(token), (0.0, None))
        return signed if until > time.monotonic() else None

    def signed(self, token: str) -> Signed | None:
        """Return who is signed in by a token; None: nobody, or not any more."""
        known = self.kept(token)
        if known is not None:
            return known
        sha256, turn, at = _hashed(token), self._turn, self._at()
        found = self._people.session(sha256)
        if found is None or not _lives(*found, at):
            return None
        session, stored = found
        if at - session.seen_at > SEEN:
            seen = PeopleChange(account_id=session.account_id, at=at, seen_session=session.id)
            self._notes.change(seen)
        signed = Signed(
            account=stored.account, holds=stored.holds, csrf=session.csrf, session_id=session.id,
            signed_in_at=session.signed_in_at,
        )  # fmt: skip
        with self._lock:
            if turn == self._turn:
                self._kept[sha256] = time.monotonic() + KEPT_S, signed
                self._kept.move_to_end(sha256)
                if len(self._kept) > KEPT_SESSIONS:
                    self._kept.popitem(last=False)
        return signed

    def sessions(self, account_id: str) -> list[StoredSession]:
        """Sessions of an account that have not ended, the newest first."""
        stored, at = self._stored(account_id), self._at()
        return [one for one in self._people.sessions(account_id) if _lives(one, stored, at)]

    def sign_out(self, token: str) -> None:
        """End one session; nothing happens where there is none."""
        found = self._people.session(_hashed(token))
        if found is not None:
            id_ = found[0].account_id
            self._change(id_, self._entry("sign-out", id_), ends_session=found[0].id)

    def sign_out_everywhere(
        self, account_id: str, keep_session_id: str | None = None, by: str | None = None
    ) -> None:
        """End all sessions of an account, but for one if so told; ``by`` is who does it, else itself."""
        entry = self._entry("sign-out everywhere", by or account_id, subject=account_id if by else "")
        self._change(account_id, entry, ends_sessions=True, keeps_session=keep_session_id)

    # -- passwords and links ---------------------------------------------------------------------------

    def change_password(self, signed: Signed, old: str, new: str) -> None:
        """Set another password; all other sessions of the account, and its links, end.

        Raises:
            Denied: the old one is wrong.
            Conflict: it was changed by somebody else meanwhile.
            Invalid: the new one is too weak.
            Overloaded: too many wrong old ones.

        """
        account = signed.account
        with _Try(self._of_account, f"change {account.id}"):
            known = self._stored(account.id).password
            if not self._passwords.opens(old, known)[0]:
                raise Denied("the old password is wrong; try again, or ask for a new link", known=True)
        check_password(new, account.email)
        entry = self._entry("password changed", account.id)
        self._change(
            account.id, entry, password=self._passwords.made(new), knows=known, ends_links=True,
            ends_sessions=True, keeps_session=signed.session_id,
        )  # fmt: skip

    def invite(
        self,
        email: str,
        role: Role,
        holds: Iterable[Hold],
        by: str | None,
        *,
        name: str = "",
        locale: str = "",
    ) -> str:
        """Make an account and return the token of the link by which it gets its password; mail it if mail is set.

        ``by`` is the id of the account that does it, None for the command line, here and below.

        Raises:
            Conflict: the e-mail is taken.
            Invalid: the e-mail, a hold, the name or the locale cannot be.

        """
        account = Account(
            id=secrets.token_hex(ID_BYTES), email=email_of(email), role=role, created_at=self._at(),
            name=text_of("name", name), locale=locale_of(locale),
        )  # fmt: skip
        new = StoredAccount(account=account, holds=holds_of(role, holds))
        return self._linked(account, f"invited as {role}", by, INVITED, new=new)

    def reset(self, account_id: str, by: str | None) -> str:
        """Return the token of a new link to set a password; earlier links of the account end.

        Raises:
            Conflict: the account is closed.

        """
        account = self._stored(account_id).account
        if account.closed_at is not None:
            raise Conflict(f"{account.email} is closed: open it again first")
        return self._linked(account, "link made", by, RESET)

    def _linked(self, account: Account, what: str, by: str | None, lasts: timedelta, **more: Any) -> str:
        token, until = secrets.token_urlsafe(TOKEN_BYTES), self._at() + lasts
        link = StoredLink(sha256=_hashed(token), account_id=account.id, until=until)
        entry = self._entry(what, by, subject=account.id)
        self._change(account.id, entry, link=link, ends_links=True, **more)
        if self._mail is not None:
            self._mail.send(
                account.email,
                "Your link to Meterlake",
                f"Open this link and choose a password:\n\n{self._mail.public_url}/link/{token}\n\n"
                f"It works once, until {until:%Y-%m-%d %H:%M} UTC.\n",
            )
        return token

    def link(self, token: str) -> Account | None:
        """Whose link it is; None: unknown, used or over."""
        found = self._people.link(_hashed(token))
        if found is None or found.used_at is not None or found.until <= self._at():
            return None
        stored = self._people.account(id_=found.account_id)
        return None if stored is None or stored.account.closed_at is not None else stored.account

    def use_link(self, token: str, password: str, where: str) -> str:
        """Set the password by a link, which ends it and all sessions; return the token of a new session.

        Raises:
            NotFound: the link is unknown, used or over.
            Invalid: the password is too weak; the link stays.

        """
        account = self.link(token)
        if account is None:
            raise NotFound("this link was used or is over: ask for a new one")
        check_password(password, account.email)
        entry = self._entry("password set by link", account.id, where=where)
        return self._begin(
            account.id, where, entry, password=self._passwords.made(password), uses_link=_hashed(token),
            ends_sessions=True,
        )  # fmt: skip

    # -- accounts --------------------------------------------------------------------------------------

    def accounts(self, q: str = "", after: str | None = None, limit: int = 100) -> list[Account]:
        """Accounts by e-mail: all, or those with ``q`` in e-mail or name or that hold the service point ``q``.

        ``after`` is the e-mail of the last one of the page before.
        """
        return list(self._people.accounts(q.strip(), after, limit))

    def account(self, id_: str) -> Account | None:
        """Return the account of an id; None where there is none."""
        stored = self._people.account(id_=id_)
        return None if stored is None else stored.account

    def named(self, email: str) -> Account:
        """Return the account of an e-mail; NotFound where there is none."""
        stored = self._people.account(email=email_of(email))
        if stored is None:
            raise NotFound(f"no account {email}; `meterlake users list` shows those that there are")
        return stored.account

    def holds_of(self, id_: str) -> tuple[Hold, ...]:
        """What an account holds, by service point and time."""
        return self._stored(id_).holds

    def set_holds(self, id_: str, holds: Iterable[Hold], by: str | None) -> None:
        """Replace what a customer holds.

        Raises:
            Invalid: one is empty or names nothing, or the account is not a customer's.

        """
        told = holds_of(self._stored(id_).account.role, holds)
        self._change(id_, self._entry("service points changed", by, subject=id_), holds=told)

    def set_locale(self, signed: Signed, locale: str) -> None:
        """Set the language and form of numbers that the pages use; Invalid where it is no language tag."""
        id_ = signed.account.id
        self._change(id_, self._entry("locale changed", id_), locale=locale_of(locale[: LOCALE_MAX + 1]))

    def change(
        self, id_: str, by: str | None, *, role: Role | None = None, email: str | None = None
    ) -> Account:
        """Give an account another role, e-mail or both; its sessions and links end. Return it as it is then.

        What a customer held is theirs no more with another role.

        Raises:
            Conflict: the e-mail is taken, or somebody would change the role of their own account.
            Invalid: the e-mail is none, or nothing would change.

        """
        known = self._stored(id_).account
        told = None if email is None else email_of(email)
        pairs = (("role", known.role, role), ("e-mail", known.email, told))
        changed = {name: (old, new) for name, old, new in pairs if new is not None and new != old}
        if not changed:
            raise Invalid(f"{known.email} is so already: name another role or e-mail")
        if by == id_ and "role" in changed:
            raise Conflict("nobody changes the role of their own account: ask another admin")
        words = "; ".join(f"{name} changed from {old} to {new}" for name, (old, new) in changed.items())
        leaves = "role" in changed and role is not Role.CUSTOMER
        self._change(
            id_, self._entry(words, by, subject=id_), role=role, email=told, holds=() if leaves else None,
            ends_sessions=True, ends_links=True,
        )  # fmt: skip
        return self._stored(id_).account

    def close(self, id_: str, by: str | None) -> None:
        """End an account: its sessions and links end, nobody can sign in to it.

        Raises:
            Conflict: somebody would close their own account: there must be one left to open it again.

        """
        if by == id_:
            raise Conflict("nobody closes their own account: ask another admin")
        entry = self._entry("account closed", by, subject=id_)
        self._change(id_, entry, closed=True, ends_sessions=True, ends_links=True)

    def reopen(self, id_: str, by: str | None) -> None:
        """Let a closed account sign in again, with the password that it had."""
        self._change(id_, self._entry("account opened again", by, subject=id_), closed=False)

    # -- the audit trail -------------------------------------------------------------------------------

    def saw(self, signed: Signed, subject: str, what: str) -> None:
        """Write down who looked at whose data: once an account, subject, thing and hour; returns at once."""
        id_, at = signed.account.id, self._at()
        once = "\n".join((id_, subject, what, f"{at:%Y-%m-%dT%H}"))
        self._notes.entry(Entry(at=at, what=f"saw {what}", account=id_, subject=subject, once=once))

    def trail(
        self,
        *,
        account: str | None = None,
        subject: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """Lines of the audit trail, the newest first: of who did it, of whom it was done to.

        ``before`` is the number of the last line of the page before.
        """
        self._notes.flush()
        return list(self._people.entries(account=account, subject=subject, before=before, limit=limit))

    # -- within ----------------------------------------------------------------------------------------

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _entry(self, what: str, by: str | None, *, subject: str = "", where: str = "") -> Entry:
        return Entry(at=self._at(), what=what, account=by or "", subject=subject, where=where[:64])

    def _stored(self, id_: str) -> StoredAccount:
        stored = self._people.account(id_=id_)
        if stored is None:
            raise NotFound(f"no account {id_[:40]}; the list of accounts shows those that there are")
        return stored

    def _change(self, account_id: str, entry: Entry, **what: Any) -> None:
        try:
            self._people.change(PeopleChange(account_id=account_id, at=entry.at, entry=entry, **what))
        finally:
            with self._lock:
                self._turn += 1
                self._kept.clear()


class _Try:
    """A try that is counted before it is made, and given back where it was good."""

    def __init__(self, throttle: Throttle, name: str) -> None:
        self._throttle, self._name = throttle, name

    def __enter__(self) -> None:
        self._throttle.take(self._name)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, Denied):
            self._throttle.give_back(self._name)


def _lives(session: StoredSession, stored: StoredAccount, at: datetime) -> bool:
    """Whether a session has not ended by itself."""
    fresh = at - session.seen_at < IDLE and at - session.signed_in_at < LONGEST
    return fresh and stored.account.closed_at is None


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
