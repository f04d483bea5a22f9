"""What the lead asks ten times a second, and what people ask, reads no large table from one end to the other."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import Connection, insert, text

from pilothouse_server.adapters.sql import bulk, command_store, stop_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.stop_store import SqlStops, SqlStopTransaction
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.adapters.sql.tables_projection import AGENTS, COUNTERS, TASKS, WORKFLOWS
from pilothouse_server.adapters.sql.tables_stops import EMERGENCY_REQUESTS
from pilothouse_server.domain.commands import Executor
from pilothouse_server.domain.stops import (
    Key,
    Kind,
    Scope,
    Stage,
    Stop,
    StopState,
    Target,
    TargetState,
)
from pilothouse_server.services.stop_ports import Moment
from tests.projection.build import NOON
from tests.storage.explained import ExplainedDatabase
from tests.storage.test_plans import ROWS, agents, commands, tasks, workflows

SMALL = {"counters", "executors", "identity", "emergency_stops", "queues"}
SCOPES = [Scope(), Scope(workflow_type="type0"), Scope(agent_type="type3")]


def stop_of(state: StopState, scope: Scope, id_: str = "s0") -> Stop:
    return Stop(id_, Stage.PAUSE_ALL, scope, state, "fire", "ana", NOON, NOON)


def fill(connection: Connection) -> None:
    for table, rows in (
        (WORKFLOWS, list(workflows())),
        (TASKS, list(tasks())),
        (AGENTS, list(agents())),
    ):
        bulk.insert(connection, table, rows)
    connection.execute(insert(COMMANDS), list(commands()))
    connection.execute(COUNTERS.update().values(value=ROWS))
    for n in range(30):
        state = StopState.RELEASED if n % 10 else StopState.ACTIVE
        stop_rows.put(connection, stop_of(state, Scope(), f"s{n}"))
        some = (
            Target(
                Kind.WORKFLOW, f"w{k:06}", TargetState.ASKED if k % 50 == 0 else TargetState.OBEYED,
                NOON + k, NOON + k, f"c{k}", f"c{k}", k, retry_us=NOON if k % 50 == 0 else None,
            )
            for k in range(0, ROWS, 20)
        )  # fmt: skip
        stop_rows.save(connection, f"s{n}", some)
    requests = [{"request_id": f"r{n}", "stop_id": f"s{n % 30}", "asked": ""} for n in range(ROWS)]
    connection.execute(insert(EMERGENCY_REQUESTS), requests)
    engines = [Executor(f"engine{n}", connected=True) for n in range(5)]
    for engine in engines:
        command_store.SqlCommandTransaction(connection).put_executor(engine)


@pytest.fixture
async def explained(database: Database) -> ExplainedDatabase:
    await database.write(fill)
    postgres = await database.read(bulk.is_postgres)
    if postgres:
        await database.write(lambda c: c.execute(text("ANALYZE")).close())
    return ExplainedDatabase(database)


KEYS: list[Key] = [
    *((Kind.WORKFLOW, f"w{n:06}") for n in range(0, 400, 20)),
    *((Kind.AGENT, f"a{n}") for n in range(20)),
    *((Kind.ENGINE, f"engine{n}") for n in range(5)),
]


def look(transaction: SqlStopTransaction, scope: Scope) -> None:
    """What the lead asks."""
    active = stop_of(StopState.ACTIVE, scope)
    ids, place = transaction.active(scope, None, 20)
    assert ids or scope.agent_type
    transaction.active(scope, place, 20)
    transaction.engines(active, ["engine1"])
    transaction.agents(active, "a", 100)
    transaction.changed(active, ROWS - 100, 100)
    for state in (StopState.ACTIVE, StopState.RELEASING):
        transaction.facts(stop_of(state, scope), KEYS, Moment(NOON, 30_000_000))
    transaction.open()
    transaction.newest()
    transaction.due("s0", NOON, 100)
    transaction.any_waiting("s0")
    transaction.target_keys("s0", Kind.WORKFLOW, "w", 50)


def show(transaction: SqlStopTransaction) -> None:
    """What people ask."""
    transaction.requested("r")
    views = transaction.views(transaction.open())
    assert len(views[0].not_obeyed) == 20
    for released in (False, True):
        transaction.page(10, "", released=released)
    first, token = transaction.target_page("s0", [], 10, "")
    assert len(first) == 10
    transaction.target_page("s0", [TargetState.ASKED], 5, "")
    transaction.target_page("s0", [], 10, token)


async def test_what_is_asked_of_stops_is_found_by_indexes(explained: ExplainedDatabase) -> None:
    store = SqlStops(explained)
    for scope in SCOPES:
        await store.read(partial(look, scope=scope))
    await store.read(show)
    follower = store.follow(True)
    start = await follower.start(0)
    await follower.after(start.first, 100)
    await store.write(lambda t: t.put(stop_of(StopState.ACTIVE, Scope())))
    await explained.write(lambda c: stop_rows.remove(c, ["s1"]))
    scans = {(table, each) for table, each in explained.scanned if table not in SMALL}
    assert not scans, "\n\n".join(f"all of {table}:\n{each}" for table, each in scans)
