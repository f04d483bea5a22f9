"""Lists of commands and alerts, newest first, and alerts by revision for those who follow them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, select

from pilothouse_server.adapters.sql import alert_lists, pages
from pilothouse_server.adapters.sql.alert_store import CLOCK, alert_of, find, steps_of
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of, stated_hints
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.revisions import database_id, newest_revision
from pilothouse_server.adapters.sql.tables_control import ALERT_CLOCK, ALERTS, COMMANDS
from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.commands import Command, CommandState, Scope
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import Field, Kind, Schema, enum_field
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import Clock
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import Read, Start

T = TypeVar("T")

_RESOLVED = int(AlertState.RESOLVED)
_TIME = Field(Kind.TIME)

_SCOPE = Field(Kind.ENUM, {each.name: int(each) for each in Scope if each}, "COMMAND_SCOPE_")

COMMAND_FILTER = Schema(
    fields={
        "id": Field(),
        "state": enum_field(CommandState, "COMMAND_STATE_"),
        "action": enum_field(Action, "CONTROL_ACTION_"),
        "scope": _SCOPE,
        "workflow_id": Field(),
        "agent_id": Field(),
        "queue": Field(),
        "source": Field(),
        "actor": Field(),
        "batch_id": Field(),
        "emergency_stop_id": Field(),
        "budget_id": Field(),
        "request_time": _TIME,
    },
    searched=("workflow_id", "reason"),
)


@dataclass(frozen=True)
class _List(Generic[T]):
    """One list: what it is of, what it can be asked for, and in which order it comes."""

    name: str
    table: Table
    schema: Schema
    columns: Mapping[str, ColumnElement[Any]]
    order: Sequence[Sort]
    item: Callable[[RowMapping], T]
    stated: Collection[str] = ()
    """Fields with an index of the rows where they are stated."""

    def page(self, connection: Connection, asked: PageRequest, now_us: int) -> Page[T]:
        """One page, and the token of the next one."""
        mark = pages.fingerprint(self.name, asked.filter)
        size = asked.size
        tree = parse(asked.filter, self.schema, now_us)
        hints = stated_hints(tree, self.columns, self.stated)
        where = and_(clause_of(tree, self.columns), *hints)
        key = pages.decode(asked.token, mark, self.order) if asked.token else None
        query = select(self.table).where(where)
        rows = pages.rows(connection, query, self.order, key, size + 1)
        following = ""
        if len(rows) > size:
            last = rows[size - 1]
            following = pages.encode(mark, [last[sort.column.key or ""] for sort in self.order])
        return Page([self.item(row) for row in rows[:size]], following)


_COMMANDS = _List(
    "commands",
    COMMANDS,
    COMMAND_FILTER,
    {
        **dict(COMMANDS.columns),
        "request_time": COMMANDS.c.request_us,
        "emergency_stop_id": COMMANDS.c.stop_id,
    },
    (Sort(COMMANDS.c.sequence, descending=True, type=int),),
    command_of,
    ("agent_id", "batch_id", "emergency_stop_id"),
)


class SqlControlQueries:
    """What is asked of commands and alerts without changing them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def commands(self, asked: PageRequest) -> Page[Command]:
        now_us = self._clock.now_us()
        return await self._database.read(
            lambda connection: _COMMANDS.page(connection, asked, now_us)
        )

    async def alerts(self, asked: PageRequest) -> Page[Alert]:
        now_us = self._clock.now_us()
        return await self._database.read(lambda c: alert_lists.page(c, asked, now_us))

    async def alert_with_steps(self, alert_id: str) -> tuple[Alert, Sequence[AlertStep]]:
        def run(connection: Connection) -> tuple[Alert, Sequence[AlertStep]]:
            alert = find(connection, alert_id)
            if alert is None:
                raise NotFound(kind="alert", id=alert_id)
            return alert, steps_of(connection, alert_id)

        return await self._database.read(run)

    def follow(self) -> SqlAlertFeed:
        return SqlAlertFeed(self._database)


class SqlAlertFeed:
    """Alerts by revision, for one watch: from its beginning those that are not over, then every change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = 0
        self._first_look: bool | None = None

    async def start(self, backlog: int) -> Start:
        del backlog
        start = await self._database.read(_start)
        self._newest = start.newest
        return start

    async def after(self, mark: int, limit: int) -> Read[Alert]:
        if self._first_look is None:
            self._first_look = mark == 0
        if not self._first_look:
            found = await self._database.read(
                lambda c: _changed(c, ALERTS.c.revision > mark, limit)
            )
            return _read(found, mark, limit)
        live = and_(
            ALERTS.c.revision > mark,
            ALERTS.c.revision <= self._newest,
            ALERTS.c.state != _RESOLVED,
        )
        found = await self._database.read(lambda c: _changed(c, live, limit))
        read = _read(found, mark, limit)
        if read.more:
            return read
        # Those that changed while we looked come next, whatever their state.
        self._first_look = False
        return Read(read.items, max(read.mark, self._newest), more=self._newest > 0)


def _start(connection: Connection) -> Start:
    removed = connection.execute(
        select(ALERT_CLOCK.c.removed_revision).where(ALERT_CLOCK.c.id == CLOCK)
    ).scalar()
    return Start(database_id(connection), newest_revision(connection), first=0, oldest=removed or 0)


def _changed(connection: Connection, wanted: ColumnElement[bool], limit: int) -> Sequence[Alert]:
    query = select(ALERTS).where(wanted).order_by(ALERTS.c.revision).limit(limit)
    return [alert_of(row) for row in connection.execute(query).mappings()]


def _read(found: Sequence[Alert], mark: int, limit: int) -> Read[Alert]:
    newest = found[-1].revision if found else mark
    return Read([(alert.revision, alert) for alert in found], newest, len(found) == limit)
