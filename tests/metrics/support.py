"""Signals for tests, streams of them for Hypothesis, and the form by which two states are compared."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

from hypothesis import strategies as st

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.domain.events import EventType, Signal
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.domain.metrics.summary import Moment, SnapshotMaker

T0 = 1_700_000_000 * SECOND_US
"""A moment on the border of two buckets."""

_E = EventType


def signal(
    event_type: EventType,
    at: float,
    workflow: str = "w1",
    *,
    received: float | None = None,
    kind: str = "",
    stage: str = "",
    task: str = "",
    agent: str = "",
    agent_type: str = "",
    attempt: int = 0,
    duration: float | None = None,
    active: int = -1,
    event_id: str = "",
    future: bool = False,
) -> Signal:
    """A signal that occurred `at` seconds after T0, and was received then too unless stated."""
    occur = T0 + round(at * SECOND_US)
    receive = occur if received is None else T0 + round(received * SECOND_US)
    return Signal(
        event_id or f"{event_type.name}/{workflow}/{stage}/{task}/{attempt}/{at}",
        event_type,
        occur,
        receive,
        "" if _E.AGENT_REGISTERED <= event_type <= _E.AGENT_OFFLINE else workflow,
        kind,
        stage,
        task,
        agent,
        agent_type,
        attempt,
        None if duration is None else round(duration * SECOND_US),
        active,
        future,
    )


def folded(*signals: Signal) -> MetricsState:
    """The state after these signals."""
    state = MetricsState()
    state.fold(signals)
    return state


def settle(state: MetricsState, now_us: int | None = None) -> None:
    """Brings buckets and windows up to a moment, by default that of the fold."""
    at = (state.clock_us if now_us is None else now_us) // BUCKET_US
    state.series.at = at
    for series in state.series:
        series.settle(at)


class SetClock(SystemClock):
    """A clock that is set; what is measured with it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.ahead * 1e6)


T = TypeVar("T")


def run(steps: Generator[None, None, T]) -> T:
    """Takes steps to their end and returns what they made."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            made: T = stop.value
            return made


def made(state: MetricsState, *, after: float = 0.0) -> MetricsSnapshot:
    """A snapshot of the state, some seconds after its last event."""
    as_of_us = state.clock_us + round(after * SECOND_US)
    moment = Moment(as_of_us, "", 0, True, 100_000, FiringAlerts(), events_per_second=None)
    steps = SnapshotMaker("epoch", 0).steps(state, moment)
    return run(steps)


def shown(state: MetricsState) -> dict[str, Any]:
    """What a snapshot shows that the events decide."""
    snapshot = made(state)
    return {
        "series": snapshot.series,
        "health": snapshot.health,
        "agents": snapshot.agents,
        "agents_seen": dict(snapshot.agents_seen),
        "totals": snapshot.totals[:4],
    }


def canonical(state: MetricsState) -> dict[str, Any]:
    """Everything that the events decide, whatever the way in which they came."""
    settle(state)
    workflows: dict[str, Any] = {}
    for workflow_id in state.memory:
        workflow = state.memory.find(workflow_id)
        assert workflow is not None
        dumped = json.loads(workflow.dump())
        dumped[4:7] = [sorted(part) for part in dumped[4:7]]
        workflows[workflow_id] = [
            dumped,
            workflow.waiting,
            workflow.retries,
            workflow_id in state.memory.in_flight,
        ]
    return {
        "workflows": workflows,
        "series": {
            (series.dimension.name, series.name): (
                series.buckets(),
                tuple(series.live),
                [window.pack() for window in series.windows],
            )
            for series in state.series
            if series.buckets() or any(series.live) or not series.name
        },
        "agents": {agent.id: agent.dump() for agent in state.agents.by_id.values()},
        "working": state.agents.working,
        "totals": (state.workflows, state.ends),
        "skewed": state.ledger.skewed,
        "clock": state.clock_us,
    }


_WORKFLOW_TYPES = [
    _E.WORKFLOW_CREATED, _E.WORKFLOW_STARTED, _E.WORKFLOW_PAUSED, _E.WORKFLOW_RESUMED, _E.WORKFLOW_WAITING,
    _E.WORKFLOW_COMPLETED, _E.WORKFLOW_FAILED, _E.WORKFLOW_CANCELLED, _E.WORKFLOW_RETRIED,
]  # fmt: skip
_STAGE_TYPES = [_E.STAGE_STARTED, _E.STAGE_COMPLETED, _E.STAGE_FAILED, _E.STAGE_SKIPPED]
_TASK_TYPES = [
    _E.TASK_QUEUED, _E.TASK_ASSIGNED, _E.TASK_STARTED, _E.TASK_COMPLETED, _E.TASK_FAILED, _E.TASK_RETRYING,
    _E.TASK_CANCELLED,
]  # fmt: skip
_AGENT_TYPES = [_E.AGENT_REGISTERED, _E.AGENT_HEARTBEAT, _E.AGENT_DRAINING, _E.AGENT_OFFLINE]


@st.composite
def signals(draw: st.DrawFn, *, seconds: int = 100) -> Signal:
    """Any signal about a few workflows, all within `seconds`, with its attempt stated."""
    event_type = draw(
        st.one_of(
            st.sampled_from(_WORKFLOW_TYPES),
            st.sampled_from(_TASK_TYPES),
            st.sampled_from(_STAGE_TYPES),
            st.sampled_from(_AGENT_TYPES),
        )
    )
    at = draw(st.integers(0, seconds))
    attempts = st.integers(1, 3)
    if event_type == _E.WORKFLOW_CREATED:
        attempts = st.just(1)
    elif event_type in {_E.WORKFLOW_RETRIED, _E.TASK_RETRYING}:
        attempts = st.integers(2, 3)
    durations = st.one_of(st.none(), st.integers(-1, 1000).map(lambda n: n / 7))
    is_agent = event_type in _AGENT_TYPES
    return signal(
        event_type,
        at,
        draw(st.sampled_from(["w1", "w2", "w3"])),
        received=draw(st.integers(at, min(at + 15, seconds))),
        kind=draw(st.sampled_from(["", "build", "deploy"])),
        stage=draw(st.sampled_from(["plan", "test"])) if event_type in _STAGE_TYPES else "",
        task=draw(st.sampled_from(["t1", "t2"])) if event_type in _TASK_TYPES else "",
        agent=draw(st.sampled_from(["a1", "a2"] if is_agent else ["", "a1", "a2"])),
        agent_type=draw(st.sampled_from(["", "coder", "tester"])),
        attempt=draw(attempts),
        duration=draw(durations),
        active=draw(st.integers(-1, 2)) if is_agent else -1,
    )
