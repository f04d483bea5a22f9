"""Agents as they are asked for. Whether one is offline is found when it is asked, from the time of its last
heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, or_, select

from pilothouse_server.adapters.sql import command_store, executor_rows, pages, removals
from pilothouse_server.adapters.sql.bulk import among, keys_at_once
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.revisions import database_id, newest_revision
from pilothouse_server.adapters.sql.tables_projection import AGENTS, TASKS, WORKFLOWS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.projection.agent import AgentRecord, AgentState
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.targets import (
    AGENT_ACTIONS,
    agent_refusal,
    agent_stand,
    availabilities,
)
from pilothouse_server.domain.workflows import ENDED
from pilothouse_server.ports import Clock
from pilothouse_server.services.views import (
    AGENT_FIELDS,
    AgentDetail,
    AgentPage,
    AgentTask,
    AgentView,
    PageRequest,
)
from pilothouse_server.services.watch import Read, Start

CURRENT_SHOWN, RECENT_SHOWN, COMMANDS_SHOWN = 200, 50, 50

_C = AGENTS.c
_ORDER = (pages.Sort(_C.type, False, str), pages.Sort(_C.id, False, str))
_ENDED = sorted(int(state) for state in ENDED)


class _Moment(NamedTuple):
    now_us: int
    offline_after_us: int


class SqlAgentViews:
    """Reads of agents, each of one moment."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._database = database
        self._clock = clock
        self._configured = configured

    async def page(self, request: PageRequest) -> AgentPage:
        moment = self._moment()
        tree = parse(request.filter, AGENT_FIELDS, moment.now_us)
        fingerprint = pages.fingerprint("agents", request.filter)
        query = select(_C.id, _C.type, _C.record).where(
            _C.last_seen_us > 0, clause_of(tree, _filtered(moment))
        )
        key = pages.decode(request.token, fingerprint, _ORDER) if request.token else None

        def run(connection: Connection) -> AgentPage:
            rows = pages.rows(connection, query, _ORDER, key, request.size + 1)
            next_token = ""
            if len(rows) > request.size:
                rows = rows[: request.size]
                next_token = pages.encode(fingerprint, [rows[-1]["type"], rows[-1]["id"]])
            return AgentPage(_views(connection, rows, moment), next_token)

        return await self._database.read(run)

    async def get(self, agent_id: str) -> AgentDetail:
        query = select(_C.id, _C.record).where(_C.id == agent_id, _C.last_seen_us > 0)

        def run(connection: Connection) -> AgentDetail:
            rows = connection.execute(query).mappings().all()
            if not rows:
                raise NotFound("agent", agent_id)
            return AgentDetail(
                view=_views(connection, rows, self._moment())[0],
                current=_current(connection, agent_id),
                recent=_recent(connection, agent_id),
                commands=command_store.for_agent(connection, agent_id, COMMANDS_SHOWN),
            )

        return await self._database.read(run)

    def follow(self) -> SqlAgentViews:
        """The source of a watch, which is every agent by revision."""
        return self

    async def start(self, backlog: int) -> Start:
        """Every agent belongs to the backlog, whatever was asked for."""
        del backlog
        return await self._database.read(lambda c: Start(database_id(c), newest_revision(c), 0))

    async def after(self, mark: int, limit: int) -> Read[AgentView]:
        query = (
            select(_C.id, _C.record, _C.revision)
            .where(_C.revision > mark, _C.last_seen_us > 0)
            .order_by(_C.revision)
            .limit(limit)
        )

        def run(connection: Connection) -> Read[AgentView]:
            newest, removed = removals.newest(connection, removals.Watched.AGENTS, mark)
            rows = connection.execute(query).mappings().all()
            views = _views(connection, rows, self._moment())
            more = len(rows) == limit
            items = [(row["revision"], view) for row, view in zip(rows, views, strict=True)]
            last = rows[-1]["revision"] if more else newest
            return Read(items, last, more, removals=removed)

        return await self._database.read(run)

    def _moment(self) -> _Moment:
        return _Moment(self._clock.now_us(), self._configured().agent_offline_after_us)


