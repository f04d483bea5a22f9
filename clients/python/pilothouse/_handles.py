"""What the handles of both clients know without asking a server."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from pilothouse.errors import CommandNotEffective
from pilothouse.v1.commands_pb2 import Command, CommandState

POLL_FIRST, POLL_LIMIT = 0.05, 1.0
"""Seconds between two looks at a command that is waited for, at first and at most."""

ENDED_BADLY = frozenset({CommandState.COMMAND_STATE_FAILED, CommandState.COMMAND_STATE_EXPIRED})
"""Ends without effect."""


def has_ended(command: Command) -> bool:
    """Whether `command` is EFFECTIVE. Raises CommandNotEffective when it failed or expired."""
    if command.state in ENDED_BADLY:
        raise CommandNotEffective(command)
    return command.state == CommandState.COMMAND_STATE_EFFECTIVE


def seconds(value: float) -> Duration:
    """A duration of so many seconds."""
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration
