"""The projector's transaction: events, what they make of workflows, tasks and agents, and the cursor, all or none.

An event is new when its id is; only new events are folded, so that sums count each once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from pilothouse_server.adapters.sql import agent_rows, event_rows, task_rows, workflow_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.adapters.sql.tables_projection import CURSORS
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.projection.fold import Projection, agents_of, touched
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.ports import DecodeStored, LogEntry
from pilothouse_server.services.project import Applied

CONSUMER = "projector"

Hook = Callable[[Connection, Sequence[Event], Mapping[str, WorkflowRecord]], None]
"""Runs in the transaction after the rows are written, with the new events and the workflows that they touched."""


class SqlProjectionStore:
    """What the projector writes."""

    def __init__(
        self, database: Database, decode: DecodeStored, hooks: Sequence[Hook] = ()
    ) -> None:
        self._database = database
        self._decode = decode
        self._hooks = tuple(hooks)

    async def cursor(self) -> str:
        """Where the projection stands; "" at the beginning."""
        return await self._database.read(_cursor)

    async def apply(self, entries: Sequence[LogEntry]) -> Applied:
        """Folds the entries in and moves the cursor behind them. Raises Unavailable; then none of it is kept."""
        return await self._database.write(lambda connection: self._apply(connection, entries))

    async def mark_overdue(self, before_us: int, limit: int) -> int:
        """Gives agents that were last seen before that time a new revision, once; returns how many."""
        found = await self._database.read(lambda c: agent_rows.overdue(c, before_us, limit))
        if found:
            # Between the two looks one of them may have been heard again: look once more where nobody else writes.
            await self._database.write(
                lambda c: agent_rows.mark_overdue(c, agent_rows.overdue(c, before_us, limit))
            )
        return len(found)

    def _apply(self, connection: Connection, entries: Sequence[LogEntry]) -> Applied:
        arrived: list[Arrived] = []
        undecodable = 0
        for entry in entries:
            try:
                decoded = self._decode(entry.payload)
            except Exception:  # noqa: BLE001 - whatever the decoder says, the entry is not one of ours
                undecodable += 1
                continue
            arrived.extend(Arrived(event, payload, entry.cursor) for event, payload in decoded)
        events = event_rows.add(connection, arrived)
        workflows = fold(connection, events)
        for hook in self._hooks:
            hook(connection, events, workflows)
        _move_cursor(connection, entries[-1].cursor)
        return Applied(len(events), len(arrived) - len(events), undecodable)


def fold(connection: Connection, events: Sequence[Event]) -> dict[str, WorkflowRecord]:
    """Folds new events into the rows; returns the workflows that they touched."""
    about = touched(events)
    workflows = workflow_rows.load(connection, about.workflows)
    tasks = task_rows.load(connection, about.tasks)
    agents = agent_rows.load(connection, agents_of(events, tasks.values()))
    projection = Projection(workflows, tasks, agents)
    for event in events:
        projection.apply(event)
    task_rows.save(connection, tasks)
    runners = task_rows.runners(connection, workflows)
    for workflow in workflows.values():
        workflow.agent_id = runners.get(workflow.id, "")
    workflow_rows.save(connection, workflows)
    changed = [agents[agent_id] for agent_id in sorted(projection.changed_agents)]
    agent_rows.save(connection, changed)
    return workflows


def _cursor(connection: Connection) -> str:
    query = select(CURSORS.c.cursor).where(CURSORS.c.consumer == CONSUMER)
    return connection.execute(query).scalar() or ""


def _move_cursor(connection: Connection, cursor: str) -> None:
    moved = connection.execute(
        update(CURSORS).where(CURSORS.c.consumer == CONSUMER).values(cursor=cursor)
    )
    if moved.rowcount == 0:
        connection.execute(insert(CURSORS).values(consumer=CONSUMER, cursor=cursor))
