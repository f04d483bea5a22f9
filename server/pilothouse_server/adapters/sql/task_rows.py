"""Rows of tasks ⇄ records."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.tables_projection import TASKS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.projection.fold import TaskKey
from pilothouse_server.domain.projection.needs import Needs
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.projection.task import TaskRecord


def load(connection: Connection, keys: Collection[TaskKey]) -> dict[TaskKey, TaskRecord]:
    """The records of those that are known."""
    found: dict[TaskKey, TaskRecord] = {}
    name, of_it = TASKS.c.workflow_id, TASKS.c.task_id
    for some in slices(keys, bulk.keys_at_once(connection)):
        wanted = bulk.among(connection, [name, of_it], some)
        query = select(name, of_it, TASKS.c.record).where(wanted)
        for workflow_id, task_id, record in connection.execute(query):
            found[workflow_id, task_id] = TaskRecord.loaded(workflow_id, task_id, record)
    return found


def of_workflow(connection: Connection, workflow_id: str, limit: int) -> list[TaskRecord]:
    """The tasks of one workflow, by their first event."""
    query = (
        select(TASKS.c.task_id, TASKS.c.record)
        .where(TASKS.c.workflow_id == workflow_id)
        .order_by(TASKS.c.first_us, TASKS.c.task_id)
        .limit(limit)
    )
    return [
        TaskRecord.loaded(workflow_id, task_id, record)
        for task_id, record in connection.execute(query)
    ]


def runners(connection: Connection, workflow_ids: Collection[str]) -> dict[str, str]:
    """For each workflow with a task in an agent's hand: the agent that began last."""
    found: dict[str, str] = {}
    for ids in slices(workflow_ids, bulk.keys_at_once(connection)):
        query = (
            select(TASKS.c.workflow_id, TASKS.c.agent_id)
            .where(
                bulk.among(connection, [TASKS.c.workflow_id], ids),
                TASKS.c.state == int(WorkState.RUNNING),
            )
            .order_by(TASKS.c.start_us, TASKS.c.task_id)
        )
        found.update((workflow_id, agent_id) for workflow_id, agent_id in connection.execute(query))
    return found


def needs(connection: Connection, workflow_id: str) -> Needs:
    """What the tasks of a workflow wait for, counted anew."""
    found = Needs()
    query = select(TASKS.c.task_id, TASKS.c.record).where(TASKS.c.workflow_id == workflow_id)
    for task_id, record in connection.execute(query):
        found.add(TaskRecord.loaded(workflow_id, task_id, record).need, 1)
    return found


def save(connection: Connection, records: Mapping[TaskKey, TaskRecord]) -> None:
    """Writes the records."""
    bulk.upsert(connection, TASKS, [_row(record) for record in records.values()])


def _row(record: TaskRecord) -> bulk.Row:
    """In the order of the table's columns."""
    newest = record.newest
    return (
        record.workflow_id,
        record.id,
        record.first_us,
        int(newest.state),
        newest.agent[1],
        newest.start_us,
        record.dump(),
        newest.end_us,
    )
