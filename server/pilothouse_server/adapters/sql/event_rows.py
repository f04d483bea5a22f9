"""Rows of events: each event once, at a place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.events import Event


class Arrived(NamedTuple):
    """An event of the log."""

    event: Event
    payload: bytes
    cursor: str


def newest_position(connection: Connection) -> int:
    """The place of the newest event; 0 when there is none."""
    newest: int | None = connection.execute(select(func.max(EVENTS.c.position))).scalar()
    return newest or 0


def add(connection: Connection, arrived: Sequence[Arrived]) -> list[Event]:
    """Stores those that are new, in order; returns them."""
    first: dict[str, Arrived] = {}
    for arrival in arrived:
        first.setdefault(arrival.event.id, arrival)
    for known in _known(connection, first):
        del first[known]
    if first:
        start = newest_position(connection) + 1
        rows = [_row(arrival, place) for place, arrival in enumerate(first.values(), start)]
        bulk.insert(connection, EVENTS, rows)
    return [arrival.event for arrival in first.values()]


def _known(connection: Connection, ids: Iterable[str]) -> list[str]:
    known: list[str] = []
    for some in slices(ids):
        known.extend(connection.execute(select(EVENTS.c.id).where(EVENTS.c.id.in_(some))).scalars())
    return known


def _row(arrival: Arrived, position: int) -> tuple[object, ...]:
    """In the order of the table's columns."""
    event = arrival.event
    # A text with a NUL is cut there by some of the database's functions, and refused by others.
    message = event.message.replace("\0", "\ufffd") if "\0" in event.message else event.message
    return (
        position, event.id, arrival.cursor, event.type, event.severity, event.occur_us, event.receive_us, event.source,
        event.workflow_id, event.workflow_type, event.stage, event.task_id, event.agent_id, event.agent_type,
        event.trace_id, message, arrival.payload,
    )  # fmt: skip
