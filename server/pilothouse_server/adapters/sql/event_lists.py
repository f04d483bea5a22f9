"""Looking for events in bounded time, however many there are and whatever is asked.

A look takes some events, in order of their places, that may fulfil a filter; whoever asks sees which do, and stops when
there are enough or it took too long: what is left comes with the next page, which goes on from there. Where to look:

- along the index of a workflow, trace or agent that is stated;
- among all events next to one another, as long as many of them fulfil the filter: first of all the newest;
- otherwise where the index of terms finds some, one bucket of places after another.

A range of time is one of places, by the counts of minutes; late events are looked for outside of it, among their like.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    literal,
    select,
    text,
    type_coerce,
    union,
)

from pilothouse_server.adapters.sql import bulk, event_counts, event_search
from pilothouse_server.adapters.sql.filters import Columns, Prose, clause_of
from pilothouse_server.adapters.sql.tables_events import LATE
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.domain.event_fields import EVENT_FIELDS, WORDS
from pilothouse_server.domain.filters import EVERYTHING, And, Compare, Filter, Or, fields_of

FIRST_LOOK: Final = 512
LOOK: Final = 4_096
"""Events of one look, at first and later."""
FOUND_AT_ONCE: Final = 500
"""Events that the index of terms is asked for at once."""
PATIENCE: Final = 0.04
"""Seconds after which a page is given as it is; so many looks are taken in any case:"""
LEAST_LOOKS: Final = 2
PACE: Final = 0.005
"""Seconds that one question to the index of terms is to take: of more buckets at once, or fewer."""
MANY: Final = 32
"""One in so many fulfils a filter: then the next that do are soon found by looking at all."""

_C = EVENTS.c
_KINDS: Final = frozenset({"type", "severity"})
_ALONG: Final = ("id", "workflow_id", "trace_id", "agent_id")
"""Fields with an index of places."""


def columns_of(rows: Columns) -> dict[str, ColumnElement[Any]]:
    """For each field its column in rows of events."""
    fields = {
        name: rows["occur_us" if name == "occur_time" else name] for name in EVENT_FIELDS.fields
    }
    return fields | {WORDS: type_coerce(rows["message"], Prose())}


FILTERED: Final = columns_of(dict(_C.items()))
_SHOWN: Final = [
    _C[name] for name in dict.fromkeys(("position", "type", "severity", "occur_us", "id", *(
        name for name in EVENT_FIELDS.fields if name != "occur_time"
    )))
]  # fmt: skip
"""What filters look at."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A filter in the parts that are answered in different ways; an event has to fulfil all of them."""

    since_us: int | None = None
    """Both ends are included."""
    until_us: int | None = None
    kinds: Filter = EVERYTHING
    """What it says of type and severity."""
    rest: Filter = EVERYTHING


def parts_of(tree: Filter) -> Parts:
    """What a filter says of time, of type and severity, and else."""
    since: list[int] = []
    until: list[int] = []
    kinds: list[Filter] = []
    rest: list[Filter] = []
    for term in tree.terms if isinstance(tree, And) else (tree,):
        match term:
            case Compare(field="occur_time", op="=", value=int(value)):
                since.append(value)
                until.append(value)
            case Compare(field="occur_time", op=">" | ">=" as op, value=int(value)):
                since.append(value + (op == ">"))
            case Compare(field="occur_time", op="<" | "<=" as op, value=int(value)):
                until.append(value - (op == "<"))
            case _ if fields_of(term) and fields_of(term) <= _KINDS:
                kinds.append(term)
            case _:
                rest.append(term)
    return Parts(
        max(since, default=None), min(until, default=None), And(tuple(kinds)), And(tuple(rest))
    )


class Window(NamedTuple):
    """Places that are looked at, both ends included; `late`: only the late events among them."""

    low: int
    high: int
    late: bool = False


def windows(connection: Connection, parts: Parts, within: Window) -> list[Window]:
    """Where events can be that fulfil what is said of time and kind, oldest first, none twice."""
    if parts.since_us is None and parts.until_us is None and parts.kinds == EVERYTHING:
        return [within] if within.low <= within.high else []
    found = event_counts.places(connection, parts.since_us, parts.until_us, parts.kinds)
    made: list[Window] = []
    if found.in_time is not None:
        made.append(Window(*found.in_time))
    if found.late is not None:
        low, high = found.late
        if made:
            first, last = made[0].low, made[0].high
            made = [Window(low, min(high, first - 1), True), *made]
            made.append(Window(max(low, last + 1), high, True))
        else:
            made = [Window(low, high, True)]
    held = [
        Window(max(each.low, within.low), min(each.high, within.high), each.late) for each in made
    ]
    return [each for each in held if each.low <= each.high]


class Look(NamedTuple):
    """Some events that may fulfil the filter."""

    rows: Subquery
    end: int | None
    """The last place that was looked at; None when there is nothing behind it."""
    events: int
    """How many there may be."""


@dataclass
class Search:
    """Looks for what fulfils a filter, in order of places. `found` is how many of the last look did: told by whoever
    asks."""

    connection: Connection
    parts: Parts
    within: Window
    ascending: bool = False
    first_look: int = FIRST_LOOK
    found: int = 0
    _windows: list[Window] = field(default_factory=list[Window])

    def looks(self) -> Iterator[Look]:
        """One after another, until everything was looked at."""
        self._windows = windows(self.connection, self.parts, self.within)
        if not self.ascending:
            self._windows.reverse()
        if not self._windows:
            return
        both = And((self.parts.kinds, self.parts.rest))
        streams = _streams(self.parts.rest)
        asked = event_search.asked_of(both)
        last = self._start()
        looks = self._along(streams) if streams else self._beside()
        for turn, look in enumerate(looks):
            yield look
            if look.end is None:
                return
            last = look.end
            if asked is not None and self._pays(look, turn, along=bool(streams)):
                yield from self._by_terms(asked, last)
                return

    def _pays(self, look: Look, turn: int, *, along: bool) -> bool:
        """Whether to ask the index of terms from here on."""
        return self.found * MANY < look.events and (not along or turn + 1 >= LEAST_LOOKS)

    def _start(self) -> int:
        """The place before the first one."""
        first = self._windows[0]
        return first.low - 1 if self.ascending else first.high + 1

    def _last(self) -> int:
        """The last place there is to look at."""
        last = self._windows[-1]
        return last.high if self.ascending else last.low

    def _along(self, streams: Sequence[tuple[str, str]]) -> Iterator[Look]:
        """Along the indexes of what is stated, newest or oldest first."""
        hull = Window(
            min(each.low for each in self._windows), max(each.high for each in self._windows)
        )
        count, key = self.first_look, self._start()
        while True:
            inner = self._merged(streams, hull, key, count)
            last = self._nth(inner, count)
            yield Look(inner.subquery("some"), last, count)
            if last is None:
                return
            key, count = last, LOOK

    def _merged(
        self, streams: Sequence[tuple[str, str]], hull: Window, key: int, count: int
    ) -> Select[Any]:
        some = [
            self._ordered(
                select(*_SHOWN).where(
                    _C[name] == value, _C[name] != "", held(hull), self._behind(_C.position, key)
                ),
                _C.position,
                count,
            )
            for name, value in streams
        ]
        if len(some) == 1:
            return some[0]
        named = [one.subquery(f"stream_{n}") for n, one in enumerate(some)]
        each = union(*map(select, named)).subquery("each_of")
        return self._ordered(select(each), each.c.position, count)

    def _beside(self) -> Iterator[Look]:
        """All events next to one another, and late ones among theirs."""
        count = self.first_look
        for at, window in enumerate(self._windows):
            left = at + 1 < len(self._windows)
            walk = self._late(window, count) if window.late else self._dense(window, count)
            for look in walk:
                count = LOOK
                end = look.end
                if end is None and left:
                    end = window.high if self.ascending else window.low
                yield look._replace(end=end)

    def _dense(self, window: Window, count: int) -> Iterator[Look]:
        low, high = window.low, window.high
        while low <= high:
            some = (
                Window(low, min(high, low + count - 1))
                if self.ascending
                else Window(max(low, high - count + 1), high)
            )
            if self.ascending:
                low = some.high + 1
            else:
                high = some.low - 1
            end = some.high if self.ascending else some.low
            rows = select(*_SHOWN).where(held(some)).subquery("some")
            yield Look(rows, end if low <= high else None, some.high - some.low + 1)
            count = LOOK

    def _late(self, window: Window, count: int) -> Iterator[Look]:
        key = window.low - 1 if self.ascending else window.high + 1
        while True:
            query = select(*_SHOWN).where(text(LATE), held(window), self._behind(_C.position, key))
            inner = self._ordered(query, _C.position, count)
            last = self._nth(inner, count)
            yield Look(inner.subquery("some"), last, count)
            if last is None:
                return
            key, count = last, LOOK

    def _by_terms(self, asked: event_search.Asked, behind: int) -> Iterator[Look]:
        """Where the index finds what is asked for, behind a place."""
        bits, step = event_search.BUCKET_BITS, 1 if self.ascending else -1
        most = max(1, event_search.TERMS_AT_ONCE // event_search.count_of(asked))
        bucket, last = (behind + step) >> bits, self._last() >> bits
        span = 1
        while (last - bucket) * step >= 0:
            begun = time.perf_counter()
            stop = bucket + step * min(span, (last - bucket) * step + 1)
            some = event_search.found(
                self.connection, asked, range(bucket, stop, step), behind, FOUND_AT_ONCE
            )
            if len(some) == FOUND_AT_ONCE:
                behind, span, quick = some[-1], 1, False
                bucket = behind >> bits
            else:
                behind = (stop << bits) - 1 if self.ascending else (stop + 1) << bits
                bucket = stop
                quick = time.perf_counter() - begun < PACE and len(some) < FOUND_AT_ONCE // 4
                span = min(2 * span, most) if quick else max(1, span // 2)
            ended = (last - bucket) * step < 0
            if some or ended or not quick or span == most:
                rows = select(*_SHOWN).where(
                    held(self.within), bulk.among(self.connection, [_C.position], some or [0])
                )
                yield Look(rows.subquery("some"), None if ended else behind, len(some))

    def _behind(self, column: ColumnElement[Any], key: int) -> ColumnElement[bool]:
        at = literal(key, BigInteger)
        return column > at if self.ascending else column < at

    def _ordered(self, query: Select[Any], column: ColumnElement[Any], count: int) -> Select[Any]:
        return query.order_by(column.asc() if self.ascending else column.desc()).limit(count)

    def _nth(self, inner: Select[Any], count: int) -> int | None:
        """The place of the last of so many; None when there are fewer."""
        rows = inner.subquery("some")
        query = self._ordered(select(rows.c.position), rows.c.position, 1).offset(count - 1)
        place: int | None = self.connection.execute(query).scalar()
        return place


@dataclass
class EventList:
    """One page; `now` is a clock in seconds that only goes forward."""

    search: Search
    tree: Filter
    size: int
    patience: float = PATIENCE
    now: Callable[[], float] = time.perf_counter
    places: list[int] = field(default_factory=list[int])
    end: int | None = None
    """Behind which place the next page begins; None where nothing is left."""
    looked: bool = False
    """Whether the page ended although it is not full."""

    def look(self) -> None:
        """Finds the page."""
        begun = self.now()
        for turn, look in enumerate(self.search.looks()):
            self.search.found = self._take(look.rows)
            if len(self.places) > self.size:
                self.places = self.places[: self.size]
                self.end = self.places[-1]
                return
            if look.end is None:
                return
            if turn + 1 >= LEAST_LOOKS and self.now() - begun > self.patience:
                self.end, self.looked = look.end, True
                return

    def _take(self, rows: Subquery) -> int:
        """Those of some events that fulfil the filter; returns how many."""
        place = rows.c.position
        query = (
            select(place)
            .where(clause_of(self.tree, columns_of(dict(rows.c.items()))))
            .order_by(place.asc() if self.search.ascending else place.desc())
            .limit(self.size + 1 - len(self.places))
        )
        found = list(self.search.connection.execute(query).scalars())
        self.places += found
        return len(found)


def held(window: Window) -> ColumnElement[bool]:
    """The events of a window."""
    low, high = literal(window.low, BigInteger), literal(window.high, BigInteger)
    return and_(_C.position >= low, _C.position <= high)


def _streams(tree: Filter) -> list[tuple[str, str]]:
    """Indexes along which all that can fulfil a filter is found: its fields and values; the most telling ones."""
    best: list[tuple[str, str]] = []
    for term in tree.terms if isinstance(tree, And) else (tree,):
        some = [_stream(each) for each in (term.terms if isinstance(term, Or) else (term,))]
        known = [each for each in some if each is not None]
        if known and len(known) == len(some) and (not best or _rank(known) < _rank(best)):
            best = known
    return best


def _stream(term: Filter) -> tuple[str, str] | None:
    match term:
        case Compare(field=name, op="=", value=str(value)) if name in _ALONG and value:
            return name, value
        case _:
            return None


def _rank(streams: Sequence[tuple[str, str]]) -> int:
    return max(_ALONG.index(name) for name, _ in streams)
