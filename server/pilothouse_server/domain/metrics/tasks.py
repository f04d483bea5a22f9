"""The part of the fold that most events take: tasks, their agents, and how many wait or are worked on."""

from __future__ import annotations

from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.agents import Agents
from pilothouse_server.domain.metrics.ledger import Ledger
from pilothouse_server.domain.metrics.limits import HORIZON_US
from pilothouse_server.domain.metrics.names import SeriesTable
from pilothouse_server.domain.metrics.records import (
    IDLE,
    QUEUED,
    WORKING,
    Span,
    Task,
    Workflow,
    part_key,
)
from pilothouse_server.domain.metrics.series import Series
from pilothouse_server.domain.metrics.snapshot import Dimension
from pilothouse_server.domain.workflows import WorkflowState

_QUEUED = int(EventType.TASK_QUEUED)
_ASSIGNED = int(EventType.TASK_ASSIGNED)
_STARTED = int(EventType.TASK_STARTED)
_RETRYING = int(EventType.TASK_RETRYING)
_ENDED = int(WorkflowState.COMPLETED)
_KEY_SHIFT = 1 << 56
"""Above any time in microseconds for the next two thousand years: a report's place in a task's life comes
first, then its time.
"""


class TaskFold:
    """Applies events about tasks to the record of their workflow."""

    trim_over = 64
    """A workflow with more stages, or tasks, is looked at for those that can be forgotten."""

    def __init__(self, series: SeriesTable, ledger: Ledger, agents: Agents, parts: int) -> None:
        self.evicted = 0
        self._series = series
        self._ledger = ledger
        self._agents = agents
        self._parts = parts

    def fold(
        self, workflow: Workflow, event_type: int, occur: int, receive: int, task_id: str,
        agent_id: str, agent_type: str, attempt: int, duration: int | None,
    ) -> bool:  # fmt: skip
        """Returns False when the event is about something that is not remembered any more."""
        if attempt > 1:
            if workflow.retries.get(task_id, 1) < attempt:
                workflow.retries[task_id] = attempt
        elif not attempt and workflow.retries:
            attempt = workflow.retries.get(task_id, 1)
        if event_type == _RETRYING:
            return self._retry(
                workflow, occur, receive, task_id, agent_id, agent_type, attempt, duration
            )
        task = self._task(workflow, task_id, attempt, occur, receive)
        if task is None:
            return False
        if agent_id or agent_type:
            key = event_type * _KEY_SHIFT + occur
            if agent_id == task.agent and agent_type == task.agent_type:
                if agent_id and key > task.agent_key:
                    task.agent_key = key
                if agent_type and key > task.type_key:
                    task.type_key = key
            else:
                self._assign(workflow, task, key, receive, agent_id, agent_type)
        if event_type <= _ASSIGNED:
            if task.queued and event_type == _QUEUED:
                self._ledger.duplicates += 1
            task.queued = True
            if task.started is None and task.ended is None and task.phase != QUEUED:
                self._set_phase(workflow, task, QUEUED)
        elif event_type == _STARTED:
            self._ledger.start(task, occur, receive, self._homes(task))
            if task.ended is None and task.phase != WORKING:
                self._set_phase(workflow, task, WORKING)
        else:
            self._ledger.end(task, event_type, occur, receive, duration, self._homes(task))
            if task.phase:
                self._set_phase(workflow, task, IDLE)
        return True

    def _task(
        self, workflow: Workflow, task_id: str, attempt: int, occur: int, receive: int
    ) -> Task | None:
        key = task_id if attempt <= 1 else part_key(task_id, attempt)
        task = workflow.tasks.get(key)
        if task is None:
            if occur <= workflow.settled_us or receive - occur > HORIZON_US:
                return None
            task = workflow.tasks[key] = Task()
            if len(workflow.tasks) > self.trim_over:
                self._trim_tasks(workflow, receive)
        return task

    def _retry(
        self, workflow: Workflow, occur: int, receive: int, task_id: str,
        agent_id: str, agent_type: str, attempt: int, duration: int | None,
    ) -> bool:  # fmt: skip
        """A task failed and waits for its next attempt, which the event names. Unnumbered, it opens one only if
        the newest began, so that its duplicate opens nothing.
        """
        if attempt <= 1 or not workflow.tasks:
            newest = self._newest(workflow, task_id)
            began = newest is not None and (newest.started is not None or newest.ended is not None)
            attempt = workflow.retries.get(task_id, 1) + began
            if attempt > 1:
                workflow.retries[task_id] = attempt
        known = True
        if attempt > 1:
            known = self._fail(
                workflow, occur, receive, task_id, agent_id, agent_type, attempt - 1, duration
            )
        return known and self.fold(
            workflow, _QUEUED, occur, receive, task_id, "", "", attempt, None
        )

    def _newest(self, workflow: Workflow, task_id: str) -> Task | None:
        return workflow.tasks.get(part_key(task_id, workflow.retries.get(task_id, 1)))

    def _fail(
        self, workflow: Workflow, occur: int, receive: int, task_id: str,
        agent_id: str, agent_type: str, attempt: int, duration: int | None,
    ) -> bool:  # fmt: skip
        task = self._task(workflow, task_id, attempt, occur, receive)
        if task is None:
            return False
        if agent_id or agent_type:
            key = _RETRYING * _KEY_SHIFT + occur
            self._assign(workflow, task, key, receive, agent_id, agent_type)
        self._ledger.end(task, _RETRYING, occur, receive, duration, self._homes(task))
        if task.phase:
            self._set_phase(workflow, task, IDLE)
        return True

    def _homes(self, task: Task) -> tuple[Series, ...]:
        """The series in which a task is counted: of its agent's type and of its agent."""
        table = self._series
        agent, kind = task.agent, task.agent_type
        if agent:
            one = table.agents.get(agent) or table.admit(Dimension.AGENT, agent)
            if kind:
                two = table.agent_types.get(kind) or table.admit(Dimension.AGENT_TYPE, kind)
                return (one, two)
            return (one,)
        if kind:
            return (table.agent_types.get(kind) or table.admit(Dimension.AGENT_TYPE, kind),)
        return ()

    def _assign(
        self, workflow: Workflow, task: Task, key: int, receive: int, agent_id: str, agent_type: str
    ) -> None:
        """A report names the agent: it stands when the report is the furthest in the task's life, then the
        latest.
        """
        counted = task.start_in >= 0 or task.end_in >= 0
        before = self._homes(task) if counted else ()
        agent = task.agent
        if agent_id and (key, agent_id) > (task.agent_key, task.agent):
            task.agent_key = key
            task.agent = agent_id
        if agent_type and (key, agent_type) > (task.type_key, task.agent_type):
            task.type_key = key
            task.agent_type = agent_type
        if counted:
            after = self._homes(task)
            if after != before:
                self._ledger.move(task, receive, before, after)
        if task.phase == WORKING and workflow.state < _ENDED and task.agent != agent:
            self._agents.work(agent, -1)
            self._agents.work(task.agent, 1)

    def _set_phase(self, workflow: Workflow, task: Task, phase: int) -> None:
        before, task.phase = task.phase, phase
        waiting = (phase == QUEUED) - (before == QUEUED)
        workflow.waiting += waiting
        if workflow.state >= _ENDED:
            return
        if waiting:
            for one in workflow.series:
                one.live[4] += waiting
        if before == WORKING:
            self._agents.work(task.agent, -1)
        elif phase == WORKING:
            self._agents.work(task.agent, 1)

    def leave(self, workflow: Workflow) -> None:
        """The workflow is not in flight any more: its tasks are in nobody's hand."""
        for task in workflow.tasks.values():
            if task.phase == WORKING:
                self._agents.work(task.agent, -1)

    def enter(self, workflow: Workflow) -> None:
        """The workflow is in flight again."""
        for task in workflow.tasks.values():
            if task.phase == WORKING:
                self._agents.work(task.agent, 1)

    def _trim_tasks(self, workflow: Workflow, receive: int) -> None:
        """Forgets what ended long ago in a workflow that has much of it: looks at the two oldest."""
        tasks = workflow.tasks
        for _ in range(2):
            key = next(iter(tasks))
            task = tasks.pop(key)
            over = len(tasks) >= self._parts
            if not over and not _ended_before(task, receive - HORIZON_US):
                tasks[key] = task
            elif over:
                self._set_phase(workflow, task, IDLE)
                self.evicted += 1

    def trim_stages(self, workflow: Workflow, receive: int) -> None:
        """The same for stages."""
        stages = workflow.stages
        for _ in range(2):
            key = next(iter(stages))
            span = stages.pop(key)
            over = len(stages) >= self._parts
            if not over and not _ended_before(span, receive - HORIZON_US):
                stages[key] = span
            self.evicted += over


def _ended_before(span: Span, time_us: int) -> bool:
    return span.ended is not None and span.ended < time_us
