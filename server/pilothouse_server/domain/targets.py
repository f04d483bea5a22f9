"""Agents, queues and whole engines: what can be asked of them and when, by the check that judges the request itself.

    agent   ONLINE, BUSY   drain, restart, resize        queue, engine   ACTIVE   pause
            DRAINING       activate, restart, resize                     PAUSED   resume
            OFFLINE        restart

An engine that never said whether it takes work is taken to do so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pilothouse_server.domain.commands import (
    Availability,
    Command,
    Executor,
    Scope,
    narrowed,
    narrowing,
)
from pilothouse_server.domain.errors import (
    CommandPending,
    NoExecutor,
    PilothouseError,
    UnsupportedByEngine,
    WrongState,
)
from pilothouse_server.domain.projection.agent import AgentRecord, AgentState
from pilothouse_server.domain.projection.queue import QueueName, QueueState
from pilothouse_server.domain.workflows import Action

AGENT_ACTIONS = (Action.DRAIN, Action.ACTIVATE, Action.RESTART, Action.RESIZE)
"""What can be asked of one agent."""
QUEUE_ACTIONS = (Action.PAUSE, Action.RESUME)
"""What can be asked of a queue or of an engine."""

_AT_WORK = frozenset({Action.DRAIN, Action.RESTART, Action.RESIZE})
AGENT_LEGAL: dict[AgentState, frozenset[Action]] = {
    AgentState.ONLINE: _AT_WORK,
    AgentState.BUSY: _AT_WORK,
    AgentState.DRAINING: frozenset({Action.ACTIVATE, Action.RESTART, Action.RESIZE}),
    AgentState.OFFLINE: frozenset({Action.RESTART}),
}
"""Which action may be asked for in which state of an agent."""
QUEUE_LEGAL: dict[QueueState, frozenset[Action]] = {
    QueueState.ACTIVE: frozenset({Action.PAUSE}),
    QueueState.PAUSED: frozenset({Action.RESUME}),
}
"""Which action may be asked for in which state of a queue or of an engine."""


class Target(NamedTuple):
    """What a command is about, as events find it. The engine is part of the name of a queue only."""

    scope: Scope
    source: str
    name: str


class AgentStand(NamedTuple):
    """Where an agent stands, for a control."""

    id: str
    source: str
    state: AgentState
    capacity: int
    """Tasks it can have at once, as it says; 0 is not known."""
    report_us: int
    """The agent's time of the newest report of it."""


class QueueStand(NamedTuple):
    """Where a queue, or what an engine starts, stands."""

    name: QueueName
    state: QueueState
    report_us: int = 0

    @property
    def scope(self) -> Scope:
        """What a command on it is about."""
        return Scope.QUEUE if self.name.name else Scope.FLEET


def agent_stand(record: AgentRecord, state: AgentState) -> AgentStand:
    """Where the agent stands, given its state at the moment."""
    load = record.reported_load
    capacity = 0 if load is None else load.capacity
    report_us = max(record.present_us, record.goodbye[0], 0)
    return AgentStand(record.id, record.source[1], state, capacity, report_us)


def queue_target(name: QueueName) -> Target:
    """A queue, or what an engine starts."""
    return Target(Scope.QUEUE if name.name else Scope.FLEET, name.source, target_of(name))


def target_of_command(command: Command) -> Target:
    """What a command is about."""
    named = command.scope in (Scope.QUEUE, Scope.FLEET)
    return Target(command.scope, command.source if named else "", command.target)


def agent_etag(agent: AgentStand, pending_id: str) -> str:
    """What a control is decided on. Whether it has work just now changes too often to be part of that."""
    state = AgentState.ONLINE if agent.state == AgentState.BUSY else agent.state
    return hashlib.sha256(f"{int(state)}/{agent.capacity}/{pending_id}".encode()).hexdigest()[:16]


def target_id(scope: Scope, source: str, target: str) -> str:
    """How the audit log names what is no workflow: an agent by its id, a queue as `engine/queue`, an engine by its
    name, with `?workflow_type=…&agent_type=…` where it is narrowed."""
    match scope:
        case Scope.QUEUE:
            return f"{source}/{target}"
        case Scope.FLEET:
            names = zip(("workflow_type", "agent_type"), narrowed(target), strict=True)
            types = "&".join(f"{name}={value}" for name, value in names if value)
            return f"{source}?{types}" if types else source
        case _:
            return target


def agent_refusal(
    action: Action, agent: AgentStand, pending: Command | None, executor: Executor | None
) -> PilothouseError | None:
    """Why `action` cannot be asked of the agent now; None when it can."""
    missing = _inability(action, Scope.POOL, executor, agent.source, of="an agent")
    if missing is not None:
        return missing
    if action not in AGENT_LEGAL[agent.state]:
        detail = _legal(AGENT_LEGAL[agent.state])
        return WrongState("agent", agent.id, agent.state.name, action.name, detail)
    return _pending(pending, "agent")


def queue_refusal(
    action: Action, queue: QueueStand, pending: Command | None, executor: Executor | None
) -> PilothouseError | None:
    """Why `action` cannot be asked of the queue or the engine now; None when it can."""
    name, kind = queue.name, "queue" if queue.name.name else "engine"
    selective = bool(name.workflow_type or name.agent_type)
    of = "a queue" if name.name else "all that it starts"
    if selective:
        of = "what it starts of one type alone"
    missing = _inability(action, queue.scope, executor, name.source, of=of, selective=selective)
    if missing is not None:
        return missing
    if action not in QUEUE_LEGAL[queue.state]:
        named = target_id(queue.scope, name.source, target_of(name))
        return WrongState(
            kind, named, queue.state.name, action.name, _legal(QUEUE_LEGAL[queue.state])
        )
    return _pending(pending, kind)


def target_of(name: QueueName) -> str:
    """The target of commands on a queue or an engine, as `Command.target` says it."""
    return name.name or narrowing(name.workflow_type, name.agent_type)


def availabilities(
    actions: Sequence[Action], refusal: Callable[[Action], PilothouseError | None]
) -> tuple[Availability, ...]:
    """For each action whether a request would be accepted now."""
    refusals = [(action, refusal(action)) for action in actions]
    return tuple(
        Availability(action, error is None, "" if error is None else error.message)
        for action, error in refusals
    )


def _inability(
    action: Action,
    scope: Scope,
    executor: Executor | None,
    source: str,
    *,
    of: str,
    selective: bool = False,
) -> PilothouseError | None:
    if executor is None:
        return NoExecutor(source=source)
    if executor.capability(action, scope, selective=selective) is None:
        return UnsupportedByEngine(action=action.name, source=source, of=of)
    return None


def _legal(actions: frozenset[Action]) -> str:
    return f"legal now: {', '.join(sorted(each.name for each in actions))}"


def _pending(pending: Command | None, kind: str) -> PilothouseError | None:
    if pending is None:
        return None
    return CommandPending(command_id=pending.id, action=pending.action.name, kind=kind)
