"""Traces in the database: the events that they are made of, and lists of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, and_, case, select

from pilothouse_server.adapters.sql import bulk, command_store, removals, trace_lists
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.revisions import database_id
from pilothouse_server.adapters.sql.tables_projection import EVENTS, WORKFLOWS
from pilothouse_server.adapters.sql.tables_traces import TRACES
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.traces.facts import TOLD_OF
from pilothouse_server.ports import Clock
from pilothouse_server.services.traces import Background, Slice, Subject, TracePage
from pilothouse_server.services.views import PageRequest

AT_ONCE: Final = 4_096
"""Events of one slice, wanted or not."""
COMMANDS: Final = 1_000
"""The newest commands on a workflow, which tell who paused it and why."""

_C = EVENTS.c
_COMMANDS: Final = range(EventType.COMMAND_REQUESTED, EventType.COMMAND_EXPIRED + 1)
_WANTED: Final = _C.type.in_(sorted(TOLD_OF))
_PAYLOAD: Final = case((_WANTED, _C.payload)).label("payload")


class SqlTraces:
    """Implements `services.traces.TraceStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def subject(self, asked_id: str) -> Subject:
        return await self._database.read(lambda c: _subject(c, asked_id))

    async def after(self, subject: Subject, mark: int) -> Slice:
        return await self._database.read(lambda c: _after(c, subject, mark))

    async def background(self, subject: Subject) -> Background:
        return await self._database.read(lambda c: _background(c, subject))

    async def payloads(self, event_ids: Sequence[str]) -> Mapping[str, bytes]:
        return await self._database.read(lambda c: _payloads(c, event_ids))

    async def page(self, request: PageRequest) -> TracePage:
        asked = trace_lists.asked(request, self._clock.now_us())
        return await self._database.read(lambda c: trace_lists.page(c, asked))


def _subject(connection: Connection, asked_id: str) -> Subject:
    if "\0" not in asked_id:
        if _is_there(connection, WORKFLOWS.c.id == asked_id, WORKFLOWS.c.id):
            return Subject(asked_id, "")
        query = select(TRACES.c.workflow_id).where(TRACES.c.id == asked_id)
        owner = connection.execute(query).scalar()
        if owner is not None:
            return Subject(owner, "" if owner else asked_id)
        named = and_(_C.trace_id == asked_id, _C.trace_id != "")
        query = select(_C.workflow_id, _C.type).where(named).order_by(_C.position).limit(1)
        first = connection.execute(query).first()
        if first is not None:
            return Subject(first.workflow_id, "" if first.workflow_id else asked_id)
    raise NotFound("trace", asked_id)


def _is_there(connection: Connection, clause: ColumnElement[bool], column: Column[Any]) -> bool:
    return connection.execute(select(column).where(clause).limit(1)).first() is not None


def _after(connection: Connection, subject: Subject, mark: int) -> Slice:
    workflow_id, trace_id = subject
    if trace_id:
        about = and_(_C.trace_id == trace_id, _C.trace_id != "")
        if workflow_id:
            about = and_(about, _C.workflow_id != workflow_id)
    else:
        about = and_(_C.workflow_id == workflow_id, _C.workflow_id != "")
    query = (
        select(_C.position, _C.type, _PAYLOAD)
        .where(about, _C.position > mark)
        .order_by(_C.position)
        .limit(AT_ONCE)
    )
    rows = connection.execute(query).all()
    events = [(position, payload) for position, _type, payload in rows if payload is not None]
    newest = max((row[0] for row in rows if row[1] in TOLD_OF or row[1] in _COMMANDS), default=0)
    if len(rows) == AT_ONCE:
        return Slice(events, rows[-1].position, more=True, newest=newest)
    return Slice(events, max(mark, newest_position(connection)), more=False, newest=newest)


def _background(connection: Connection, subject: Subject) -> Background:
    workflow_id, trace_id = subject
    removed = removals.bounds(connection).floor > 0
    known = database_id(connection)
    if not workflow_id:
        begun = connection.execute(
            select(TRACES.c.start_us).where(TRACES.c.id == trace_id)
        ).scalar()
        return Background(None, begun or None, (), removed, known)
    query = select(WORKFLOWS.c.record).where(WORKFLOWS.c.id == workflow_id)
    stored = connection.execute(query).scalar()
    record = None if stored is None else WorkflowRecord.loaded(workflow_id, stored)
    commands = command_store.for_workflow(connection, workflow_id, COMMANDS)
    return Background(record, None, commands, removed, known)


def _payloads(connection: Connection, event_ids: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for ids in slices(event_ids, bulk.keys_at_once(connection)):
        query = select(_C.id, _C.payload).where(bulk.among(connection, [_C.id], ids))
        found.update((row.id, row.payload) for row in connection.execute(query))
    return found
