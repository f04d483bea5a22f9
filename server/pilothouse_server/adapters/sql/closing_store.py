"""Closing a workflow, as a transaction alone: what it was judged on stays so until the commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from pilothouse_server.adapters.sql import outbox_store, workflow_rows
from pilothouse_server.adapters.sql.command_store import SqlCommandTransaction
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.done_rows import SqlDoneRequests
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.services.closing import ClosingTransaction

T = TypeVar("T")


class SqlClosing:
    """Implements `services.closing.ClosingStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, run: Callable[[ClosingTransaction], T]) -> T:
        return await self._database.write(lambda connection: run(SqlClosingTransaction(connection)))


class SqlClosingTransaction(SqlCommandTransaction, SqlDoneRequests):
    """Implements `services.closing.ClosingTransaction`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)

    def workflow(self, workflow_id: str) -> WorkflowRecord | None:
        return workflow_rows.load(self._connection, (workflow_id,)).get(workflow_id)

    def publish(self, event: Event) -> None:
        outbox_store.add(self._connection, [event])
