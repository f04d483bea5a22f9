"""What the server shows of runs, in few words."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from pilothouse.aio import Client, CommandHandle
from pilothouse.langgraph import LangGraphRunner
from pilothouse.langgraph.threads import Graph
from pilothouse.v1.commands_pb2 import Command, CommandState
from pilothouse.v1.enums_pb2 import WorkState
from pilothouse.v1.events_pb2 import EventType
from pilothouse.v1.workflows_pb2 import GetWorkflowResponse
from tests.celery.support import PATIENCE, Shown
from tests.support import wait_until


@dataclass
class House:
    """A server and the name of an engine."""

    client: Client
    target: str
    source: str

    @property
    def shown(self) -> Shown:
        """What it shows."""
        return Shown(self.client)

    def runner(self, graph: Graph, **options: Any) -> LangGraphRunner:
        """A runner of its own source."""
        options.setdefault("workflow_type", f"of-{self.source}")
        return LangGraphRunner(self.target, graph, source=self.source, **options)

    async def is_in(self, workflow_id: str, state: str, attempt: int = 1) -> GetWorkflowResponse:
        """The workflow, once it is in that state."""
        return await self.shown.ended(workflow_id, state, attempt)

    async def is_at(self, workflow_id: str, stage: str) -> None:
        """Returns when the server shows the workflow in this stage, which is told after its beginning."""

        async def is_there() -> bool:
            shown = await self.shown.workflow(workflow_id)
            return shown is not None and shown.workflow.current_stage == stage

        await wait_until(is_there, within=PATIENCE, what=f"{workflow_id} is at {stage!r}")

    async def has_task(self, workflow_id: str, name: str, state: str) -> None:
        """Returns when the server shows this task of the workflow in this state."""

        async def is_so() -> bool:
            shown = await self.shown.workflow(workflow_id)
            return shown is not None and tasks(shown).get(name, ("", 0))[0] == state

        await wait_until(is_so, within=PATIENCE, what=f"{name} of {workflow_id} is {state}")

    async def accepted(self, workflow_id: str) -> None:
        """Returns when the engine has the command."""
        workflow = self.client.workflow(workflow_id)

        async def has_it() -> bool:
            pending = (await workflow.get()).pending_command
            return pending.state == CommandState.COMMAND_STATE_ACCEPTED

        await wait_until(has_it, within=PATIENCE, what="the engine has the command")

    async def effective(self, ask: Awaitable[CommandHandle]) -> Command:
        """The command, once it took effect."""
        return await (await ask).wait(PATIENCE)


def told(shown: GetWorkflowResponse) -> list[str]:
    """What the engine told, in its order: `STAGE_STARTED step 1: plan`, `TASK_COMPLETED plan 1`."""
    words: list[str] = []
    for event in shown.events:
        kind = EventType.Name(event.type).removeprefix("EVENT_TYPE_")
        if kind.startswith("TASK"):
            words.append(f"{kind} {path(event.task_id)} {event.attempt}")
        elif kind.startswith("STAGE"):
            words.append(f"{kind} {event.stage}")
        elif kind.startswith("WORKFLOW"):
            words.append(kind)
    return words


def path(task_id: str) -> str:
    """Names without LangGraph's ids."""
    return "/".join(part.partition(":")[0] for part in task_id.split("|"))


def tasks(shown: GetWorkflowResponse) -> dict[str, tuple[str, int]]:
    """State and try of each task, by its path; of several of one path the last."""
    return {path(t.id): (WorkState.Name(t.state)[11:], t.attempt) for t in shown.tasks}


def stages(shown: GetWorkflowResponse) -> dict[str, str]:
    """The state of each stage of the newest attempt."""
    return {s.name: WorkState.Name(s.state)[11:] for s in shown.workflow.stages}
