"""A run that another process began, put together from what the server and the checkpointer know.

The server knows what was told: the attempt, the state, the tries of tasks. The checkpointer knows how far the graph is.
Where they differ, the graph is right, and what was not told is told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig

from pilothouse.aio import Client
from pilothouse.errors import NotFound
from pilothouse.langgraph.outcomes import RunState
from pilothouse.langgraph.runs import GraphRun
from pilothouse.langgraph.story import Story
from pilothouse.langgraph.threads import Graph, Thread, read, threads_of
from pilothouse.v1.enums_pb2 import WorkflowState, WorkState
from pilothouse.v1.events_pb2 import EventError
from pilothouse.v1.workflows_pb2 import GetWorkflowResponse, Task

_STATES = {
    WorkflowState.WORKFLOW_STATE_QUEUED: RunState.RUNNING,
    WorkflowState.WORKFLOW_STATE_RUNNING: RunState.RUNNING,
    WorkflowState.WORKFLOW_STATE_PAUSED: RunState.PAUSED,
    WorkflowState.WORKFLOW_STATE_WAITING: RunState.WAITING,
    WorkflowState.WORKFLOW_STATE_COMPLETED: RunState.COMPLETED,
    WorkflowState.WORKFLOW_STATE_FAILED: RunState.FAILED,
    WorkflowState.WORKFLOW_STATE_CANCELLED: RunState.CANCELLED,
}

StoryOf = Callable[[Thread, str, int], Story]
"""A story of a thread's run with this id in this attempt."""
RunOf = Callable[[Thread, Story], GraphRun]
"""A run of a thread that tells this story."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What is needed to put runs together."""

    client: Client
    graph: Graph
    base: RunnableConfig | None
    story_of: StoryOf
    run_of: RunOf

    async def run(self, workflow_id: str) -> GraphRun | None:
        """The run as it stands; None when the server or the checkpointer does not have it."""
        thread = await self._thread(workflow_id)
        if thread is None:
            return None
        try:
            known = await self.client.workflow(workflow_id).describe()
        except NotFound:
            return None
        return self._put_together(known, thread)

    async def is_told(self, workflow_id: str, within: float) -> bool:
        """Whether the server has a workflow of that id. Raises CallError, and TimeoutError after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self.client.workflow(workflow_id).get()
        except NotFound:
            return False
        return True

    async def unfinished(
        self, source: str, workflow_type: str, limit: int, is_ours: Callable[[str], bool]
    ) -> AsyncIterator[GraphRun]:
        """Runs that the server believes to be running and that are not `is_ours`. Those that are over in truth are told
        so, and not among them."""
        words = (
            f"source = {_quoted(source)} AND type = {_quoted(workflow_type)} "
            "AND (state = RUNNING OR state = QUEUED)"
        )
        listed = self.client.list_workflows(filter=words, limit=limit)
        for workflow_id in [each.id async for each in listed]:
            if is_ours(workflow_id):
                continue
            thread = await self._thread(workflow_id)
            known = await self.client.workflow(workflow_id).describe()
            if thread is None:
                self._lose(workflow_id, known.workflow.attempt)
            elif (run := self._put_together(known, thread)) and not run.settle_as(thread):
                yield run

    def _lose(self, workflow_id: str, attempt: int) -> None:
        words = "its process ended, and the newest checkpoint of its thread is not of this run"
        error = EventError(code="NO_CHECKPOINT", message=words)
        self.story_of(Thread(workflow_id), workflow_id, attempt).run.failed(error)

    async def _thread(self, workflow_id: str) -> Thread | None:
        for thread_id in threads_of(workflow_id):
            thread = await read(self.graph, thread_id, self.base)
            if thread.workflow_id == workflow_id:
                return thread
        return None

    def _put_together(self, known: GetWorkflowResponse, thread: Thread) -> GraphRun | None:
        state = _STATES.get(known.workflow.state)
        if state is None:
            return None
        story = self.story_of(thread, known.workflow.id, known.workflow.attempt)
        tries = {task.id: task.attempt for task in known.tasks}
        for task in _in(known, WorkState.WORK_STATE_RETRYING):
            tries[task.id] -= 1  # it is named by the try that is to come
        running = {task.id for task in _in(known, WorkState.WORK_STATE_RUNNING)}
        finished = {task.id for task in _in(known, WorkState.WORK_STATE_COMPLETED)}
        story.know(
            known.workflow.current_stage,
            tries,
            finished=finished | thread.finished,
            lost=running if state is RunState.RUNNING else (),
            waiting=() if state is RunState.RUNNING else running,
        )
        run = self.run_of(thread, story)
        run.state = state
        return run


def _in(known: GetWorkflowResponse, state: WorkState.ValueType) -> list[Task]:
    return [task for task in known.tasks if task.state == state]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
