"""What an engine says about its work, in the engine's words: a run, its stages and its tasks. Who does them is in
`workers`.

Each method makes one event and hands it to `report`, which returns at once; nothing here waits, and nothing here knows
where events go. An object of this module keeps only what every event of it carries, so that it may be made anew at any
time: the engine's own records stay the truth.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from pilothouse._parts import (
    MAX_MESSAGE_BYTES,
    MAX_NAME_BYTES,
    Failure,
    Report,
    clip,
    command_id,
    duration_of,
    event_error,
)
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.enums_pb2 import Severity
from pilothouse.v1.events_pb2 import Event, EventError, EventType, Usage
from pilothouse.workers import ReportedAgent, ReportedQueue

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_NAME_BYTES",
    "Failure",
    "Report",
    "ReportedAgent",
    "ReportedQueue",
    "StageRun",
    "TaskRun",
    "WorkflowRun",
    "clip",
    "event_error",
]


class WorkflowRun:
    """One run of one workflow.

    As a context manager it reports STARTED on entry, and on exit COMPLETED, FAILED with the exception, or CANCELLED
    when the task that runs it is cancelled, unless an end was reported before.
    """

    def __init__(
        self,
        report: Report,
        workflow_id: str,
        *,
        workflow_type: str = "",
        name: str = "",
        stage_plan: Sequence[str] = (),
        attempt: int = 1,
        trace_id: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._report = report
        self._name = clip(name, 512)
        self._stage_plan = tuple(stage_plan)
        self._attributes = dict(attributes or {})
        self._ended = False
        self.id = workflow_id
        """The engine's id of the workflow."""
        self.workflow_type = workflow_type
        """The kind of workflow."""
        self.attempt = attempt
        """The attempt that events belong to, from 1. `retried()` opens the next one."""
        self.trace_id = trace_id
        """The trace it belongs to; empty when there is none."""

    def created(self, message: str = "") -> None:
        """The engine knows of the workflow; it has not started."""
        self._tell(EventType.EVENT_TYPE_WORKFLOW_CREATED, message, plan=True)

    def started(self, message: str = "") -> None:
        """Work began."""
        self._tell(EventType.EVENT_TYPE_WORKFLOW_STARTED, message, plan=True)

    def waiting(self, message: str = "") -> None:
        """The workflow waits for something outside the engine; `message` says for what."""
        self._tell(EventType.EVENT_TYPE_WORKFLOW_WAITING, message)

    def paused(self, command: Command | str | None = None, message: str = "") -> None:
        """Nothing new of it starts from now on. `command` is the command that this answers."""
        self._tell(EventType.EVENT_TYPE_WORKFLOW_PAUSED, message, command=command)

    def resumed(self, command: Command | str | None = None, message: str = "") -> None:
        """It goes on."""
        self._tell(EventType.EVENT_TYPE_WORKFLOW_RESUMED, message, command=command)

    def completed(self, message: str = "", *, usage: Usage | None = None) -> None:
        """It ended well."""
        self._ended = True
        self._tell(EventType.EVENT_TYPE_WORKFLOW_COMPLETED, message, usage=usage)

    def failed(
        self, failure: Failure, *, retryable: bool = False, command: Command | str | None = None
    ) -> None:
        """It ended badly."""
        self._ended = True
        error = event_error(failure, retryable=retryable)
        self._tell(
            EventType.EVENT_TYPE_WORKFLOW_FAILED, error.message, error=error, command=command
        )

    def cancelled(self, command: Command | str | None = None, message: str = "") -> None:
        """It was ended by a control."""
        self._ended = True
        self._tell(EventType.EVENT_TYPE_WORKFLOW_CANCELLED, message, command=command)

    def retried(self, command: Command | str | None = None, message: str = "") -> None:
        """The next attempt is open: `attempt` is one more from here on."""
        self.attempt += 1
        self._ended = False
        self._tell(EventType.EVENT_TYPE_WORKFLOW_RETRIED, message, command=command)

    def log(self, message: str, severity: Severity.ValueType = Severity.SEVERITY_INFO) -> None:
        """A message for people."""
        event = self._event(EventType.EVENT_TYPE_LOG, message)
        event.severity = severity
        self._report(event)

    def stage(self, name: str) -> StageRun:
        """One stage of this run."""
        return StageRun(self, self._report, name)

    def task(
        self,
        task_id: str,
        *,
        stage: str = "",
        agent: ReportedAgent | None = None,
        attempt: int = 1,
        queue: str = "",
        agent_type: str = "",
    ) -> TaskRun:
        """One task of this run. `queue` is where it waits for an agent, `agent_type` the kind of agent that it needs:
        what Pilothouse has to know to say why it does not move."""
        return TaskRun(
            self,
            self._report,
            task_id,
            stage=stage,
            agent=agent,
            attempt=attempt,
            queue=queue,
            agent_type=agent_type,
        )

    def _event(self, kind: EventType.ValueType, message: str = "") -> Event:
        return Event(
            type=kind,
            workflow_id=self.id,
            workflow_type=self.workflow_type,
            workflow_name=self._name,
            attempt=self.attempt,
            trace_id=self.trace_id,
            message=clip(message),
        )

    def _tell(
        self,
        kind: EventType.ValueType,
        message: str = "",
        *,
        command: Command | str | None = None,
        error: EventError | None = None,
        usage: Usage | None = None,
        plan: bool = False,
    ) -> None:
        event = self._event(kind, message)
        event.command_id = command_id(command)
        event.attributes.update(self._attributes)
        if error is not None:
            event.error.CopyFrom(error)
        if usage is not None:
            event.usage.CopyFrom(usage)
        if plan:
            event.stage_plan.extend(self._stage_plan)
        self._report(event)

    def __enter__(self) -> Self:
        self.started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        if error is None:
            self.completed()
        elif isinstance(error, Exception):
            self.failed(error)
        else:
            self.cancelled(message=type(error).__name__)