def _filtered(moment: _Moment) -> dict[str, ColumnElement[Any]]:
    silent = _C.last_seen_us < moment.now_us - moment.offline_after_us
    state = case(
        (or_(_C.gone, silent), int(AgentState.OFFLINE)),
        (_C.draining, int(AgentState.DRAINING)),
        (_C.working, int(AgentState.BUSY)),
        else_=int(AgentState.ONLINE),
    )
    return {"id": _C.id, "type": _C.type, "source": _C.source, "state": state}


def _views(connection: Connection, rows: Sequence[RowMapping], moment: _Moment) -> list[AgentView]:
    """Rows of (id, record, …) as they are at that moment."""
    records = [AgentRecord.loaded(row["id"], row["record"]) for row in rows]
    ids = [record.id for record in records]
    places = _places(connection, ids)
    pending = command_store.pending_for_agents(connection, ids)
    executors = executor_rows.named(connection, {record.source[1] for record in records})
    views: list[AgentView] = []
    for record in records:
        place = places.get(record.id, record.place[1:])
        state, source = record.state(*moment), record.source[1]
        if state == AgentState.OFFLINE:
            place = ("", "")
        command = pending.get((record.id, source))
        refusal = partial(
            agent_refusal,
            agent=agent_stand(record, state),
            pending=command,
            executor=executors.get(source),
        )
        actions = availabilities(AGENT_ACTIONS, refusal)
        reason = record.offline_reason(*moment)
        views.append(AgentView(record, state, reason, *place, pending=command, actions=actions))
    return views


def _current(connection: Connection, agent_id: str) -> list[AgentTask]:
    query = (
        _TASKS.where(
            TASKS.c.agent_id == agent_id,
            TASKS.c.state == int(WorkState.RUNNING),
            WORKFLOWS.c.state.not_in(_ENDED),
        )
        .order_by(TASKS.c.start_us, TASKS.c.workflow_id, TASKS.c.task_id)
        .limit(CURRENT_SHOWN)
    )
    return [_task(row) for row in connection.execute(query).mappings()]


def _recent(connection: Connection, agent_id: str) -> list[AgentTask]:
    query = (
        _TASKS.where(TASKS.c.agent_id == agent_id, TASKS.c.end_us.is_not(None))
        .order_by(TASKS.c.end_us.desc())
        .limit(RECENT_SHOWN)
    )
    return [_task(row) for row in connection.execute(query).mappings()]


_TASKS = select(
    TASKS.c.workflow_id, TASKS.c.task_id, TASKS.c.record, WORKFLOWS.c.type.label("workflow_type")
).join(WORKFLOWS, WORKFLOWS.c.id == TASKS.c.workflow_id)


def _task(row: RowMapping) -> AgentTask:
    task = TaskRecord.loaded(row["workflow_id"], row["task_id"], row["record"])
    return AgentTask(task, row["workflow_type"])


def _places(connection: Connection, agent_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """For each agent with a task in hand whose workflow goes on: (workflow, task) of the one that it began last."""
    found: dict[str, tuple[str, str]] = {}
    for ids in slices(agent_ids, keys_at_once(connection)):
        query = (
            select(TASKS.c.agent_id, TASKS.c.workflow_id, TASKS.c.task_id)
            .join(
                WORKFLOWS,
                and_(WORKFLOWS.c.id == TASKS.c.workflow_id, WORKFLOWS.c.state.not_in(_ENDED)),
            )
            .where(
                among(connection, [TASKS.c.agent_id], ids), TASKS.c.state == int(WorkState.RUNNING)
            )
            .order_by(TASKS.c.start_us, TASKS.c.task_id)
        )
        for agent_id, workflow_id, task_id in connection.execute(query):
            found[agent_id] = (workflow_id, task_id)
    return found
