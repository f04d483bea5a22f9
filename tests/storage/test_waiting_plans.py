"""What says why workflows wait, and holds them to budgets, reads no large table from one end to the other either."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.budget_store import SqlBudgets
from pilothouse_server.adapters.sql.closing_store import SqlClosing
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.keeper_store import SqlKeeper
from pilothouse_server.adapters.sql.tables_budgets import (
    BUDGET_STANDS,
    BUDGETS,
    DONE_REQUESTS,
    ENGINES_HEARD,
    USAGE_SPANS,
)
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.waiting_store import SqlWaiting
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.budgets import (
    Budget,
    BudgetState,
    Ceilings,
    Finding,
    Scope,
    Used,
    to_document,
)
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.budget_keeper import Place
from pilothouse_server.services.closing import Closer, Closing
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.waiting import Condition, Kind
from tests.projection.build import NOON, SECOND
from tests.services.conftest import SetClock
from tests.storage.explained import ExplainedDatabase
from tests.storage.test_plans import DAY, ROWS, SMALL, explained, filled

__all__ = ["explained", "filled"]

pytestmark = pytest.mark.timeout(240)  # whoever comes first fills the database

MINUTE = 60 * SECOND
OF_RUNS = Budget(
    "b1", "runs", Scope.RUN, Ceilings(100, 200, MINUTE), workflow_type="type3", pause=True, enabled=True,
)  # fmt: skip
OF_TYPE = Budget(
    "b2", "type", Scope.TYPE, Ceilings(100), workflow_type="type3", window_us=30 * DAY, enabled=True
)
BOUNDED = SMALL | {
    # Two hundred at most; engines are few, and the newest thousand of them are looked at.
    "audit_head",
    "budgets",
    "engines_heard",
    # What a statement makes itself, of as many rows as it may.
    *("live", *(f"anon_{n}" for n in range(1, 9))),
}


def more(connection: Connection) -> None:
    """What the other questions do not ask about."""
    stands = (
        (f"b{n % 50}", f"w{n:06}", 1, 1, 3, 1, 1, "", NOON + n if n % 90 == 0 else None)
        for n in range(ROWS)
    )
    spans = (
        (0, f"type{n % 20}", 60 if n % 2 else 3600, NOON + n * MINUTE, 0, 1, 1) for n in range(ROWS)
    )
    bulk.insert(connection, BUDGET_STANDS, list(stands))
    bulk.insert(connection, USAGE_SPANS, list(spans))
    bulk.insert(connection, ENGINES_HEARD, [(f"engine{n}", 0, NOON) for n in range(50)])
    done: list[dict[str, Any]] = [
        {"request_id": f"d{n}", "digest": "", "done_us": NOON + n, "answer": {}}
        for n in range(ROWS)
    ]
    connection.execute(insert(DONE_REQUESTS), done)
    for budget in (OF_RUNS, OF_TYPE):
        row = {
            name: getattr(budget, name)
            for name in ("id", "name", "version", "create_us", "update_us", "updated_by")
        }
        connection.execute(insert(BUDGETS).values(document=to_document(budget), **row))
    some = WORKFLOWS.c.id.in_([f"w{n:06}" for n in range(0, ROWS, 400)])
    connection.execute(update(WORKFLOWS).where(some).values(waits_for="coder", tokens=90))


async def ask_reasons(database: Database) -> None:
    store = SqlWaiting(database)
    found = await store.conditions(NOON + DAY, 30 * SECOND, 60 * SECOND)
    assert Condition(Kind.AGENTS, "coder") in found
    assert await store.concerned(sorted(found), 100)
    await store.show(["w000100", "w000200"])
    await store.forget(NOON - DAY)
    await SqlWorkflowViews(database, SetClock()).page(PageRequest(50, filter="state = PAUSED"))
    closing = Closing("nobody", WorkflowState.FAILED, "r", request_id="d7x")
    with pytest.raises(NotFound):
        await Closer(SqlClosing(database), SetClock(), ControlSignals(), uuid7).close(closing)


async def ask_budgets(database: Database) -> None:
    desk, keeper = SqlBudgets(database), SqlKeeper(database)
    await desk.views(NOON + DAY, "", "")
    await desk.views(NOON + DAY, "", "w000100")
    await desk.write(lambda transaction: transaction.remove("b7"))
    page = await keeper.live(Place(), 100)
    assert page.after is not None
    await keeper.live(page.after, 100)
    assert await keeper.changed(ROWS - 100, 50)
    await keeper.begun(NOON + ROWS - 100, NOON + ROWS, 50)
    await keeper.windows([OF_TYPE], NOON + 31 * DAY)
    await keeper.stands(["b1", "b2"])
    used = Used(200, 0, 0)
    over = [
        Finding(OF_RUNS, run.id, run.type, run.attempt, BudgetState.EXCEEDED, 2.0, used, pause=True)
        for run in page.runs
    ]
    await keeper.settle(over, NOON, Deadlines())
    await keeper.follow_up(NOON + DAY, 50, Deadlines())


@pytest.mark.parametrize("ask", [ask_reasons, ask_budgets])
async def test_an_answer_is_found_by_an_index(explained: ExplainedDatabase, ask: Any) -> None:
    there = await explained.database.read(
        lambda c: c.execute(BUDGETS.select().where(BUDGETS.c.id == "b1")).first()
    )
    if there is None:
        await explained.database.write(more)
        if "postgres" in type(explained.database).__name__.lower():
            await explained.database.write(lambda c: c.exec_driver_sql("ANALYZE").close())
    await ask(explained)
    assert explained.statements
    scans = {(table, statement) for table, statement in explained.scanned if table not in BOUNDED}
    assert not scans, "\n\n".join(f"all of {table}:\n{statement}" for table, statement in scans)
