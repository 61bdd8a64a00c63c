"""Lists a page at a time: a cursor that means nothing to who holds it, and a page as an answer."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query

from meterlake.errors import Invalid
from meterlake.output import Listed, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

Limit = Annotated[int, Query(ge=1, le=1000, description="Items of a page at most.")]
Cursor = Annotated[
    str | None, Query(max_length=2000, description="`next` of the page before; none: the first page.")
]


def cursor_of(what: str, at: str | int) -> str:
    """Return the cursor of the list ``what`` after the item ``at``."""
    return urlsafe_b64encode(json.dumps([what, at], ensure_ascii=False).encode()).decode().rstrip("=")


def read_cursor(what: str, cursor: str | None, kind: type[str | int]) -> Any:
    """Item after which a page begins; None for the first page.

    Raises:
        Invalid: this is no cursor of that list.

    """
    if cursor is None:
        return None
    try:
        name, at = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError):
        name, at = None, None
    if name != what or type(at) is not kind or (isinstance(at, int) and not -(2**62) < at < 2**62):
        raise Invalid("this cursor is none of this list; send `next` as it came, or no cursor to begin anew")
    return at


class Page:
    """A page of a list."""

    def __init__(
        self, items: Sequence[Mapping[str, Any]], after: str | None, columns: Sequence[str] = ()
    ) -> None:
        """``after`` is the cursor of the next page; ``columns`` are there even without items."""
        self.items, self.after, self._columns = items, after, columns

    def to_json(self) -> dict[str, Any]:
        """Return items and the cursor of the next page."""
        return {"items": [plain(dict(item)) for item in self.items], "next": self.after}

    def to_arrow(self) -> pa.Table:
        """Return the items as rows; lists within them as JSON text."""
        return Listed([dict(item) for item in self.items], columns=self._columns).to_arrow()

    @property
    def headers(self) -> dict[str, str]:
        """Where the next page is, for forms that have no place for it."""
        return {} if self.after is None else {"Link": f'<?cursor={self.after}>; rel="next"'}