class StageRun:
    """One stage of a run, in the run's newest attempt.

    As a context manager it reports STARTED on entry and COMPLETED or FAILED on exit; nothing when the task that runs it
    is cancelled, because then the run's own end says what happened.
    """

    def __init__(self, run: WorkflowRun, report: Report, name: str) -> None:
        self._run = run
        self._report = report
        self.name = name
        """Its name."""

    def started(self, message: str = "") -> None:
        """It began."""
        self._tell(EventType.EVENT_TYPE_STAGE_STARTED, message)

    def completed(self, message: str = "", *, duration: float | dt.timedelta | None = None) -> None:
        """It ended well. `duration` (seconds) is needed only where its start was not reported."""
        self._tell(EventType.EVENT_TYPE_STAGE_COMPLETED, message, duration=duration)

    def failed(self, failure: Failure, *, duration: float | dt.timedelta | None = None) -> None:
        """It ended badly."""
        error = event_error(failure)
        self._tell(EventType.EVENT_TYPE_STAGE_FAILED, error.message, error=error, duration=duration)

    def skipped(self, message: str = "") -> None:
        """It was left out."""
        self._tell(EventType.EVENT_TYPE_STAGE_SKIPPED, message)

    def _tell(
        self,
        kind: EventType.ValueType,
        message: str,
        *,
        error: EventError | None = None,
        duration: float | dt.timedelta | None = None,
    ) -> None:
        event = Event(
            type=kind,
            workflow_id=self._run.id,
            workflow_type=self._run.workflow_type,
            stage=self.name,
            attempt=self._run.attempt,
            trace_id=self._run.trace_id,
            message=clip(message),
            error=error,
            duration=duration_of(duration),
        )
        self._report(event)

    def __enter__(self) -> Self:
        self.started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.completed()
        elif isinstance(error, Exception):
            self.failed(error)


