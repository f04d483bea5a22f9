"""Hours of a fleet that has good and bad times: each event is received when it occurs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from pilothouse_server.domain.events import Event, EventType
from tests.backtest.life import BEGIN, SECOND

_E = EventType
TYPES = ("build", "deploy", "nightly")
STAGES = ("plan", "test")
AGENTS = ("a1", "a2", "a3", "a4")


def fleet(seed: int, minutes: int) -> list[Event]:
    """Workflows, agents and their silences."""
    chance = random.Random(seed)
    events = [
        *_workflows(chance, minutes),
        *(each for agent in AGENTS for each in _beats(chance, agent, minutes)),
    ]
    events.sort(key=lambda event: event.receive_us)
    return events


def _workflows(chance: random.Random, minutes: int) -> Iterator[Event]:
    number = 0
    for spell in range(0, minutes, 4):
        # A spell of four minutes has a mood of its own for each type of workflow.
        for kind in TYPES:
            failing = chance.choice([0.0, 0.0, 0.05, 0.4, 1.0])
            slow = chance.choice([0.2, 0.4, 2.0, 30.0])
            stuck = chance.choice([0.0, 0.0, 0.9])
            for _ in range(chance.choice([0, 1, 5, 25])):
                number += 1
                begin = spell * 60 + chance.uniform(0, 240)
                took = chance.expovariate(1 / slow)
                ended = _E.WORKFLOW_FAILED if chance.random() < failing else _E.WORKFLOW_COMPLETED
                waits = chance.uniform(0, 400) if chance.random() < stuck else 0.0
                yield from _workflow(f"w{number}", kind, begin, waits, took, ended)


def _workflow(
    workflow: str, kind: str, begin: float, waits: float, took: float, ended: EventType
) -> Iterator[Event]:
    def event(event_type: EventType, at: float, stage: str = "") -> Event:
        us = BEGIN + round(at * SECOND)
        name = f"{workflow}/{event_type.name}/{stage}"
        return Event(
            name, event_type, us, us, workflow_id=workflow, workflow_type=kind, stage=stage
        )

    started = begin + waits
    yield event(_E.WORKFLOW_CREATED, begin)
    yield event(_E.WORKFLOW_STARTED, started)
    for place, stage in enumerate(STAGES):
        yield event(_E.STAGE_STARTED, started + took * place / 2, stage)
        yield event(_E.STAGE_COMPLETED, started + took * (place + 0.9) / 2, stage)
    yield event(ended, started + took)


def _beats(chance: random.Random, agent: str, minutes: int) -> Iterator[Event]:
    at = chance.uniform(0, 10)
    number = 0
    while at < minutes * 60:
        number += 1
        leaves = chance.random() < 0.01
        us = BEGIN + round(at * SECOND)
        kind = _E.AGENT_OFFLINE if leaves else _E.AGENT_HEARTBEAT
        yield Event(f"{agent}/{number}", kind, us, us, agent_id=agent, agent_type="coder")
        at += chance.choice([400.0, 150.0]) if chance.random() < 0.03 else 10.0


def without(events: Sequence[Event], begin_us: int, end_us: int) -> list[Event]:
    """As if nobody had taken events in a span."""
    return [each for each in events if not begin_us <= each.receive_us < end_us]
