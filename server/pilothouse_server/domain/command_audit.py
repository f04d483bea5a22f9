"""What the audit log says of commands: that one was asked for, that one was refused, and what came of one."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import Command, CommandState, Scope
from pilothouse_server.domain.targets import target_id

KINDS: Mapping[Scope, str] = {
    Scope.UNSTATED: "workflow",
    Scope.RUN: "workflow",
    Scope.QUEUE: "queue",
    Scope.POOL: "agent",
    Scope.FLEET: "engine",
}
"""What a command of each scope is about, in the words of the audit log."""

_OUTCOMES = {
    CommandState.EFFECTIVE: Outcome.EFFECTIVE,
    CommandState.FAILED: Outcome.FAILED,
    CommandState.EXPIRED: Outcome.EXPIRED,
}


def accepted(command: Command, before: Mapping[str, str]) -> Entry:
    """Somebody asked for it, of something that was so before."""
    return _of(command, Outcome.ACCEPTED, command.request_us, command.actor, before)


def ended(command: Command) -> Entry:
    """What came of it, in the name of its engine."""
    outcome = _OUTCOMES[command.state]
    return _of(command, outcome, command.end_us or command.request_us, command.source, {})


def _of(
    command: Command, outcome: Outcome, record_us: int, actor: str, before: Mapping[str, str]
) -> Entry:
    return Entry(
        record_us=record_us,
        actor=actor,
        verb=f"{KINDS[command.scope]}.{command.action.name.lower()}",
        target_kind=KINDS[command.scope],
        target_id=target_id(command.scope, command.source, command.target),
        outcome=outcome,
        reason=command.reason,
        before=before,
        after={"pool_size": str(command.pool_size)} if command.pool_size else {},
        error=command.error,
        request_id=command.request_id,
        command_id=command.id,
        batch_id=command.batch_id,
        stop_id=command.stop_id,
    )
