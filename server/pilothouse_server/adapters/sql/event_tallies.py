"""Counting events by type and severity, with what each choice of these would give.

What a filter says of time, type and severity only is counted exactly, from the counts of minutes and the events of the
minutes at both ends. Anything else is counted by looking, newest first, for as long as an answer may take.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, Subquery, and_, case, func, select, text, true

from pilothouse_server.adapters.sql import event_counts
from pilothouse_server.adapters.sql.event_counts import MINUTE_US
from pilothouse_server.adapters.sql.event_lists import (
    LOOK,
    Parts,
    Search,
    Window,
    columns_of,
    held,
    parts_of,
    windows,
)
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.tables_events import LATE
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.domain.filters import (
    EVERYTHING,
    And,
    Filter,
    fields_of,
    matches,
    without,
)

PATIENCE: Final = 0.06
"""Seconds that counting by looking takes, and events that it looks at, at most."""
MOST_LOOKED: Final = 200_000
MOST_AT_EDGES: Final = 60_000
"""Places of one minute that are looked at, and as many late events."""

_KINDS: Final = frozenset({"type", "severity"})
Kinds = Mapping[tuple[int, int], int]
"""How many there are, by type and severity."""


@dataclass
class Tally:
    """What was counted."""

    chosen: dict[tuple[int, int], int]
    any_type: dict[tuple[int, int], int]
    """Without what the filter says of the type; and of the severity."""
    any_severity: dict[tuple[int, int], int]
    down_to: int | None = None
    """The place down to which it was counted; None: all of them."""


def tally(connection: Connection, tree: Filter, within: Window) -> Tally:
    """Counts what fulfils the filter."""
    parts = parts_of(tree)
    if parts.rest == EVERYTHING:
        return _exactly(connection, parts, within)
    return _by_looking(connection, tree, parts, within)


def _exactly(connection: Connection, parts: Parts, within: Window) -> Tally:
    since_us, until_us = parts.since_us, parts.until_us
    begin_us = None if since_us is None else -(-since_us // MINUTE_US) * MINUTE_US
    end_us = None if until_us is None else (until_us + 1) // MINUTE_US * MINUTE_US
    edges: list[Parts] = []
    total: dict[tuple[int, int], int] = {}
    if begin_us is not None and end_us is not None and begin_us > end_us:
        edges.append(parts)
    else:
        total = event_counts.counts(connection, begin_us, end_us)
        if since_us is not None and since_us != begin_us:
            edges.append(Parts(since_us, (begin_us or 0) - 1))
        if until_us is not None and until_us + 1 != end_us:
            edges.append(Parts(end_us, until_us))
    down_to: int | None = None
    for edge in edges:
        for window in windows(connection, Parts(edge.since_us, edge.until_us), within):
            some = _newest_of(connection, window)
            if some != window:
                down_to = max(some.low, down_to or 0)
            _add(total, connection, _of_edge(edge, some))
    return Tally(
        _those(total, parts.kinds),
        _those(total, without(parts.kinds, "type")),
        _those(total, without(parts.kinds, "severity")),
        down_to,
    )


def _newest_of(connection: Connection, window: Window) -> Window:
    """As much of it as is looked at. Late events of one minute can be anywhere among all late ones."""
    if not window.late:
        return window._replace(low=max(window.low, window.high - MOST_AT_EDGES + 1))
    place = EVENTS.c.position
    query = select(place).where(text(LATE), held(window)).order_by(place.desc())
    low: int | None = connection.execute(query.offset(MOST_AT_EDGES).limit(1)).scalar()
    return window if low is None else window._replace(low=low + 1)


def _of_edge(edge: Parts, window: Window) -> Select[Any, Any, int]:
    occur_us, kinds = EVENTS.c.occur_us, (EVENTS.c.type, EVENTS.c.severity)
    return (
        select(*kinds, func.count())
        .where(
            held(window),
            text(LATE) if window.late else true(),
            and_(occur_us >= edge.since_us, occur_us <= edge.until_us),
        )
        .group_by(*kinds)
    )


def _add(
    total: dict[tuple[int, int], int], connection: Connection, counted: Select[Any, Any, int]
) -> None:
    for row in connection.execute(counted):
        kind, severity, count = map(int, row)
        total[kind, severity] = total.get((kind, severity), 0) + count


def _those(total: Kinds, kinds: Filter) -> dict[tuple[int, int], int]:
    def fulfils(kind: int, severity: int) -> bool:
        return matches(kinds, {"type": kind, "severity": severity}.get)

    return {key: count for key, count in total.items() if fulfils(*key)}


def _by_looking(connection: Connection, tree: Filter, parts: Parts, within: Window) -> Tally:
    begun, looked = time.perf_counter(), 0
    found = Tally({}, {}, {})
    search = Search(connection, _sought(parts), within, first_look=LOOK)
    for look in search.looks():
        search.found = _count(connection, found, tree, look.rows)
        looked += look.events
        if look.end is None:
            return found
        if looked >= MOST_LOOKED or time.perf_counter() - begun > PATIENCE:
            found.down_to = look.end
            return found
    return found


def _sought(parts: Parts) -> Parts:
    """What has to be fulfilled whatever is chosen of types and severities."""
    rest = parts.rest.terms if isinstance(parts.rest, And) else (parts.rest,)
    others = tuple(term for term in rest if not fields_of(term) & _KINDS)
    return Parts(parts.since_us, parts.until_us, EVERYTHING, And(others))


def _count(connection: Connection, found: Tally, tree: Filter, rows: Subquery) -> int:
    columns = columns_of(dict(rows.c.items()))
    kinds = (rows.c.type, rows.c.severity)
    trees = (tree, without(tree, "type"), without(tree, "severity"))
    # Mostly they are one and the same, and what takes long is to judge an event.
    different = list(dict.fromkeys(trees))
    sums = [func.sum(case((clause_of(each, columns), 1), else_=0)) for each in different]
    most = 0
    for row in connection.execute(select(*kinds, *sums).group_by(*kinds)):
        kind, severity, *counts = map(int, row)
        held_in = (found.chosen, found.any_type, found.any_severity)
        for total, of in zip(held_in, trees, strict=True):
            count = counts[different.index(of)]
            if count:
                total[kind, severity] = total.get((kind, severity), 0) + count
        most += max(counts)
    return most


def by_type(counted: Kinds) -> dict[int, int]:
    """Added up, most first."""
    total = _added((kind, count) for (kind, _), count in counted.items())
    return dict(sorted(total.items(), key=lambda each: (-each[1], each[0])))


def by_severity(counted: Kinds) -> dict[int, int]:
    """Added up, the gravest first."""
    total = _added((severity, count) for (_, severity), count in counted.items())
    return dict(sorted(total.items(), reverse=True))


def _added(counts: Iterable[tuple[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for key, count in counts:
        total[key] = total.get(key, 0) + count
    return total
