"""How many events there are of each minute, hour and day, by type and severity; kept in the transactions that store and
remove events, so that a range of time is counted, and its places are found, without looking at its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, true

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.tables_events import EVENT_COUNTS, LATE_US
from pilothouse_server.domain.filters import EVERYTHING, Filter

MINUTE_US: Final = 60_000_000
SIZES: Final = (MINUTE_US, 60 * MINUTE_US, 1440 * MINUTE_US)
"""How long a minute, an hour and a day are."""

_C = EVENT_COUNTS.c
_KINDS: Final = {"type": _C.type, "severity": _C.severity}
_ADDED: Final = (("count", "sum"), ("first_position", "least"), ("last_position", "greatest"))
_TAKEN: Final = (("count", "sum"), ("first_position", "greatest"))


class Counted(NamedTuple):
    """What is counted of an event."""

    position: int
    occur_us: int
    receive_us: int
    type: int
    severity: int


class Places(NamedTuple):
    """Where the events of a range of time are; None where there are none."""

    in_time: tuple[int, int] | None
    late: tuple[int, int] | None


def add(connection: Connection, events: Iterable[Counted]) -> None:
    """Counts events that are stored, in the transaction that stores them."""
    bulk.merge(connection, EVENT_COUNTS, rows_of(events), _ADDED)


def remove(connection: Connection, events: Sequence[Counted]) -> None:
    """Counts events that are removed no more; they are the oldest, without a hole."""
    if not events:
        return
    last = max(event.position for event in events)
    rows = [(*key, -count, last + 1, 0) for *key, count, _, _ in rows_of(events)]
    bulk.merge(connection, EVENT_COUNTS, rows, _TAKEN)
    connection.execute(delete(EVENT_COUNTS).where(_C.count <= 0, _touched(rows)))


def places(
    connection: Connection,
    since_us: int | None = None,
    until_us: int | None = None,
    kinds: Filter = EVERYTHING,
) -> Places:
    """Where the events are that happened from one moment to another, both included, and are of such types and
    severities. Nothing of the kind is anywhere else."""
    wanted = clause_of(kinds, _KINDS)
    found: dict[int, tuple[int, int]] = {}
    for span in _spans(
        None if since_us is None else since_us // MINUTE_US * MINUTE_US,
        None if until_us is None else (until_us // MINUTE_US + 1) * MINUTE_US,
    ):
        query = (
            select(_C.late, func.min(_C.first_position), func.max(_C.last_position))
            .where(span.clause, wanted)
            .group_by(_C.late)
        )
        for late, first, last in connection.execute(query):
            before = found.get(late, (first, last))
            found[late] = min(first, before[0]), max(last, before[1])
    return Places(found.get(0), found.get(1))


def counts(
    connection: Connection, begin_us: int | None, end_us: int | None
) -> dict[tuple[int, int], int]:
    """By type and severity, of all events from one border of minutes up to another, which is not included."""
    total: dict[tuple[int, int], int] = {}
    for span in _spans(begin_us, end_us):
        query = (
            select(_C.type, _C.severity, func.sum(_C.count))
            .where(span.clause)
            .group_by(_C.type, _C.severity)
        )
        for kind, severity, count in connection.execute(query):
            total[kind, severity] = total.get((kind, severity), 0) + int(count)
    return total


class _Span(NamedTuple):
    """Whole minutes, hours or days."""

    level: int
    begin_us: int | None
    end_us: int | None

    @property
    def clause(self) -> ColumnElement[bool]:
        return and_(
            _C.level == self.level,
            true() if self.begin_us is None else _C.start_us >= self.begin_us,
            true() if self.end_us is None else _C.start_us < self.end_us,
        )


def _spans(begin_us: int | None, end_us: int | None, level: int = 0) -> Iterator[_Span]:
    """The fewest whole minutes, hours and days that make up the range, whose borders are those of minutes."""
    if begin_us is not None and end_us is not None and begin_us >= end_us:
        return
    if level == len(SIZES) - 1:
        yield _Span(level, begin_us, end_us)
        return
    size = SIZES[level + 1]
    inner = None if begin_us is None else -(-begin_us // size) * size
    outer = None if end_us is None else end_us // size * size
    if inner is not None and outer is not None and inner >= outer:
        # Nothing whole of the larger ones fits in.
        yield _Span(level, begin_us, end_us)
        return
    if begin_us is not None and begin_us != inner:
        yield _Span(level, begin_us, inner)
    yield from _spans(inner, outer, level + 1)
    if end_us is not None and end_us != outer:
        yield _Span(level, outer, end_us)


def rows_of(events: Iterable[Counted]) -> list[tuple[int, ...]]:
    """What is added for some events, in the order of the table's columns and of its keys."""
    found: dict[tuple[int, int, int, int, int], list[int]] = {}
    for position, occur_us, receive_us, kind, severity in events:
        late = int(occur_us < receive_us - LATE_US)
        start_us = occur_us // MINUTE_US * MINUTE_US
        _count(found, (0, start_us, late, kind, severity), (1, position, position))
    for (_, start_us, *rest), (count, first, last) in list(found.items()):
        for level in (1, 2):
            begun = start_us // SIZES[level] * SIZES[level]
            late, kind, severity = rest
            _count(found, (level, begun, late, kind, severity), (count, first, last))
    return [(*key, *found[key]) for key in sorted(found)]


def _count(
    found: dict[tuple[int, int, int, int, int], list[int]],
    key: tuple[int, int, int, int, int],
    value: tuple[int, int, int],
) -> None:
    held = found.get(key)
    if held is None:
        found[key] = list(value)
        return
    held[0] += value[0]
    held[1] = min(held[1], value[1])
    held[2] = max(held[2], value[2])


def _touched(rows: Sequence[tuple[int, ...]]) -> ColumnElement[bool]:
    """The moments of these rows."""
    starts = sorted({row[1] for row in rows})
    return and_(_C.level.in_((0, 1, 2)), _C.start_us.in_(starts))
