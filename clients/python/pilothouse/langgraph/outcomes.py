"""Where a run stands, what it came to, and the errors that say why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pilothouse.errors import PilothouseError


class RunState(Enum):
    """Where a run stands."""

    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunUnderWay(PilothouseError):
    """The thread has a run that must end first."""

    def __init__(self, workflow_id: str, state: RunState) -> None:
        super().__init__(f"the run {workflow_id} of this thread is {state.value}")
        self.workflow_id = workflow_id
        """The run."""
        self.state = state
        """Where it stands."""


class NotWaiting(PilothouseError):
    """The run does not wait for an answer."""

    def __init__(self, thread_id: str, state: str) -> None:
        super().__init__(f"the thread {thread_id} does not wait for an answer: {state}")
        self.thread_id = thread_id
        """The thread."""


class RunCancelled(PilothouseError):
    """The run was cancelled by an operator, or for a new input on its thread."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"the run {workflow_id} was cancelled")
        self.workflow_id = workflow_id
        """The run."""


class RunnerClosed(PilothouseError):
    """The runner was closed before the run ended. Its checkpoint is there: `recover()` goes on with it."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"the runner was closed before the run {workflow_id} ended")
        self.workflow_id = workflow_id
        """The run."""


@dataclass(frozen=True)
class Outcome:
    """Where a run stopped by itself."""

    workflow_id: str
    """The run, as Pilothouse knows it."""
    thread_id: str
    """Its thread; empty without a checkpointer."""
    state: RunState
    """COMPLETED, or WAITING for `runner.answer()`."""
    values: Any
    """The graph's output; None when this process saw none."""
    interrupts: Mapping[str, Any]
    """What it waits for: the question of each interrupt, by its id. Empty at a breakpoint, and when COMPLETED."""
