"""Questions about many homes by those who may see none: sums of groups, and how a home stands among its likes."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from meterlake.disclose import passes
from meterlake.errors import Invalid
from meterlake.exact import Exact, decimals
from meterlake.intervals import DAY_S
from meterlake.moments import borders, day_start, local_date, text_of, texts_of
from meterlake.query.answers import Answer, Rows, moments, unit_of
from meterlake.query.group_rows import Split, channel_rows, table_of
from meterlake.query.shares import DIGITS, allowed, share_sums, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from meterlake.ports import Registry
    from meterlake.query.answers import Listing
    from meterlake.query.shares import Allowed, Tree
    from meterlake.query.states import States
    from meterlake.query.sums import Tally
    from meterlake.strips import Ints

STEPS: Final = ("hour", "day", "month")
BY: Final = ("region", "class")
NEARBY_DIGITS: Final = 3
"""Groups of homes nearby are no wider than a region of so many characters."""
KEPT: Final = 16
"""Months and their sums that are kept."""
LONG_S: Final = 0.5
"""What took longer is made anew in the background."""


class Month(NamedTuple):
    """The part of a local month that is asked about."""

    first: date
    span: tuple[int, int]

    @property
    def judged(self) -> tuple[int, int]:
        """The UTC month by which it is decided what may be shown: the same for every zone and question."""
        return day_start("UTC", self.first), day_start("UTC", _next(self.first))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about groups; moments in seconds since 1970 UTC, ``stop`` exclusive."""

    start: int
    stop: int
    zone: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The home that is compared: its place, and its own values by step, for all its time and channels."""

    id: str
    class_: str | None
    geohash: str | None
    values: Listing | None
    within: Sequence[tuple[int, int]] | None
    """Times that may show; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Neighbours(Answer):
    """Values of a home beside the mean of the others in its group."""

    home: str
    channel: str
    asked: Asked
    group: Mapping[str, Any] | None
    """Class, region and how many homes; None: none may be shown."""
    rows: Sequence[tuple[int, int, int | None, int | None]]
    """Start, seconds, own amount and mean of the others."""

    def to_json(self) -> dict[str, Any]:
        """Return the object that the surface spells."""
        starts = texts_of(np.array([row[0] for row in self.rows], np.int64), self.asked.zone)
        return {
            "id": self.home, "channel": self.channel, "unit": unit_of(self.channel), "zone": self.asked.zone,
            "step": self.asked.step, "from": text_of(self.asked.start, self.asked.zone),
            "to": text_of(self.asked.stop, self.asked.zone), "suppressed": self.group is None, "group": self.group,
            "values": [
                {"start": start, "seconds": seconds, "own": _exact(own), "group_mean": _exact(mean)}
                for start, (_, seconds, own, mean) in zip(starts, self.rows, strict=True)
            ],
        }  # fmt: skip

    def to_arrow(self) -> pa.Table:
        """Return a row a step."""
        n = len(self.rows)
        start, seconds, own, mean = zip(*self.rows, strict=True) if n else ((), (), (), ())
        return pa.table(
            {
                "id": pa.repeat(self.home, n),
                "channel": pa.repeat(self.channel, n),
                "start": moments(np.array(start, np.int64), self.asked.zone),
                "seconds": pa.array(seconds, pa.int64()),
                "own": _decimals(own),
                "group_mean": _decimals(mean),
                "unit": pa.repeat(unit_of(self.channel), n),
            }
        )


class _Kept(NamedTuple):
    """What was found of a month."""

    tree: Tree
    paths: list[str]
    """Files of which it is true."""
    took_s: float
    found: Any


