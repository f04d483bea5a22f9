"""What an operator asked of an engine, from the request to its one end.

    REQUESTED ──▶ ACCEPTED ──▶ EFFECTIVE   the engine's own event showed it (from REQUESTED too: the accept is implied)
        ├────────────┼───────▶ FAILED      the engine said so, it went another way, or a cancel took over
        └────────────┴───────▶ EXPIRED     nobody took it, or it had no effect, in time

A command ends exactly once and never leaves its end: what comes late, twice or out of order changes nothing. No answer
of an executor makes a command EFFECTIVE; only an event of what it is about does (`settling.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple, Self

from pilothouse_server.domain.errors import (
    CommandEnded,
    CommandPending,
    IllegalTransition,
    NoExecutor,
    NotCommandOwner,
    PilothouseError,
    UnsupportedByEngine,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.workflows import (
    LEGAL_ACTIONS,
    WORKFLOW_ACTIONS,
    Action,
    WorkflowState,
)


class CommandState(IntEnum):
    """Where a command stands. The numbers are those of the contract."""

    REQUESTED = 1
    ACCEPTED = 2
    EFFECTIVE = 3
    FAILED = 4
    EXPIRED = 5


class Boundary(IntEnum):
    """When an engine acts on a command. The numbers are those of the contract."""

    UNSTATED = 0
    IMMEDIATE = 1
    STEP = 2


class Scope(IntEnum):
    """What a command is about. The numbers are those of the contract."""

    UNSTATED = 0
    RUN = 1
    QUEUE = 2
    POOL = 3
    FLEET = 4


_C = CommandState

TRANSITIONS: dict[CommandState, frozenset[CommandState]] = {
    _C.REQUESTED: frozenset({_C.ACCEPTED, _C.EFFECTIVE, _C.FAILED, _C.EXPIRED}),
    _C.ACCEPTED: frozenset({_C.EFFECTIVE, _C.FAILED, _C.EXPIRED}),
    _C.EFFECTIVE: frozenset(),
    _C.FAILED: frozenset(),
    _C.EXPIRED: frozenset(),
}
"""Which state may follow which; nothing else ever happens."""

PENDING = frozenset({_C.REQUESTED, _C.ACCEPTED})
"""The states in which a command has not ended."""

# Codes of the error of a command that failed or expired.
SUPERSEDED = "SUPERSEDED"
WORKFLOW_ENDED = "WORKFLOW_ENDED"
AGENT_LEFT = "AGENT_LEFT"
ENGINE_FAILED = "ENGINE_FAILED"
NOT_ACCEPTED = "NOT_ACCEPTED"
NO_EFFECT = "NO_EFFECT"


class Capability(NamedTuple):
    """One thing that an engine can do when asked."""

    action: Action
    scope: Scope = Scope.RUN
    boundary: Boundary = Boundary.UNSTATED
    selective: bool = False
    """With scope FLEET: whether it can be asked for one workflow type or agent type alone."""


@dataclass(frozen=True, slots=True)
class Executor:
    """An engine that takes commands; `source` is the source of its events."""

    source: str
    capabilities: tuple[Capability, ...] = ()
    connected: bool = False
    connect_us: int = 0
    last_seen_us: int = 0
    replica: str = ""
    """The replica to which it is connected, or was last."""
    stream: str = ""
    """The id of the newest stream that it opened."""

    def capability(
        self, action: Action, scope: Scope = Scope.RUN, *, selective: bool = False
    ) -> Capability | None:
        """What it declared for `action` on what `scope` says; a scope that it left out is one workflow. A capability of
        one scope is none of another. `selective`: one that can be asked for one type alone."""
        for capability in self.capabilities:
            about = capability.scope or Scope.RUN
            if (capability.action, about) == (action, scope) and (
                capability.selective or not selective
            ):
                return capability
        return None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a command may take."""

    accept_us: int = 60_000_000
    """From the request until an executor took it."""
    effect_us: int = 3_600_000_000
    """From the accept until the engine's event shows the effect."""

    @classmethod
    def of(cls, config: PlatformConfig) -> Self:
        """Those that are in force."""
        return cls(config.accept_us, config.effect_us)


@dataclass(frozen=True, slots=True)
class Command:
    """One request to one engine. Times are the server's, but for `effect_us` and `since_us`, which are the engine's."""

    id: str
    action: Action
    workflow_id: str
    source: str
    state: CommandState
    attempt: int
    """The workflow's attempt for which it was asked."""
    request_us: int
    expire_us: int
    """When it expires if nothing happens."""
    since_us: int = 0
    """The engine's time of the newest fact on which the request was decided; an older report answers nothing."""
    reason: str = ""
    actor: str = ""
    request_id: str = ""
    boundary: Boundary = Boundary.UNSTATED
    accept_us: int | None = None
    effect_us: int | None = None
    end_us: int | None = None
    error: EventError | None = None
    sequence: int = 0
    """Its place among all commands, given when it is stored: what an executor's resume token names."""
    scope: Scope = Scope.RUN
    agent_id: str = ""
    """Scope POOL: which agent."""
    queue: str = ""
    """Scope QUEUE: which queue."""
    workflow_type: str = ""
    """Scope FLEET: only workflows of this type."""
    agent_type: str = ""
    """Scope FLEET: only agents of this type."""
    pool_size: int = 0
    """RESIZE: how many tasks at once."""
    batch_id: str = ""
    stop_id: str = ""
    """The emergency stop that it belongs to."""
    budget_id: str = ""

    @property
    def target(self) -> str:
        """What it is about within its scope and source: at most one command on it is pending."""
        match self.scope:
            case Scope.POOL:
                return self.agent_id
            case Scope.QUEUE:
                return self.queue
            case Scope.FLEET:
                return narrowing(self.workflow_type, self.agent_type)
            case _:
                return self.workflow_id

    @property
    def pending(self) -> bool:
        """Whether it has not ended."""
        return self.state in PENDING


