"""Budgets: changed by people in transactions alone, and read with where things stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from pilothouse_server.adapters.sql import audit_rows, budget_rows, budget_uses, workflow_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.done_rows import SqlDoneRequests
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.budgets import Budget
from pilothouse_server.services.budgets import BudgetTransaction, BudgetView

T = TypeVar("T")


class SqlBudgets:
    """Implements `services.budgets.BudgetStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, run: Callable[[BudgetTransaction], T]) -> T:
        return await self._database.write(lambda connection: run(SqlBudgetTransaction(connection)))

    async def views(self, now_us: int, budget_id: str, workflow_id: str) -> Sequence[BudgetView]:
        def run(connection: Connection) -> list[BudgetView]:
            return [
                BudgetView(budget, budget_uses.uses(connection, budget, workflow_id, now_us))
                for budget in _wanted(connection, budget_id, workflow_id)
            ]

        return await self._database.read(run)


class SqlBudgetTransaction(SqlDoneRequests):
    """Implements `services.budgets.BudgetTransaction`."""

    def every(self) -> Sequence[Budget]:
        return budget_rows.every(self._connection)

    def put(self, budget: Budget) -> None:
        budget_rows.put(self._connection, budget)

    def remove(self, budget_id: str) -> None:
        budget_rows.remove(self._connection, budget_id)

    def record(self, entries: Sequence[Entry]) -> None:
        audit_rows.append(self._connection, entries)


def _wanted(connection: Connection, budget_id: str, workflow_id: str) -> list[Budget]:
    found = budget_rows.every(connection)
    if budget_id:
        return [each for each in found if each.id == budget_id]
    if not workflow_id:
        return found
    record = workflow_rows.load(connection, (workflow_id,)).get(workflow_id)
    if record is None:
        return []
    return [each for each in found if each.counts(record.id, record.type[1])]