class Groups:
    """Sums of groups of one lake that may be shown; keeps what it found of closed months. Safe to share."""

    def __init__(self, states: States, registry: Registry | None) -> None:
        """Ask ``states`` about the homes that ``registry`` knows."""
        self._states, self._registry = states, registry
        self._lock, self._making = Lock(), Lock()
        self._tree: tuple[pa.Table, pa.Table, Tree] | None = None
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()

    def aggregates(self, asked: Asked, by: Sequence[str], digits: int, channel: str | None) -> Rows:
        """Sums by step of the groups that may be shown; those that may not have no value."""
        if unknown := [key for key in by if key not in BY]:
            raise Invalid(f"by {', '.join(unknown)}: write any of {', '.join(BY)}")
        if not 1 <= digits <= DIGITS:
            raise Invalid(f"region digits {digits}: write 1 to {DIGITS}")
        check(asked)
        tree, tables = self._trees(), []
        closed = min(asked.stop, closed_until(asked.zone))
        if tree is not None:
            tables = [
                self._of_month(tree, month, asked, Split(tuple(by), digits), channel)
                for month in _months(asked.zone, asked.start, closed)
            ]
        table = pa.concat_tables(tables or [table_of([], asked.zone, by)])
        head = {
            "step": asked.step, "zone": asked.zone, "from": text_of(asked.start, asked.zone),
            "to": text_of(asked.stop, asked.zone), "closed_to": text_of(closed, asked.zone),
        }  # fmt: skip
        return Rows(table=table, zone=asked.zone, head=head)

    def neighbours(self, asked: Asked, home: Home, channel: str) -> Neighbours:
        """Values of ``home`` beside the mean of the others of its group, where that may be shown."""
        check(asked)
        group, rows = None, []
        tree = self._trees()
        cell = -1 if tree is None else tree.cell_of(home.class_, home.geohash)
        for month in _months(asked.zone, asked.start, min(asked.stop, closed_until(asked.zone))):
            if tree is None or cell < 0:
                break
            told, found = self._nearby(tree, month, asked, home, cell, channel)
            group = group or told
            rows += found
        return Neighbours(home=home.id, channel=channel, asked=asked, group=group, rows=rows if group else [])

    def prepare(self, zone: str) -> None:
        """Make what is asked most of the last closed month, where it is not there."""
        tree, stop = self._trees(), closed_until(zone)
        if tree is None:
            return
        (month,) = list(_months(zone, stop - DAY_S, stop))
        asked = Asked(start=stop - DAY_S, stop=stop, zone=zone, step="month")
        self._month_sums(tree, month, asked, self._decided(tree, month)[0])

    # -- one month ---------------------------------------------------------------------------------------

    def _of_month(
        self, tree: Tree, month: Month, asked: Asked, split: Split, channel: str | None
    ) -> pa.Table:
        decided, names = self._decided(tree, month)
        if asked.step == "hour":
            marks = borders(asked.zone, asked.step, *month.span)
            sums = share_sums(self._states.of_all(month.span), tree, decided, marks, asked.step)
        else:
            marks, sums = self._month_sums(tree, month, asked, decided)
            marks = marks[(marks >= month.span[0]) & (marks <= month.span[1])]
            sums = sums.where((sums.start >= month.span[0]) & (sums.start < month.span[1]))
        rows: list[tuple[Any, ...]] = []
        for code, own in sorted(decided.items(), key=lambda one: names[one[0]]):
            if channel in {None, names[code]}:
                mine = sums.where(sums.channel == code)
                rows += channel_rows(tree, own, mine, names[code], marks, split)
        return table_of(rows, asked.zone, split.by)

    def _nearby(
        self, tree: Tree, month: Month, asked: Asked, home: Home, cell: int, channel: str
    ) -> tuple[dict[str, Any] | None, list[tuple[int, int, int | None, int | None]]]:
        decided, names = self._decided(tree, month)
        code = names.index(channel) if channel in names else -1
        share = int(decided[code].tree.share[cell]) if code in decided else -1
        own = decided[code].tree if share >= 0 else None
        if own is None or own.level[share] < NEARBY_DIGITS:
            return None, []
        if not passes(own.shares.at(np.array([share])), but_one=True)[0]:
            return None, []
        class_, region = tree.labels[own.level[share]][own.node[share]]
        members = int(own.shares.members[share])
        marks, sums = self._month_sums(tree, month, asked, decided)
        mine = sums.where((sums.channel == code) & (sums.label == share))
        rows = _beside(home, members, mine, marks, month.span)
        return {"class": class_ or None, "region": region, "members": members - 1}, rows

    def _decided(self, tree: Tree, month: Month) -> tuple[Mapping[int, Allowed], Sequence[str]]:
        span = month.judged

        def make() -> Any:
            view = self._states.of_all(span)
            return allowed(view, tree, span), tuple(view.memory.channels.names)

        found: tuple[Mapping[int, Allowed], Sequence[str]] = self._made(tree, ("decided", span), span, make)
        return found

    def _month_sums(
        self, tree: Tree, month: Month, asked: Asked, decided: Mapping[int, Allowed]
    ) -> tuple[Ints, Tally]:
        """Borders and sums of shares of a whole local month, kept for all who ask."""
        span = day_start(asked.zone, month.first), day_start(asked.zone, _next(month.first))

        def make() -> Any:
            marks = borders(asked.zone, asked.step, *span)
            return marks, share_sums(self._states.of_all(span), tree, decided, marks, asked.step)

        found: tuple[Ints, Tally] = self._made(tree, ("sums", asked.step, *span), span, make)
        return found

    # -- what is kept ------------------------------------------------------------------------------------

    def _trees(self) -> Tree | None:
        if self._registry is None:
            return None
        meters, points = self._registry.table("meters"), self._registry.table("service_points")
        known = self._tree
        if known is None or known[0] is not meters or known[1] is not points:
            with self._making:
                self._tree = known = meters, points, tree_of(meters, points)
        return known[2] if known[2].labels[-1] else None

    def _made(self, tree: Tree, key: Any, span: tuple[int, int], make: Callable[[], Any]) -> Any:
        """Return what ``make`` gave for the files of ``span``; it is made once for all who ask meanwhile.

        What takes long is made anew beside the questions, which get the former until it is there.
        """
        files = self._states.files().files_between(span[0] - DAY_S, span[1] + DAY_S)
        paths = [file.path for file in files]

        def kept() -> _Kept | None:
            with self._lock:
                then = self._kept.get(key)
            return then if then is not None and then.tree is tree else None

        def remake() -> Any:
            with self._making:
                then = kept()
                if then is not None and then.paths == paths:
                    return then.found
                began = time.monotonic()
                found = make()
                with self._lock:
                    self._kept[key] = _Kept(tree, paths, time.monotonic() - began, found)
                    self._kept.move_to_end(key)
                    if len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
                return found

        then = kept()
        if then is None or (then.paths != paths and then.took_s < LONG_S):
            return remake()
        if then.paths != paths and not self._making.locked():
            Thread(target=remake, name="groups", daemon=True).start()
        return then.found


