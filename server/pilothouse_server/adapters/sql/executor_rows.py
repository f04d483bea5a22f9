"""Rows of the engines that take commands. What an engine can do decides what its workflows and agents offer, so those
are shown anew when that changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from pilothouse_server.adapters.sql import agent_rows
from pilothouse_server.adapters.sql.tables_control import EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.workflow_rows import slices, touch
from pilothouse_server.domain.commands import Boundary, Capability, Executor, Scope
from pilothouse_server.domain.workflows import LEGAL_ACTIONS, Action

IDS_IN_QUERY = 500
"""Names in one IN list."""

TOUCHED = 10_000
"""Workflows that are shown anew when an engine declares other capabilities; older ones are right when they are read."""

_STEERABLE = [int(state) for state, actions in LEGAL_ACTIONS.items() if actions]


def named(connection: Connection, sources: Collection[str]) -> dict[str, Executor]:
    """The executors of these names that ever connected."""
    found: dict[str, Executor] = {}
    for names in slices(sorted(set(sources)), IDS_IN_QUERY):
        query = select(EXECUTORS).where(EXECUTORS.c.source.in_(names))
        rows = connection.execute(query).mappings()
        found.update((row["source"], _executor(row)) for row in rows)
    return found


def every(connection: Connection, limit: int) -> list[Executor]:
    """By name."""
    query = select(EXECUTORS).order_by(EXECUTORS.c.source).limit(limit)
    return [_executor(row) for row in connection.execute(query).mappings()]


def put(connection: Connection, executor: Executor) -> None:
    """Stores it; when its capabilities changed, its workflows and agents get new revisions."""
    source = executor.source
    before = named(connection, (source,)).get(source)
    row = _row(executor)
    if before is None:
        connection.execute(insert(EXECUTORS).values(row))
    else:
        connection.execute(update(EXECUTORS).where(EXECUTORS.c.source == source).values(row))
    if before is None or before.capabilities != executor.capabilities:
        touch(connection, _steerable(connection, source))
        agent_rows.touch(connection, agent_rows.of_source(connection, source, TOUCHED))


def see(connection: Connection, executor: Executor) -> None:
    """Stores whether it is connected and when it was seen, unless it has opened another stream since."""
    ours = (EXECUTORS.c.source == executor.source, EXECUTORS.c.stream == executor.stream)
    seen = {name: getattr(executor, name) for name in ("connected", "replica", "last_seen_us")}
    connection.execute(update(EXECUTORS).where(*ours).values(seen))


def connected_replicas(connection: Connection) -> set[str]:
    """The replicas to which executors are connected."""
    query = select(EXECUTORS.c.replica).where(EXECUTORS.c.connected).distinct()
    return set(connection.execute(query).scalars())


def disconnect(connection: Connection, replicas: Collection[str]) -> None:
    """Nobody is connected to these replicas."""
    on_them = (EXECUTORS.c.connected, EXECUTORS.c.replica.in_(replicas))
    connection.execute(update(EXECUTORS).where(*on_them).values(connected=False))


def _steerable(connection: Connection, source: str) -> list[str]:
    """Workflows of the engine on which some action is legal."""
    query = (
        select(WORKFLOWS.c.id)
        .where(WORKFLOWS.c.source == source, WORKFLOWS.c.state.in_(_STEERABLE))
        .order_by(WORKFLOWS.c.revision.desc())
        .limit(TOUCHED)
    )
    return list(connection.execute(query).scalars())


def _row(executor: Executor) -> dict[str, Any]:
    return {
        "source": executor.source,
        "capabilities": [
            [int(each) for each in capability] for capability in executor.capabilities
        ],
        "connected": executor.connected,
        "connect_us": executor.connect_us,
        "last_seen_us": executor.last_seen_us,
        "replica": executor.replica,
        "stream": executor.stream,
    }


def _executor(row: RowMapping) -> Executor:
    capabilities = tuple(
        Capability(Action(action), Scope(scope), Boundary(boundary), bool(selective))
        for action, scope, boundary, selective in row["capabilities"]
    )
    plain = {name: row[name] for name in _EXECUTOR}
    return Executor(capabilities=capabilities, **plain)


_EXECUTOR = ("source", "connected", "connect_us", "last_seen_us", "replica", "stream")
