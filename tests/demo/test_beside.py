"""What runs beside the demo's engine, as the processes that the demo starts, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from pilothouse.aio import Client, CommandHandle
from pilothouse.errors import CallError, CommandNotEffective
from pilothouse.v1.enums_pb2 import WorkflowState, WorkState
from pilothouse.v1.trace_analysis_pb2 import AnalyzeTraceRequest, AnalyzeTraceResponse
from pilothouse.v1.traces_pb2 import GetTraceRequest
from pilothouse.v1.workflows_pb2 import GetWorkflowResponse, Workflow
from pilothouse_server.demo.launch import LANGGRAPH, OPENTELEMETRY, run_demo_engine
from tests.e2e.support import Pilothouse
from tests.support import name_of, wait_until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("beside"),
    pytest.mark.timeout(180),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path_factory.mktemp("beside") / "data") as running:
        yield running


@dataclass(frozen=True)
class Beside:
    """What the server shows of one side, which is under a name of the test's own."""

    client: Client
    target: str
    source: str
    data_dir: Path

    @asynccontextmanager
    async def running(self, module: str, *options: str) -> AsyncGenerator[None]:
        """Its process, as the demo starts it."""
        stop, words = asyncio.Event(), ("--source", self.source, *options)
        engine = run_demo_engine(self.target, self.data_dir, stop, words, module=module)
        task = asyncio.create_task(engine)
        try:
            yield
        finally:
            stop.set()
            await task

    async def runs(self, words: str) -> list[Workflow]:
        """Those that match."""
        asked = f'source = "{self.source}" AND {words}'
        return [each async for each in self.client.list_workflows(filter=asked)]

    async def shown(self, workflow_id: str) -> GetWorkflowResponse:
        """One of them."""
        return await self.client.workflow(workflow_id).describe()

    async def one_in(self, stage: str) -> str:
        """A run that is in this stage now."""

        async def is_there() -> str:
            running = await self.runs("state = RUNNING")
            return next((each.id for each in running if each.current_stage == stage), "")

        return await wait_until(is_there, within=60, what=f"a run in {stage}")

    async def completed(self, workflow_id: str) -> GetWorkflowResponse:
        """The run at its end; one that failed is tried again, as an operator would."""

        async def is_so() -> GetWorkflowResponse | None:
            now = await self.shown(workflow_id)
            if now.workflow.state == WorkflowState.WORKFLOW_STATE_FAILED:
                # Nothing but the sample of the glossary is up to chance.
                assert "proof" in now.workflow.error.message, now.workflow.error
                await (await self.client.workflow(workflow_id).retry()).wait(30)
            is_over = now.workflow.state == WorkflowState.WORKFLOW_STATE_COMPLETED
            return now if is_over else None

        found = await wait_until(is_so, within=90, what=f"{workflow_id} is COMPLETED")
        assert found is not None
        return found

    async def adds_up(self, workflow_id: str) -> AnalyzeTraceResponse:
        """The steps of the critical path are as long as the run."""
        traces = self.client.traces
        told = await traces.AnalyzeTrace(AnalyzeTraceRequest(id=workflow_id))
        run = (await traces.GetTrace(GetTraceRequest(id=workflow_id))).trace
        assert told.complete
        at = 0
        for step in told.critical_path:
            assert step.start_offset.ToMicroseconds() == at
            at = step.end_offset.ToMicroseconds()
        assert at == run.duration.ToMicroseconds()
        return told


@pytest_asyncio.fixture(loop_scope="module")
async def side(
    server: Pilothouse, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Beside]:
    """The server, under a name of the test's own."""
    async with Client(server.grpc) as client:
        yield Beside(client, server.grpc, name_of(request), tmp_path)


async def test_an_instrumented_agent_is_seen_at_work(side: Beside) -> None:
    seen: set[str] = set()

    async def is_answered() -> str:
        """A run that ended and was seen at work before: some questions have no answer."""
        for run in await side.runs("state = RUNNING"):
            tasks = (await side.shown(run.id)).tasks
            at_work = {t.agent_id for t in tasks if t.state == WorkState.WORK_STATE_RUNNING}
            if {"librarian", "reader"} <= at_work:
                seen.add(run.id)
        ended = await side.runs("state = COMPLETED")
        return next((each.id for each in ended if each.id in seen), "")

    async with side.running(OPENTELEMETRY, "--every", "0.5", "--pause", "0.3"):
        answered = await wait_until(is_answered, within=90, what="a run seen from within")
    shown = await side.shown(answered)
    assert {task.agent_id for task in shown.tasks} == {"librarian", "reader"}
    assert any(task.state == WorkState.WORK_STATE_COMPLETED for task in shown.tasks)
    told = await side.adds_up(answered)
    assert "execute_tool read_module" in {step.name for step in told.critical_path}
    # What held it up is told by name, though an agent's work is in no stage.
    assert "tasks named execute_tool read_module" in {each.label for each in told.bottlenecks}


async def test_what_an_agent_has_in_hand_when_it_is_stopped_fails_and_says_why(
    side: Beside,
) -> None:
    async with side.running(OPENTELEMETRY, "--pause", "30"):
        (run,) = await wait_until(lambda: side.runs("state = RUNNING"), within=60, what="a run")

    async def has_failed() -> Workflow | None:
        now = (await side.shown(run.id)).workflow
        return now if now.state == WorkflowState.WORKFLOW_STATE_FAILED else None

    failed = await wait_until(has_failed, within=30, what="its end")
    assert failed is not None
    assert "the process was told to end" in failed.error.message


async def test_a_graph_is_paused_resumed_and_goes_on_after_a_kill(side: Beside) -> None:
    async with side.running(LANGGRAPH, "--every", "3", "--pause", "0.2"):
        paused = await _paused(side)
        killed = await side.one_in("step 2: read")
        _process_of(side).kill()
        shown = await side.completed(killed)
        await (await side.client.workflow(paused).resume()).wait(60)
        resumed = await side.completed(paused)
    for run in (shown, resumed):
        stages = [each.name for each in run.workflow.stages]
        assert stages == [
            "step 1: survey", "step 2: read", "step 3: merge", "step 4: quote", "step 5: edit",
        ]  # fmt: skip
        # What had its checkpoint was not done again.
        (survey,) = (task for task in run.tasks if task.stage == stages[0])
        assert survey.attempt == 1
        assert sum(task.stage == stages[1] for task in run.tasks) > 1
        await side.adds_up(run.workflow.id)


async def _paused(side: Beside) -> str:
    """A run that was paused by command before its end."""
    while True:
        run = await side.one_in("step 2: read")
        # On a machine that is busy it may be over before anybody hears of the command.
        with suppress(CallError, CommandNotEffective):
            command: CommandHandle = await side.client.workflow(run).pause()
            await command.wait(60)
            state = (await side.shown(run)).workflow.state
            assert state == WorkflowState.WORKFLOW_STATE_PAUSED
            return run


def _process_of(side: Beside) -> psutil.Process:
    """The process of the side itself."""
    children = psutil.Process().children(recursive=True)
    (found,) = (each for each in children if side.source in each.cmdline())
    return found
