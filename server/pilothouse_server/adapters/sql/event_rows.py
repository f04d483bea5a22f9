"""Rows of events: each event once, at a place of its own.

Places are counted by a row that the writing transaction keeps locked until it commits, so that they are dense, and that
nobody ever sees a place before those below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from pilothouse_server.adapters.sql import bulk, event_counts, event_search
from pilothouse_server.adapters.sql.event_counts import Counted
from pilothouse_server.adapters.sql.event_search import Said
from pilothouse_server.adapters.sql.revisions import POSITION, newest, reserve
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.events import Event


class Arrived(NamedTuple):
    """An event of the log."""

    event: Event
    payload: bytes
    cursor: str


def arrived(event: Event, payload: bytes, cursor: str) -> Arrived:
    """An event of the log, with U+FFFD for each NUL: PostgreSQL holds none, and functions of SQLite end there. Both
    are to know a workflow by the same name."""
    if b"\0" in payload:
        event = Event._make(
            each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in event
        )
    return Arrived(event, payload, cursor)


def newest_position(connection: Connection) -> int:
    """The place of the newest event that ever was; 0 when there was none."""
    return newest(connection, POSITION)


def fresh(connection: Connection, arrivals: Iterable[Arrived]) -> list[Arrived]:
    """Those that are not stored yet, each event once, in order."""
    first: dict[str, Arrived] = {}
    for arrival in arrivals:
        first.setdefault(arrival.event.id, arrival)
    for known in _known(connection, first):
        del first[known]
    return list(first.values())


def store(connection: Connection, arrivals: Sequence[Arrived]) -> None:
    """Stores what is not stored yet. Raises IntegrityError when somebody else stored one of them meanwhile."""
    places = reserve(connection, POSITION, len(arrivals))
    placed = [(each.event, place) for each, place in zip(arrivals, places, strict=True)]
    rows = [_row(*each) for each in zip(arrivals, places, strict=True)]
    bulk.insert(connection, EVENTS, rows)
    event_counts.add(
        connection,
        (
            Counted(place, event.occur_us, event.receive_us, event.type, event.severity)
            for event, place in placed
        ),
    )
    event_search.add(connection, (_said(event, place) for event, place in placed))


def remove(connection: Connection, floor: int, last: int) -> None:
    """Removes those behind the floor up to the last one, and what is kept of them elsewhere."""
    some = (EVENTS.c.position > floor, EVENTS.c.position <= last)
    columns = [EVENTS.c[name] for name in Counted._fields]
    rows = connection.execute(select(*columns).where(*some))
    event_counts.remove(connection, [Counted(*row) for row in rows])
    if not bulk.is_postgres(connection):
        said = connection.execute(select(*(EVENTS.c[name] for name in Said._fields)).where(*some))
        event_search.remove(connection, [Said(*row) for row in said])
    connection.execute(delete(EVENTS).where(*some))


def _known(connection: Connection, ids: Iterable[str]) -> list[str]:
    known: list[str] = []
    for some in slices(ids, bulk.keys_at_once(connection)):
        query = select(EVENTS.c.id).where(bulk.among(connection, [EVENTS.c.id], some))
        known.extend(connection.execute(query).scalars())
    return known


def _said(event: Event, place: int) -> Said:
    return Said(
        place, event.type, event.severity, event.source, event.workflow_type, event.stage, event.task_id,
        event.agent_id, event.agent_type, event.message,
    )  # fmt: skip


def _row(arrival: Arrived, position: int) -> bulk.Row:
    """In the order of the table's columns."""
    event = arrival.event
    return (
        position, event.id, arrival.cursor, event.type, event.severity, event.occur_us, event.receive_us, event.source,
        event.workflow_id, event.workflow_type, event.stage, event.task_id, event.agent_id, event.agent_type,
        event.trace_id, event.message, arrival.payload,
    )  # fmt: skip