class TaskRun:
    """One task of a run. `attempt` is the task's own.

    As a context manager it reports STARTED on entry, and COMPLETED, FAILED or CANCELLED on exit; an agent that does it
    counts it as work in hand meanwhile.
    """

    def __init__(
        self,
        run: WorkflowRun,
        report: Report,
        task_id: str,
        *,
        stage: str = "",
        agent: ReportedAgent | None = None,
        attempt: int = 1,
        queue: str = "",
        agent_type: str = "",
    ) -> None:
        self._run = run
        self._report = report
        self._stage = stage
        self.queue = queue
        """Where it waits for an agent; empty when that is no queue with a name."""
        self.agent_type = agent_type
        """The kind of agent that it needs; empty when any will do, or that of the agent that has it is enough."""
        self.id = task_id
        """Its id, unique in the workflow."""
        self.agent = agent
        """Who does it; None when nobody is known to."""
        self.attempt = attempt
        """Its attempt, from 1. `retrying()` goes to the next one."""
        self.usage: Usage | None = None
        """What it consumed; sent with its end when the task is used as a context manager."""

    def queued(self, message: str = "") -> None:
        """It waits for an agent."""
        self._tell(EventType.EVENT_TYPE_TASK_QUEUED, message)

    def assigned(self, agent: ReportedAgent, message: str = "") -> None:
        """It was given to `agent`, which has not started it."""
        self.agent = agent
        self._tell(EventType.EVENT_TYPE_TASK_ASSIGNED, message)

    def started(self, message: str = "") -> None:
        """Its agent began it."""
        self._tell(EventType.EVENT_TYPE_TASK_STARTED, message)

    def completed(
        self,
        message: str = "",
        *,
        usage: Usage | None = None,
        duration: float | dt.timedelta | None = None,
    ) -> None:
        """It ended well. `duration` (seconds) is needed only where its start was not reported."""
        self._tell(EventType.EVENT_TYPE_TASK_COMPLETED, message, usage=usage, duration=duration)

    def failed(
        self,
        failure: Failure,
        *,
        retryable: bool = False,
        usage: Usage | None = None,
        duration: float | dt.timedelta | None = None,
    ) -> None:
        """It ended badly, and is not tried again."""
        error = event_error(failure, retryable=retryable)
        self._tell(
            EventType.EVENT_TYPE_TASK_FAILED,
            error.message,
            error=error,
            usage=usage,
            duration=duration,
        )

    def retrying(self, failure: Failure, *, usage: Usage | None = None) -> None:
        """It failed and will be tried again: `attempt` is one more from here on. `usage` is of the try that failed."""
        self.attempt += 1
        error = event_error(failure, retryable=True)
        self._tell(EventType.EVENT_TYPE_TASK_RETRYING, error.message, error=error, usage=usage)

    def cancelled(self, message: str = "", *, usage: Usage | None = None) -> None:
        """It was stopped by a control. What it consumed until then counts as well."""
        self._tell(EventType.EVENT_TYPE_TASK_CANCELLED, message, usage=usage)

    def _tell(
        self,
        kind: EventType.ValueType,
        message: str,
        *,
        error: EventError | None = None,
        usage: Usage | None = None,
        duration: float | dt.timedelta | None = None,
    ) -> None:
        agent = self.agent
        event = Event(
            type=kind,
            workflow_id=self._run.id,
            workflow_type=self._run.workflow_type,
            stage=self._stage,
            task_id=self.id,
            agent_id=agent.id if agent else "",
            agent_type=agent.agent_type if agent else self.agent_type,
            attempt=self.attempt,
            trace_id=self._run.trace_id,
            queue=self.queue,
            message=clip(message),
            error=error,
            usage=usage,
            duration=duration_of(duration),
        )
        self._report(event)

    def __enter__(self) -> Self:
        self.started()
        if self.agent:
            self.agent.take_up(self._run.id, self.id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.completed(usage=self.usage)
        elif isinstance(error, Exception):
            self.failed(error, usage=self.usage)
        else:
            self.cancelled(type(error).__name__, usage=self.usage)
        if self.agent:
            self.agent.put_down(self.id)
