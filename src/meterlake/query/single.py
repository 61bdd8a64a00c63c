"""Questions about one meter or service point: its history, and its usage over ranges."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from meterlake.errors import Invalid
from meterlake.intervals import DAY_S, HOUR_S, MINUTE_S
from meterlake.moments import CLOCK_STEPS, borders
from meterlake.query.answers import Figure, History, Listing
from meterlake.query.places import ALWAYS
from meterlake.query.series import LISTING, ROWS, SLOTS, Ruler, Series, series_of
from meterlake.slots import local_day
from meterlake.usage import NO_PASSPORT, Passport, empties

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from meterlake.query.view import View
    from meterlake.strips import Ints

GAPS: Final = ("drop", "keep")

_REGISTER: Final = re.compile(r"(\.\d+)?")
"""What follows ``.import`` in the name of an import register."""

Span = tuple[int, int]


class Piece(NamedTuple):
    """A meter for a time: a service point has one for each meter that was installed there."""

    meter: str
    span: Span
    """Seconds for which its readings are asked."""
    installed: tuple[Span, ...]
    """Seconds for which readings are expected."""
    billing_s: int | None
    """The length that is billed; None: the longest there is."""
    until: int | None = None
    """Readings that end later do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a history is asked for; moments in seconds since 1970 UTC, ``stop`` exclusive."""

    id: str
    start: int
    stop: int
    zone: str
    step: str = "interval"
    channel: str | None = None
    gaps: str = "drop"


def asked_name(channel: str | None, name: str) -> str | None:
    """Name under which readings of channel ``name`` are answered where ``channel`` is asked for; None: they are not.

    ``electricity`` asked for as a whole is the sum of its import registers.
    """
    if channel in {None, name}:
        return name
    commodity, _, register = name.partition(".import")
    return channel if commodity == channel and _REGISTER.fullmatch(register) else None


def clip(span: Span, low: int, high: int) -> Span | None:
    """Return the part of ``span`` within ``[low, high)``, None where there is none."""
    start, stop = max(span[0], low), min(span[1], high)
    return (start, stop) if start < stop else None


def held(pieces: Sequence[Piece], within: Sequence[Span]) -> list[Piece]:
    """Return the parts of ``pieces`` within some times, of which nothing beyond shows."""
    parts = [(piece, clip(piece.span, *span), span[1]) for piece in pieces for span in within]
    return [piece._replace(span=part, until=until) for piece, part, until in parts if part is not None]


def shown(view: View, pieces: Sequence[Piece], channel: str | None) -> set[str]:
    """Return the channels, as they are answered, of which ``pieces`` have a reading at all."""
    found = usage(view, pieces, {"all": (ALWAYS, ALWAYS)}, channel)
    return {name for name, ranges in found.items() if ranges["all"][0].passport.filled}


def history(view: View, pieces: Sequence[Piece], asked: Asked) -> History:
    """Values of ``pieces`` between two moments, a listing a channel."""
    if asked.gaps not in GAPS:
        raise Invalid(f"gaps {asked.gaps!r}: write keep or drop")
    if asked.step == "interval":
        marks = np.array([asked.start, asked.stop])
    else:
        marks = borders(asked.zone, asked.step, asked.start, asked.stop)
    need = _need(asked.step, marks)
    found: defaultdict[str, list[Listing]] = defaultdict(list)
    for piece, series in series_within(view, pieces, (asked.start, asked.stop), need):
        name = asked_name(asked.channel, series.channel)
        if name is not None:
            make = _intervals if asked.step == "interval" else _steps
            found[name].append(make(series, piece, marks, asked))
    listings = (_joined(name, parts) for name, parts in sorted(found.items()))
    return History(
        id=asked.id, zone=asked.zone, step=asked.step, start=asked.start, stop=asked.stop,
        version=view.version, listings=tuple(listings),
    )  # fmt: skip


def _need(step: str, marks: Ints) -> str:
    """What the steps need of a series; days of a zone at UTC need no values, as months need few."""
    if step == "interval":
        return LISTING
    few = step == "month" or (step == "day" and not (marks[1:-1] % DAY_S).any())
    return ROWS if few else SLOTS


def series_within(
    view: View, pieces: Sequence[Piece], span: Span, need: str
) -> Iterator[tuple[Piece, Series]]:
    """Yield what is needed of every series of ``pieces``, each piece as the part of its span that counts."""
    for piece in pieces:
        own = clip(piece.span, *span)
        if own is not None:
            for series in series_of(view, piece.meter, own, piece.billing_s, need):
                last = own[1] if piece.until is None else min(own[1], _whole_until(series, piece.until))
                if own[0] < last:
                    yield piece._replace(span=(own[0], last)), series


def _whole_until(series: Series, stop: int) -> int:
    """Start of the first slot that goes on beyond ``stop``, or ``stop``."""
    units = series.units
    across = (units.first < stop) & (units.first + units.slots * units.interval > stop)
    begun = (stop - units.first[across]) % units.interval[across]
    return stop - int(begun.max(initial=0))


def _expected_clips(piece: Piece) -> list[Span]:
    clips = (clip(span, *piece.span) for span in piece.installed)
    return [span for span in clips if span is not None]


def ruler_of(series: Series, piece: Piece, marks: Ints) -> tuple[Ruler, list[Span]]:
    """Return a ruler with ``marks`` and the ends of ``piece`` on it, and the times for which readings are expected."""
    clips = _expected_clips(piece)
    edges = [edge for span in (piece.span, *clips) for edge in span]
    inside = np.clip(marks, *piece.span)
    return Ruler(series, np.unique(np.concatenate([inside, edges]))), clips


def measured(ruler: Ruler, clips: Sequence[Span], spans: Sequence[Span]) -> list[tuple[int, Passport]]:
    """Amount and passport of each of ``spans``, whose borders the ruler has."""
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T
    sums = ruler.between(starts, stops)
    if len(clips) != 1 or (starts < clips[0][0]).any() or (stops > clips[0][1]).any():
        sums.expected[:] = 0
        for low, high in clips:
            part = np.clip(starts, low, high), np.clip(stops, low, high)
            sums.expected[:] += ruler.between(*part).expected
    newest = ruler.newest(starts, stops)
    return [(amount, sums.passport(at, newest[at])) for at, amount in enumerate(sums.counts[:, 0].tolist())]


def _intervals(series: Series, piece: Piece, marks: Ints, asked: Asked) -> Listing:
    ruler, clips = ruler_of(series, piece, marks)
    cells = series.cells
    assert cells is not None, "an interval listing reads slots"
    start, stop = piece.span
    low, high = np.searchsorted(cells.start, (start, stop)).tolist()
    cells = cells.where(slice(low, high))
    if not cells.filled.all():
        cells = cells.where(cells.filled)
    if piece.until is not None:  # of several lengths, a longer one that is not counted is listed too
        cells = cells.where(cells.start + cells.interval <= piece.until)
    ones = np.ones(len(cells.start), np.int64)
    listing = Listing(
        channel=series.channel, start=cells.start, seconds=cells.interval, amount=cells.amount,
        filled=ones, expected=ones,
        quality=cells.quality, passport=measured(ruler, clips, [piece.span])[0][1],
    )  # fmt: skip
    return _with_gaps(listing, series, clips) if asked.gaps == "keep" else listing


def _with_gaps(listing: Listing, series: Series, clips: Sequence[Span]) -> Listing:
    units = series.slots()
    if not clips or not len(units.first):
        return listing
    starts, lengths = zip(*(empties(units, *span) for span in clips), strict=True)
    start = np.concatenate([listing.start, *starts])
    none = np.zeros(len(start) - len(listing.start), np.int64)
    seconds = np.concatenate([listing.seconds, *lengths])
    order = np.lexsort((seconds, start))
    assert listing.quality is not None, "an interval listing has qualities"
    return Listing(
        channel=listing.channel, start=start[order], seconds=seconds[order],
        amount=np.append(listing.amount, none)[order], filled=np.append(listing.filled, none)[order],
        expected=np.ones(len(start), np.int64),
        quality=np.append(listing.quality, none.astype(np.uint8))[order], passport=listing.passport,
    )  # fmt: skip


def _steps(series: Series, piece: Piece, marks: Ints, asked: Asked) -> Listing:
    _check_step(series, piece, asked)
    ruler, clips = ruler_of(series, piece, marks)
    inside = np.clip(marks, *piece.span)
    sums = ruler.between(inside[:-1], inside[1:])
    expected = sums.expected
    if clips != [piece.span]:
        expected = np.zeros(len(inside) - 1, np.int64)
        for span in clips:
            part = np.clip(inside, *span)
            expected += ruler.between(part[:-1], part[1:]).expected
    return Listing(
        channel=series.channel, start=marks[:-1], seconds=np.diff(marks), amount=sums.counts[:, 0],
        filled=sums.counts[:, 1], expected=np.maximum(expected, sums.counts[:, 1]), quality=None,
        estimated=sums.counts[:, 3],
        passport=measured(ruler, clips, [piece.span])[0][1],
    )  # fmt: skip


def _check_step(series: Series, piece: Piece, asked: Asked) -> None:
    limit = (CLOCK_STEPS | {"day": DAY_S}).get(asked.step)
    if limit is None:
        return
    units = series.units
    inside = (units.first < piece.span[1]) & (units.first + units.slots * units.interval > piece.span[0])
    long = units.interval[inside & (units.interval > limit)]
    if asked.step == "day":
        long = long[~local_day(long)]
    if len(long):
        worst = int(long.max())
        every = f"{worst // HOUR_S} h" if worst % HOUR_S == 0 else f"{worst // MINUTE_S} min"
        raise Invalid(
            f"{piece.meter} {series.channel} is read every {every}, which is longer than the step {asked.step}: "
            "ask by day or by interval"
        )


def _joined(name: str, parts: Sequence[Listing]) -> Listing:
    """One listing of several meters' parts: steps add up, intervals follow each other; those of registers add up."""
    first = parts[0]
    if len(parts) == 1:
        return first if first.channel == name else replace(first, channel=name)
    passport = sum((part.passport for part in parts), NO_PASSPORT)
    if first.quality is None:
        return Listing(
            channel=name, start=first.start, seconds=first.seconds,
            amount=np.sum([part.amount for part in parts], axis=0),
            filled=np.sum([part.filled for part in parts], axis=0),
            expected=np.sum([part.expected for part in parts], axis=0), quality=None, passport=passport,
            estimated=np.sum([part.estimated for part in parts if part.estimated is not None], axis=0),
        )  # fmt: skip
    start, seconds, amount, filled, expected, quality = (
        np.concatenate([getattr(part, column) for part in parts])
        for column in ("start", "seconds", "amount", "filled", "expected", "quality")
    )
    order = np.lexsort((seconds, start))
    listing = Listing(
        channel=name, start=start[order], seconds=seconds[order], amount=amount[order],
        filled=filled[order], expected=expected[order], quality=quality[order], passport=passport,
    )  # fmt: skip
    return listing if all(part.channel == name for part in parts) else _added(listing)


