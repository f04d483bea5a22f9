"""When the next step of an escalation is taken. Time in which somebody takes care of the alert, or in which it is kept
quiet, does not count, so that what resumes goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag

from pilothouse_server.domain.notifications.channels import Escalation


class Held(IntFlag):
    """Why an escalation does not go on."""

    NOT = 0
    ACKNOWLEDGED = 1
    QUIET = 2


@dataclass(frozen=True, slots=True)
class EscalationRun:
    """An alert on its way up."""

    alert_id: str
    escalation_id: str
    labels: Mapping[str, str]
    fire_us: int
    step: int = 0
    """The next one; beyond the last it is the last one's repeat."""
    last_us: int | None = None
    """When the newest step was taken."""
    shift_us: int = 0
    """For how long it was held in all."""
    hold_us: int | None = None
    """Since when it is held."""
    held: Held = Held.NOT


def due_us(run: EscalationRun, escalation: Escalation) -> int | None:
    """When its next step is taken; None while it is held, and after the last."""
    if run.held:
        return None
    if run.step < len(escalation.steps):
        return run.fire_us + run.shift_us + escalation.steps[run.step].after_us
    if escalation.repeat_us is None or run.last_us is None:
        return None
    return run.last_us + escalation.repeat_us


def taken(run: EscalationRun, now_us: int) -> EscalationRun:
    """After its next step."""
    return replace(run, step=run.step + 1, last_us=now_us)


def hold(run: EscalationRun, why: Held, now_us: int, *, on: bool) -> EscalationRun:
    """One reason more, or less, to wait."""
    held = run.held | why if on else run.held & ~why
    if held == run.held:
        return run
    if held and not run.held:
        return replace(run, held=held, hold_us=now_us)
    if not held:
        over_us = max(0, now_us - (run.hold_us or now_us))
        last_us = None if run.last_us is None else run.last_us + over_us
        return replace(
            run, held=held, hold_us=None, shift_us=run.shift_us + over_us, last_us=last_us
        )
    return replace(run, held=held)


def rewound(run: EscalationRun, now_us: int) -> EscalationRun:
    """The clock was put back while nobody ran: no step waits until it is where it was."""
    times = (run.fire_us, run.last_us or 0, run.hold_us or 0)
    if max(times) <= now_us:
        return run
    last_us = None if run.last_us is None else min(run.last_us, now_us)
    hold_us = None if run.hold_us is None else min(run.hold_us, now_us)
    return replace(run, fire_us=min(run.fire_us, now_us), last_us=last_us, hold_us=hold_us)


def channels_of(run: EscalationRun, escalation: Escalation) -> tuple[str, ...]:
    """Who is told by its next step."""
    return escalation.steps[min(run.step, len(escalation.steps) - 1)].channels
