"""Commands as rows.

What changes a command is one transaction with the event that tells of it and with a new revision of its workflow, so
that no watcher and no log ever shows one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    bindparam,
    case,
    func,
    insert,
    select,
    text,
    update,
)

from pilothouse_server.adapters.sql import (
    agent_rows,
    audit_rows,
    executor_rows,
    outbox_store,
    queue_rows,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import database_id, newest_revision, next_revision
from pilothouse_server.adapters.sql.tables_control import COMMAND_CLOCK, COMMANDS
from pilothouse_server.adapters.sql.workflow_rows import slices, standpoint_of, touch
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.commands import (
    PENDING,
    Boundary,
    Command,
    CommandState,
    Deadlines,
    Executor,
    Scope,
    Standpoint,
)
from pilothouse_server.domain.events import Event, EventError
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.projection.agent import AgentRecord
from pilothouse_server.domain.projection.queue import QueueName, QueueRecord
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.settling import Facts, event_of
from pilothouse_server.domain.targets import Target, target_of_command
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.settlement import settle_batch

T = TypeVar("T")

IDS_IN_QUERY = 500
"""Names in one IN list."""

CLOCK = 1

_CHANGE = (
    update(COMMANDS)
    .where(COMMANDS.c.id == bindparam("to_id"))
    .values({name: bindparam(f"to_{name}") for name in COMMANDS.columns.keys() if name != "id"})  # noqa: SIM118 - it yields columns, not names
)

# In the words of the partial indexes: with parameters the planners could not know that these are what is asked for.
_IS_PENDING = text("commands.state IN (1, 2)")


def pending_for(
    connection: Connection, workflow_ids: Collection[str], *, locked: bool = False
) -> dict[str, Command]:
    """The commands on these workflows that have not ended, at most one each. Locked ones change only here until the
    transaction ends; they are locked in the order of their workflows, as those are."""
    found: dict[str, Command] = {}
    for ids in slices(sorted(set(workflow_ids)), IDS_IN_QUERY):
        query = select(COMMANDS).where(
            _IS_PENDING,
            COMMANDS.c.scope == int(Scope.RUN),
            COMMANDS.c.target.in_(ids),
        )
        if locked:
            query = query.order_by(COMMANDS.c.target).with_for_update()
        rows = connection.execute(query).mappings()
        found.update((row["workflow_id"], command_of(row)) for row in rows)
    return found


def for_workflow(connection: Connection, workflow_id: str, limit: int) -> list[Command]:
    """The newest commands on a workflow, newest first."""
    query = (
        select(COMMANDS)
        .where(COMMANDS.c.workflow_id == workflow_id)
        .order_by(COMMANDS.c.sequence.desc())
        .limit(limit)
    )
    return [command_of(row) for row in connection.execute(query).mappings()]


def for_agent(connection: Connection, agent_id: str, limit: int) -> list[Command]:
    """The newest commands on an agent, newest first."""
    query = (
        select(COMMANDS)
        .where(COMMANDS.c.agent_id == agent_id, COMMANDS.c.agent_id != "")
        .order_by(COMMANDS.c.sequence.desc())
        .limit(limit)
    )
    return [command_of(row) for row in connection.execute(query).mappings()]


def pending_for_agents(
    connection: Connection, agent_ids: Collection[str]
) -> dict[tuple[str, str], Command]:
    """The commands on these agents that have not ended, by agent and engine."""
    found: dict[tuple[str, str], Command] = {}
    for ids in slices(sorted(set(agent_ids)), IDS_IN_QUERY):
        query = select(COMMANDS).where(
            _IS_PENDING,
            COMMANDS.c.scope == int(Scope.POOL),
            COMMANDS.c.target.in_(ids),
        )
        rows = connection.execute(query).mappings()
        found.update(((row["agent_id"], row["source"]), command_of(row)) for row in rows)
    return found


def any_pending(connection: Connection) -> bool:
    """Whether there is a command that has not ended: most of the time there is none."""
    query = select(COMMANDS.c.id).where(_IS_PENDING).limit(1)
    return connection.execute(query).first() is not None


class SqlCommandTransaction:
    """What control reads and changes, within one transaction. `beside` others it locks the commands that it may end."""

    def __init__(self, connection: Connection, *, beside: bool = False) -> None:
        self._connection = connection
        self._beside = beside

    def standpoint(self, workflow_id: str) -> Standpoint | None:
        return standpoint_of(self._connection, workflow_id)

    def get(self, command_id: str) -> Command | None:
        return self._one(select(COMMANDS).where(COMMANDS.c.id == command_id))

    def requested(self, request_id: str) -> Command | None:
        return self._one(select(COMMANDS).where(COMMANDS.c.request_id == request_id))

    def pending(self, workflow_ids: Collection[str]) -> dict[str, Command]:
        if len(workflow_ids) > 1 and not any_pending(self._connection):
            return {}
        return pending_for(self._connection, workflow_ids, locked=self._beside)

    def overdue(self, now_us: int, limit: int) -> list[Command]:
        return self._all(
            select(COMMANDS)
            .where(_IS_PENDING, COMMANDS.c.expire_us <= now_us)
            .order_by(COMMANDS.c.expire_us)
            .limit(limit)
        )

    def next_deadline(self) -> int | None:
        # One look into the index for each state: the least of both at once would read all that are pending.
        of_state = select(func.min(COMMANDS.c.expire_us)).where(COMMANDS.c.state == bindparam("of"))
        found = (
            self._connection.execute(of_state, {"of": int(state)}).scalar() for state in PENDING
        )
        return min((at for at in found if at is not None), default=None)

    def swept_us(self) -> int | None:
        query = select(COMMAND_CLOCK.c.swept_us).where(COMMAND_CLOCK.c.id == CLOCK)
        return self._connection.execute(query).scalar()

    def note_swept(self, now_us: int) -> None:
        noted = update(COMMAND_CLOCK).where(COMMAND_CLOCK.c.id == CLOCK).values(swept_us=now_us)
        if not self._connection.execute(noted).rowcount:
            self._connection.execute(insert(COMMAND_CLOCK).values(id=CLOCK, swept_us=now_us))

    def defer(self, swept_us: int, now_us: int, least_us: int) -> int:
        began = func.coalesce(COMMANDS.c.accept_us, COMMANDS.c.request_us)
        missed = now_us - case((began > swept_us, began), else_=swept_us)
        deferred = (
            update(COMMANDS)
            .where(_IS_PENDING, missed >= least_us)
            .values(expire_us=COMMANDS.c.expire_us + missed)
            .returning(COMMANDS.c.workflow_id)
        )
        workflow_ids = list(self._connection.execute(deferred).scalars())
        touch(self._connection, workflow_ids[: executor_rows.TOUCHED])
        return len(workflow_ids)

    def offered(self, source: str, after: int, limit: int) -> list[Command]:
        return self._all(
            select(COMMANDS)
            .where(
                COMMANDS.c.source == source,
                COMMANDS.c.sequence > after,
                _IS_PENDING,
            )
            .order_by(COMMANDS.c.sequence)
            .limit(limit)
        )

    def urgent(self, source: str, after: int, limit: int) -> list[Command]:
        return self._all(
            select(COMMANDS)
            .where(
                COMMANDS.c.source == source,
                COMMANDS.c.sequence > after,
                _IS_PENDING,
                COMMANDS.c.stop_id != "",
            )
            .order_by(COMMANDS.c.sequence)
            .limit(limit)
        )

    def given(self, source: str, until: int, limit: int) -> int:
        some = (
            select(COMMANDS.c.id)
            .where(
                COMMANDS.c.source == source,
                COMMANDS.c.sequence <= until,
                _IS_PENDING,
            )
            .limit(limit)
            .subquery("some")
        )
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one()

    def history(self) -> tuple[str, int]:
        return database_id(self._connection), newest_revision(self._connection)

    def add(self, command: Command) -> Command:
        command = replace(command, sequence=next_revision(self._connection))
        self._connection.execute(insert(COMMANDS).values(row_of(command)))
        self._announce([command])
        return command

    def put(self, command: Command) -> None:
        self.put_all([command])

    def put_all(self, commands: Sequence[Command]) -> None:
        if commands:
            rows = [{f"to_{name}": row[name] for name in row} for row in map(row_of, commands)]
            self._connection.execute(_CHANGE, rows)
            self._announce(commands)

    def pending_on(self, scope: Scope, target: str, source: str) -> Command | None:
        return self._one(
            select(COMMANDS).where(
                _IS_PENDING,
                COMMANDS.c.scope == int(scope),
                COMMANDS.c.target == target,
                COMMANDS.c.source == source,
            )
        )

    def pending_at(self, targets: Collection[Target]) -> list[Command]:
        wanted = set(targets)
        scopes = sorted({int(target.scope) for target in wanted})
        of_them = (_IS_PENDING, COMMANDS.c.scope.in_(scopes))
        # Heartbeats come all the time, commands on agents seldom.
        if self._connection.execute(select(COMMANDS.c.id).where(*of_them).limit(1)).first() is None:
            return []
        found: list[Command] = []
        for names in slices(sorted({target.name for target in wanted}), IDS_IN_QUERY):
            query = select(COMMANDS).where(*of_them, COMMANDS.c.target.in_(names))
            if self._beside:
                ordered = (COMMANDS.c.scope, COMMANDS.c.target, COMMANDS.c.source)
                query = query.order_by(*ordered).with_for_update()
            found.extend(self._all(query))
        return [each for each in found if target_of_command(each) in wanted]

    def record(self, entries: Sequence[Entry]) -> None:
        audit_rows.append(self._connection, entries)

    def agent(self, agent_id: str) -> AgentRecord | None:
        found = agent_rows.load(self._connection, (agent_id,)).get(agent_id)
        return found if found is not None and found.known else None

    def queue(self, name: QueueName) -> QueueRecord | None:
        return queue_rows.load(self._connection, (name,)).get(name)

    def executor(self, source: str) -> Executor | None:
        return executor_rows.named(self._connection, (source,)).get(source)

    def all_executors(self, limit: int) -> list[Executor]:
        return executor_rows.every(self._connection, limit)

    def put_executor(self, executor: Executor) -> None:
        executor_rows.put(self._connection, executor)

    def see_executor(self, executor: Executor) -> None:
        executor_rows.see(self._connection, executor)

    def connected_replicas(self) -> set[str]:
        return executor_rows.connected_replicas(self._connection)

    def disconnect(self, replicas: Collection[str]) -> None:
        executor_rows.disconnect(self._connection, replicas)

    def _announce(self, commands: Sequence[Command]) -> None:
        outbox_store.add(self._connection, map(event_of, commands))
        touch(self._connection, [each.workflow_id for each in commands if each.workflow_id])
        agent_rows.touch(self._connection, [each.agent_id for each in commands if each.agent_id])

    def _one(self, query: Select[Any]) -> Command | None:
        row = self._connection.execute(query).mappings().first()
        return None if row is None else command_of(row)

    def _all(self, query: Select[Any]) -> list[Command]:
        return [command_of(row) for row in self._connection.execute(query).mappings()]


class SqlCommands:
    """Transactions over commands and executors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, run: Callable[[SqlCommandTransaction], T]) -> T:
        return await self._database.write(lambda connection: run(SqlCommandTransaction(connection)))

    async def read(self, run: Callable[[SqlCommandTransaction], T]) -> T:
        return await self._database.read(lambda connection: run(SqlCommandTransaction(connection)))


