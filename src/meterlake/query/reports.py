"""Totals of all meters and the greatest of them; also put together from parts, each of some meters, made elsewhere."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

from meterlake.errors import Conflict, Invalid
from meterlake.exact import decimals
from meterlake.moments import STEPS, text_of
from meterlake.query import fleet as fleets
from meterlake.query import meters
from meterlake.query.answers import Rows, moments, unit_of
from meterlake.query.sums import Tally, gathered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.query.places import Places
    from meterlake.query.states import Span, States, Version
    from meterlake.query.subject import Atlas
    from meterlake.query.view import View
    from meterlake.slots import Array, Channels
    from meterlake.strips import Ints

VERSION: Final = b"version"
LABELS: Final = b"labels"
"""In the metadata of a part: the version of the lake that it is of, and a hash of what its labels number."""

NUMBERS: Final = ("interval", "start", "amount", "filled", "expected")


class Parts(Protocol):
    """Who answers a question part by part; no meter is in two of them."""

    def __call__(self, question: str, options: Mapping[str, Any]) -> Sequence[pa.Table]:
        """Return what `Reports.fleet_part` or `Reports.top_part` gives for each part."""


class Reports:
    """Questions about all meters, answered from the states of a lake, or from ``parts``."""

    def __init__(self, states: States, atlas: Atlas, parts: Parts | None) -> None:
        """Ask ``parts`` where there are some."""
        self._states, self._atlas, self._parts = states, atlas, parts

    def _all(self, as_of: Version | None, span: Span) -> View:
        return self._states.of_all(span) if as_of is None else self._states.then(as_of, None, span)

    @property
    def _channels(self) -> Channels:
        return self._states.channels

    def _ranks(self) -> Ints:
        """Place of each channel in the order of their names."""
        ranks: Ints = np.argsort(np.argsort(np.array(self._channels.names, object)))
        return ranks

    # -- totals --------------------------------------------------------------------------------------

    def fleet(self, span: Span, *, step: str, by: Sequence[str], digits: int, zone: str, as_of: Version | None) -> Rows:  # fmt: skip
        """See `Questions.fleet`."""
        asked = self._asked(span, step, by, digits, zone)
        if self._parts is None:
            sums, version = self._fleet(asked, as_of)
        else:
            told = {
                "span": span,
                "step": step,
                "by": tuple(by),
                "digits": digits,
                "zone": zone,
                "as_of": as_of,
            }
            tables = self._parts("fleet", told)
            sums, version = gathered(self._tally(tables, asked.places)), _version(tables)
        sums = sums.where(np.lexsort((sums.interval, sums.label, sums.start, self._ranks()[sums.channel])))
        columns = {
            "channel": _named(self._channels, sums.channel),
            "unit": _units(self._channels, sums.channel),
            "start": moments(sums.start, zone),
            "seconds": pa.array(_lengths(sums.start, sums.interval, asked.marks)),
            "value": decimals(sums.amount, sums.filled > 0),
            "amount": pa.array(sums.amount, mask=sums.filled == 0),
            "filled": pa.array(sums.filled),
            "expected": pa.array(np.maximum(sums.expected, sums.filled)),
            **_label_columns(asked.places, by, sums.label),
        }
        start, stop = span
        head = {"step": step, "zone": zone, "from": text_of(start, zone), "to": text_of(stop, zone)}
        units = sorted(set(columns["unit"].to_pylist()))
        unit = units[0] if len(units) == 1 else None
        return Rows(table=pa.table(columns), zone=zone, head={"unit": unit, **head, "version": version})

    def _asked(self, span: Span, step: str, by: Sequence[str], digits: int, zone: str) -> fleets.Asked:
        if step not in STEPS:
            raise Invalid(f"{step!r} is no step: write one of {', '.join(STEPS)}")
        return fleets.Asked(fleets.marks_of(step, zone, *span), step, self._atlas.places(by, digits))

    def _fleet(self, asked: fleets.Asked, as_of: Version | None) -> tuple[Tally, int]:
        view = self._all(as_of, asked.span)
        sums = fleets.fleet(view, asked, plain=as_of is None and self._states.is_plain(view))
        return sums.where((sums.filled > 0) | (sums.expected > 0)), view.version

    def fleet_part(self, span: Span, *, step: str, by: Sequence[str], digits: int, zone: str, as_of: Version | None) -> pa.Table:  # fmt: skip
        """Sums of the meters that are here: a row for each label, channel, length and start."""
        asked = self._asked(span, step, by, digits, zone)
        sums, version = self._fleet(asked, as_of)
        columns = dict(zip(("label", *NUMBERS), (sums.label, *sums.columns()[2:]), strict=True))
        return self._part(version, sums.channel, columns, asked.places)

    def _tally(self, tables: Sequence[pa.Table], places: Places) -> Tally:
        """Entries of parts, numbered as here."""
        found = []
        for table in tables:
            _check(table, places)
            label, *numbers = (table[name].to_numpy() for name in ("label", *NUMBERS))
            found.append(Tally(label, self._codes(table), *numbers))
        return Tally.concat(found)

    def _codes(self, table: pa.Table) -> Ints:
        return self._channels.codes(table["channel"].combine_chunks()).astype(np.int64)

    def _part(
        self, version: int, channel: Ints, columns: Mapping[str, Any], places: Places | None = None
    ) -> pa.Table:
        """Table of a part; labels are numbers that count for the same ``places`` alone."""
        told = {"channel": _named(self._channels, channel)} | {
            name: pa.array(column) for name, column in columns.items()
        }
        mark = b"" if places is None else _mark(places)
        return pa.table(told).replace_schema_metadata({VERSION: str(version).encode(), LABELS: mark})

    # -- the greatest --------------------------------------------------------------------------------

    def top(  # noqa: PLR0913 - those of the question
        self, span: Span, n: int | None, *, by: str, channel: str | None, digits: int, zone: str, as_of: Version | None
    ) -> Rows:  # fmt: skip
        """See `Questions.top`."""
        where = self._ranked(n, by, digits)
        if self._parts is None:
            found, version = self._totals(span, where, by, as_of)
        else:
            told = {"span": span, "n": n, "by": by, "channel": channel, "digits": digits, "as_of": as_of}
            tables = self._parts("top", told)
            found, version = self._together(tables, where, by), _version(tables)
        found = meters.largest(found, n, None if channel is None else self._channels.code(channel))
        order = np.argsort(self._ranks()[found.channel], kind="stable")
        found = meters.Totals(*(column[order] for column in found))
        who = _texts(found.meter) if by == "meter" else _label_column(where, 0, found.meter)
        table = pa.table(
            {
                by: who,
                "channel": _named(self._channels, found.channel),
                "value": decimals(found.amount),
                "amount": pa.array(found.amount),
                "filled": pa.array(found.filled),
                "unit": _units(self._channels, found.channel),
            }
        )
        start, stop = span
        head = {"from": text_of(start, zone), "to": text_of(stop, zone), "version": version}
        return Rows(table=table, zone=zone, head=head)

    def _ranked(self, n: int | None, by: str, digits: int) -> Places:
        if by not in {"meter", "region"}:
            raise Invalid(f"by {by!r}: write meter or region")
        if n is not None and n < 1:
            raise Invalid(f"n {n}: write 1 or more")
        return self._atlas.places(() if by == "meter" else ("region",), digits)

    def _totals(self, span: Span, where: Places, by: str, as_of: Version | None) -> tuple[meters.Totals, int]:
        view = self._all(as_of, span)
        found = meters.totals(view, span, where)
        found = meters.Totals(*(column[found.filled > 0] for column in found))
        return (meters.by_label(found, where, span[0]) if by == "region" else found), view.version

    def top_part(self, span: Span, n: int | None, *, by: str, channel: str | None, digits: int, as_of: Version | None) -> pa.Table:  # fmt: skip
        """Totals of the meters that are here: by meter those that may be among the greatest, by region all."""
        where = self._ranked(n, by, digits)
        found, version = self._totals(span, where, by, as_of)
        sums = {"amount": found.amount, "filled": found.filled}
        if by == "region":
            return self._part(version, found.channel, {"label": found.meter, **sums}, where)
        found = meters.largest(found, n, None if channel is None else self._channels.code(channel))
        sums = {"amount": found.amount, "filled": found.filled}
        return self._part(version, found.channel, {"meter": _texts(found.meter), **sums})

    def _together(self, tables: Sequence[pa.Table], where: Places, by: str) -> meters.Totals:
        """Totals of parts, numbered as here; those of one region as one."""
        every = pa.concat_tables(tables)
        channel, amount, filled = self._codes(every), every["amount"].to_numpy(), every["filled"].to_numpy()
        if by == "meter":
            names = np.array(every["meter"].cast(pa.binary()).to_pylist(), np.bytes_)
            return meters.Totals(names, channel, amount, filled)
        for table in tables:
            _check(table, where)
        none = np.zeros(len(every), np.int64)
        sums = gathered(Tally(every["label"].to_numpy(), channel, none, none, amount, filled, none))
        return meters.Totals(sums.label, sums.channel, sums.amount, sums.filled)


def _version(tables: Sequence[pa.Table]) -> int:
    return int(tables[0].schema.metadata[VERSION])


def _mark(places: Places) -> bytes:
    return blake2b(repr(list(places.labels)).encode(), digest_size=16).hexdigest().encode()


def _check(table: pa.Table, places: Places) -> None:
    if table.schema.metadata[LABELS] != _mark(places):
        raise Conflict("the registry changed while the question was answered: ask it again")


def _texts(names: Array) -> pa.Array:
    return pa.array(names.tolist(), pa.binary()).cast(pa.string())


def _named(channels: Channels, codes: Ints) -> pa.Array:
    return pa.array(channels.names, pa.string()).take(pa.array(codes))


def _units(channels: Channels, codes: Ints) -> pa.Array:
    return pa.array([unit_of(name) for name in channels.names], pa.string()).take(pa.array(codes))


def _lengths(start: Ints, interval: Ints, marks: Ints) -> Ints:
    """Length of each entry: its interval, or its step's where it has none."""
    at = np.minimum(np.searchsorted(marks, start, "right"), len(marks) - 1)
    lengths: Ints = np.where(interval > 0, interval, marks[at] - start)
    return lengths


def _label_column(where: Places, at: int, codes: Ints) -> pa.Array:
    return pa.array([label[at] for label in where.labels], pa.string()).take(pa.array(codes))


def _label_columns(where: Places, by: Sequence[str], codes: Ints) -> dict[str, pa.Array]:
    keys = [key for key in by if key != "channel"]
    return {key: _label_column(where, at, codes) for at, key in enumerate(keys)}