class Availability(NamedTuple):
    """Whether an action can be asked for now, and if not, why."""

    action: Action
    available: bool
    reason: str = ""


class Standpoint(NamedTuple):
    """What the request is decided on: where the workflow stands now."""

    workflow_id: str
    source: str
    state: WorkflowState
    attempt: int
    report_us: int
    """The engine's time of the report that decided the state."""


def narrowing(workflow_type: str, agent_type: str) -> str:
    """The target of a command on an engine: of which types, told apart whatever is in their names."""
    escaped = workflow_type.replace("%", "%25").replace("/", "%2F")
    return f"{escaped}/{agent_type}"


def narrowed(target: str) -> tuple[str, str]:
    """The types again: (workflow type, agent type)."""
    escaped, _, agent_type = target.partition("/")
    return escaped.replace("%2F", "/").replace("%25", "%"), agent_type


def etag_of(attempt: int, state: WorkflowState, pending_id: str) -> str:
    """A workflow's etag: what a control is decided on, and nothing that changes more often."""
    return hashlib.sha256(f"{attempt}/{int(state)}/{pending_id}".encode()).hexdigest()[:16]


def refusal(
    action: Action,
    state: WorkflowState,
    pending: Command | None,
    executor: Executor | None,
    source: str,
) -> PilothouseError | None:
    """Why `action` cannot be asked for now; None when it can. A cancel may overtake any other pending command."""
    legal = LEGAL_ACTIONS[state]
    if action not in legal:
        names = ", ".join(sorted(each.name for each in legal))
        return IllegalTransition(action=action.name, state=state.name, legal_actions=names)
    if pending is not None and (action != Action.CANCEL or pending.action == Action.CANCEL):
        return CommandPending(command_id=pending.id, action=pending.action.name)
    if executor is None:
        return NoExecutor(source=source)
    if executor.capability(action) is None:
        return UnsupportedByEngine(action=action.name, source=source)
    return None


def availability(
    state: WorkflowState, pending: Command | None, executor: Executor | None, source: str
) -> tuple[Availability, ...]:
    """For each action whether a request would be accepted now, by the same check that judges the request."""
    answers: list[Availability] = []
    for action in WORKFLOW_ACTIONS:
        error = refusal(action, state, pending, executor, source)
        answers.append(Availability(action, error is None, "" if error is None else error.message))
    return tuple(answers)


def accept(command: Command, now_us: int, deadlines: Deadlines) -> Command:
    """The executor takes it. A repeat changes nothing; raises CommandEnded when it must not be acted on any more."""
    if command.state in (CommandState.ACCEPTED, CommandState.EFFECTIVE):
        return command
    if command.state != CommandState.REQUESTED:
        raise CommandEnded(command_id=command.id, state=command.state.name)
    now_us = max(now_us, command.request_us)
    return replace(
        command,
        state=CommandState.ACCEPTED,
        accept_us=now_us,
        expire_us=now_us + deadlines.effect_us,
    )


def fail(command: Command, error: EventError, now_us: int) -> Command:
    """It will have no effect. A repeat changes nothing; raises CommandEnded when it had an effect or expired."""
    if command.state == CommandState.FAILED:
        return command
    return end(command, CommandState.FAILED, now_us, error=error)


def supersede(command: Command, by: str, now_us: int) -> Command:
    """A cancel takes over from it."""
    return fail(command, EventError(SUPERSEDED, f"cancel {by} took over", retryable=False), now_us)


def expire(command: Command, now_us: int) -> Command:
    """EXPIRED when its time is over, else as it was."""
    if not command.pending or now_us < command.expire_us:
        return command
    if command.state == CommandState.REQUESTED:
        error = EventError(NOT_ACCEPTED, "no executor took it in time", retryable=True)
    else:
        error = EventError(NO_EFFECT, "the engine took it but reported no effect in time", True)
    return end(command, CommandState.EXPIRED, now_us, error=error)


def owned(command: Command, source: str) -> Command:
    """The command, if it is for the executor `source`; raises NotCommandOwner."""
    if command.source != source:
        raise NotCommandOwner(command_id=command.id, source=source)
    return command


def end(
    command: Command,
    state: CommandState,
    now_us: int,
    *,
    error: EventError | None = None,
    effect_us: int | None = None,
) -> Command:
    """The command with its end. Raises CommandEnded when it has another one."""
    if state not in TRANSITIONS[command.state]:
        raise CommandEnded(command_id=command.id, state=command.state.name)
    end_us = max(now_us, command.accept_us or command.request_us)
    accept_us = command.accept_us
    if state == CommandState.EFFECTIVE and accept_us is None:
        accept_us = end_us
    return replace(
        command, state=state, accept_us=accept_us, effect_us=effect_us, end_us=end_us, error=error
    )
