"""The registry: customers, service points and meters; keys and people, and the trail of what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from meterlake.accounts import Account, Entry, PeopleChange, StoredAccount, StoredLink, StoredSession
    from meterlake.keys import StoredKey
    from meterlake.registry import TableReceipt


class Registry(Protocol):
    """Customers, service points and meters, and what is known of each meter-channel's series."""

    url: str

    def table(self, name: str, at: datetime | None = None) -> pa.Table:
        """Return ``customers``, ``service_points`` or ``meters``: all rows as they follow one another, or those of a moment.

        Columns are those of `registry.SHAPES` and ``extra``. Meters known by their readings alone are
        among ``meters``, without a service point.
        """

    def installations(self, id_: str) -> pa.Table:
        """Return the stays (registry.INSTALLATION_SCHEMA) of a meter or at a service point, by start; none if unknown."""

    def import_tables(self, tables: Mapping[str, pa.Table]) -> Mapping[str, TableReceipt]:
        """Take over rows of registry.SHAPES by table, all of them or none; a changed row supersedes the older one."""

    def series(self, meter_ids: pa.Array | None = None) -> pa.Table:
        """Return what is known of the series (registry.SERIES_STATE) of some meters, or of all."""

    def update_series(self, rows: pa.Table, version: int, *, whole: bool = False) -> int:
        """Take over what a lake's version did to its series (merge.SERIES_SCHEMA); return how many series are new.

        A version that was taken over before changes nothing. With ``whole`` the rows are those of the whole
        lake at ``version``, counted anew: they replace all that was known.
        """

    def series_version(self) -> int:
        """Newest version of the lake that the series cover without a gap; 0 for none."""

    def examined(self) -> str:
        """Say which database it is, and change nothing; MeterlakeError where it cannot be written."""


class Keys(Protocol):
    """API keys; of their secrets only the hash."""

    def create(self, stored: StoredKey) -> None:
        """Keep a new key; Conflict where its id or its secret is taken."""

    def all(self) -> Sequence[StoredKey]:
        """Return every key, revoked ones too, in the order in which they were made."""

    def find(self, sha256: bytes) -> StoredKey | None:
        """Return the key whose secret has this hash, revoked or not; None where there is none."""

    def revoke(self, id_: str, at: datetime) -> StoredKey:
        """End a key at a moment, or leave it ended as it was; return it. NotFound where there is none."""

    def used(self, id_: str, day: date) -> None:
        """Note that a key was used on a day; an earlier day than the one known changes nothing."""


class People(Protocol):
    """Accounts, their sessions and their one-time links; of passwords and tokens only the hash."""

    def account(self, *, id_: str | None = None, email: str | None = None) -> StoredAccount | None:
        """Return the account of an id or an e-mail, closed or not; None where there is none."""

    def accounts(self, q: str, after: str | None, limit: int) -> Sequence[Account]:
        """Return accounts whose e-mail or name has ``q`` in it, or that hold the service point ``q``.

        They come by e-mail, closed ones too; those of e-mails after ``after``.
        """

    def session(self, sha256: bytes) -> tuple[StoredSession, StoredAccount] | None:
        """Return the session whose token has this hash, however old, and whose it is."""

    def sessions(self, account_id: str) -> Sequence[StoredSession]:
        """Return the sessions of an account, the newest first."""

    def link(self, sha256: bytes) -> StoredLink | None:
        """Return the link whose token has this hash, used or over too."""

    def change(self, change: PeopleChange) -> None:
        """Make ``change``, all of it or nothing.

        Raises:
            Conflict: the e-mail is taken, or what the change ``knows`` is so no more.
            NotFound: there is no such account, or the link that it uses is unknown, used or over.

        """


class Trail(Protocol):
    """The audit trail: lines are added and never changed; they go when they are older than their age."""

    def note(self, entries: Sequence[Entry]) -> None:
        """Add lines; those whose ``once`` is there already are left out."""

    def entries(
        self, *, account: str | None, subject: str | None, before: int | None, limit: int
    ) -> Sequence[Entry]:
        """Return the newest lines first: of who did it, of whom it was done to, with numbers below ``before``."""

    def forget(self, before: datetime, *, dry_run: bool = False) -> int:
        """Drop the lines before a moment; return how many go, or would go."""


class PeopleStore(People, Trail, Protocol):
    """Both in one database, so that what happens and its line in the trail are one change."""
