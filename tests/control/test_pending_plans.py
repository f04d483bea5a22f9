"""Commands that have not ended are few beside those that have: they are found by the indexes of them alone, however
many of either there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event

from pilothouse_server.adapters.sql.command_store import (
    SqlCommandTransaction,
    any_pending,
    pending_for,
    pending_for_agents,
)
from pilothouse_server.domain.commands import Scope
from pilothouse_server.domain.targets import Target

Ask = Callable[[SqlCommandTransaction], Any]
OF_A_TARGET = "uq_commands_pending_scope_target_source (scope=? AND target=?"
OF_AN_ENGINE = "ix_commands_pending_source_sequence (source=? AND sequence"
OF_A_STATE = "ix_commands_state_expire_us (state=?"

ASKED: list[tuple[str, Ask]] = [
    (OF_A_TARGET, lambda t: t.pending_on(Scope.POOL, "a", "e")),
    (OF_AN_ENGINE, lambda t: t.offered("e", 5, 10)),
    (OF_AN_ENGINE, lambda t: t.urgent("e", 5, 10)),
    (OF_AN_ENGINE, lambda t: t.given("e", 5, 10)),
    (OF_A_STATE, lambda t: t.next_deadline()),
    (OF_A_STATE, lambda t: t.overdue(5, 10)),
]


@pytest.fixture
def connection(sqlite_place: Path) -> Iterator[Connection]:
    """An empty database, made by the migrations: with nothing counted, the planner goes by their order."""
    engine = create_engine(f"sqlite:///{sqlite_place}")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def plans_of(connection: Connection, ask: Callable[[], Any]) -> list[str]:
    """What SQLite does for it."""
    plans: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.extend(row[-1] for row in cursor.fetchall() if "commands" in row[-1])

    event.listen(connection, "before_cursor_execute", explain)
    ask()
    return plans


@pytest.mark.parametrize(("index", "ask"), ASKED)
def test_what_is_pending_is_found_without_reading_what_is_not(
    connection: Connection, index: str, ask: Ask
) -> None:
    plans = plans_of(connection, lambda: ask(SqlCommandTransaction(connection)))
    assert plans
    assert all(index in plan for plan in plans), plans


def test_the_pending_commands_of_some_workflows_or_agents_are_found_by_their_targets(
    connection: Connection,
) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: pending_for(connection, ["w1", "w2"]),
        lambda: pending_for_agents(connection, ["a1", "a2"]),
        lambda: SqlCommandTransaction(connection).pending_at([Target(Scope.POOL, "", "a")]),
    ]
    for ask in asked:
        plans = plans_of(connection, ask)
        assert all("INDEX" in plan and "pending" in plan for plan in plans), plans
        assert not any("SCAN" in plan for plan in plans), plans


def test_whether_anything_is_pending_reads_an_index_of_what_is(connection: Connection) -> None:
    plans = plans_of(connection, lambda: any_pending(connection))
    assert all("state" in plan or "_pending_" in plan for plan in plans), plans
