"""Passwords: which are too weak, and their Argon2id hashes, made and tried by a few threads at a time."""

from __future__ import annotations

import unicodedata
from contextlib import contextmanager
from functools import cached_property
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final

from meterlake.errors import Invalid, Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from argon2 import PasswordHasher

LEAST: Final = 12
MOST: Final = 1_000
"""Characters of a password; a longer one would only keep the machine busy."""
AT_ONCE: Final = 2
WAITING: Final = 16
"""Passwords being tried or waiting for it; beyond it people are told to come again."""

COMMONEST: Final = frozenset(  # long enough, and tried first all the same
    """
    000000000000 111111111111 112233445566 121212121212 123123123123 123321123321 1234512345123 123454321234
    123456123456 123456789000 123456789012 1234567890123 12345678901234 1234567890qwerty 1234567891011
    123456789101112 12345678910111213 123456789abc 1234qwerasdf 123qweasdzxc 1q2w3e4r5t6y 1q2w3e4r5t6y7u
    1qaz2wsx3edc 1qaz2wsx3edc4rfv 1qazxsw23edc 222222222222 555555555555 666666666666 777777777777
    888888888888 987654321000 987654321012 999999999999 a1b2c3d4e5f6 aaaaaaaaaaaa abc123456789 abcdef123456
    abcdefghijkl abcdefghijklm adminadminadmin administrator administrator1 asdfasdfasdf asdfghjkl123
    changeme1234 changeme12345 changemechangeme correcthorse correcthorsebatterystaple football1234
    iloveyou1234 iloveyou12345 iloveyouforever iloveyousomuch letmein12345 letmeinletmein manchesterunited
    michaeljackson p@ssw0rd1234 p@ssword1234 passw0rd1234 password0000 password1111 password1234
    password12345 password123456 password1234567 password12345678 password123456789 passwordpassword
    q1w2e3r4t5y6 qazwsxedc123 qazwsxedcrfv qazxswedcvfr qwaszxqwaszx qweasdzxc123 qwer1234asdf qwerasdfzxcv
    qwerqwerqwer qwerty123456 qwerty1234567 qwertyqwerty qwertyuiop12 qwertyuiop123 qwertyuiop[]
    qwertyuiopasdf qwertyuiopasdfghjkl sunshine1234 superman1234 testtesttest unbelievable welcome12345
    welcome123456 welcomewelcome zaq12wsxcde3 zaq1zaq1zaq1 zxcvbnm,./12 zxcvbnm12345 zxcvbnmzxcvbnm
    """.split()  # noqa: SIM905 - words to read, not to list
)


def check_password(password: str, email: str) -> None:
    """Refuse what is guessed first: short passwords, the account's e-mail, the commonest ones.

    Raises:
        Invalid: with the reason, and never the password.

    """
    plain = _plain(password)
    if len(plain) < LEAST:
        raise Invalid(f"this password is short: write at least {LEAST} characters, a few words for example")
    if len(plain) > MOST:
        raise Invalid(f"this password is long: write at most {MOST} characters")
    if plain.casefold() == email.casefold() or plain.casefold() in COMMONEST:
        raise Invalid("this password is among the first that are guessed: write another one")


class Passwords:
    """Makes and tries hashes, `AT_ONCE` at a time. Safe to share between threads."""

    def __init__(self) -> None:
        """Nothing is loaded before the first password."""
        self._turn, self._lock, self._inside = BoundedSemaphore(AT_ONCE), Lock(), 0

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash("nobody")

    @contextmanager
    def _turned(self) -> Iterator[None]:
        with self._lock:
            if self._inside >= WAITING:
                raise Overloaded("many people sign in just now: try again in a few seconds", 2)
            self._inside += 1
        try:
            with self._turn:
                yield
        finally:
            with self._lock:
                self._inside -= 1

    def made(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            Overloaded: too many wait for theirs.

        """
        with self._turned():
            return self._hasher.hash(_plain(password))

    def opens(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Say whether ``password`` is that of the hash ``stored``, and its hash anew where the old is out of date.

        Without a hash the answer is no, after the same work.

        Raises:
            Overloaded: too many wait for theirs.

        """
        from argon2.exceptions import InvalidHashError, VerificationError

        with self._turned():
            nobodys = self._nobodys  # made with the first password, whosever it is
            try:
                self._hasher.verify(stored or nobodys, _plain(password)[: MOST + 1])
            except (VerificationError, InvalidHashError):
                return False, None
            if stored is None:
                return False, None
            outdated = self._hasher.check_needs_rehash(stored)
            return True, self._hasher.hash(_plain(password)) if outdated else None


def _plain(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
