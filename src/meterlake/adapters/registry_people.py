"""Accounts, sessions, links and the audit trail in the registry's database."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from meterlake.accounts import (
    Account,
    Entry,
    Hold,
    PeopleChange,
    Role,
    StoredAccount,
    StoredLink,
    StoredSession,
)
from meterlake.adapters.registry_database import PEOPLE, transaction
from meterlake.adapters.registry_schema import HASH, ID, METADATA, NUMBER, WORDS
from meterlake.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from meterlake.adapters.registry import SqlRegistry
    from meterlake.ports import PeopleStore

ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("email", ID, nullable=False, unique=True),
    Column("role", WORDS, nullable=False),
    Column("name", WORDS, nullable=False),
    Column("locale", WORDS, nullable=False),
    Column("password", WORDS),
    Column("created_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("found_by", WORDS, nullable=False),
)
"""Moments are microseconds since 1970 UTC, here and below; ``found_by`` is e-mail and name in small letters."""

HOLDS: Final = Table(
    "account_holds",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("account", ID, nullable=False),
    Column("service_point", ID, nullable=False),
    Column("from_s", BigInteger),
    Column("to_s", BigInteger),
    Index("account_holds_by_account", "account"),
    Index("account_holds_by_point", "service_point"),
)
"""``from_s`` and ``to_s`` are seconds, null where open."""

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("sha256", HASH, primary_key=True),
    Column("id", ID, nullable=False, unique=True),
    Column("account", ID, nullable=False),
    Column("csrf", WORDS, nullable=False),
    Column("signed_in_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("address", WORDS, nullable=False),
    Index("sessions_by_account", "account"),
)

LINKS: Final = Table(
    "links",
    METADATA,
    Column("sha256", HASH, primary_key=True),
    Column("account", ID, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("links_by_account", "account"),
)

TRAIL: Final = Table(
    "trail",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("what", WORDS, nullable=False),
    Column("account", ID, nullable=False),
    Column("subject", ID, nullable=False),
    Column("address", WORDS, nullable=False),
    Column("once", ID, unique=True),
    Index("trail_by_account", "account", "number"),
    Index("trail_by_subject", "subject", "number"),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class SqlPeople:
    """`ports.PeopleStore` in a database."""

    def __init__(self, registry: SqlRegistry) -> None:
        """Use the database of ``registry``."""
        self._engine = registry._engine  # noqa: SLF001 - one database, one pool of connections

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[Connection]:
        """One transaction that is whole or absent."""
        turn = PEOPLE if writes else None
        with transaction(self._engine, "the accounts in the registry", turn) as connection:
            try:
                yield connection
            except IntegrityError as error:
                raise Conflict(
                    "this e-mail has an account already; `meterlake users list` shows it"
                ) from error

    # -- accounts --------------------------------------------------------------------------------------

    def account(self, *, id_: str | None = None, email: str | None = None) -> StoredAccount | None:
        """Return the account of an id or an e-mail, closed or not; None where there is none."""
        named = ACCOUNTS.c.email == email if id_ is None else ACCOUNTS.c.id == id_
        with self._connected() as connection:
            return _account(connection, named)

    def accounts(self, q: str, after: str | None, limit: int) -> Sequence[Account]:
        """Return accounts by e-mail: those with ``q`` in e-mail or name or that hold ``q``, after ``after``."""
        query = select(ACCOUNTS).order_by(ACCOUNTS.c.email).limit(limit)
        if q:
            holding = select(HOLDS.c.account).where(HOLDS.c.service_point == q)
            named = ACCOUNTS.c.found_by.contains(q.casefold(), autoescape=True)
            query = query.where(or_(named, ACCOUNTS.c.id.in_(holding)))
        if after is not None:
            query = query.where(ACCOUNTS.c.email > after)
        with self._connected() as connection:
            return [_told(row) for row in connection.execute(query).mappings()]

    # -- sessions and links ----------------------------------------------------------------------------

    def session(self, sha256: bytes) -> tuple[StoredSession, StoredAccount] | None:
        """Return the session whose token has this hash, however old, and whose it is."""
        with self._connected() as connection:
            found = connection.execute(select(SESSIONS).where(SESSIONS.c.sha256 == sha256)).mappings().first()
            stored = found and _account(connection, ACCOUNTS.c.id == found["account"])
            return (_session(found), stored) if found and stored else None

    def sessions(self, account_id: str) -> Sequence[StoredSession]:
        """Return the sessions of an account, the newest first."""
        query = select(SESSIONS).where(SESSIONS.c.account == account_id)
        newest = query.order_by(SESSIONS.c.signed_in_at.desc(), SESSIONS.c.id)
        with self._connected() as connection:
            return [_session(row) for row in connection.execute(newest).mappings()]

    def link(self, sha256: bytes) -> StoredLink | None:
        """Return the link whose token has this hash, used or over too."""
        with self._connected() as connection:
            found = connection.execute(select(LINKS).where(LINKS.c.sha256 == sha256)).mappings().first()
        if found is None:
            return None
        used = found["used_at"]
        return StoredLink(
            sha256=found["sha256"], account_id=found["account"], until=_moment(found["until"]),
            used_at=None if used is None else _moment(used),
        )  # fmt: skip

    # -- changes ---------------------------------------------------------------------------------------

    def change(self, change: PeopleChange) -> None:
        """Make ``change``, all of it or nothing; as `ports.People` says."""
        with self._connected(writes=True) as connection:
            if change.new is not None:
                _add(connection, change.new)
            else:
                _check(connection, change)
            if change.uses_link is not None:
                _use(connection, change.uses_link, change)
            _set(connection, change)
            _end(connection, change)
            _begin(connection, change)
            if change.entry is not None:
                connection.execute(insert(TRAIL).values(**_line(change.entry)))

    # -- the trail -------------------------------------------------------------------------------------

    def note(self, entries: Sequence[Entry]) -> None:
        """Add lines; those whose ``once`` is there already are left out."""
        with self._connected(writes=True) as connection:
            for entry in entries:
                known = select(TRAIL.c.number).where(TRAIL.c.once == entry.once)
                if entry.once is None or not connection.execute(known).first():
                    connection.execute(insert(TRAIL).values(**_line(entry)))

    def forget(self, before: datetime, *, dry_run: bool = False) -> int:
        """Drop the lines before a moment; return how many go."""
        older = TRAIL.c.at < _micros(before)
        with self._connected(writes=not dry_run) as connection:
            if not dry_run:
                return connection.execute(delete(TRAIL).where(older)).rowcount
            return int(connection.execute(select(func.count()).select_from(TRAIL).where(older)).scalar_one())

    def entries(
        self, *, account: str | None, subject: str | None, before: int | None, limit: int
    ) -> Sequence[Entry]:
        """Return the newest lines first: of who did it, of whom it was done to, with numbers below ``before``."""
        whose = TRAIL.outerjoin(ACCOUNTS, ACCOUNTS.c.id == TRAIL.c.account)
        query = select(TRAIL, ACCOUNTS.c.email).select_from(whose)
        for column, wanted in ((TRAIL.c.account, account), (TRAIL.c.subject, subject)):
            query = query if wanted is None else query.where(column == wanted)
        query = query if before is None else query.where(TRAIL.c.number < before)
        with self._connected() as connection:
            rows = connection.execute(query.order_by(TRAIL.c.number.desc()).limit(limit)).mappings().all()
        return [
            Entry(
                at=_moment(row["at"]), what=row["what"], account=row["account"], subject=row["subject"],
                where=row["address"], once=row["once"], number=row["number"], email=row["email"] or "",
            )
            for row in rows
        ]  # fmt: skip


def _add(connection: Connection, new: StoredAccount) -> None:
    account = new.account
    row = {
        "id": account.id, "email": account.email, "role": account.role.value, "name": account.name,
        "locale": account.locale, "password": new.password, "created_at": _micros(account.created_at),
        "closed_at": None if account.closed_at is None else _micros(account.closed_at),
        "found_by": _found_by(account.email, account.name),
    }  # fmt: skip
    connection.execute(insert(ACCOUNTS).values(**row))
    _hold(connection, account.id, new.holds)


def _found_by(email: str, name: str) -> str:
    return f"{email} {name}".casefold()


def _check(connection: Connection, change: PeopleChange) -> None:
    """Refuse a change of an account that is not there, or is another by now; nobody changes it meanwhile."""
    named = select(ACCOUNTS).where(ACCOUNTS.c.id == change.account_id).with_for_update()
    row = connection.execute(named).mappings().first()
    if row is None:
        raise NotFound(f"no account {change.account_id}; the list of accounts shows those that there are")
    if change.knows is not None and (row["password"] != change.knows or row["closed_at"] is not None):
        raise Conflict("the account was changed meanwhile: sign in again")


def _hold(connection: Connection, id_: str, holds: Sequence[Hold]) -> None:
    rows = [
        {"account": id_, "service_point": hold.service_point, "from_s": hold.from_s, "to_s": hold.to_s}
        for hold in holds
    ]
    if rows:
        connection.execute(insert(HOLDS), rows)


def _use(connection: Connection, sha256: bytes, change: PeopleChange) -> None:
    at = _micros(change.at)
    open_ = (LINKS.c.account == change.account_id) & LINKS.c.used_at.is_(None) & (LINKS.c.until > at)
    used = update(LINKS).where(LINKS.c.sha256 == sha256, open_).values(used_at=at)
    if connection.execute(used).rowcount != 1:
        raise NotFound("this link was used or is over: ask for a new one")


def _set(connection: Connection, change: PeopleChange) -> None:
    """What the account itself is told."""
    values: dict[str, Any] = {}
    if change.password is not None:
        values["password"] = change.password
    if change.locale is not None:
        values["locale"] = change.locale
    if change.role is not None:
        values["role"] = change.role.value
    if change.email is not None:
        named = select(ACCOUNTS.c.name).where(ACCOUNTS.c.id == change.account_id)
        values["email"] = change.email
        values["found_by"] = _found_by(change.email, connection.execute(named).scalar_one())
    if values:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == change.account_id).values(**values))
    if change.closed is not None:
        ends = update(ACCOUNTS).where(ACCOUNTS.c.id == change.account_id)
        ends = ends.where(ACCOUNTS.c.closed_at.is_(None)) if change.closed else ends
        connection.execute(ends.values(closed_at=_micros(change.at) if change.closed else None))
    if change.holds is not None:
        connection.execute(delete(HOLDS).where(HOLDS.c.account == change.account_id))
        _hold(connection, change.account_id, change.holds)


def _end(connection: Connection, change: PeopleChange) -> None:
    """Sessions and links that end."""
    own = SESSIONS.c.account == change.account_id
    if change.ends_session is not None:
        connection.execute(delete(SESSIONS).where(own, SESSIONS.c.id == change.ends_session))
    if change.ends_sessions:
        ends = delete(SESSIONS).where(own)
        if change.keeps_session is not None:
            ends = ends.where(SESSIONS.c.id != change.keeps_session)
        connection.execute(ends)
    if change.ends_links:
        unused = (LINKS.c.account == change.account_id) & LINKS.c.used_at.is_(None)
        connection.execute(delete(LINKS).where(unused))


def _begin(connection: Connection, change: PeopleChange) -> None:
    """Sessions and links that begin or go on."""
    if change.seen_session is not None:
        mine = (SESSIONS.c.account == change.account_id) & (SESSIONS.c.id == change.seen_session)
        connection.execute(update(SESSIONS).where(mine).values(seen_at=_micros(change.at)))
    if change.session is not None:
        session = change.session
        row = {
            "sha256": session.sha256, "id": session.id, "account": session.account_id, "csrf": session.csrf,
            "signed_in_at": _micros(session.signed_in_at), "seen_at": _micros(session.seen_at),
            "address": session.where,
        }  # fmt: skip
        connection.execute(insert(SESSIONS).values(**row))
    if change.link is not None:
        link = change.link
        connection.execute(
            insert(LINKS).values(sha256=link.sha256, account=link.account_id, until=_micros(link.until))
        )


def _account(connection: Connection, named: Any) -> StoredAccount | None:
    row = connection.execute(select(ACCOUNTS).where(named)).mappings().first()
    if row is None:
        return None
    held = select(HOLDS).where(HOLDS.c.account == row["id"]).order_by(HOLDS.c.number)
    return StoredAccount(
        account=_told(row), password=row["password"],
        holds=tuple(
            Hold(hold["service_point"], hold["from_s"], hold["to_s"])
            for hold in connection.execute(held).mappings()
        ),
    )  # fmt: skip


def _told(row: Any) -> Account:
    closed = row["closed_at"]
    return Account(
        id=row["id"], email=row["email"], role=Role(row["role"]), created_at=_moment(row["created_at"]),
        closed_at=None if closed is None else _moment(closed), has_password=row["password"] is not None,
        locale=row["locale"], name=row["name"],
    )  # fmt: skip


def _session(row: Any) -> StoredSession:
    return StoredSession(
        sha256=row["sha256"], id=row["id"], account_id=row["account"], csrf=row["csrf"],
        signed_in_at=_moment(row["signed_in_at"]), seen_at=_moment(row["seen_at"]), where=row["address"],
    )  # fmt: skip


def _line(entry: Entry) -> dict[str, Any]:
    return {
        "at": _micros(entry.at), "what": entry.what, "account": entry.account, "subject": entry.subject,
        "address": entry.where, "once": entry.once,
    }  # fmt: skip


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


if TYPE_CHECKING:
    _CONFORMS: type[PeopleStore] = SqlPeople
