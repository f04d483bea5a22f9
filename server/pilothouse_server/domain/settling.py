"""How events end the commands on what they are about, and the events that say where a command stands.

Only what the engine itself reported counts, so the same events settle a command the same way however they are cut into
batches; Hypothesis holds us to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pilothouse_server.domain.commands import (
    AGENT_LEFT,
    ENGINE_FAILED,
    WORKFLOW_ENDED,
    Command,
    CommandState,
    Deadlines,
    Scope,
    accept,
    end,
    fail,
)
from pilothouse_server.domain.events import (
    AGENT_TYPES,
    QUEUE_TYPES,
    WORKFLOW_TYPES,
    Event,
    EventError,
    EventType,
    Severity,
)
from pilothouse_server.domain.projection.queue import queue_name
from pilothouse_server.domain.targets import queue_target, target_of_command
from pilothouse_server.domain.workflows import END, ENDED, RANK, Action, WorkflowState

SERVER_SOURCE = "pilothouse"
"""The source of the events that the server itself makes; no engine's answer is believed under this name."""


class Facts(NamedTuple):
    """Where the workflow stands once a batch of events is applied."""

    state: WorkflowState
    attempt: int


def settle(
    command: Command, events: Sequence[Event], facts: Facts, deadlines: Deadlines
) -> Command:
    """The command after `events`, newly applied events of its workflow in the order of the log; `facts` is where they
    left it.

    An event that names the command answers it. One that names none answers it when it shows what was asked, is of the
    same attempt, was received after the request, and is not older, by the engine's own clock, than what the request was
    decided on: the clocks of engine and server are never compared.
    """
    for event in events:
        if not command.pending:
            break
        command = _answered(command, event, facts, deadlines)
    return command


def settle_target(command: Command, events: Sequence[Event], deadlines: Deadlines) -> Command:
    """The same for a command on an agent, a queue or an engine, of which `events` are. What names another agent, queue
    or size than was asked for answers nothing, even if it names the command."""
    for event in events:
        if not command.pending:
            break
        command = _target_answered(command, event, deadlines)
    return command


def _said(command: Command, event: Event, deadlines: Deadlines) -> Command | None:
    """The command as its engine says in so many words that it is; None when the event is none of that."""
    if event.command_id != command.id or event.source != command.source:
        return None
    if event.type == EventType.COMMAND_ACCEPTED:
        return accept(command, event.receive_us, deadlines)
    if event.type == EventType.COMMAND_FAILED:
        error = event.error or EventError(ENGINE_FAILED, event.message)
        return fail(command, replace(error, code=error.code or ENGINE_FAILED), event.receive_us)
    return None


def _answered(command: Command, event: Event, facts: Facts, deadlines: Deadlines) -> Command:
    said = _said(command, event, deadlines)
    if said is not None or event.type not in WORKFLOW_TYPES:
        return said or command
    if event.forced_after_us is not None and facts.state not in ENDED:
        return command  # the engine's own word stands against this end
    if _shows(command, event, facts):
        return end(command, CommandState.EFFECTIVE, event.receive_us, effect_us=event.occur_us)
    if _overtakes(command, event):
        error = EventError(
            WORKFLOW_ENDED, f"the workflow went another way first; it is {facts.state.name} now"
        )
        return end(command, CommandState.FAILED, event.receive_us, error=error)
    return command


def _overtakes(command: Command, event: Event) -> bool:
    """Whether after this workflow event the command cannot have an effect any more."""
    if command.action == Action.RETRY:
        # Asked for because the attempt failed: another end of it that stands instead leaves nothing to retry.
        ended = RANK[event.type] == END and event.attempt in (0, command.attempt)
        stands = (-event.occur_us, event.type) > (-command.since_us, EventType.WORKFLOW_FAILED)
        return ended and stands and event.type != EventType.WORKFLOW_FAILED
    return event.attempt > command.attempt or (
        RANK[event.type] == END and event.attempt in (0, command.attempt)
    )


_EFFECTS: dict[Action, frozenset[EventType]] = {
    Action.PAUSE: frozenset({EventType.WORKFLOW_PAUSED}),
    Action.RESUME: frozenset({EventType.WORKFLOW_RESUMED, EventType.WORKFLOW_STARTED}),
    Action.CANCEL: frozenset({EventType.WORKFLOW_CANCELLED}),
}


