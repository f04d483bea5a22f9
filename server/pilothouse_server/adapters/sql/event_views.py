"""Stored events as they are asked for: pages either way, counts, one by one, and those that came since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import event_tallies, pages
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_lists import (
    FIRST_LOOK,
    EventList,
    Search,
    Window,
    parts_of,
)
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.removals import bounds
from pilothouse_server.adapters.sql.revisions import database_id
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.adapters.sql.workflow_lists import by_index
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.event_fields import EVENT_FIELDS
from pilothouse_server.domain.events import EventType, Severity
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import EVERYTHING, Filter
from pilothouse_server.ports import Clock, StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.views import EventCounts, EventPage, PageRequest
from pilothouse_server.services.watch import Read, Start

_C = EVENTS.c
_STORED = (_C.position, _C.cursor, _C.payload)
_BY_PLACE: Final = (pages.Sort(_C.position, False, int), pages.Sort(_C.occur_us, False, int))
"""What a token holds: a place, and the moment of the first page, from which ages are counted on all pages."""


class SqlEventViews:
    """Reads of events, each of one moment."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self,
        request: PageRequest,
        *,
        ascending: bool,
        start_id: str = "",
        last_position: int | None = None,
    ) -> EventPage:
        def run(connection: Connection) -> EventPage:
            # Of this database only: places of another one are others.
            here = database_id(connection)
            mark = pages.fingerprint("events", request.filter, ascending, here)
            within, now_us = _within(connection, last_position), self._clock.now_us()
            floor = within.low - 1
            if request.token:
                key, begun = pages.decode(request.token, mark, _BY_PLACE)
                within, now_us = _behind(within, key, ascending=ascending), int(begun or 0)
            tree = parse(request.filter, EVENT_FIELDS, now_us)
            if start_id and not request.token:
                key = _stored(connection, start_id).position
                within = _behind(within, key, ascending=ascending)
            first_look = (
                request.size + 1 if tree == EVERYTHING else max(FIRST_LOOK, request.size + 1)
            )
            search = Search(connection, parts_of(tree), within, ascending, first_look)
            listed = EventList(search, tree, request.size)
            with by_index(connection):
                listed.look()
                return replace(_page(connection, listed, mark, now_us), floor=floor)

        return await self._database.read(run)

    async def get(self, event_id: str) -> StoredEvent:
        return await self._database.read(lambda connection: _stored(connection, event_id))

    async def counts(self, filter_text: str) -> EventCounts:
        tree = self._tree(filter_text)

        def run(connection: Connection) -> EventCounts:
            with by_index(connection):
                found = event_tallies.tally(connection, tree, _within(connection))
            types = event_tallies.by_type(found.any_type)
            severities = event_tallies.by_severity(found.any_severity)
            down_to = found.down_to
            return EventCounts(
                sum(found.chosen.values()),
                {EventType(kind): count for kind, count in types.items()},
                {Severity(severity): count for severity, count in severities.items()},
                None if down_to is None else _received_us(connection, down_to),
            )

        return await self._database.read(run)

    def follow(self, filter_text: str, allowance: Allowance | None = None) -> EventFollower:
        return EventFollower(self._database, self._tree(filter_text), allowance)

    def _tree(self, filter_text: str) -> Filter:
        return parse(filter_text, EVENT_FIELDS, self._clock.now_us())


def _within(connection: Connection, last_position: int | None = None) -> Window:
    """All events that are stored."""
    newest = newest_position(connection)
    last = newest if last_position is None else min(newest, last_position)
    return Window(bounds(connection).floor + 1, last)


def _behind(within: Window, key: Any, *, ascending: bool) -> Window:
    place = int(key)
    if ascending:
        return within._replace(low=max(within.low, place + 1))
    return within._replace(high=min(within.high, place - 1))


def _page(connection: Connection, listed: EventList, mark: str, now_us: int) -> EventPage:
    query = select(*_STORED).where(_C.position.in_(listed.places))
    by_place = {row.position: StoredEvent(*row) for row in connection.execute(query)}
    events = [by_place[place] for place in listed.places]
    if listed.end is None:
        return EventPage(events, "")
    looked_us = _received_us(connection, listed.end) if listed.looked else None
    return EventPage(events, pages.encode(mark, [listed.end, now_us]), looked_us, listed.end)


def _stored(connection: Connection, event_id: str) -> StoredEvent:
    row = connection.execute(select(*_STORED).where(_C.id == event_id)).first()
    if row is None:
        raise NotFound("event", event_id)
    return StoredEvent(*row)


def _received_us(connection: Connection, place: int) -> int | None:
    """When the event there was received, or the next one that is left."""
    query = select(_C.receive_us).where(_C.position >= place).order_by(_C.position).limit(1)
    found: int | None = connection.execute(query).scalar()
    return found


class EventFollower:
    """Events by position, from the table: looked for as a page is, so that few among many are soon found."""

    def __init__(
        self, database: Database, tree: Filter, allowance: Allowance | None = None
    ) -> None:
        self._database = database
        self._tree = tree
        self._allowance = allowance

    async def start(self, backlog: int) -> Start:
        """Behind which place as many begin as are wanted, or as one look found."""

        def run(connection: Connection) -> Start:
            newest, floor = newest_position(connection), bounds(connection).floor
            first = newest
            if backlog:
                places = self._look(connection, Window(floor + 1, newest), backlog, False).places
                first = places[-1] - 1 if places else newest
            return Start(database_id(connection), newest, first, floor)

        return await self._database.read(run)

    async def after(self, mark: int, limit: int) -> Read[StoredEvent]:
        def run(connection: Connection) -> Read[StoredEvent]:
            newest, floor = newest_position(connection), bounds(connection).floor
            if mark < floor:
                return Read((), mark, more=True, oldest=floor)
            listed, skipped = self._next(connection, mark, newest, limit)
            query = select(*_STORED).where(_C.position.in_(listed.places)).order_by(_C.position)
            items = [(row.position, StoredEvent(*row)) for row in connection.execute(query)]
            if self._allowance is not None:
                self._allowance.spend(len(items))
            until = newest if listed.end is None else listed.end
            return Read(items, until, until < newest, skipped, floor)

        return await self._database.read(run)

    def _next(
        self, connection: Connection, mark: int, newest: int, limit: int
    ) -> tuple[EventList, int]:
        """What comes next, and how many before that are left out."""
        waiting = newest - mark
        allowed = min(waiting, self._allowance.left) if self._allowance else waiting
        if 0 < allowed < waiting:
            # Of many events only few may be wanted: then none is left out.
            most = min(limit, allowed)
            listed = self._look(connection, Window(mark + 1, newest), most, True)
            if listed.end is None:
                return listed, 0
        window = Window(newest - allowed + 1, newest)
        return self._look(connection, window, limit, True), waiting - allowed

    def _look(
        self, connection: Connection, window: Window, limit: int, ascending: bool
    ) -> EventList:
        first_look = limit + 1 if self._tree == EVERYTHING else max(FIRST_LOOK, limit + 1)
        search = Search(connection, parts_of(self._tree), window, ascending, first_look)
        listed = EventList(search, self._tree, limit)
        with by_index(connection):
            listed.look()
        return listed


def newest_of(connection: Connection, workflow_id: str, limit: int) -> list[StoredEvent]:
    """The newest events of one workflow, oldest first."""
    query = (
        select(*_STORED)
        .where(_C.workflow_id == workflow_id, _C.workflow_id != "")
        .order_by(_C.position.desc())
        .limit(limit)
    )
    return [StoredEvent(*row) for row in connection.execute(query)][::-1]
