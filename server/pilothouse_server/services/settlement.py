"""Commands that end, each with the record of what came of it: by the engine's own events, or by whoever ends them.

`settle_batch` runs in the projector's transaction, so a command has had its effect exactly when the state that shows it
is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pilothouse_server.domain import command_audit
from pilothouse_server.domain.commands import Command, Deadlines, Scope
from pilothouse_server.domain.events import (
    AGENT_TYPES,
    QUEUE_TYPES,
    WORKFLOW_TYPES,
    Event,
    EventType,
)
from pilothouse_server.domain.projection.queue import queue_name
from pilothouse_server.domain.settling import SERVER_SOURCE, Facts, settle, settle_target
from pilothouse_server.domain.targets import Target, queue_target, target_of_command
from pilothouse_server.services.asking import CommandTransaction

_ANSWERS = (EventType.COMMAND_ACCEPTED, EventType.COMMAND_FAILED)
"""What an engine may report of a command instead of calling us."""


def conclude(transaction: CommandTransaction, commands: Sequence[Command]) -> None:
    """Stores commands that changed their state; what came of those that ended is recorded."""
    transaction.put_all(commands)
    transaction.record([command_audit.ended(each) for each in commands if not each.pending])


def settle_batch(
    transaction: CommandTransaction,
    events: Sequence[Event],
    facts: Mapping[str, Facts],
    deadlines: Deadlines,
) -> int:
    """Ends the commands that `events`, just applied, answer; `facts` tells where each of their workflows stands now.
    Returns how many commands changed."""
    answers = _by_target(transaction, events)
    runs = [target.name for target in answers if target.scope == Scope.RUN]
    others = [target for target in answers if target.scope != Scope.RUN]
    changed: list[Command] = []
    pending: Mapping[str, Command] = transaction.pending(runs) if runs else {}
    for workflow_id, command in pending.items():
        known = facts.get(workflow_id) or _facts(transaction, workflow_id)
        if known is None:
            continue
        after = settle(command, answers[target_of_command(command)], known, deadlines)
        if after is not command:
            changed.append(after)
    for command in transaction.pending_at(others) if others else ():
        after = settle_target(command, answers[target_of_command(command)], deadlines)
        if after is not command:
            changed.append(after)
    conclude(transaction, changed)
    return len(changed)


def _by_target(
    transaction: CommandTransaction, events: Sequence[Event]
) -> dict[Target, list[Event]]:
    """The events that may answer a command, by what it would be about."""
    answers: dict[Target, list[Event]] = {}
    for event in events:
        target = _target_of(transaction, event)
        if target is not None:
            answers.setdefault(target, []).append(event)
    return answers


def _target_of(transaction: CommandTransaction, event: Event) -> Target | None:
    if event.type in WORKFLOW_TYPES:
        return Target(Scope.RUN, "", event.workflow_id)
    if event.type in AGENT_TYPES:
        return Target(Scope.POOL, "", event.agent_id)
    if event.type in QUEUE_TYPES:
        return queue_target(queue_name(event))
    if event.type not in _ANSWERS or not event.command_id or event.source == SERVER_SOURCE:
        return None
    if event.workflow_id:
        return Target(Scope.RUN, "", event.workflow_id)
    command = transaction.get(event.command_id)
    return None if command is None else target_of_command(command)


def _facts(transaction: CommandTransaction, workflow_id: str) -> Facts | None:
    standpoint = transaction.standpoint(workflow_id)
    return None if standpoint is None else Facts(standpoint.state, standpoint.attempt)
