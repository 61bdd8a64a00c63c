"""What questions answer: frozen values that turn into JSON (exact numbers), Arrow and a short table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.exact import Exact, column, decimals
from meterlake.moments import arrow_zone, text_of, texts_of
from meterlake.readings import QUALITY_NAMES, channel_family

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from meterlake.strips import Ints
    from meterlake.usage import Passport

QUALITIES: Final = pa.array(QUALITY_NAMES)
"""Names by code."""

SHOWN: Final = 12
"""Rows that `repr` shows."""


def unit_of(channel: str) -> str:
    """Base unit of ``channel``, or of the import registers of a commodity."""
    family = channel_family(channel) or channel_family(f"{channel}.import")
    return family.unit if family else "?"


def table_text(table: pa.Table, limit: int = SHOWN) -> str:
    """First rows of ``table`` as aligned text."""
    head = table.slice(0, limit).to_pylist()
    cells = [table.column_names, *([_cell(value) for value in row.values()] for row in head)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.column_names))]
    lines = [
        "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    if len(table) > limit:
        lines.append(f"… {len(table) - limit:,} more rows")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def passport_json(passport: Passport) -> dict[str, Any]:
    """Return the passport as the surface spells it."""
    expected = max(passport.expected, passport.filled)
    newest = passport.newest_us
    return {
        "expected": expected,
        "filled": passport.filled,
        "missing": expected - passport.filled,
        "shares": passport.shares(),
        "newest_received_at": None if newest is None else text_of(newest // 1_000_000, "UTC"),
    }


def moments(seconds: Ints, zone: str) -> pa.Array:
    """Seconds since 1970 as Arrow timestamps in ``zone``."""
    return column(pa.timestamp("us", tz=arrow_zone(zone)), seconds.astype(np.int64, copy=False) * 1_000_000)


class Answer:
    """An answer: ``to_arrow`` gives its rows, ``to_json`` its form for scripts."""

    __slots__ = ()

    def to_arrow(self) -> pa.Table:
        """Return the rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show the first rows."""
        return table_text(self.to_arrow())


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Values of one channel in time order."""

    channel: str
    start: Ints
    """Seconds since 1970 UTC."""
    seconds: Ints
    amount: Ints
    """Milli units; 0 where empty."""
    filled: Ints
    """Filled slots of each value; of an interval listing 0 or 1."""
    expected: Ints
    quality: npt.NDArray[np.uint8] | None
    """Code by value of an interval listing, else None."""
    passport: Passport
    estimated: Ints | None = None
    """Of the filled slots those that are estimated; None in an interval listing."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class History(Answer):
    """All values of a meter or service point between two moments, channel by channel."""

    id: str
    zone: str
    step: str
    start: int
    stop: int
    version: int
    listings: tuple[Listing, ...]

    def to_json(self) -> Any:
        """Return one object, or a list of them where there are several channels."""
        objects = [self._object(listing) for listing in self.listings]
        return objects[0] if len(objects) == 1 else objects

    def _object(self, listing: Listing) -> dict[str, Any]:
        return {
            "id": self.id,
            "channel": listing.channel,
            "unit": unit_of(listing.channel),
            "zone": self.zone,
            "step": self.step,
            "from": text_of(self.start, self.zone),
            "to": text_of(self.stop, self.zone),
            "version": self.version,
            "values": self._values(listing),
            "passport": passport_json(listing.passport),
        }

    def _values(self, listing: Listing) -> list[dict[str, Any]]:
        columns = (
            texts_of(listing.start, self.zone), listing.seconds.tolist(), listing.amount.tolist(),
            listing.filled.tolist(), listing.expected.tolist(),
        )  # fmt: skip
        if listing.estimated is not None:
            return [
                {"start": start, "seconds": seconds, "value": Exact(amount) if filled else None,
                 "filled": filled, "expected": expected, "estimated": estimated}
                for start, seconds, amount, filled, expected, estimated
                in zip(*columns, listing.estimated.tolist(), strict=True)
            ]  # fmt: skip
        assert listing.quality is not None, "an interval listing has qualities"
        return [
            {"start": start, "seconds": seconds, "value": Exact(amount) if filled else None,
             "quality": QUALITY_NAMES[code]}
            for start, seconds, amount, filled, _, code in zip(*columns, listing.quality.tolist(), strict=True)
        ]  # fmt: skip

    def to_arrow(self) -> pa.Table:
        """Return a row a value: id, channel, start, seconds, value, amount, unit, then quality or counts."""
        tables = [self._table(listing) for listing in self.listings or (nothing(self.step),)]
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)

    def _table(self, listing: Listing) -> pa.Table:
        n = len(listing.start)
        valid = listing.filled > 0
        columns = {
            "id": pa.repeat(self.id, n),
            "channel": pa.repeat(listing.channel, n),
            "start": moments(listing.start, self.zone),
            "seconds": column(pa.int64(), listing.seconds),
            "value": decimals(listing.amount, valid),
            "amount": column(pa.int64(), listing.amount, valid),
            "unit": pa.repeat(unit_of(listing.channel), n),
        }
        if listing.estimated is not None:
            columns |= {
                "filled": column(pa.int64(), listing.filled),
                "expected": column(pa.int64(), listing.expected),
                "estimated": column(pa.int64(), listing.estimated),
            }
        else:
            assert listing.quality is not None, "an interval listing has qualities"
            same = n and (listing.quality == listing.quality[0]).all()
            columns["quality"] = (
                pa.repeat(QUALITY_NAMES[listing.quality[0]], n)
                if same
                else QUALITIES.take(column(pa.uint8(), listing.quality))
            )
        return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def nothing(step: str) -> Listing:
    """Return a listing without values."""
    from meterlake.usage import NO_PASSPORT

    none = np.empty(0, np.int64)
    quality = np.empty(0, np.uint8) if step == "interval" else None
    return Listing(
        channel="", start=none, seconds=none, amount=none, filled=none, expected=none, quality=quality,
        passport=NO_PASSPORT, estimated=none if quality is None else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The sum over one range."""

    start: int
    stop: int
    amount: int
    passport: Passport

    def to_json(self, zone: str) -> dict[str, Any]:
        """Return the figure as the surface spells it; no value where no slot is filled."""
        return {
            "from": text_of(self.start, zone),
            "to": text_of(self.stop, zone),
            "value": Exact(self.amount) if self.passport.filled else None,
            "passport": passport_json(self.passport),
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Usage(Answer):
    """Sums over ranges that end at one date, each with that of the period before."""

    id: str
    zone: str
    until: int
    version: int
    channels: Mapping[str, Mapping[str, tuple[Figure, Figure]]]
    """By channel and range: the figure, and that of the period before."""

    def to_json(self) -> dict[str, Any]:
        """Return the object that the surface spells."""
        return {
            "id": self.id,
            "zone": self.zone,
            "until": text_of(self.until, self.zone)[:10],
            "version": self.version,
            "channels": {
                channel: {
                    "unit": unit_of(channel),
                    "ranges": {
                        name: figure.to_json(self.zone) | {"previous": before.to_json(self.zone)}
                        for name, (figure, before) in ranges.items()
                    },
                }
                for channel, ranges in self.channels.items()
            },
        }

    def to_arrow(self) -> pa.Table:
        """Return a row a channel and range: both figures, and the counts of the passport."""
        rows = [
            (channel, name, figure, before)
            for channel, ranges in self.channels.items()
            for name, (figure, before) in ranges.items()
        ]

        def amounts(at: int) -> dict[str, pa.Array]:
            figures = [row[at] for row in rows]
            amount = np.array([f.amount for f in figures], np.int64)  # type: ignore[union-attr]
            filled = np.array([f.passport.filled for f in figures], np.int64)  # type: ignore[union-attr]
            name = (
                ("value", "amount", "filled")
                if at == 2
                else ("previous", "previous_amount", "previous_filled")
            )
            return {
                name[0]: decimals(amount, filled > 0), name[1]: pa.array(amount, mask=filled == 0),
                name[2]: pa.array(filled),
            }  # fmt: skip

        return pa.table(
            {
                "channel": pa.array([row[0] for row in rows], pa.string()),
                "range": pa.array([row[1] for row in rows], pa.string()),
                "from": moments(np.array([row[2].start for row in rows], np.int64), self.zone),
                "to": moments(np.array([row[2].stop for row in rows], np.int64), self.zone),
                "unit": pa.array([unit_of(row[0]) for row in rows], pa.string()),
                **amounts(2),
                "expected": pa.array([row[2].passport.expected for row in rows], pa.int64()),
                **amounts(3),
                "previous_expected": pa.array([row[3].passport.expected for row in rows], pa.int64()),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Rows(Answer):
    """An answer that is a table: a snapshot, a fleet or the top of it."""

    table: pa.Table
    """``start`` in seconds is a timestamp in the zone asked for; ``amount`` in milli units."""
    zone: str
    head: Mapping[str, Any]
    """What stands beside the values in JSON."""

    def to_arrow(self) -> pa.Table:
        """Return the rows, with ``value`` in base units beside ``amount``."""
        return self.table

    def to_json(self) -> dict[str, Any]:
        """Return ``{"values": [...]}`` beside what says to what the values belong."""
        columns: dict[str, list[Any]] = {}
        for name in self.table.column_names:
            column = self.table[name]
            if name == "amount":
                columns["value"] = [None if a is None else Exact(a) for a in column.to_pylist()]
            elif pa.types.is_timestamp(column.type):
                columns[name] = texts_of(column.cast(pa.int64()).to_numpy() // 1_000_000, self.zone)
            elif name != "value":
                columns[name] = column.to_pylist()
        names = list(columns)
        return {
            **self.head,
            "values": [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        }
