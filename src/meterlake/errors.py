"""Everything Meterlake raises on purpose.

MeterlakeError
├── Invalid            the caller asked for something that cannot be: exit 1, HTTP 400
│   └── BadFile        a file fails as a whole: broken archive, unknown format, wrong encoding
├── NotFound           no such meter, load, version: exit 1, HTTP 404
├── Conflict           the lake is not in the state the caller counted on: HTTP 409
│   ├── ConcurrentCommit   somebody else committed first: plan again on the new snapshot
│   └── Fenced         another process has taken over what this one was working on
├── Denied             who asks may not: no key, a revoked one, a scope or meter it does not have: HTTP 401, 403
├── TooLarge           a body, batch or line beyond its limit: HTTP 413
├── Overloaded         come again later: HTTP 429 or 503 with Retry-After
├── LogFailed          the log's disk failed: nothing is acknowledged any more: HTTP 503
├── Damaged            stored bytes are not what was written: `meterlake check` lists them
└── MissingExtra       an optional library is not installed: the message holds the pip line

Bad *data* is never an exception: it is a reject with a line and a reason.
"""

from __future__ import annotations


class MeterlakeError(Exception):
    """Root of all. The message says what, where, and what to do about it."""


class Invalid(MeterlakeError):
    """The question or the option cannot be answered as asked."""


class BadFile(Invalid):
    """A file that fails as a whole; nothing of it is stored."""


class NotFound(MeterlakeError):
    """Nothing is known under that name."""


class Conflict(MeterlakeError):
    """The lake has changed under the caller."""


class ConcurrentCommit(Conflict):
    """Another commit landed between plan and commit: plan again."""


class Fenced(Conflict):
    """Another process has taken over; what this one still has in hand may not be written any more."""


class Denied(MeterlakeError):
    """Who asks may not."""

    def __init__(self, message: str, *, known: bool = False) -> None:
        """``known`` says that the key is good and only not enough (403 and not 401)."""
        super().__init__(message)
        self.known = known


class TooLarge(MeterlakeError):
    """More than a limit allows; the message names the limit."""


class Overloaded(MeterlakeError):
    """Nothing was taken; the same request may be sent again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        """Say when to come again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LogFailed(MeterlakeError):
    """A write or sync of the log failed for good: whatever was not acknowledged may or may not be there."""


class Damaged(MeterlakeError):
    """Stored bytes do not read back as they were written."""


class MissingExtra(MeterlakeError):
    """An optional library is missing."""

    def __init__(self, library: str, extra: str) -> None:
        """Name the library and the extra that brings it."""
        super().__init__(f"{library} is not installed: pip install 'meterlake[{extra}]'")
