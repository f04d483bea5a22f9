"""The fold: signals in, numbers changed. Any order, with any duplicates, gives the same numbers.

Exactly: for events that come within the lateness and the memory of `limits`, in any order, any number of times
each, and however they are divided among states by workflow (see `merge`), all counts, durations and states are
those of the events once and in order. The counters of what the reader met (duplicates, illegal transitions)
tell of the journey and are not part of that. Two things must be stated by the source: the number of an attempt
when there are several, and one type for each workflow (of several the first in the alphabet stands).
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse_server.domain.events import EventType, Signal
from pilothouse_server.domain.metrics.agents import Agents
from pilothouse_server.domain.metrics.ledger import OUTCOME, Ledger
from pilothouse_server.domain.metrics.limits import (
    AHEAD_US,
    BUCKET_US,
    HORIZON_US,
    LATENESS_US,
    Limits,
)
from pilothouse_server.domain.metrics.memory import Memory
from pilothouse_server.domain.metrics.names import SeriesTable
from pilothouse_server.domain.metrics.recent import RecentIds
from pilothouse_server.domain.metrics.records import (
    UNKNOWN,
    Span,
    Standing,
    Workflow,
    part_key,
)
from pilothouse_server.domain.metrics.series import CANCELLED, COMPLETED, FAILED, Series
from pilothouse_server.domain.metrics.snapshot import Dimension, ReaderCounters, Totals
from pilothouse_server.domain.metrics.tasks import TaskFold
from pilothouse_server.domain.workflows import (
    END,
    INFERRED,
    RANK,
    REPORTED,
    TRANSITIONS,
    WorkflowState,
    forced_standing,
    overruled,
    resolve_attempt,
    state_of,
)

_ATTEMPTS = 256
"""Attempts remembered of one workflow."""

_ENDED = int(WorkflowState.COMPLETED)
_INFERRED: Standing = (1, INFERRED, 0, 0)
_LEGAL = frozenset((int(a), int(b)) for a, following in TRANSITIONS.items() for b in following)

_STARTED = int(EventType.WORKFLOW_STARTED)
_RETRIED = int(EventType.WORKFLOW_RETRIED)
_STAGE_STARTED = int(EventType.STAGE_STARTED)
_STAGE_SKIPPED = int(EventType.STAGE_SKIPPED)
_TASK_STARTED = int(EventType.TASK_STARTED)
_TASK_CANCELLED = int(EventType.TASK_CANCELLED)
_AGENT_OFFLINE = int(EventType.AGENT_OFFLINE)


class MetricsState:
    """All that live metrics are made of. Pure: the only clock is the receipt of the events."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.series = SeriesTable(self.limits)
        self.ledger = Ledger()
        self.memory = Memory(self.limits.ended)
        self.agents = Agents(self.limits.agents)
        self.recent = RecentIds(self.limits.recent_ids)
        self.tasks = TaskFold(self.series, self.ledger, self.agents, self.limits.parts)
        self.clock_us = 0
        """The latest receipt: the time of the fold."""
        self.since_us = 0
        """The earliest receipt; 0 before there is one."""
        self.events = 0
        self.workflows = 0
        self.ends = [0, 0, 0, 0]
        """Ended attempts by outcome."""
        self.late = 0
        self.beyond_horizon = 0
        self.future = 0
        self.illegal_transitions = 0
        self.undecodable = 0
        self.evicted = 0
        self._next_crossing_us = 0

    def fold(self, signals: Iterable[Signal]) -> None:
        """Applies signals in turn."""
        memory = self.memory
        in_flight = memory.in_flight
        task = self.tasks.fold
        for (
            event_id, event_type, occur, receive, workflow_id, workflow_type, stage, task_id,
            agent_id, agent_type, attempt, duration, active, future, forced_after,
        ) in signals:  # fmt: skip
            self.events += 1
            if receive > self.clock_us:
                self.clock_us = receive
                if receive >= self._next_crossing_us:
                    self._cross()
            elif receive < self.since_us:
                self.since_us = receive
            if self.clock_us >= memory.next_due:
                memory.sweep(self.clock_us)
            if future or occur - receive > AHEAD_US:
                self.future += 1
                occur = min(occur, receive + AHEAD_US)  # noqa: PLW2901
            elif receive - occur > LATENESS_US:
                self.late += 1
            if event_type > _TASK_CANCELLED or not workflow_id:
                self._without_workflow(
                    event_id, event_type, occur, receive, agent_id, agent_type, active
                )
                continue
            workflow = in_flight.get(workflow_id)
            if workflow is None:
                workflow = self._recall(workflow_id, occur, receive)
                if workflow is None:
                    continue
            else:
                in_flight.move_to_end(workflow_id)
            workflow.seq = self.events
            memory.dirty.add(workflow_id)
            if forced_after >= 0:
                self._close(workflow, event_type, attempt, forced_after)
                continue
            if occur > workflow.heard_us:  # noqa: PLR1730 - max() costs several times as much
                workflow.heard_us = occur
            if workflow_type and workflow_type != workflow.type:
                self._retype(workflow, workflow_type, receive)
            if event_type > _STAGE_SKIPPED:
                if _TASK_STARTED <= event_type < _TASK_CANCELLED and workflow.standing < _INFERRED:
                    self._infer(workflow)
                if not task(
                    workflow, event_type, occur, receive, task_id, agent_id, agent_type, attempt, duration,
                ):  # fmt: skip
                    self.beyond_horizon += 1
            elif event_type < _STAGE_STARTED:
                self._workflow(workflow, event_type, occur, receive, attempt, duration)
            else:
                self._stage(workflow, event_type, occur, receive, stage, attempt, duration)
            if workflow.closing != UNKNOWN:
                self._decide(workflow)
            if workflow_id in memory.tombstones and workflow.state >= _ENDED:
                memory.bury(workflow)

    def _cross(self) -> None:
        """The clock entered another bucket."""
        bucket = self.clock_us // BUCKET_US
        self._next_crossing_us = (bucket + 1) * BUCKET_US
        self.since_us = self.since_us or self.clock_us
        self.series.drop_idle(bucket)
        self.agents.forget(self.clock_us)

    # What has no workflow

    def _without_workflow(
        self, event_id: str, event_type: int, occur: int, receive: int, agent_id: str, agent_type: str, active: int,
    ) -> None:  # fmt: skip
        if _TASK_CANCELLED < event_type <= _AGENT_OFFLINE and agent_id:
            changed = self.agents.report(agent_id, event_type, occur, receive, agent_type, active)
        else:
            changed = self.recent.add(event_id)
        if not changed:
            self.ledger.duplicates += 1

    # Records

    def _recall(self, workflow_id: str, occur: int, receive: int) -> Workflow | None:
        """The record of a workflow that is not in flight, or a new one; None when the event is older than what
        is remembered.
        """
        workflow = self.memory.find(workflow_id)
        if workflow is not None:
            if not workflow.series:
                workflow.series = self.homes(workflow.type)
            return workflow
        if receive - occur > HORIZON_US:
            self.beyond_horizon += 1
            return None
        workflow = Workflow(workflow_id)
        workflow.series = (self.series.fleet,)
        self.series.fleet.live[0] += 1
        self.workflows += 1
        self.memory.in_flight[workflow_id] = workflow
        self._make_room()
        return workflow

    def homes(self, workflow_type: str) -> tuple[Series, ...]:
        """The series in which a workflow of this type is counted."""
        if not workflow_type:
            return (self.series.fleet,)
        return (self.series.fleet, self.series.admit(Dimension.WORKFLOW_TYPE, workflow_type))

    def adopt(self, workflow: Workflow) -> None:
        """Takes over a stored workflow, in the order of their last events."""
        workflow.series = self.homes(workflow.type)
        if workflow.state >= _ENDED:
            self.memory.ended[workflow.id] = workflow
            return
        self.memory.in_flight[workflow.id] = workflow
        self._live(workflow, workflow.series, 1)
        self.tasks.enter(workflow)

    def _make_room(self) -> None:
        in_flight = self.memory.in_flight
        while len(in_flight) > self.limits.in_flight:
            _, oldest = in_flight.popitem(last=False)
            self.tasks.leave(oldest)
            self._live(oldest, oldest.series, -1)
            self.memory.dirty.add(oldest.id)
            self.evicted += 1

    def _live(self, workflow: Workflow, series: tuple[Series, ...], change: int) -> None:
        """Counts a workflow in flight, and its tasks that wait, among the states of now."""
        for one in series:
            one.live[workflow.state - 1] += change
            one.live[4] += change * workflow.waiting

    def _retype(self, workflow: Workflow, workflow_type: str, receive: int) -> None:
        """The type became known, or another one is reported; then the first in the alphabet stands."""
        if workflow.type and workflow_type > workflow.type:
            return
        before, after = workflow.series, self.homes(workflow_type)
        workflow.type = workflow_type
        workflow.series = after
        if before[1:] == after[1:]:
            return
        if workflow.state < _ENDED:
            self._live(workflow, before[1:], -1)
            self._live(workflow, after[1:], 1)
        for span in workflow.attempts.values():
            self.ledger.move(span, receive, before[1:], after[1:])

    def _infer(self, workflow: Workflow) -> None:
        """Work was seen on a workflow of which no start was reported."""
        workflow.standing = _INFERRED
        self._set_state(workflow, int(WorkflowState.RUNNING))

    # Workflows and stages

    def _workflow(
        self, workflow: Workflow, event_type: int, occur: int, receive: int, attempt: int, duration: int | None,
    ) -> None:  # fmt: skip
        newest = workflow.standing
        if not attempt:
            attempt = resolve_attempt(event_type, 0, (*newest, ""))
        span = workflow.attempts.get(attempt)
        if span is None:
            span = self._open_attempt(workflow, attempt)
        rank = RANK[event_type]
        if event_type == _STARTED:
            self.ledger.start(span, occur, receive, workflow.series)
        elif rank == END:
            before = OUTCOME[span.end_type] if span.end_type else -1
            self.ledger.end(span, event_type, occur, receive, duration, workflow.series)
            after = OUTCOME[span.end_type]
            if before != after:
                self.ends[after] += 1
                if before >= 0:
                    self.ends[before] -= 1
        elif not rank:
            self.ledger.opened(span, occur, receive, workflow.series)
        standing = (attempt, rank, -occur if rank == END else occur, event_type)
        if standing > newest:
            workflow.standing = standing
        elif standing == newest and rank == REPORTED and event_type != _STARTED:
            self.ledger.duplicates += 1
        started = workflow.attempts.get(workflow.standing[0])
        state = state_of(
            (*workflow.standing, ""), started=started is not None and started.started is not None
        )
        if state != workflow.state and workflow.closing == UNKNOWN:
            if newest != UNKNOWN and (workflow.state, int(state)) not in _LEGAL:
                self.illegal_transitions += 1
            self._set_state(workflow, int(state))

    def _close(self, workflow: Workflow, event_type: int, attempt: int, forced_after: int) -> None:
        """An operator ended it. Nobody knows how it went, so this is no end that a rate or a latency counts."""
        *forced, _ = forced_standing(event_type, attempt, forced_after, "")
        workflow.closing = max(workflow.closing, (forced[0], forced[1], forced[2], forced[3]))
        self._decide(workflow)
        if workflow.id in self.memory.tombstones and workflow.state >= _ENDED:
            self.memory.bury(workflow)

    def _decide(self, workflow: Workflow) -> None:
        """Where a workflow stands that an operator ended."""
        standing = workflow.closing
        if overruled(standing, workflow.standing, workflow.heard_us):
            standing = workflow.standing
        started = workflow.attempts.get(standing[0])
        known = started is not None and started.started is not None
        state = int(WorkflowState.QUEUED)
        if standing != UNKNOWN:
            state = int(state_of((*standing, ""), started=known))
        if state != workflow.state:
            self._set_state(workflow, state)

    def _open_attempt(self, workflow: Workflow, attempt: int) -> Span:
        attempts = workflow.attempts
        if len(attempts) >= _ATTEMPTS:
            del attempts[min(attempts)]
            self.evicted += 1
        span = attempts[attempt] = Span()
        return span

    def _set_state(self, workflow: Workflow, state: int) -> None:
        before, workflow.state = workflow.state, state
        waiting = workflow.waiting
        for one in workflow.series:
            live = one.live
            if before < _ENDED:
                live[before - 1] -= 1
            if state < _ENDED:
                live[state - 1] += 1
        if before < _ENDED <= state:
            self.tasks.leave(workflow)
            for one in workflow.series:
                one.live[4] -= waiting
            self.memory.finish(workflow, self.clock_us, self.events)
        elif state < _ENDED <= before:
            self.memory.reopen(workflow)
            self.tasks.enter(workflow)
            for one in workflow.series:
                one.live[4] += waiting
            self._make_room()

    def _stage(
        self, workflow: Workflow, event_type: int, occur: int, receive: int, stage: str,
        attempt: int, duration: int | None,
    ) -> None:  # fmt: skip
        if workflow.standing < _INFERRED:
            self._infer(workflow)
        key = part_key(stage, attempt or workflow.standing[0])
        span = workflow.stages.get(key)
        if span is None:
            if occur <= workflow.settled_us or receive - occur > HORIZON_US:
                self.beyond_horizon += 1
                return
            span = workflow.stages[key] = Span()
            if len(workflow.stages) > self.tasks.trim_over:
                self.tasks.trim_stages(workflow, self.clock_us)
        series = self.series.stages.get(stage) or self.series.admit(Dimension.STAGE, stage)
        if event_type == _STAGE_STARTED:
            self.ledger.start(span, occur, receive, (series,))
        else:
            self.ledger.end(span, event_type, occur, receive, duration, (series,))

    # What a snapshot shows of it

    def totals(self) -> Totals:
        """Since the log began."""
        ends = self.ends
        return Totals(self.workflows, ends[COMPLETED], ends[FAILED], ends[CANCELLED], self.events)

    def counters(self) -> ReaderCounters:
        """What the reader met."""
        return ReaderCounters(
            duplicates=self.ledger.duplicates,
            late=self.late,
            beyond_horizon=self.beyond_horizon,
            future=self.future,
            skewed=self.ledger.skewed,
            illegal_transitions=self.illegal_transitions,
            other_names=self.series.other_names,
            evicted=self.evicted + self.memory.evicted + self.tasks.evicted,
            undecodable=self.undecodable,
        )