def check(asked: Asked) -> None:
    """Raise Invalid where the time asked for does not begin and end with a step."""
    if asked.step not in STEPS:
        raise Invalid(f"{asked.step!r} is no step here: write one of {', '.join(STEPS)}")
    wide = borders(asked.zone, asked.step, asked.start - 32 * DAY_S, asked.stop + 32 * DAY_S)[1:-1]
    for what, moment in (("from", asked.start), ("to", asked.stop)):
        if moment not in wide:
            raise Invalid(
                f"{what} is not the start of a {asked.step} in {asked.zone}; sums are given of whole steps"
            )


def closed_until(zone: str) -> int:
    """Start of the month in ``zone`` that is not over yet, there or in UTC."""
    now = int(time.time())
    first = min(local_date(zone, now), local_date("UTC", now)).replace(day=1)
    return day_start(zone, first)


def _next(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _months(zone: str, start: int, stop: int) -> Iterator[Month]:
    """Cut a time into local months."""
    while start < stop:
        first = local_date(zone, start).replace(day=1)
        end = min(stop, day_start(zone, _next(first)))
        yield Month(first, (start, end))
        start = end


def _beside(
    home: Home, members: int, sums: Tally, marks: Ints, span: tuple[int, int]
) -> list[tuple[int, int, int | None, int | None]]:
    """Rows of a month: own amounts, and the mean of the others where the whole step may show."""
    theirs = {
        start: (amount, filled, expected)
        for start, amount, filled, expected in zip(
            sums.start.tolist(),
            sums.amount.tolist(),
            sums.filled.tolist(),
            sums.expected.tolist(),
            strict=True,
        )
    }
    mine: dict[int, tuple[int, int, int]] = {}
    if home.values is not None:
        own = home.values
        columns = (own.start.tolist(), own.amount.tolist(), own.filled.tolist(), own.expected.tolist())
        mine = {
            start: (amount, filled, expected)
            for start, amount, filled, expected in zip(*columns, strict=True)
        }
    others = members - any(filled for _, filled, _ in mine.values())
    rows: list[tuple[int, int, int | None, int | None]] = []
    for start, stop in zip(marks[:-1].tolist(), marks[1:].tolist(), strict=True):
        if not span[0] <= start < span[1]:
            continue
        open_ = home.within is None or any(low <= start and stop <= high for low, high in home.within)
        own_amount, own_filled, own_expected = mine.get(start, (0, 0, 0))
        mean = None
        if open_ and start in theirs:
            amount, filled, expected = theirs[start]
            filled, expected = filled - own_filled, max(expected - own_expected, filled - own_filled)
            if filled > 0:  # what is missing is taken to be like what is there
                mean = round((amount - own_amount) * expected / (filled * others))
        rows.append((start, stop - start, own_amount if open_ and own_filled else None, mean))
    return rows


def _exact(amount: int | None) -> Exact | None:
    return None if amount is None else Exact(amount)


def _decimals(amounts: Sequence[int | None]) -> pa.Array:
    known = np.array([one is not None for one in amounts], bool)
    return decimals(np.array([one or 0 for one in amounts], np.int64), known)