def settling(
    configured: Callable[[], PlatformConfig] = PlatformConfig,
) -> Callable[[Connection, Sequence[Event], Mapping[str, WorkflowRecord]], None]:
    """What the projector calls in its transaction, after the rows are written: ends the commands that the events
    answer."""

    def settle(
        connection: Connection, events: Sequence[Event], records: Mapping[str, WorkflowRecord]
    ) -> None:
        facts = {each.id: Facts(each.state, each.attempt) for each in records.values()}
        deadlines = Deadlines.of(configured())
        settle_batch(SqlCommandTransaction(connection, beside=True), events, facts, deadlines)

    return settle


_PLAIN = (
    "id", "sequence", "workflow_id", "source", "attempt", "reason", "actor", "request_id",
    "request_us", "expire_us", "since_us", "accept_us", "effect_us", "end_us", "agent_id", "queue",
    "workflow_type", "agent_type", "pool_size", "batch_id", "stop_id", "budget_id",
)  # fmt: skip


def row_of(command: Command) -> dict[str, Any]:
    """The row of a command, by the names of its columns."""
    row: dict[str, Any] = {name: getattr(command, name) for name in _PLAIN}
    row["action"] = int(command.action)
    row["state"] = int(command.state)
    row["boundary"] = int(command.boundary)
    row["scope"] = int(command.scope)
    row["target"] = command.target
    error = command.error
    row["error_code"] = None if error is None else error.code
    row["error_message"] = None if error is None else error.message
    row["error_retryable"] = None if error is None else error.retryable
    return row


def command_of(row: RowMapping) -> Command:
    """The command in a row of its table."""
    error: EventError | None = None
    if row["error_code"] is not None:
        error = EventError(row["error_code"], row["error_message"], row["error_retryable"])
    return Command(
        **{name: row[name] for name in _PLAIN},
        action=Action(row["action"]),
        state=CommandState(row["state"]),
        boundary=Boundary(row["boundary"]),
        scope=Scope(row["scope"]),
        error=error,
    )