def _added(listing: Listing) -> Listing:
    """Values of one time added up, with the least of their qualities."""
    assert listing.quality is not None, "an interval listing has qualities"
    start, seconds = listing.start, listing.seconds
    if not len(start):
        return listing
    heads = np.flatnonzero(np.append(True, (start[1:] != start[:-1]) | (seconds[1:] != seconds[:-1])))
    return Listing(
        channel=listing.channel, start=start[heads], seconds=seconds[heads],
        amount=np.add.reduceat(listing.amount, heads), filled=np.maximum.reduceat(listing.filled, heads),
        expected=np.maximum.reduceat(listing.expected, heads),
        quality=np.maximum.reduceat(listing.quality, heads), passport=listing.passport,
    )  # fmt: skip


def usage(
    view: View, pieces: Sequence[Piece], ranges: Mapping[str, tuple[Span, Span]], channel: str | None = None
) -> dict[str, dict[str, tuple[Figure, Figure]]]:
    """Sums by channel (None: of all) over named ranges and the period before each."""
    spans = [span for pair in ranges.values() for span in pair]
    window = (min(start for start, _ in spans), max(stop for _, stop in spans))
    marks = np.unique(np.array(spans).reshape(-1))
    found: defaultdict[str, dict[Span, tuple[int, Passport]]] = defaultdict(dict)
    for piece, series in series_within(view, pieces, window, ROWS):
        name = asked_name(channel, series.channel)
        if name is None:
            continue
        ruler, clips = ruler_of(series, piece, marks)
        sums = found[name]
        parts = {span: part for span in spans if (part := clip(span, *piece.span)) is not None}
        for span, (more, own) in zip(parts, measured(ruler, clips, list(parts.values())), strict=True):
            amount, passport = sums.get(span, (0, NO_PASSPORT))
            sums[span] = (amount + more, passport + own)

    def figure(channel: str, span: Span) -> Figure:
        amount, passport = found[channel].get(span, (0, NO_PASSPORT))
        return Figure(start=span[0], stop=span[1], amount=amount, passport=passport)

    return {
        channel: {
            name: (figure(channel, now), figure(channel, before)) for name, (now, before) in ranges.items()
        }
        for channel in sorted(found)
    }
