"""Stored events as they are asked for: pages either way, and those that came since."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from pilothouse_server.adapters.sql import pages
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.filters import clause_of, stated_hints
from pilothouse_server.adapters.sql.removals import bounds
from pilothouse_server.adapters.sql.revisions import database_id
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.ports import Clock, StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.views import EVENT_FIELDS, EventPage, PageRequest
from pilothouse_server.services.watch import Read, Start

_C = EVENTS.c
_FILTERED: dict[str, ColumnElement[Any]] = {
    name: _C.occur_us if name == "occur_time" else _C[name] for name in EVENT_FIELDS.fields
}
_STORED = (_C.position, _C.cursor, _C.payload)

_INDEXED = ("workflow_id", "agent_id", "trace_id")
"""Columns with an index of the rows where they are stated."""

SCANNED = 20_000
"""Events that one look of a watch examines, however few of them are wanted."""


class SqlEventViews:
    """Reads of events, each of one moment."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(self, request: PageRequest, *, ascending: bool) -> EventPage:
        clause = self._clause(request.filter)
        order = [pages.Sort(_C.position, not ascending, int)]
        fingerprint = pages.fingerprint("events", request.filter, ascending)
        query = select(*_STORED).where(clause)
        key = pages.decode(request.token, fingerprint, order) if request.token else None
        rows = await self._database.read(
            lambda c: pages.rows(c, query, order, key, request.size + 1)
        )
        events = [StoredEvent(**row) for row in rows]
        if len(events) <= request.size:
            return EventPage(events, "")
        events = events[: request.size]
        return EventPage(events, pages.encode(fingerprint, [events[-1].position]))

    def follow(self, filter_text: str, allowance: Allowance | None = None) -> EventFollower:
        return EventFollower(self._database, self._clause(filter_text), allowance)

    def _clause(self, filter_text: str) -> ColumnElement[bool]:
        tree = parse(filter_text, EVENT_FIELDS, self._clock.now_us())
        return and_(clause_of(tree, _FILTERED), *stated_hints(tree, _FILTERED, _INDEXED))


class EventFollower:
    """Events by position: from the table both when replayed and when live, so that the two join without gap or
    repeat."""

    def __init__(
        self,
        database: Database,
        clause: ColumnElement[bool],
        allowance: Allowance | None = None,
    ) -> None:
        self._database = database
        self._clause = clause
        self._allowance = allowance

    async def start(self, backlog: int) -> Start:
        def run(connection: Connection) -> Start:
            newest, floor = newest_position(connection), bounds(connection).floor
            if not backlog:
                return Start(database_id(connection), newest, newest, floor)
            query = (
                select(_C.position)
                .where(self._clause)
                .order_by(_C.position.desc())
                .limit(backlog)
                .subquery()
            )
            oldest = connection.execute(select(func.min(query.c.position))).scalar()
            first = newest if oldest is None else oldest - 1
            return Start(database_id(connection), newest, first, floor)

        return await self._database.read(run)

    async def after(self, mark: int, limit: int) -> Read[StoredEvent]:
        def run(connection: Connection) -> Read[StoredEvent]:
            newest, floor = newest_position(connection), bounds(connection).floor
            if mark < floor:
                return Read((), mark, more=True, oldest=floor)
            waiting = newest - mark
            allowed = min(waiting, self._allowance.left) if self._allowance else waiting
            begin = newest - allowed
            until = min(newest, begin + SCANNED)
            query = (
                select(*_STORED)
                .where(_C.position > begin, _C.position <= until, self._clause)
                .order_by(_C.position)
                .limit(limit)
            )
            items = [(row.position, StoredEvent(*row)) for row in connection.execute(query)]
            if len(items) == limit:
                until = items[-1][0]
            if self._allowance is not None:
                self._allowance.spend(len(items))
            return Read(items, until, until < newest, waiting - allowed, floor)

        return await self._database.read(run)


def newest_of(connection: Connection, workflow_id: str, limit: int) -> list[StoredEvent]:
    """The newest events of one workflow, oldest first."""
    query = (
        select(*_STORED)
        .where(_C.workflow_id == workflow_id, _C.workflow_id != "")
        .order_by(_C.position.desc())
        .limit(limit)
    )
    return [StoredEvent(*row) for row in connection.execute(query)][::-1]
