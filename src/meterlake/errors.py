"""Everything Meterlake raises on purpose.

MeterlakeError
├── Invalid            the caller asked for something that cannot be: exit 1, HTTP 400
│   └── BadFile        a file fails as a whole: broken archive, unknown format, wrong encoding
├── NotFound           no such meter, load, version: exit 1, HTTP 404
├── Conflict           the lake is not in the state the caller counted on: HTTP 409
│   └── ConcurrentCommit   somebody else committed first: plan again on the new snapshot
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


class Damaged(MeterlakeError):
    """Stored bytes do not read back as they were written."""


class MissingExtra(MeterlakeError):
    """An optional library is missing."""

    def __init__(self, library: str, extra: str) -> None:
        """Name the library and the extra that brings it."""
        super().__init__(f"{library} is not installed: pip install 'meterlake[{extra}]'")
