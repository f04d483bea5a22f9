"""A long, untidy log: many workflows with retries, late and repeated events, over an hour of event time."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pilothouse_server.domain.events import EventType, Signal
from tests.metrics.support import signal

_E = EventType


def untidy_log(seed: int, *, workflows: int = 150, minutes: float = 60.0) -> list[Signal]:
    """Signals in the order of their receipt; some hours late, some repeated, some cut off in the middle."""
    chance = random.Random(seed)
    signals: list[Signal] = []
    for number in range(workflows):
        begin = chance.uniform(0, minutes * 60)
        for event in _workflow(chance, f"w{number}", begin):
            delay = chance.choice([0.0, 0.0, 0.1, 2.0, 40.0, 130.0, 300.0, 1000.0])
            times = chance.choice([1, 1, 1, 2, 3])
            for _ in range(times):
                received = event.receive_us + round((delay + chance.uniform(0, 30)) * 1e6)
                signals.append(event._replace(receive_us=received))
    for beat in range(int(minutes * 6)):
        agent = chance.choice(["a1", "a2", "a3"])
        kind = chance.choice([_E.AGENT_HEARTBEAT] * 8 + [_E.AGENT_DRAINING, _E.AGENT_OFFLINE])
        signals.append(signal(kind, beat * 10, agent=agent, agent_type="coder", active=1))
    signals.sort(key=lambda event: event.receive_us)
    return signals


def _workflow(chance: random.Random, workflow: str, at: float) -> Iterator[Signal]:
    kind = chance.choice(["build", "deploy", ""])

    def event(event_type: EventType, **fields: object) -> Signal:
        nonlocal at
        at += chance.uniform(0, 20)
        return signal(event_type, round(at, 3), workflow, kind=kind, **fields)  # type: ignore[arg-type]

    yield event(_E.WORKFLOW_CREATED, attempt=1)
    for attempt in range(1, chance.choice([2, 2, 2, 3, 4])):
        if attempt > 1:
            yield event(_E.WORKFLOW_RETRIED, attempt=attempt)
        yield event(_E.WORKFLOW_STARTED, attempt=attempt)
        for stage in ("plan", "test"):
            yield event(_E.STAGE_STARTED, stage=stage, attempt=attempt)
            task = {"task": f"{stage}{attempt}", "attempt": 1}
            agent = {"agent": chance.choice(["a1", "a2"]), "agent_type": "coder"}
            yield event(_E.TASK_QUEUED, **task)
            if chance.random() < 0.9:
                yield event(_E.TASK_STARTED, **task, **agent)
            if chance.random() < 0.9:
                yield event(_E.TASK_COMPLETED, **task, **agent)
            yield event(_E.STAGE_COMPLETED, stage=stage, attempt=attempt)
        if chance.random() < 0.2:
            yield event(_E.WORKFLOW_PAUSED, attempt=attempt)
        yield event(_E.WORKFLOW_FAILED, attempt=attempt)
    if chance.random() < 0.5:
        yield event(_E.WORKFLOW_RETRIED, attempt=9)
        if chance.random() < 0.5:
            yield event(_E.WORKFLOW_COMPLETED, attempt=9)
