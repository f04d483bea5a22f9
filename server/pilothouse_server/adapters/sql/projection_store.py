"""The projector's transaction: events, what they make of workflows, tasks and agents, and the cursor, all or none.

An event is new when its id is; only new events are folded, so that sums count each once. Ids are known as long as their
events are kept: of one from before that only what it says of a workflow's states is taken, which may be said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import (
    agent_rows,
    bulk,
    event_rows,
    news,
    queue_rows,
    task_rows,
    trace_rows,
    workflow_rows,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import CURSORS
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.projection.fold import Projection, agents_of, touched
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.ports import DecodeStored, LogEntry
from pilothouse_server.services.project import Applied

CONSUMER = "projector"


def consumer_of(shard: int) -> str:
    """The name under which the projector of a shard of the log keeps its cursor."""
    return CONSUMER if not shard else f"{CONSUMER}:{shard}"


Hook = Callable[[Connection, Sequence[Event], Mapping[str, WorkflowRecord]], None]
"""Runs in the transaction after the rows are written, with the new events and the workflows that they touched."""


class SqlProjectionStore:
    """What the projector of one shard writes."""

    def __init__(
        self,
        database: Database,
        decode: DecodeStored,
        hooks: Sequence[Hook] = (),
        *,
        shard: int = 0,
    ) -> None:
        self._database = database
        self._decode = decode
        self._hooks = tuple(hooks)
        self._consumer = consumer_of(shard)

    async def cursor(self) -> str:
        """Where the projection stands; "" at the beginning."""
        query = select(CURSORS.c.cursor).where(CURSORS.c.consumer == self._consumer)
        return await self._database.read(lambda c: c.execute(query).scalar() or "")

    async def apply(self, entries: Sequence[LogEntry]) -> Applied:
        """Folds the entries in and moves the cursor behind them. Raises Unavailable; then none of it is kept."""
        return await self._database.write(lambda c: self._apply(c, entries), beside=True)

    async def mark_overdue(self, before_us: int, limit: int) -> int:
        """Gives agents that were last seen before that time a new revision, once; returns how many."""
        found = await self._database.read(lambda c: agent_rows.overdue(c, before_us, limit))
        if found:
            # Between the two looks one of them may have been heard again: look once more where nobody else writes.
            await self._database.write(
                lambda c: agent_rows.mark(c, agent_rows.overdue(c, before_us, limit), overdue=True)
            )
        return len(found)

    async def mark_in_time(self, since_us: int, limit: int) -> int:
        """Gives agents that were last seen since that time, and marked as overdue all the same, a new revision, once;
        returns how many."""
        found = await self._database.read(lambda c: agent_rows.in_time(c, since_us, limit))
        if found:
            await self._database.write(
                lambda c: agent_rows.mark(c, agent_rows.in_time(c, since_us, limit), overdue=False)
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
            arrived.extend(event_rows.arrived(*each, entry.cursor) for each in decoded)
        unknown = event_rows.fresh(connection, arrived)
        fresh, late = news.told_apart(connection, unknown)
        events = [each.event for each in fresh]
        workflows = fold(connection, [*events, *late])
        for hook in self._hooks:
            hook(connection, events, workflows)
        event_rows.store(connection, fresh)
        trace_rows.fold(connection, events, event_rows.newest_position(connection))
        bulk.upsert(connection, CURSORS, [(self._consumer, entries[-1].cursor)])
        beyond = len(unknown) - len(fresh)
        return Applied(len(fresh), len(arrived) - len(unknown), undecodable, beyond)


def fold(connection: Connection, events: Sequence[Event]) -> dict[str, WorkflowRecord]:
    """Folds new events into the rows; returns the workflows that they touched. Others may do so at the same time with
    events of other workflows: agents are shared."""
    about = touched(events)
    workflows = workflow_rows.load(connection, about.workflows, lock=True)
    tasks = task_rows.load(connection, about.tasks)
    agents = agent_rows.load(connection, agents_of(events, tasks.values()), lock=True)
    for workflow in workflows.values():
        if workflow.needs is None:
            workflow.needs = task_rows.needs(connection, workflow.id)
    projection = Projection(workflows, tasks, agents)
    for event in events:
        projection.apply(event)
    queue_rows.fold(connection, events)
    task_rows.save(connection, tasks)
    runners = task_rows.runners(connection, workflows)
    for workflow in workflows.values():
        workflow.agent_id = runners.get(workflow.id, "")
    changed = [agents[agent_id] for agent_id in sorted(projection.changed_agents)]
    revisions = iter(reserve_revisions(connection, len(workflows) + len(changed)))
    workflow_rows.save(connection, workflows, islice(revisions, len(workflows)))
    agent_rows.save(connection, changed, revisions)
    return workflows
