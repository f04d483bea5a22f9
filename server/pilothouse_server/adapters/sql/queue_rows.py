"""Rows of queues ⇄ records. Events of queues are all in the first shard of the log, so one projector writes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, func, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.tables_projection import QUEUES
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.events import QUEUE_TYPES, Event
from pilothouse_server.domain.projection.queue import QueueName, QueueRecord, queue_name

QUEUES_OF_AN_ENGINE: Final = 1_000
"""Queues of one engine that are kept; what it says of others is stored as events and nothing else."""

_KEY = (QUEUES.c.source, QUEUES.c.name, QUEUES.c.workflow_type, QUEUES.c.agent_type)


def load(connection: Connection, names: Collection[QueueName]) -> dict[QueueName, QueueRecord]:
    """The records of those that are known."""
    found: dict[QueueName, QueueRecord] = {}
    for some in slices(sorted(names), bulk.keys_at_once(connection)):
        query = select(*_KEY, QUEUES.c.record).where(bulk.among(connection, _KEY, some))
        for row in connection.execute(query).mappings():
            record = record_of(row)
            found[record.name] = record
    return found


def record_of(row: RowMapping) -> QueueRecord:
    """The record in a row."""
    name = QueueName(row["source"], row["name"], row["workflow_type"], row["agent_type"])
    return QueueRecord.loaded(name, row["record"])


def fold(connection: Connection, events: Sequence[Event]) -> None:
    """Folds what the events say of queues into the rows."""
    about = [event for event in events if event.type in QUEUE_TYPES and event.source]
    if not about:
        return
    records = load(connection, {queue_name(event) for event in about})
    room = _room(connection, {event.source for event in about})
    for event in about:
        name = queue_name(event)
        record = records.get(name)
        if record is None:
            if room[name.source] <= 0:
                continue
            room[name.source] -= 1
            record = records[name] = QueueRecord(name)
        record.apply(event)
    bulk.upsert(connection, QUEUES, [_row(record) for record in records.values()])


def _room(connection: Connection, sources: Collection[str]) -> dict[str, int]:
    """How many more queues each of these engines may have."""
    query = (
        select(QUEUES.c.source, func.count().label("count"))
        .where(QUEUES.c.source.in_(sorted(sources)))
        .group_by(QUEUES.c.source)
    )
    there: dict[str, int] = {row.source: row[1] for row in connection.execute(query)}
    return {source: QUEUES_OF_AN_ENGINE - there.get(source, 0) for source in sources}


def _row(record: QueueRecord) -> bulk.Row:
    """In the order of the table's columns."""
    state, since_us = int(record.state), record.since_us
    return (*record.name, state, since_us, record.heard_us, record.dump())
