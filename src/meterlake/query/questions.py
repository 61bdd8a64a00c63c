"""What can be asked of a lake: how a question names its moments, its subject and its version.

Every answer counts what was acknowledged before it was asked for, each slot once, wherever it is held; answers
about all meters may leave out what came within the last second (`states.WHOLE_AGE_S`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from meterlake.errors import Invalid, NotFound
from meterlake.exact import decimals
from meterlake.moments import Moment, arrow_zone, back, day_start, local_date, seconds_of, text_of
from meterlake.query import costs as spending
from meterlake.query import groups, meters, single, sources
from meterlake.query.answers import QUALITIES, History, Rows, Usage, moments, unit_of
from meterlake.query.groups import Groups
from meterlake.query.kept import BUDGET_BYTES
from meterlake.query.places import ALWAYS
from meterlake.query.reports import Reports
from meterlake.query.states import States
from meterlake.query.subject import Atlas, Subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterlake.live.part import LiveSource
    from meterlake.ports import Lake, Registry
    from meterlake.query.answers import Figure
    from meterlake.query.costs import Costs
    from meterlake.query.reports import Parts
    from meterlake.query.states import Span, Version
    from meterlake.query.subject import Subject
    from meterlake.query.view import View
    from meterlake.slots import Array
    from meterlake.tariffs import Term

RANGES: Final = ("1w", "1m", "3m", "6m", "1y")
ENDS_READ: Final = 8
"""Of the files that reach furthest, so many are read to find the end of the lake."""


class Questions:
    """The questions of one lake; keeps decoded parts of its files between them. Safe to share between threads."""

    def __init__(
        self,
        lake: Lake,
        registry: Registry | None = None,
        *,
        live: LiveSource | None = None,
        kept_bytes: int = BUDGET_BYTES,
        parts: Parts | None = None,
    ) -> None:
        """Ask ``lake`` with ``live`` laid over it, and with what ``registry`` knows of meters and places.

        At most ``kept_bytes`` are kept of what was decoded. Totals of all meters are asked of ``parts`` where there are some.
        """
        self._lake = lake
        self._atlas, self._subjects = Atlas(registry), Subjects(registry)
        self._states = States(lake, live, kept_bytes)
        self.reports = Reports(self._states, self._atlas, parts)
        self._groups, self._registry = Groups(self._states, registry), registry

    def _all(self, as_of: Version | None, span: tuple[int, int]) -> View:
        return self._states.of_all(span) if as_of is None else self._states.then(as_of, None, span)

    # -- one meter or service point ------------------------------------------------------------------

    def history(  # noqa: PLR0913 - the options of one question, all by name
        self, id_: str, from_: Moment, to: Moment, *, channel: str | None = None, step: str = "interval",
        zone: str = "UTC", gaps: str = "drop", kind: str | None = None, as_of: Version | None = None,
        within: Sequence[Span] | None = None,
    ) -> History:  # fmt: skip
        """All values of a meter or service point from ``from_`` to before ``to``, in time order.

        Args:
            id_: a service point, else a meter; ``kind`` (service_point or meter) decides where it is both.
            from_: a moment, or a date: the start of that day in ``zone``.
            to: likewise, exclusive.
            channel: one channel, or ``electricity``: the sum of its import registers; None: all that there are.
            step: interval, 15min, hour, day or month of a clock in ``zone``.
            zone: IANA name.
            gaps: ``keep`` lists empty slots too, ``drop`` leaves them out.
            kind: what the id is, where that is not clear.
            as_of: a version or a moment: the answer as it was then.
            within: times (s since 1970 UTC) beyond which nothing shows, not even which channels there are.

        Raises:
            NotFound: nothing is known of the id.
            Invalid: an option is not one of those above, or values are longer than the step.

        """
        start, stop = _span(from_, to, zone)
        who = self._subject(id_, kind, within)
        asked = single.Asked(id=id_, start=start, stop=stop, zone=zone, step=step, channel=channel, gaps=gaps)
        answer = single.history(self._some(as_of, who, (start, stop)), who.pieces, asked)
        if not answer.listings and self._states.live is not None:
            # all that is live of it may be elsewhere in time, and says then what is expected here
            answer = single.history(self._some(as_of, who, ALWAYS), who.pieces, asked)
        if within is not None:
            return self._shown(answer, as_of, who, channel)
        if not answer.listings:
            self._check_known(who, id_, channel)
        return answer

    def _subject(self, id_: str, kind: str | None, within: Sequence[Span] | None) -> Subject:
        who = self._subjects.subject(id_, kind)
        return who if within is None else who._replace(pieces=single.held(who.pieces, within))

    def _shown(self, answer: History, as_of: Version | None, who: Subject, channel: str | None) -> History:
        """Leave out what is empty because nothing was ever read of it in the time that shows."""
        if all(listing.filled.any() for listing in answer.listings):
            return answer
        known = single.shown(self._some(as_of, who, ALWAYS), who.pieces, channel)
        kept = (one for one in answer.listings if one.channel in known or one.filled.any())
        return replace(answer, listings=tuple(kept))

    def _some(self, as_of: Version | None, who: Subject, span: tuple[int, int]) -> View:
        meters = [piece.meter for piece in who.pieces]
        if as_of is None:
            return self._states.of_meters(meters, span)
        return self._states.then(as_of, meters, span)

    def _check_known(self, who: Subject, id_: str, channel: str | None) -> None:
        """Raise where an empty answer is the question's fault; a registered meter may simply have no readings."""
        view = self._some(None, who, ALWAYS)
        held = [view.nearest(piece.meter, 0) for piece in who.pieces]
        codes = {int(code) for rows in held for code in np.unique(rows.rows["channel"])}
        names = sorted(view.memory.channels.names[code] for code in codes)
        if names and not any(single.asked_name(channel, name) for name in names):
            raise NotFound(f"{id_} has no channel {channel}: it has {', '.join(names)}")
        if not names and not who.registered:
            raise NotFound(
                f"no meter or service point {id_} in {self._lake.url}: the view `meters` of `meterlake sql` "
                "lists those that there are"
            )

    def usage(  # noqa: PLR0913 - the options of one question, all by name
        self, id_: str, *, until: str | date | None = None, ranges: Sequence[str] = RANGES,
        channel: str | None = None, zone: str | None = None, kind: str | None = None, as_of: Version | None = None,
        within: Sequence[Span] | None = None,
    ) -> Usage:  # fmt: skip
        """Sums over ranges that end at ``until``, each with the sum of the equal period directly before it.

        Args:
            id_: a service point, else a meter.
            until: a date, exclusive; None: the end of the lake's last complete day in the zone, or of the
                last that the live readings of the meter complete.
            ranges: a number and d, w, m or y: days, weeks, calendar months, years back.
            channel: one channel, or ``electricity``: the sum of its import registers; None: all that there are.
            zone: IANA name; None: the service point's, else UTC.
            kind: service_point or meter, where the id is both.
            as_of: a version or a moment: the answer as it was then.
            within: times (s since 1970 UTC) beyond which nothing shows, not even which channels there are.

        Raises:
            NotFound: nothing is known of the id, or the lake is empty and ``until`` is not given.
            Invalid: a range, date or zone cannot be read.

        """
        who = self._subject(id_, kind, within)
        zone = zone or who.zone
        day = self._last_day(self._some(as_of, who, ALWAYS), zone, within) if until is None else _date(until)
        stop = day_start(zone, day)
        spans = {}
        for name in ranges:
            first = back(day, name)
            low = day_start(zone, first)
            spans[name] = ((low, stop), (day_start(zone, back(first, name)), low))
        if not spans:
            raise Invalid(f"no ranges: write some, such as {','.join(RANGES)}")
        begin = min(before[0] for _, before in spans.values())
        view = self._some(as_of, who, (begin, stop))
        channels = single.usage(view, who.pieces, spans, channel)
        if not channels and self._states.live is not None:
            # all that is live of it may be elsewhere in time, and says then what is expected here
            channels = single.usage(self._some(as_of, who, ALWAYS), who.pieces, spans, channel)
        if within is not None:
            channels = self._used(channels, as_of, who, channel)
        elif not channels:
            self._check_known(who, id_, channel)
        return Usage(id=id_, zone=zone, until=stop, version=view.version, channels=channels)

    def _used(
        self, channels: dict[str, dict[str, tuple[Figure, Figure]]], as_of: Version | None, who: Subject,
        channel: str | None,
    ) -> dict[str, dict[str, tuple[Figure, Figure]]]:  # fmt: skip
        """Leave out channels of which nothing was ever read in the time that shows."""
        used = (
            any(figure.passport.filled for pair in one.values() for figure in pair)
            for one in channels.values()
        )
        if all(used):
            return channels
        known = single.shown(self._some(as_of, who, ALWAYS), who.pieces, channel)
        return {name: found for name, found in channels.items() if name in known}

    def cost(
        self, id_: str, from_: Moment, to: Moment, *, terms: Sequence[Term], zone: str | None = None,
        within: Sequence[Span] | None = None,
    ) -> Costs:  # fmt: skip
        """What a service point costs from ``from_`` to before ``to``, by channel, each reading counted once.

        Args:
            id_: a service point.
            from_: a moment, or a date: the start of that day in ``zone``.
            to: likewise, exclusive.
            terms: its tariffs, each for a time; their prices hold by the clock of the place.
            zone: IANA name; None: the service point's.
            within: times (s since 1970 UTC) beyond which nothing shows, not even which channels there are.

        Raises:
            NotFound: nothing is known of the id.
            Invalid: a moment or zone cannot be read, or there are two currencies in that time.

        """
        zone = zone or self._subject(id_, "service_point", within).zone
        return self.costs(id_, {"": _span(from_, to, zone)}, terms=terms, zone=zone, within=within)[""]

    def costs(
        self, id_: str, spans: Mapping[str, Span], *, terms: Sequence[Term], zone: str,
        within: Sequence[Span] | None = None,
    ) -> dict[str, Costs]:  # fmt: skip
        """`cost` of several spans (s since 1970 UTC, half open) by name, at once."""
        who = self._subject(id_, "service_point", within)
        window = min(start for start, _ in spans.values()), max(stop for _, stop in spans.values())
        asked = spending.Asked(id=id_, zone=zone, clock=who.zone, terms=terms)
        found = spending.costs(self._some(None, who, window), who.pieces, asked, spans)
        if within is None or all(cost.found for one in found.values() for cost in one.channels.values()):
            return found
        known = single.shown(self._some(None, who, ALWAYS), who.pieces, None)
        return {name: one.of(known) for name, one in found.items()}

    def _last_day(self, view: View, zone: str, within: Sequence[Span] | None) -> date:
        """Date after the last local day that is over by the last reading of the lake, or the meter's last live one.

        It is not after the day in which the last of the times ``within`` ends.
        """
        live = None if view.overlay is None else view.overlay.end(int(time.time()))
        try:
            files = self._states.files(view.version)
        except NotFound:
            files = view
        ends = [] if live is None else [live]
        if files.files or live is None:
            ends.append(files.end(ENDS_READ))
        last = local_date(zone, max(ends))
        ended = max((stop for _, stop in within or ()), default=ALWAYS[1])
        return last if ended >= ALWAYS[1] else min(last, local_date(zone, ended - 1) + timedelta(days=1))

    # -- all meters ----------------------------------------------------------------------------------

    def snapshot(self, at: Moment, *, zone: str = "UTC", as_of: Version | None = None) -> Rows:
        """Value of every meter-channel in the interval that holds ``at``; null where that slot is empty."""
        moment = seconds_of(at, zone, "at")
        view = self._all(as_of, (moment, moment + 1))
        found = meters.at_moment(view, moment, self._atlas.places((), 1))
        names = _names(view)
        channel = names.take(pa.array(found.channel))
        table = pa.table(
            {
                "meter": _texts(found.meter),
                "channel": channel,
                "start": moments(found.start, zone),
                "seconds": pa.array(found.seconds),
                "value": decimals(found.amount, found.filled),
                "amount": pa.array(found.amount, mask=~found.filled),
                "unit": _units(view).take(pa.array(found.channel)),
                "quality": QUALITIES.take(pa.array(found.quality)),
            }
        )
        return Rows(table=table, zone=zone, head={"at": text_of(moment, zone), "version": view.version})

    def fleet(  # noqa: PLR0913 - the options of one question, all by name
        self, from_: Moment, to: Moment, *, step: str = "interval", by: Sequence[str] = ("channel",),
        region_digits: int = 5, zone: str = "UTC", as_of: Version | None = None,
    ) -> Rows:  # fmt: skip
        """Totals of all meters by channel and step, with the slots expected and filled.

        Args:
            from_: a moment, or a date in ``zone``.
            to: likewise, exclusive.
            step: interval, 15min, hour, day or month of a clock in ``zone``.
            by: any of channel, region and class; the channel always splits, because units differ.
            region_digits: how many characters of the geohash make a region.
            zone: IANA name.
            as_of: a version or a moment: the answer as it was then.

        Raises:
            Invalid: an option is not one of those above, or values are longer than the step.

        """
        span = _span(from_, to, zone)
        return self.reports.fleet(span, step=step, by=by, digits=region_digits, zone=zone, as_of=as_of)

    def top(  # noqa: PLR0913 - the options of one question, all by name
        self, from_: Moment, to: Moment, n: int | None = 10, *, by: str = "meter", channel: str | None = None,
        region_digits: int = 5, zone: str = "UTC", as_of: Version | None = None,
    ) -> Rows:  # fmt: skip
        """The ``n`` largest totals of each channel, by meter or region; None: all of them.

        Raises:
            Invalid: ``by`` is neither meter nor region, or ``n`` is below 1.

        """
        span = _span(from_, to, zone)
        return self.reports.top(span, n, by=by, channel=channel, digits=region_digits, zone=zone, as_of=as_of)

    def sources(self, id_: str, from_: Moment, to: Moment, *, zone: str = "UTC") -> Mapping[int, int]:
        """Count the readings that stand for a meter on the days of a span, by number of the delivery that brought them.

        Raises:
            NotFound: nothing is known of the meter.
            Invalid: a moment or zone cannot be read.

        """
        start, stop = _span(from_, to, zone)
        who = self._subject(id_, "meter", None)
        counts = sources.winners(
            self._some(None, who, (start, stop)), [p.meter for p in who.pieces], start, stop
        )
        if not counts:
            self._check_known(who, id_, None)
        return counts

    # -- groups of homes -----------------------------------------------------------------------------

    def aggregates(  # noqa: PLR0913 - the options of one question, all by name
        self, from_: Moment, to: Moment, *, step: str = "day", by: Sequence[str] = ("region", "class"),
        region_digits: int = 4, channel: str | None = None, zone: str = "UTC",
    ) -> Rows:  # fmt: skip
        """Sums of the registered homes of closed months, for those who may see none: see `disclose`.

        Args:
            from_: the start of a step, as a moment or a date in ``zone``.
            to: likewise, exclusive.
            step: hour, day or month of a clock in ``zone``.
            by: any of region and class.
            region_digits: how many characters of the geohash make a region, 1 to 5.
            channel: one channel; None: all.
            zone: IANA name.

        Raises:
            Invalid: an option is not one of those above.

        """
        start, stop = _span(from_, to, zone)
        asked = groups.Asked(start=start, stop=stop, zone=zone, step=step)
        return self._groups.aggregates(asked, by, region_digits, channel)

    def prepare_groups(self, zone: str) -> None:
        """Make the sums of the last closed month in ``zone``, so that who asks for them first does not wait."""
        self._groups.prepare(zone)

    def neighbours(  # noqa: PLR0913 - the options of one question, all by name
        self, id_: str, from_: Moment, to: Moment, *, channel: str, step: str = "day", zone: str | None = None,
        within: Sequence[Span] | None = None,
    ) -> groups.Neighbours:  # fmt: skip
        """Values of a service point by day or month beside the mean of the others of its class nearby.

        Args:
            id_: a service point.
            from_: the start of a step, as a moment or a date in ``zone``.
            to: likewise, exclusive.
            channel: one channel.
            step: day or month of a clock in ``zone``.
            zone: IANA name; None: the service point's.
            within: times (s since 1970 UTC) beyond which nothing shows.

        Raises:
            Invalid: an option is not one of those above.

        """
        zone = zone or self._subjects.subject(id_, "service_point").zone
        start, stop = _span(from_, to, zone)
        asked = groups.Asked(start=start, stop=stop, zone=zone, step=step)
        groups.check(asked)
        values = self.history(id_, from_, to, step=step, zone=zone, kind="service_point").listings
        stays = [] if self._registry is None else self._registry.installations(id_).to_pylist()
        place: dict[str, Any] = next((row for row in stays if row["service_point_id"] == id_), {})
        home = groups.Home(
            id=id_, class_=place.get("class"), geohash=place.get("geohash"), within=within,
            values=next((one for one in values if one.channel == channel), None),
        )  # fmt: skip
        return self._groups.neighbours(asked, home, channel)


def _span(from_: Moment, to: Moment, zone: str) -> tuple[int, int]:
    start, stop = seconds_of(from_, zone, "from"), seconds_of(to, zone, "to")
    arrow_zone(zone)
    if start >= stop:
        raise Invalid(f"from {from_} is not before to {to}: the end is exclusive, so it must be later")
    return start, stop


def _date(until: str | date) -> date:
    if isinstance(until, datetime):
        raise Invalid(f"until {until}: write a date, such as 2026-01-31")
    if isinstance(until, date):
        return until
    try:
        return date.fromisoformat(until)
    except ValueError:
        raise Invalid(f"until {until!r} is no date: write 2026-01-31") from None


def _texts(names: Array) -> pa.Array:
    return pa.array(names.tolist(), pa.binary()).cast(pa.string())


def _names(view: View) -> pa.Array:
    return pa.array(view.memory.channels.names, pa.string())


def _units(view: View) -> pa.Array:
    return pa.array([unit_of(name) for name in view.memory.channels.names], pa.string())
