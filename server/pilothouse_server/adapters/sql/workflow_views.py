"""Workflows as they are asked for: pages, one with all that belongs to it, and those that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from pilothouse_server.adapters.sql import (
    command_store,
    event_views,
    executor_rows,
    pages,
    removals,
    task_rows,
    waiting_facts,
    workflow_lists,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.revisions import database_id, newest_revision
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.waiting_facts import Asked, Moment
from pilothouse_server.adapters.sql.workflow_lists import FILTERED
from pilothouse_server.domain.commands import availability
from pilothouse_server.domain.errors import InvalidArgument, NotFound
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import Filter, without
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.ports import Clock
from pilothouse_server.services.views import (
    WORKFLOW_FIELDS,
    PageRequest,
    WorkflowDetail,
    WorkflowPage,
    WorkflowView,
)
from pilothouse_server.services.watch import Read, Start

TASKS_SHOWN = 1000
COMMANDS_SHOWN = 100
EVENTS_SHOWN = 200

SENT_REMEMBERED = 10_000
"""Workflows of which a filtered watch knows that it sent them."""

_C = WORKFLOWS.c
_ORDERS: dict[str, list[tuple[ColumnElement[Any], type[str | int]]]] = {
    "create_time": [(_C.create_us, int)],
    "start_time": [(_C.start_us, int)],
    "update_time": [(_C.update_us, int)],
    "name": [(_C.name, str)],
    "state": [(_C.state, int), (_C.create_us, int)],
}
"""Each has an index of its columns and the id, which is the last of all."""


class _Listed(NamedTuple):
    tree: Filter
    order: Sequence[pages.Sort]
    fingerprint: str


class SqlWorkflowViews:
    """Reads of workflows, each of one moment."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._database = database
        self._clock = clock
        self._configured = configured

    async def page(self, request: PageRequest) -> WorkflowPage:
        listed = _Listed(
            parse(request.filter, WORKFLOW_FIELDS, self._clock.now_us()),
            _order_of(request.order_by),
            pages.fingerprint("workflows", request.filter, request.order_by.split()),
        )
        key = (
            pages.decode(request.token, listed.fingerprint, listed.order) if request.token else None
        )
        return await self._database.read(
            lambda c: _page(c, listed, key, request.size, self._moment())
        )

    async def get(self, workflow_id: str) -> WorkflowDetail:
        return await self._database.read(lambda c: _detail(c, workflow_id, self._moment()))

    def follow(self, filter_text: str) -> WorkflowFollower:
        tree = parse(filter_text, WORKFLOW_FIELDS, self._clock.now_us())
        return WorkflowFollower(self._database, tree, self._moment)

    def _moment(self) -> Moment:
        config = self._configured()
        now_us = self._clock.now_us()
        return Moment(now_us, config.agent_offline_after_us, config.engine_silent_after_us)


class WorkflowFollower:
    """Workflows by revision. One that was sent and fulfils the filter no longer is sent once more, as it is then."""

    def __init__(self, database: Database, tree: Filter, moment: Callable[[], Moment]) -> None:
        self._database = database
        self._moment = moment
        self._clause = clause_of(tree, FILTERED)
        self._sent: dict[str, None] = {}

    async def start(self, backlog: int) -> Start:
        self._sent.clear()

        def run(connection: Connection) -> Start:
            newest = newest_revision(connection)
            if not backlog:
                return Start(database_id(connection), newest, newest)
            query = (
                select(_C.revision)
                .where(self._clause)
                .order_by(_C.revision.desc())
                .limit(backlog)
                .subquery()
            )
            oldest = connection.execute(select(func.min(query.c.revision))).scalar()
            return Start(database_id(connection), newest, newest if oldest is None else oldest - 1)

        return await self._database.read(run)

    async def after(self, mark: int, limit: int) -> Read[WorkflowView]:
        return await self._database.read(lambda c: self._after(c, mark, limit))

    def _after(self, connection: Connection, mark: int, limit: int) -> Read[WorkflowView]:
        newest, removed = removals.newest(connection, removals.Watched.WORKFLOWS, mark)
        query = (
            select(_C.id, _C.record, _C.revision, self._clause.label("wanted"))
            .where(_C.revision > mark)
            .order_by(_C.revision)
            .limit(limit)
        )
        rows = connection.execute(query).mappings().all()
        sent = [row for row in rows if self._send(row["id"], wanted=bool(row["wanted"]))]
        items = [
            (row["revision"], view)
            for row, view in zip(sent, _views(connection, sent, self._moment()), strict=True)
        ]
        more = len(rows) == limit
        return Read(items, rows[-1]["revision"] if more else newest, more, removals=removed)

    def _send(self, workflow_id: str, *, wanted: bool) -> bool:
        if wanted:
            self._sent[workflow_id] = None
            if len(self._sent) > SENT_REMEMBERED:
                del self._sent[next(iter(self._sent))]
            return True
        return self._sent.pop(workflow_id, workflow_id) is None


def _order_of(order_by: str) -> Sequence[pages.Sort]:
    name, *direction = order_by.split() or ["create_time", "desc"]
    if name not in _ORDERS or direction not in ([], ["desc"], ["asc"]):
        raise InvalidArgument(
            "order_by", f"one of {', '.join(_ORDERS)}, with desc behind it for the other way round"
        )
    descending = direction == ["desc"]
    columns = [*_ORDERS[name], (_C.id, str)]
    return [pages.Sort(column, descending, holds) for column, holds in columns]


def _page(
    connection: Connection, listed: _Listed, key: pages.Key | None, size: int, moment: Moment
) -> WorkflowPage:
    look = workflow_lists.WorkflowList(
        connection, listed.tree, listed.order, size, workflow_lists.WORKFLOW_LIST
    )
    with workflow_lists.by_index(connection):
        rows = workflow_lists.page(connection, select(_C.id, _C.record), look, key)
        counts, capped = workflow_lists.counts(connection, without(listed.tree, "state"))
    next_token = "" if look.end is None else pages.encode(listed.fingerprint, look.end)
    return WorkflowPage(_views(connection, rows, moment), next_token, counts, capped)


def _detail(connection: Connection, workflow_id: str, moment: Moment) -> WorkflowDetail:
    query = select(_C.id, _C.record).where(_C.id == workflow_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("workflow", workflow_id)
    return WorkflowDetail(
        view=_views(connection, [row], moment)[0],
        tasks=task_rows.of_workflow(connection, workflow_id, TASKS_SHOWN),
        commands=command_store.for_workflow(connection, workflow_id, COMMANDS_SHOWN),
        events=event_views.newest_of(connection, workflow_id, EVENTS_SHOWN),
    )


def _views(
    connection: Connection, rows: Sequence[RowMapping], moment: Moment
) -> list[WorkflowView]:
    """Rows of (id, record, …) with what can be asked of each, and why it waits."""
    records = [WorkflowRecord.loaded(row["id"], row["record"]) for row in rows]
    pending = command_store.pending_for(connection, [record.id for record in records])
    executors = executor_rows.named(connection, {record.source[2] for record in records})
    asked: list[Asked] = []
    for record in records:
        source, command = record.source[2], pending.get(record.id)
        executor = executors.get(source)
        actions = availability(record.state, command, executor, source)
        asked.append(Asked(record, command, executor, actions))
    reasons = waiting_facts.reasons(connection, asked, moment)
    return [
        WorkflowView(each.record, each.pending, each.actions, reasons.get(each.record.id))
        for each in asked
    ]
