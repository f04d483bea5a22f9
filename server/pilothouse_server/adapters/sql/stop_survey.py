"""What belongs to an emergency stop: read in slices when somebody takes it up, and then as it changes.

Work on agents of a type is found from tasks in hand, of which there are never many; all else by indexes of what has not
ended.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    func,
    literal,
    select,
    text,
    tuple_,
)

from pilothouse_server.adapters.sql import bulk, stop_rows
from pilothouse_server.adapters.sql.executor_rows import named as executors
from pilothouse_server.adapters.sql.revisions import newest_revision
from pilothouse_server.adapters.sql.tables_control import EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import AGENTS, TASKS, WORKFLOWS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain import commands
from pilothouse_server.domain.stops import Key, Kind, Scope, Stop, StopState, wanted
from pilothouse_server.domain.workflows import ENDED, Action, WorkflowState

MOST_ENGINES: Final = 1_000
LOOKED_BACK: Final = 2_000
"""The newest workflows of a type by which its engines are known."""

_W = WORKFLOWS.c
_PLACE: Final = tuple_(_W.state, _W.create_us, _W.id)
_RUNNING: Final = text("tasks.state = 3")
_LAST_ACTIVE: Final = int(WorkflowState.PAUSED)
"""The states up to this one are those of workflows that have not ended."""

Place = tuple[int, int, str]
"""Where a reading of all workflows that have not ended has come: (state, when it was created, id)."""


class Slice(NamedTuple):
    """Some of those that have not ended."""

    ids: Sequence[str]
    place: Place | None
    """Where the next slice begins; None: this was the last one."""


class Changed(NamedTuple):
    """Workflows that changed, and belong to the stop."""

    ids: Sequence[str]
    mark: int
    """The revision from which to go on."""
    more: bool


def newest(connection: Connection) -> int:
    """The revision behind which changes are to be read."""
    return newest_revision(connection)


def engines(connection: Connection, stop: Stop, working: Collection[str]) -> list[Key]:
    """Engines that could start something in scope: those that are connected or are `working` in it, and of a narrow
    scope of the connected ones only those that can be asked about it alone."""
    sources = select(EXECUTORS.c.source).where(EXECUTORS.c.connected).limit(MOST_ENGINES)
    connected = set(connection.execute(sources).scalars())
    if not stop.scope.narrow:
        found = connected.union(working)
    else:
        declared = executors(connection, connected)
        fleet = commands.Scope.FLEET
        able = {
            source
            for source, each in declared.items()
            if each.capability(Action.PAUSE, fleet, selective=True) is not None
        }
        found = able.union(working)
    asked = stop_rows.keys(connection, stop.id, Kind.ENGINE, "", MOST_ENGINES)
    found |= {source for _, source in asked}
    return [(Kind.ENGINE, source) for source in sorted(found)]


def working(connection: Connection, scope: Scope) -> set[str]:
    """The engines of what belongs to the scope, which may read all that has not ended: not to be asked often."""
    if scope.agent_type:
        query: Select[Any] = select(AGENTS.c.source).where(AGENTS.c.type == scope.agent_type)
    elif scope.workflow_type:
        of_type = select(_W.source, _W.create_us).where(_W.type == scope.workflow_type)
        newest_ = of_type.order_by(_W.create_us.desc(), _W.id.desc()).limit(LOOKED_BACK).subquery()
        query = select(newest_.c.source)
    else:
        query = select(_W.source).where(_W.state <= _LAST_ACTIVE)
    found = set(connection.execute(query.distinct().limit(MOST_ENGINES)).scalars())
    return found - {""}


def agents(connection: Connection, stop: Stop, after: str, limit: int) -> list[Key]:
    """Agents in scope, by id. Those of no type are of every scope that names none; a scope of a workflow type has no
    agents, since who drains for one type would drain for all."""
    if stop.scope.workflow_type and not stop.scope.agent_type:
        return []
    query = select(AGENTS.c.id).where(
        AGENTS.c.id > after, AGENTS.c.last_seen_us > 0, AGENTS.c.gone.is_(False)
    )
    if stop.scope.agent_type:
        query = query.where(AGENTS.c.type == stop.scope.agent_type)
    found = connection.execute(query.order_by(AGENTS.c.id).limit(limit)).scalars()
    return [(Kind.AGENT, id) for id in found]


def active(connection: Connection, scope: Scope, place: Place | None, limit: int) -> Slice:
    """The next workflows in scope that have not ended."""
    query = select(_W.id, _W.state, _W.create_us).where(_W.state <= _LAST_ACTIVE)
    if place is not None:
        held = tuple_(
            literal(place[0], Integer), literal(place[1], BigInteger), literal(place[2], Text)
        )
        query = query.where(held < _PLACE)
    if scope.workflow_type:
        # Not by the index of types: most of a type has ended.
        query = query.where(func.coalesce(_W.type, "") == scope.workflow_type)
    if scope.agent_type:
        query = query.where(_W.id.in_(_worked_on(scope.agent_type)))
    rows = connection.execute(query.order_by(_W.state, _W.create_us, _W.id).limit(limit)).all()
    last = rows[-1] if len(rows) == limit else None
    ids = [row.id for row in rows]
    return Slice(ids, None if last is None else (last.state, last.create_us, last.id))


def changed(connection: Connection, stop: Stop, mark: int, limit: int) -> Changed:
    """The workflows that changed since, as far as they belong to the stop: in its scope, or asked by it before."""
    query = (
        select(_W.id, _W.revision, _W.state, _W.type)
        .where(_W.revision > mark)
        .order_by(_W.revision)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    ids = [row.id for row in rows]
    known = stop_rows.targets(connection, stop.id, [(Kind.WORKFLOW, id) for id in ids])
    belong = {id for _, id in known}
    if stop.state == StopState.ACTIVE and wanted(stop.stage, Kind.WORKFLOW):
        scope = stop.scope
        fitting = [
            row.id
            for row in rows
            if row.state not in ENDED and scope.workflow_type in ("", row.type)
        ]
        belong.update(_of_agents(connection, scope.agent_type, fitting))
    last = rows[-1].revision if rows else mark
    return Changed([id for id in ids if id in belong], last, len(rows) == limit)


def _of_agents(connection: Connection, agent_type: str, ids: Collection[str]) -> Collection[str]:
    if not agent_type or not ids:
        return ids
    found: set[str] = set()
    for some in slices(sorted(ids), bulk.keys_at_once(connection)):
        query = (
            select(TASKS.c.workflow_id)
            .join(AGENTS, AGENTS.c.id == TASKS.c.agent_id)
            .where(
                bulk.among(connection, [TASKS.c.workflow_id], some),
                TASKS.c.state == 3,
                AGENTS.c.type == agent_type,
            )
        )
        found.update(connection.execute(query).scalars())
    return found


def _worked_on(agent_type: str) -> Select[tuple[str]]:
    """Workflows with a task in the hand of an agent of the type."""
    hands = select(AGENTS.c.id).where(AGENTS.c.type == agent_type)
    return select(TASKS.c.workflow_id).where(_RUNNING, TASKS.c.agent_id.in_(hands))


def by_engine(connection: Connection, scope: Scope, *, paused: bool) -> dict[str, int]:
    """How many workflows in scope each engine has that have not ended; paused ones only where they count."""
    query = select(_W.source, func.count()).where(*_previewed(scope, paused=paused))
    rows = connection.execute(query.group_by(_W.source))
    return {row[0]: row[1] for row in rows}


def of_engines(
    connection: Connection, scope: Scope, sources: Collection[str], limit: int, *, paused: bool
) -> list[tuple[str, str]]:
    """(id, engine) of some workflows in scope of these engines."""
    query = select(_W.id, _W.source).where(
        *_previewed(scope, paused=paused), _W.source.in_(sorted(sources))
    )
    return [(row.id, row.source) for row in connection.execute(query.limit(limit))]


def _previewed(scope: Scope, *, paused: bool) -> list[ColumnElement[bool]]:
    last = _LAST_ACTIVE if paused else _LAST_ACTIVE - 1
    clauses: list[ColumnElement[bool]] = [_W.state <= last]
    if scope.workflow_type:
        clauses.append(func.coalesce(_W.type, "") == scope.workflow_type)
    if scope.agent_type:
        clauses.append(_W.id.in_(_worked_on(scope.agent_type)))
    return clauses
