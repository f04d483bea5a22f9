"""From events to records: which records an event touches, and how what befalls a task is credited to its agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse_server.domain.events import (
    AGENT_TYPES,
    QUEUE_TYPES,
    STAGE_TYPES,
    TASK_TYPES,
    WORKFLOW_TYPES,
    Event,
    EventType,
)
from pilothouse_server.domain.projection.agent import AgentRecord
from pilothouse_server.domain.projection.spans import Span, WorkState
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.projection.workflow import WorkflowRecord

TaskKey = tuple[str, str]
"""(workflow, task)."""

_OF_WORKFLOW = WORKFLOW_TYPES | STAGE_TYPES | TASK_TYPES


@dataclass(slots=True)
class Touched:
    """What a batch of events is about."""

    workflows: set[str] = field(default_factory=set[str])
    tasks: set[TaskKey] = field(default_factory=set[TaskKey])


def touched(events: Iterable[Event]) -> Touched:
    """The records that must be there before the events are applied. Agents are found on the way: see `Projection`."""
    found = Touched()
    for event in events:
        kind = event.type
        if kind in _OF_WORKFLOW or (event.usage is not None and event.workflow_id):
            found.workflows.add(event.workflow_id)
            if kind in TASK_TYPES:
                found.tasks.add((event.workflow_id, event.task_id))
    return found


def agents_of(events: Iterable[Event], tasks: Iterable[TaskRecord]) -> set[str]:
    """The agents whose records the events may change: those they name, and those that their tasks were with before."""
    ids = {
        event.agent_id for event in events if event.type in AGENT_TYPES or event.type in TASK_TYPES
    }
    for task in tasks:
        ids.update(span.agent[1] for span in task.spans.values())
    ids.discard("")
    return ids


def of_workflow(event: Event) -> bool:
    """Whether it says something of a workflow, its stages or its tasks."""
    return event.type in _OF_WORKFLOW


def repeatable(event: Event, workflow: WorkflowRecord | None) -> Event | None:
    """What may be applied of an event that was perhaps applied before: what is the same however often it is said. None
    when there is no such thing in it. Sums are left out; and what does not say of which attempt it is, unless there was
    only one."""
    kind = event.type
    if kind in AGENT_TYPES or kind in QUEUE_TYPES:
        return event._replace(usage=None)
    if kind not in _OF_WORKFLOW or workflow is None:
        return None
    only_one = (
        workflow.attempt == 1 and kind not in TASK_TYPES and kind != EventType.WORKFLOW_RETRIED
    )
    return event._replace(usage=None) if event.attempt or only_one else None


class Projection:
    """The records that a batch of events is about. `apply` changes them, and makes those that are not there.

    Each event must be given once: the caller tells events apart by their id.
    """

    def __init__(
        self,
        workflows: dict[str, WorkflowRecord],
        tasks: dict[TaskKey, TaskRecord],
        agents: dict[str, AgentRecord],
    ) -> None:
        self.workflows = workflows
        self.tasks = tasks
        self.agents = agents
        self.changed_agents: set[str] = set()

    def apply(self, event: Event) -> None:
        """Takes in one event."""
        kind = event.type
        if kind in AGENT_TYPES:
            self._agent(event.agent_id).apply(event)
            if event.usage is None or not event.workflow_id:
                return
        elif kind not in _OF_WORKFLOW and (event.usage is None or not event.workflow_id):
            return
        workflow = self.workflows.get(event.workflow_id)
        if workflow is None:
            workflow = self.workflows[event.workflow_id] = WorkflowRecord(event.workflow_id)
        workflow.apply(event)
        if kind in TASK_TYPES:
            self._apply_task(event, workflow)

    def _apply_task(self, event: Event, workflow: WorkflowRecord) -> None:
        key = (event.workflow_id, event.task_id)
        task = self.tasks.get(key)
        if task is None:
            task = self.tasks[key] = TaskRecord(*key)
        if event.agent_id and event.agent_id not in self.agents:
            # Known from now on, whether or not another event takes the task from it: in whatever order they come.
            self._agent(event.agent_id)
        runner, need = task.runner, task.need if task.spans else None
        for report in task.reports(event):
            outcome = _outcome(task.span_of(report))
            now = _outcome(task.apply(report))
            if outcome != now:
                self._credit(outcome, -1)
                self._credit(now, 1)
        if workflow.needs is not None and need != (needs := task.need):
            workflow.needs.add(need, -1)
            workflow.needs.add(needs, 1)
        runs_it = task.runner
        if runner != runs_it:
            if runner:
                self._agent(runner).running -= 1
            if runs_it:
                self._agent(runs_it).running += 1

    def _credit(self, outcome: _Outcome | None, by: int) -> None:
        if outcome is None:
            return
        agent = self._agent(outcome.agent_id)
        # Never below zero, which an agent would be that was forgotten with the work that is taken from it now.
        if outcome.state == WorkState.COMPLETED:
            agent.completed = max(agent.completed + by, 0)
            if outcome.elapsed_us is not None:
                agent.timed = max(agent.timed + by, 0)
                worked_us = max(agent.worked_us + by * outcome.elapsed_us, 0)
                agent.worked_us = worked_us if agent.timed else 0
        else:
            agent.failed = max(agent.failed + by, 0)

    def _agent(self, agent_id: str) -> AgentRecord:
        agent = self.agents.get(agent_id)
        if agent is None:
            agent = self.agents[agent_id] = AgentRecord(agent_id)
        self.changed_agents.add(agent_id)
        return agent


class _Outcome(NamedTuple):
    """Whose success or failure an attempt is."""

    agent_id: str
    state: WorkState
    elapsed_us: int | None


def _outcome(span: Span | None) -> _Outcome | None:
    if span is None or not span.agent[1]:
        return None
    state = span.state
    if state not in (WorkState.COMPLETED, WorkState.FAILED):
        return None
    return _Outcome(span.agent[1], state, span.elapsed_us)
