"""Queues as they are asked for. An engine that can hold all that it starts has one without a name, whether or not it
spoke of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.sql import command_store, executor_rows, queue_rows
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import COMMANDS, EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import QUEUES
from pilothouse_server.domain.commands import Command, CommandState, Executor, Scope
from pilothouse_server.domain.projection.queue import QueueName, QueueRecord, QueueState
from pilothouse_server.domain.targets import (
    QUEUE_ACTIONS,
    QueueStand,
    Target,
    availabilities,
    queue_refusal,
    queue_target,
    target_of_command,
)
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.views import QueueView

LISTED = 1_000


class SqlQueueViews:
    """Reads of queues, each of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, source: str) -> Sequence[QueueView]:
        return await self._database.read(lambda connection: _listed(connection, source))


def _listed(connection: Connection, source: str) -> list[QueueView]:
    order = (QUEUES.c.source, QUEUES.c.name, QUEUES.c.workflow_type, QUEUES.c.agent_type)
    query = select(QUEUES).order_by(*order).limit(LISTED)
    if source:
        query = query.where(QUEUES.c.source == source)
    rows = connection.execute(query).mappings().all()
    records = {record.name: record for record in map(queue_rows.record_of, rows)}
    executors = _executors(connection, source, {name.source for name in records})
    able = [QueueName(each.source) for each in executors.values() if _holds(each)]
    names = sorted({*records, *able})[:LISTED]
    targets = [queue_target(name) for name in names]
    transaction = command_store.SqlCommandTransaction(connection)
    pending = {target_of_command(each): each for each in transaction.pending_at(targets)}
    paused = [queue_target(each.name) for each in records.values() if _is_paused(each)]
    pausers = last_paused(connection, paused)
    return [
        _view(
            name,
            records.get(name),
            pending.get(target),
            pausers.get(target),
            executors.get(name.source),
        )
        for name, target in zip(names, targets, strict=True)
    ]


def _is_paused(record: QueueRecord) -> bool:
    return record.state == QueueState.PAUSED


def last_paused(connection: Connection, targets: Collection[Target]) -> dict[Target, Command]:
    """For each of these queues and engines the newest command to pause it that had its effect."""
    if not targets:
        return {}
    newest = (
        select(func.max(COMMANDS.c.sequence))
        .where(
            COMMANDS.c.scope.in_((int(Scope.QUEUE), int(Scope.FLEET))),
            COMMANDS.c.scope != int(Scope.RUN),
            COMMANDS.c.target.in_(sorted({target.name for target in targets})),
            COMMANDS.c.source.in_(sorted({target.source for target in targets})),
            COMMANDS.c.action == int(Action.PAUSE),
            COMMANDS.c.state == int(CommandState.EFFECTIVE),
        )
        .group_by(COMMANDS.c.scope, COMMANDS.c.target, COMMANDS.c.source)
    )
    sequences = list(connection.execute(newest).scalars())
    rows = connection.execute(select(COMMANDS).where(COMMANDS.c.sequence.in_(sequences))).mappings()
    return {target_of_command(command): command for command in map(command_of, rows)}


def _executors(
    connection: Connection, source: str, sources: Collection[str]
) -> dict[str, Executor]:
    if source:
        return executor_rows.named(connection, (source,))
    some = select(EXECUTORS.c.source).order_by(EXECUTORS.c.source).limit(LISTED)
    return executor_rows.named(connection, {*sources, *connection.execute(some).scalars()})


def _holds(executor: Executor) -> bool:
    """Whether it can be asked to start nothing new."""
    return executor.capability(Action.PAUSE, Scope.FLEET) is not None


def _view(
    name: QueueName,
    record: QueueRecord | None,
    pending: Command | None,
    pauser: Command | None,
    executor: Executor | None,
) -> QueueView:
    state = QueueState.ACTIVE if record is None else record.state
    since_us = 0 if record is None else record.since_us
    # Both times are the engine's. An effect before it was paused last is of an earlier pause.
    by_command = pauser is not None and (pauser.effect_us or 0) >= since_us
    refusal = partial(
        queue_refusal, queue=QueueStand(name, state), pending=pending, executor=executor
    )
    return QueueView(
        name=name,
        state=state,
        since_us=since_us,
        heard_us=0 if record is None else record.heard_us,
        pending=pending,
        paused_by=pauser if by_command and state == QueueState.PAUSED else None,
        actions=availabilities(QUEUE_ACTIONS, refusal),
    )
