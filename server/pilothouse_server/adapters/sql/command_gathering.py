"""Many requests in one transaction for little more than the cost of one.

What judging them needs is read in a few statements beforehand, and what they write is written together by `flush`. In
between, what was asked before is seen by what is asked after, as if each had been written at once. It needs a plain
write, in which nobody else changes what was read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import audit_rows, bulk, executor_rows, workflow_rows
from pilothouse_server.adapters.sql.command_store import (
    SqlCommandTransaction,
    command_of,
    pending_for,
    row_of,
)
from pilothouse_server.adapters.sql.revisions import next_revision, reserve_revisions
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.commands import Command, Executor, Scope, Standpoint

_COLUMNS = [column.name for column in COMMANDS.columns]


class GatheringTransaction(SqlCommandTransaction):
    """A `CommandTransaction` for requests on these workflows under these request ids; what else is asked is looked
    up as ever. Nothing is written before `flush`."""

    def __init__(
        self, connection: Connection, workflow_ids: Sequence[str], request_ids: Sequence[str]
    ) -> None:
        super().__init__(connection)
        self._gathered = frozenset(workflow_ids)
        self._asked = frozenset(request_ids)
        self._standpoints = _standpoints(connection, workflow_ids)
        self._pending = pending_for(connection, workflow_ids)
        self._requested = _requested(connection, request_ids)
        sources = {each.source for each in self._standpoints.values()}
        self._executors: dict[str, Executor | None] = dict.fromkeys(sources)
        self._executors.update(executor_rows.named(connection, sources))
        self._sequences = iter(reserve_revisions(connection, len(workflow_ids)))
        self._added: dict[str, Command] = {}
        self._changed: dict[str, Command] = {}
        self._entries: list[Entry] = []

    def standpoint(self, workflow_id: str) -> Standpoint | None:
        if workflow_id in self._gathered:
            return self._standpoints.get(workflow_id)
        return super().standpoint(workflow_id)

    def get(self, command_id: str) -> Command | None:
        ours = self._added.get(command_id) or self._changed.get(command_id)
        return ours or super().get(command_id)

    def requested(self, request_id: str) -> Command | None:
        if request_id in self._asked or request_id in self._requested:
            return self._requested.get(request_id)
        return super().requested(request_id)

    def pending(self, workflow_ids: Collection[str]) -> dict[str, Command]:
        ours = self._gathered.issuperset(workflow_ids)
        found = self._pending if ours else super().pending(workflow_ids) | self._pending
        return {each: found[each] for each in workflow_ids if each in found}

    def executor(self, source: str) -> Executor | None:
        return self._executors[source] if source in self._executors else super().executor(source)

    def pending_on(self, scope: Scope, target: str, source: str) -> Command | None:
        wanted = (scope, target, source)
        for each in self._added.values():
            if each.pending and (each.scope, each.target, each.source) == wanted:
                return each
        found = super().pending_on(scope, target, source)
        return None if found is None else self._changed.get(found.id, found)

    def add(self, command: Command) -> Command:
        sequence = next(self._sequences, None)
        if sequence is None:
            sequence = next_revision(self._connection)
        command = replace(command, sequence=sequence)
        self._added[command.id] = self._requested[command.request_id] = command
        self._note(command)
        return command

    def put_all(self, commands: Sequence[Command]) -> None:
        for command in commands:
            where = self._added if command.id in self._added else self._changed
            where[command.id] = command
            self._note(command)

    def record(self, entries: Sequence[Entry]) -> None:
        self._entries.extend(entries)

    def flush(self) -> None:
        """Writes all that was asked, with what tells of it. What was pending and ended goes first: there is never more
        than one pending command on a target."""
        super().put_all(list(self._changed.values()))
        added = list(self._added.values())
        rows = [[row[name] for name in _COLUMNS] for row in map(row_of, added)]
        bulk.insert(self._connection, COMMANDS, rows)
        self._announce(added)
        audit_rows.append(self._connection, self._entries)
        self._added, self._changed, self._entries = {}, {}, []

    def _note(self, command: Command) -> None:
        if command.workflow_id not in self._gathered:
            return
        if command.pending:
            self._pending[command.workflow_id] = command
        else:
            self._pending.pop(command.workflow_id, None)


def _standpoints(connection: Connection, workflow_ids: Sequence[str]) -> dict[str, Standpoint]:
    found = workflow_rows.load(connection, workflow_ids)
    return {each.id: workflow_rows.standpoint(each) for each in found.values()}


def _requested(connection: Connection, request_ids: Sequence[str]) -> dict[str, Command]:
    found: dict[str, Command] = {}
    for ids in workflow_rows.slices(request_ids, bulk.keys_at_once(connection)):
        query = select(COMMANDS).where(bulk.among(connection, [COMMANDS.c.request_id], ids))
        rows = connection.execute(query).mappings()
        found.update((row["request_id"], command_of(row)) for row in rows)
    return found
