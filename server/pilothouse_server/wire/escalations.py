"""Escalations ⇄ the contract."""

from __future__ import annotations

from typing import Final

from pilothouse.v1 import escalations_pb2 as pb
from pilothouse_server.domain.notifications.channels import Escalation, EscalationStep
from pilothouse_server.wire.times import duration, duration_us, optional_duration, timestamp

CHANGEABLE: Final = ("name", "steps", "repeat_interval")
"""Fields of an escalation that a caller may say; all else is the server's."""


def escalation_to_proto(escalation: Escalation) -> pb.Escalation:
    """The contract's message of an escalation."""
    return pb.Escalation(
        id=escalation.id,
        name=escalation.name,
        steps=[
            pb.EscalationStep(after=duration(step.after_us), channels=step.channels)
            for step in escalation.steps
        ],
        repeat_interval=optional_duration(escalation.repeat_us),
        create_time=timestamp(escalation.create_us),
        update_time=timestamp(escalation.update_us),
        updated_by=escalation.updated_by,
        etag=str(escalation.version),
    )


def escalation_from_proto(message: pb.Escalation) -> Escalation:
    """The escalation that somebody wants."""
    repeats = message.HasField("repeat_interval")
    return Escalation(
        id=message.id,
        name=message.name,
        steps=tuple(
            EscalationStep(duration_us(step.after), tuple(step.channels)) for step in message.steps
        ),
        repeat_us=duration_us(message.repeat_interval) if repeats else None,
    )
