"""Workers and connectors as processes of their own, and what a server shows of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pilothouse.aio import Client
from pilothouse.v1.commands_pb2 import Command, CommandState, GetCommandRequest
from pilothouse.v1.enums_pb2 import WorkflowState, WorkState
from pilothouse.v1.queues_pb2 import ListQueuesRequest, QueueState
from pilothouse.v1.workflows_pb2 import GetWorkflowRequest, GetWorkflowResponse
from tests.servers.process import end, spawn
from tests.support import wait_until

ROOT = Path(__file__).parents[2]
"""Of the repository: what is started finds the app there."""
PATIENCE = 60.0
"""Seconds in which what has to happen happens, also on a machine that is busy."""
_ENDED = frozenset(
    {
        CommandState.COMMAND_STATE_EFFECTIVE,
        CommandState.COMMAND_STATE_FAILED,
        CommandState.COMMAND_STATE_EXPIRED,
    }
)


class Child:
    """A process that is started again under the same name."""

    def __init__(self, words: list[str], log: Path, sign: str, **environment: str) -> None:
        self._words, self._log, self._sign, self._environment = words, log, sign, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    @property
    def said(self) -> str:
        """What it wrote since its last start."""
        return self._log.read_text("utf-8", "replace")[self._read :] if self._log.exists() else ""

    async def start(self) -> None:
        """Returns when it says that it is ready."""
        self.begin()
        await self.ready()

    def begin(self) -> None:
        """Starts it and waits for nothing."""
        self._read = len(self._log.read_text("utf-8", "replace")) if self._log.exists() else 0
        words = [sys.executable, "-m", *self._words]
        self._process = spawn(words, self._log, cwd=ROOT, environment=self._environment)

    async def ready(self) -> None:
        """Waits for its sign."""
        await wait_until(self._is_ready, within=90, what=f"{self._words[:3]} is ready")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said
        return self._sign in self.said

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            end(self._process, signal.SIGTERM, within=10)

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        return self._process is None or self._process.poll() is not None

    def terminate(self) -> None:
        """SIGTERM, and waits for nothing."""
        if self._process is not None and not self.ended:
            self._process.terminate()

    def finish(self) -> None:
        """Whatever it takes: a worker would wait for tasks that a test that failed left behind."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            end(self._process, signal.SIGKILL)


def worker(
    broker: str, directory: Path, name: str, *, queues: str = "celery", **environment: str
) -> Child:
    """A prefork worker of two processes."""
    words = ["celery", "-A", "tests.celery.tasks", "worker", "--concurrency", "2"]
    words += ["--hostname", f"{name}@test", "--queues", queues, "--loglevel", "INFO"]
    variables = {"CELERY_TEST_BROKER": broker, "PYTHONPATH": str(ROOT), **environment}
    return Child(words, directory / f"{name}.log", f"{name}@test ready.", **variables)


def connector(broker: str, server: str, directory: Path, *options: str) -> Child:
    """A connector as people start it."""
    words = ["pilothouse_server", "connect", "celery", "--broker", broker, "--server", server]
    words += ["--look-every", "0.5", "--linger", "0.5", *options]
    return Child(words, directory / "connector.log", "is connected to")


class Shown:
    """What the server shows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._queues = client.queues

    async def workflow(self, workflow_id: str) -> GetWorkflowResponse | None:
        """A workflow, when it is there."""
        listed = [w async for w in self.client.list_workflows(filter=f'id = "{workflow_id}"')]
        if not listed:
            return None
        return await self.client.workflows.GetWorkflow(GetWorkflowRequest(workflow_id=workflow_id))

    async def ended(self, workflow_id: str, state: str, attempt: int = 1) -> GetWorkflowResponse:
        """The workflow, once it is in that state."""
        wanted = WorkflowState.Value(f"WORKFLOW_STATE_{state}")
        seen: list[str] = []

        async def is_so() -> GetWorkflowResponse | None:
            found = await self.workflow(workflow_id)
            if found is None:
                return None
            seen[:] = [str(found.workflow.attempt), WorkflowState.Name(found.workflow.state)]
            if found.workflow.state == wanted and found.workflow.attempt == attempt:
                return found
            return None

        try:
            found = await wait_until(is_so, within=PATIENCE, what=f"{workflow_id} is {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {seen}") from error
        assert found is not None
        return found

    async def command(self, command: Command) -> Command:
        """The command, once it has ended."""

        async def has_ended() -> Command | None:
            request = GetCommandRequest(command_id=command.id)
            now = (await self.client.commands.GetCommand(request)).command
            return now if now.state in _ENDED else None

        found = await wait_until(has_ended, within=PATIENCE, what="the end of the command")
        assert found is not None
        return found

    async def effective(self, answer: Any) -> Command:
        """The command of an answer, once it took effect."""
        found = await self.command(answer.command)
        assert found.state == CommandState.COMMAND_STATE_EFFECTIVE, found
        return found

    async def queues(self) -> dict[str, str]:
        """The states of queues."""
        listed = (await self._queues.ListQueues(ListQueuesRequest(source="celery"))).queues
        return {each.name: QueueState.Name(each.state)[12:] for each in listed}

    async def completed(self, workflow_id: str, count: int) -> GetWorkflowResponse:
        """The workflow, once it is over with so many tasks. When a task is heard of only after the workflow was thought
        to be over, it is over in the next attempt."""
        over = WorkflowState.WORKFLOW_STATE_COMPLETED

        async def is_so() -> GetWorkflowResponse | None:
            found = await self.workflow(workflow_id)
            if found is None or found.workflow.state != over or len(found.tasks) < count:
                return None
            return found

        found = await wait_until(is_so, within=PATIENCE, what=f"{count} tasks of {workflow_id}")
        assert found is not None
        return found


def tasks_of(answer: GetWorkflowResponse) -> dict[str, tuple[str, int]]:
    """State and attempt of each task, by its name; of several of one name the last."""
    return {t.stage: (WorkState.Name(t.state)[11:], t.attempt) for t in answer.tasks}
