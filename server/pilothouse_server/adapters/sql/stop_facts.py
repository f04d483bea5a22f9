"""What is the case with the targets of an emergency stop, some hundred of them in a few statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text

from pilothouse_server.adapters.sql import (
    agent_rows,
    bulk,
    command_store,
    executor_rows,
    queue_rows,
    stop_rows,
)
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.tables_control import COMMANDS, EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.tables_stops import EMERGENCY_STOPS, EMERGENCY_TARGETS, FLEET
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain import commands
from pilothouse_server.domain.commands import Command, CommandState, Executor
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.projection.agent import AgentState
from pilothouse_server.domain.projection.queue import QueueName, QueueState
from pilothouse_server.domain.stops import (
    LETTING_GO,
    STOPPING,
    UNDOING,
    Facts,
    Key,
    Kind,
    Stage,
    Stop,
    StopState,
    Target,
    TargetState,
    goal,
)
from pilothouse_server.domain.targets import target_of
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.services.stop_ports import Moment

SCOPES = {
    Kind.ENGINE: commands.Scope.FLEET,
    Kind.AGENT: commands.Scope.POOL,
    Kind.WORKFLOW: commands.Scope.RUN,
}
_SILENT = EventError(
    "AGENT_OFFLINE",
    "the agent is not heard of; it is let go when it is heard again",
    retryable=True,
)
_C = COMMANDS.c
_IS_PENDING = text("commands.state IN (1, 2)")
"""In the words of the index, which a planner cannot know of parameters."""


class _State(NamedTuple):
    """How one target is by its own row."""

    source: str
    ended: bool = False
    stopped: bool = False
    idle: bool = True
    attempt: int = 1
    silent: bool = False
    """Of an agent: nobody knows whether it is there."""


def able(executor: Executor | None, source: str, stop: Stop, kind: Kind) -> EventError | None:
    """Why the engine cannot be asked what the stop wants of a target now; None when it can."""
    action = LETTING_GO[kind] if stop.state == StopState.RELEASING else goal(stop.stage, kind)
    named = f"engine {source!r}" if source else "engine, which its events do not name,"
    if executor is None:
        return EventError("NO_EXECUTOR", f"the {named} never connected, so nobody can ask it", True)
    selective = kind == Kind.ENGINE and stop.scope.narrow
    if executor.capability(action, SCOPES[kind], selective=selective) is None:
        what = {Kind.ENGINE: "what it starts", Kind.AGENT: "an agent"}.get(kind, "a workflow")
        alone = " of one type alone" if selective else ""
        said = f"the {named} did not declare that it can {action.name} {what}{alone}"
        return EventError("UNSUPPORTED_BY_ENGINE", said)
    if not executor.connected:
        told = f"the {named} is not connected; it is asked when it connects"
        return EventError("NO_EXECUTOR", told, retryable=True)
    return None


def fleet_target(stop: Stop) -> str:
    """What a command on an engine is about, as `Command.target` says it."""
    return target_of(QueueName("", "", stop.scope.workflow_type, stop.scope.agent_type))


def gather(
    connection: Connection, stop: Stop, keys: Collection[Key], moment: Moment
) -> dict[Key, tuple[Target | None, Facts]]:
    """The targets that there are already, and what is the case with each of the keys."""
    known = stop_rows.targets(connection, stop.id, keys)
    found: dict[Key, tuple[Target | None, Facts]] = {}
    for kind in Kind:
        ids = [id for of, id in keys if of == kind]
        if ids:
            targets = {id: known.get((kind, id)) for id in ids}
            facts = _facts(connection, stop, kind, targets, moment)
            found |= {(kind, id): (targets[id], facts[id]) for id in ids}
    return found


def _facts(
    connection: Connection,
    stop: Stop,
    kind: Kind,
    targets: Mapping[str, Target | None],
    moment: Moment,
) -> dict[str, Facts]:
    ids = list(targets)
    states = _states(connection, stop, kind, ids, moment)
    executors = executor_rows.named(connection, {each.source for each in states.values()})
    pending = _pending(connection, stop, kind, ids)
    last = _last(connection, stop, kind, ids)
    there = [target for target in targets.values() if target is not None]
    named = {each for target in there for each in (target.command_id, target.hold_id) if each}
    by_id = _by_id(connection, named)
    heirs: dict[str, str] = {}
    if stop.state == StopState.RELEASING:
        heirs = _heirs(connection, stop, kind, ids)
    found: dict[str, Facts] = {}
    for id, target in targets.items():
        state = states[id]
        executor = executors.get(state.source)
        found[id] = Facts(
            ended=state.ended,
            stopped=state.stopped,
            idle=state.idle,
            attempt=state.attempt,
            pending=pending.get(id),
            last=last.get(id),
            newest=by_id.get(target.command_id) if target is not None else None,
            hold=by_id.get(target.hold_id) if target is not None else None,
            unable=_SILENT if state.silent else able(executor, state.source, stop, kind),
            connect_us=executor.connect_us if executor is not None and executor.connected else 0,
            heir=heirs.get(id, ""),
        )
    return found


def _states(
    connection: Connection, stop: Stop, kind: Kind, ids: Sequence[str], moment: Moment
) -> dict[str, _State]:
    match kind:
        case Kind.ENGINE:
            return _engines(connection, stop, ids)
        case Kind.AGENT:
            return _agents(connection, stop, ids, moment)
        case Kind.WORKFLOW:
            return _workflows(connection, ids)


def _engines(connection: Connection, stop: Stop, sources: Sequence[str]) -> dict[str, _State]:
    """Whether each starts nothing new of the scope, as it says. One that was forgotten, and that nobody works for any
    more, is gone."""
    there = set[str]()
    for names in slices(sources, bulk.keys_at_once(connection)):
        query = select(EXECUTORS.c.source).where(EXECUTORS.c.source.in_(names))
        there.update(connection.execute(query).scalars())
    for source in set(sources) - there:
        working = select(WORKFLOWS.c.id).where(
            WORKFLOWS.c.source == source, text("workflows.state IN (1, 2, 3, 4)")
        )
        if connection.execute(working.limit(1)).first() is not None:
            there.add(source)
    about = {
        source: QueueName(source, "", stop.scope.workflow_type, stop.scope.agent_type)
        for source in sources
    }
    said = queue_rows.load(connection, about.values())
    found: dict[str, _State] = {}
    for source, name in about.items():
        holds = name in said and said[name].state == QueueState.PAUSED
        found[source] = _State(source, ended=source not in there, stopped=holds)
    return found


def _agents(
    connection: Connection, stop: Stop, ids: Sequence[str], moment: Moment
) -> dict[str, _State]:
    """Of one that is silent nobody knows whether it drains; what holds it is let go when it is heard again."""
    records = agent_rows.load(connection, ids)
    found: dict[str, _State] = {}
    for id in ids:
        record = records.get(id)
        if record is None or not record.known:
            found[id] = _State("", ended=True)
            continue
        offline = record.state(*moment) == AgentState.OFFLINE
        releasing = stop.state == StopState.RELEASING
        found[id] = _State(
            record.source[1],
            record.gone if releasing else offline,
            record.draining,
            not record.working,
            silent=releasing and offline,
        )
    return found


def _workflows(connection: Connection, ids: Sequence[str]) -> dict[str, _State]:
    found = {id: _State("", ended=True) for id in ids}
    columns = (WORKFLOWS.c.id, WORKFLOWS.c.source, WORKFLOWS.c.state, WORKFLOWS.c.attempt)
    for some in slices(ids, bulk.keys_at_once(connection)):
        query = select(*columns).where(bulk.among(connection, [WORKFLOWS.c.id], some))
        for id, source, state, attempt in connection.execute(query):
            ended = state in ENDED
            found[id] = _State(source, ended, state == WorkflowState.PAUSED, attempt=attempt)
    return found


def _about(stop: Stop, kind: Kind, names: Sequence[str]) -> ColumnElement[bool]:
    """Commands on these targets."""
    scope = _C.scope == int(SCOPES[kind])
    match kind:
        case Kind.ENGINE:
            return and_(text(FLEET), _C.source.in_(names), _C.target == fleet_target(stop))
        case Kind.AGENT:
            return and_(scope, _C.agent_id.in_(names), _C.agent_id != "")
        case Kind.WORKFLOW:
            return and_(scope, _C.workflow_id.in_(names))


def _pending(
    connection: Connection, stop: Stop, kind: Kind, ids: Sequence[str]
) -> dict[str, Command]:
    if not command_store.any_pending(connection):
        return {}
    if kind == Kind.WORKFLOW:
        return command_store.pending_for(connection, ids)
    found: dict[str, Command] = {}
    for names in slices(ids, bulk.keys_at_once(connection)):
        asked = [fleet_target(stop)] if kind == Kind.ENGINE else names
        query = select(COMMANDS).where(
            _IS_PENDING, _C.scope == int(SCOPES[kind]), _C.target.in_(asked)
        )
        commands_ = (command_of(row) for row in connection.execute(query).mappings())
        found.update((_subject(kind, each), each) for each in commands_)
    return found


def _last(connection: Connection, stop: Stop, kind: Kind, ids: Sequence[str]) -> dict[str, Command]:
    """Of each target the newest command that stopped it or let it go."""
    actions = [int(action) for action in {STOPPING[kind], *UNDOING}]
    found: dict[str, Command] = {}
    for names in slices(ids, bulk.keys_at_once(connection)):
        newest = (
            select(func.max(_C.sequence))
            .where(
                _about(stop, kind, names),
                _C.state == int(CommandState.EFFECTIVE),
                _C.action.in_(actions),
            )
            .group_by(*_SUBJECTS[kind])
        )
        sequences = list(connection.execute(newest).scalars())
        for some in slices(sequences, bulk.keys_at_once(connection)):
            query = select(COMMANDS).where(_C.sequence.in_(some))
            rows = connection.execute(query).mappings()
            found.update((_subject(kind, each), each) for each in map(command_of, rows))
    return found


_SUBJECTS: Mapping[Kind, Sequence[ColumnElement[Any]]] = {
    Kind.ENGINE: (_C.source,),
    Kind.AGENT: (_C.agent_id,),
    Kind.WORKFLOW: (_C.workflow_id,),
}


def _subject(kind: Kind, command: Command) -> str:
    match kind:
        case Kind.ENGINE:
            return command.source
        case Kind.AGENT:
            return command.agent_id
        case Kind.WORKFLOW:
            return command.workflow_id


def _by_id(connection: Connection, ids: Iterable[str]) -> dict[str, Command]:
    found: dict[str, Command] = {}
    for some in slices(sorted(ids), bulk.keys_at_once(connection)):
        query = select(COMMANDS).where(bulk.among(connection, [_C.id], some))
        found.update(
            (each.id, each) for each in map(command_of, connection.execute(query).mappings())
        )
    return found


def _heirs(connection: Connection, stop: Stop, kind: Kind, ids: Sequence[str]) -> dict[str, str]:
    """The oldest other stop in force that found each target stopped, or wants a workflow ended that is; of engines one
    about the same."""
    t, s = EMERGENCY_TARGETS.c, EMERGENCY_STOPS.c
    same: tuple[ColumnElement[bool], ...] = ()
    if kind == Kind.ENGINE:
        scope = stop.scope
        same = (s.workflow_type == scope.workflow_type, s.agent_type == scope.agent_type)
    undone = [int(TargetState.ASKED), int(TargetState.REFUSED)]
    ends = and_(t.kind == int(Kind.WORKFLOW), t.state.in_(undone))
    found: dict[str, str] = {}
    for some in slices(ids, bulk.keys_at_once(connection)):
        query = (
            select(t.id, t.stop_id)
            .join(EMERGENCY_STOPS, s.id == t.stop_id)
            .where(
                bulk.among(connection, [t.id], some),
                t.kind == int(kind),
                or_(
                    t.state == int(TargetState.WAS_SO), and_(s.stage == int(Stage.CANCEL_ALL), ends)
                ),
                t.stop_id != stop.id,
                s.state == int(StopState.ACTIVE),
                *same,
            )
            .order_by(s.start_us.desc(), s.id.desc())
        )
        found.update((id, stop_id) for id, stop_id in connection.execute(query))
    return found