def _shows(command: Command, event: Event, facts: Facts) -> bool:
    """Whether a workflow event is the effect of the command."""
    if event.source not in ("", command.source):
        return False
    if command.action == Action.RETRY:
        # Whatever is reported of a later attempt shows that one was opened, even if its opening is still on its way.
        opened = event.attempt > command.attempt or (
            event.type == EventType.WORKFLOW_RETRIED
            and event.attempt == 0
            and facts.attempt > command.attempt
        )
        return opened and event.command_id in ("", command.id)
    if event.type not in _EFFECTS[command.action]:
        return False
    if event.command_id:
        return event.command_id == command.id
    if event.attempt not in (0, command.attempt) or event.receive_us < command.request_us:
        return False
    # An end decides whenever it happened; among the other reports one from before the request's facts says nothing new.
    return RANK[event.type] == END or event.occur_us >= command.since_us


def _target_answered(command: Command, event: Event, deadlines: Deadlines) -> Command:
    said = _said(command, event, deadlines)
    if said is not None:
        return said
    if event.type not in AGENT_TYPES | QUEUE_TYPES or event.source not in ("", command.source):
        return command
    named = event.command_id == command.id
    if event.command_id and not named:
        return command
    later = event.receive_us >= command.request_us and event.occur_us >= command.since_us
    agent = command.scope == Scope.POOL
    shows = _agent_shows if agent else _queue_shows
    if shows(command, event, named=named, later=later):
        return end(command, CommandState.EFFECTIVE, event.receive_us, effect_us=event.occur_us)
    if agent and later and event.type == EventType.AGENT_OFFLINE and command.action in _LOST:
        error = EventError(AGENT_LEFT, "the agent said goodbye first")
        return end(command, CommandState.FAILED, event.receive_us, error=error)
    return command


_LOST = frozenset({Action.DRAIN, Action.ACTIVATE, Action.RESIZE})
"""What cannot be done to an agent that left."""


def _agent_shows(command: Command, event: Event, *, named: bool, later: bool) -> bool:
    if event.agent_id != command.agent_id:
        return False
    match command.action:
        case Action.DRAIN:
            return event.type == EventType.AGENT_DRAINING and (named or later)
        case Action.ACTIVATE:
            return event.type == EventType.AGENT_REGISTERED and (named or later)
        case Action.RESTART:
            # An agent registers for many reasons; only the engine knows that this is the one.
            return event.type == EventType.AGENT_REGISTERED and named
        case Action.RESIZE:
            capacity = 0 if event.load is None else event.load.capacity
            if event.type == EventType.AGENT_OFFLINE:
                return False
            return (named and not capacity) or (capacity == command.pool_size and (named or later))
        case _:
            return False


_QUEUE_EFFECTS = {
    Action.PAUSE: EventType.QUEUE_PAUSED,
    Action.RESUME: EventType.QUEUE_ACTIVE,
}


def _queue_shows(command: Command, event: Event, *, named: bool, later: bool) -> bool:
    same = queue_target(queue_name(event)) == target_of_command(command)
    return same and event.type == _QUEUE_EFFECTS.get(command.action) and (named or later)


_EVENT_TYPE = {
    CommandState.REQUESTED: EventType.COMMAND_REQUESTED,
    CommandState.ACCEPTED: EventType.COMMAND_ACCEPTED,
    CommandState.EFFECTIVE: EventType.COMMAND_EFFECTIVE,
    CommandState.FAILED: EventType.COMMAND_FAILED,
    CommandState.EXPIRED: EventType.COMMAND_EXPIRED,
}


def event_of(command: Command) -> Event:
    """The event that says where the command stands. Its id follows from the command and its state, which is entered
    once: publishing it again is harmless."""
    times = {CommandState.REQUESTED: command.request_us, CommandState.ACCEPTED: command.accept_us}
    occur_us = times.get(command.state, command.end_us) or command.request_us
    failed = command.state in (CommandState.FAILED, CommandState.EXPIRED)
    said = f": {command.error.message[:1000]}" if failed and command.error is not None else ""
    return Event(
        id=f"{command.id}:{command.state.name.lower()}",
        type=_EVENT_TYPE[command.state],
        occur_us=occur_us,
        receive_us=occur_us,
        source=SERVER_SOURCE,
        workflow_id=command.workflow_id,
        agent_id=command.agent_id,
        severity=Severity.WARNING if failed else Severity.INFO,
        message=f"{command.action.name} {command.state.name}{said}",
        error=command.error,
        command_id=command.id,
        attributes={
            "action": command.action.name,
            "actor": command.actor,
            "reason": command.reason,
            "executor": command.source,
            **_about(command),
        },
        queue=command.queue,
    )


def _about(command: Command) -> dict[str, str]:
    """What tells a command on something that is no workflow from others of its kind."""
    if command.scope == Scope.RUN:
        return {}
    said = {"scope": command.scope.name}
    said |= {name: getattr(command, name) for name in ("workflow_type", "agent_type")}
    if command.pool_size:
        said["pool_size"] = str(command.pool_size)
    return {name: value for name, value in said.items() if value}
