"""What spans mean: one table, for the conventions that it names. A new release of one changes this file and no other.

Both conventions are in development, so names that a release renamed are read in either spelling, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pilothouse_server.domain.events import EventType

VERSIONS: Final = (
    "semantic-conventions 1.30 to 1.45",
    "semantic-conventions-genai 0.1.0",
)
"""What the table was written for."""


class Outcome(Enum):
    """How work ended."""

    COMPLETED = 0
    FAILED = 1
    CANCELLED = 2


class Part(Enum):
    """What a span is the whole of, and the events that say so: its start, then its end by outcome."""

    WORKFLOW = (
        EventType.WORKFLOW_STARTED,
        (EventType.WORKFLOW_COMPLETED, EventType.WORKFLOW_FAILED, EventType.WORKFLOW_CANCELLED),
        "w",
    )
    STAGE = (
        EventType.STAGE_STARTED,
        (EventType.STAGE_COMPLETED, EventType.STAGE_FAILED, EventType.STAGE_SKIPPED),
        "g",
    )
    TASK = (
        EventType.TASK_STARTED,
        (EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TASK_CANCELLED),
        "t",
    )

    def __init__(
        self, start: EventType, ends: tuple[EventType, EventType, EventType], letter: str
    ) -> None:
        self.start = start
        self.ends = ends
        self.letter = letter
        """Before "s" and "e" in the ids of its events."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One value of `gen_ai.operation.name`."""

    is_run: bool = False
    """It is a run of a workflow, not a piece of work in one."""
    spends: bool = False
    """Its usage is its own; that of others is the sum of what is below them, and counted there."""


OPERATIONS: Final[Mapping[str, Operation]] = {
    "invoke_workflow": Operation(is_run=True),
    "invoke_agent": Operation(),
    "plan": Operation(),
    "execute_tool": Operation(),
    "retrieval": Operation(),
    "chat": Operation(spends=True),
    "generate_content": Operation(spends=True),
    "text_completion": Operation(spends=True),
    "embeddings": Operation(spends=True),
}
"""GenAI. What is not here (`create_agent`, what is done to memories) is bookkeeping, and stays a span."""

AGENT: Final = "invoke_agent"
"""An agent at work. As a client span it is somewhere else: nothing below it is reported, so its usage is its own."""

OPERATION: Final = "gen_ai.operation.name"
RUN_NAME: Final = ("gen_ai.agent.name", "gen_ai.workflow.name")
"""Of invoke_workflow: since 0.1.0 the first; of the rest the first only."""
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_ID: Final = ("gen_ai.agent.id", AGENT_NAME)
"""Spans inside an agent's process have no id of it since 0.1.0."""
INPUT_TOKENS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKENS: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")

PIPELINE_RUN_ID: Final = "cicd.pipeline.run.id"
PIPELINE_NAME: Final = "cicd.pipeline.name"
PIPELINE_RESULT: Final = "cicd.pipeline.result"
PIPELINE_OF_SPAN: Final = (PIPELINE_RESULT, "cicd.pipeline.action.name", "cicd.pipeline.run.state")
"""On the span itself any of these says that it is a run."""
PIPELINE_OF_ROOT: Final = (PIPELINE_RUN_ID, PIPELINE_NAME)
"""These do on a root; below it they say what it belongs to, as on a resource."""
PIPELINE_TASK: Final = ("cicd.pipeline.task.run.id", "cicd.pipeline.task.name")
"""On the span itself either says that it is a task."""
PIPELINE_TASK_ID: Final = "cicd.pipeline.task.run.id"
PIPELINE_TASK_NAME: Final = "cicd.pipeline.task.name"
PIPELINE_TASK_TYPE: Final = "cicd.pipeline.task.type"
PIPELINE_TASK_RESULT: Final = "cicd.pipeline.task.run.result"
WORKER: Final = ("cicd.worker.id", "cicd.worker.name")
WORKER_TYPE: Final = "cicd.worker"
"""The kind of agent that a worker is."""

RESULTS: Final[Mapping[str, Outcome]] = {
    "success": Outcome.COMPLETED,
    "failure": Outcome.FAILED,
    "error": Outcome.FAILED,
    "timeout": Outcome.FAILED,
    "cancellation": Outcome.CANCELLED,
    "skip": Outcome.CANCELLED,
    "skipped": Outcome.CANCELLED,
}
"""CI/CD. Any other result is judged by the status of the span."""

SERVICE: Final = "service.name"
NO_SERVICE: Final = "unknown_service"
"""What the conventions call a service that says no name."""
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

OF_RESOURCE: Final = (
    "service.namespace", "service.version", "service.instance.id", "deployment.environment.name", "host.name",
    "k8s.pod.name", "process.pid",
)  # fmt: skip
"""What is kept of a resource beside the name of its service."""

WORKFLOW_ID: Final = "pilothouse.workflow.id"
"""Ours, on a span or its resource: the workflow that mapped spans belong to, in place of the one of the convention."""
WORKFLOW_TYPE: Final = "pilothouse.workflow.type"
"""Ours, on a span: it is the run, of this type, wherever in its trace it stands."""
HEARTBEAT: Final = "pilothouse.heartbeat"
"""Ours, on a span that has not ended: when its process was last alive, in nanoseconds since the epoch."""
