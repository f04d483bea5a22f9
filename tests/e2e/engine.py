"""The smallest engine that obeys.

Each stage runs until the test lets it end, and a pause takes effect between two stages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from pilothouse.executor import CommandRefused, Executor
from pilothouse.reporting import WorkflowRun
from pilothouse.v1.commands_pb2 import Command, CommandBoundary
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import EventError
from tests.e2e.support import Pilothouse
from tests.support import wait_until

STAGES = ("build", "test", "deploy")


SOURCE = "step-engine"


class StepEngine:
    """Runs one workflow. `let_end(stage)` ends that stage; `started` lists the stages that began."""

    def __init__(self, server: str, workflow_id: str, stages: Sequence[str] = STAGES) -> None:
        self.executor = Executor(server, source=SOURCE)
        self.run_id = workflow_id
        self.stages = stages
        self.started: list[str] = []
        self.may_fail: set[str] = set()
        self._gates = {stage: asyncio.Event() for stage in stages}
        self._pause: Command | None = None
        self._cancel: Command | None = None
        self._resume: asyncio.Future[Command] | None = None
        self._retry: asyncio.Future[Command] | None = None
        self.executor.on(ControlAction.CONTROL_ACTION_PAUSE)(self._on_pause)
        self.executor.on(ControlAction.CONTROL_ACTION_RESUME)(self._on_resume)
        self.executor.on(
            ControlAction.CONTROL_ACTION_CANCEL, boundary=CommandBoundary.COMMAND_BOUNDARY_IMMEDIATE
        )(self._on_cancel)
        self.executor.on(ControlAction.CONTROL_ACTION_RETRY)(self._on_retry)

    def let_end(self, stage: str, *, failing: bool = False) -> None:
        """Ends a stage, well or badly."""
        if failing:
            self.may_fail.add(stage)
        self._gates[stage].set()

    async def run(self) -> None:
        """From the start to the end of the workflow, retries included."""
        run = self.executor.workflow(
            self.run_id, workflow_type="feature", name="Login page", stage_plan=self.stages
        )
        run.created()
        first = 0
        while (failed := await self._attempt(run, first)) is not None:
            self._retry = asyncio.get_running_loop().create_future()
            run.retried(await self._retry)
            first = failed

    async def _attempt(self, run: WorkflowRun, first: int) -> int | None:
        """Runs stages from `first`; returns the index of the one that failed, None when all is over."""
        run.started()
        for index, name in enumerate(self.stages[first:], first):
            if self._pause is not None:
                command, self._pause = self._pause, None
                self._resume = asyncio.get_running_loop().create_future()
                run.paused(command)
                run.resumed(await self._resume)
            if self._cancel is not None:
                break
            self.started.append(name)
            stage = run.stage(name)
            stage.started()
            await self._gates[name].wait()
            if name in self.may_fail:
                self.may_fail.discard(name)
                self._gates[name].clear()
                error = EventError(code="BROKEN", message=f"{name} broke")
                stage.failed(error)
                run.failed(error)
                return index
            stage.completed()
        if self._cancel is not None:
            run.cancelled(self._cancel)
        else:
            run.completed()
        return None

    def _on_pause(self, command: Command) -> None:
        self._pause = command

    def _on_resume(self, command: Command) -> None:
        if self._resume is None:
            raise CommandRefused("NOT_PAUSED", "it is not paused")
        self._resume.set_result(command)

    def _on_cancel(self, command: Command) -> None:
        self._cancel = command
        for gate in self._gates.values():
            gate.set()

    def _on_retry(self, command: Command) -> None:
        if self._retry is None:
            raise CommandRefused("NOT_FAILED", "it did not fail")
        self._retry.set_result(command)


@asynccontextmanager
async def stepping(server: Pilothouse, workflow_id: str) -> AsyncGenerator[StepEngine]:
    """One that has begun the first stage of its workflow, and that the server knows to obey."""
    engine = StepEngine(server.grpc, workflow_id)
    async with engine.executor:
        task = asyncio.create_task(engine.run())
        try:
            await wait_until(lambda: engine.started, what="the first stage")
            await server.until_obeyed(SOURCE)
            yield engine
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
