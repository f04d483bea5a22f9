"""A control takes effect in the engine, and is shown only once the engine did it.

From REST, from a program and from a terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

import pilothouse.aio
from pilothouse.aio import CommandHandle
from pilothouse.errors import IllegalTransition, NotFound
from pilothouse.v1.commands_pb2 import CommandState
from pilothouse.v1.enums_pb2 import WorkflowState
from tests.e2e.engine import StepEngine, stepping
from tests.e2e.support import PATIENCE, Pilothouse
from tests.e2e.terminal import cli
from tests.support import wait_until

RUNNING = WorkflowState.WORKFLOW_STATE_RUNNING
PAUSED = WorkflowState.WORKFLOW_STATE_PAUSED
FAILED = WorkflowState.WORKFLOW_STATE_FAILED
COMPLETED = WorkflowState.WORKFLOW_STATE_COMPLETED
CANCELLED = WorkflowState.WORKFLOW_STATE_CANCELLED


@pytest_asyncio.fixture(loop_scope="session")
async def engine(server: Pilothouse) -> AsyncIterator[StepEngine]:
    """An engine that has begun the first stage of its workflow."""
    async with stepping(server, "wf-1") as engine:
        yield engine


async def until_state(client: pilothouse.aio.Client, state: WorkflowState.ValueType) -> None:
    """Waits until the workflow is in `state`."""

    async def reached() -> bool:
        try:
            return (await client.workflow("wf-1").get()).state == state
        except NotFound:
            return False

    await wait_until(reached, within=PATIENCE, what=f"state {WorkflowState.Name(state)}")


async def until_accepted(command: CommandHandle) -> None:
    """Waits until the engine has the command."""

    async def accepted() -> bool:
        return (await command.get()).state == CommandState.COMMAND_STATE_ACCEPTED

    await wait_until(accepted, within=PATIENCE, what="the executor to take the command")


async def control(server: Pilothouse, **body: Any) -> httpx.Response:
    """The REST call of the original platform."""
    return await server.post("/api/v1/workflows/wf-1/control", body)


async def test_pausing_stops_the_next_stage_and_the_row_says_so_only_then(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)

    answer = await control(server, action="pause", reason="deploy freeze")
    command = client.command(answer.json()["command"]["id"])
    await until_accepted(command)
    workflow = await client.workflow("wf-1").get()
    assert workflow.state == RUNNING
    assert workflow.pending_command.id == command.id

    engine.let_end("build")
    ended = await command.wait(timeout=PATIENCE)
    assert ended.state == CommandState.COMMAND_STATE_EFFECTIVE
    assert (await client.workflow("wf-1").get()).state == PAUSED
    assert engine.started == ["build"]

    await (await client.workflow("wf-1").resume(reason="go on")).wait(timeout=PATIENCE)
    engine.let_end("test")
    engine.let_end("deploy")
    await until_state(client, COMPLETED)
    assert engine.started == ["build", "test", "deploy"]


async def test_a_failed_workflow_is_retried_from_the_stage_that_failed(
    client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    engine.let_end("build")
    engine.let_end("test", failing=True)
    await until_state(client, FAILED)

    await (await client.workflow("wf-1").retry(reason="flaky")).wait(timeout=PATIENCE)
    engine.let_end("test")
    engine.let_end("deploy")

    await until_state(client, COMPLETED)
    assert engine.started == ["build", "test", "test", "deploy"]
    assert (await client.workflow("wf-1").get()).attempt == 2


async def test_a_cancel_ends_the_workflow(
    client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)

    command = await client.workflow("wf-1").cancel(reason="not wanted")

    assert (await command.wait(timeout=PATIENCE)).state == CommandState.COMMAND_STATE_EFFECTIVE
    await until_state(client, CANCELLED)


async def test_what_is_illegal_is_refused_with_what_is_legal(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)

    answer = await control(server, action="resume")
    with pytest.raises(IllegalTransition) as caught:
        await client.workflow("wf-1").retry()

    assert answer.status_code == 409
    body = answer.json()
    assert body["reason"] == "ILLEGAL_TRANSITION"
    assert body["metadata"]["state"] == "RUNNING"
    assert "PAUSE" in body["metadata"]["legal_actions"]
    assert caught.value.metadata["action"].lower() == "retry"
    commands = [command async for command in client.list_commands()]
    assert commands == []


async def test_a_repeated_request_is_one_command(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)
    request_id = str(uuid4())

    answers = await asyncio.gather(
        *(control(server, action="pause", request_id=request_id) for _ in range(5))
    )
    other = await control(server, action="cancel", request_id=request_id)

    assert {answer.json()["command"]["id"] for answer in answers} == {
        answers[0].json()["command"]["id"]
    }
    assert other.status_code == 409
    assert other.json()["reason"] == "REQUEST_ID_REUSED"


async def test_a_stale_etag_is_refused(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)
    etag = (await client.workflow("wf-1").get()).etag
    command = await client.workflow("wf-1").pause()
    await until_accepted(command)
    engine.let_end("build")
    await command.wait(timeout=PATIENCE)

    answer = await control(server, action="resume", etag=etag)

    assert answer.status_code == 409
    assert answer.json()["reason"] == "ETAG_MISMATCH"


async def test_a_workflow_whose_engine_takes_no_commands_says_so(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    event = {"type": "workflow_started", "workflow_id": "wf-1", "source": "deaf-engine"}
    assert (await server.post("/api/v1/events", event)).status_code == 200
    await until_state(client, RUNNING)

    answer = await control(server, action="pause")
    workflow = await client.workflow("wf-1").get()

    assert answer.status_code == 409
    assert answer.json()["reason"] == "NO_EXECUTOR"
    assert not any(action.available for action in workflow.actions)
    assert all(action.reason for action in workflow.actions)


async def test_a_command_survives_the_death_of_the_server(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)
    command = await client.workflow("wf-1").pause(reason="before the crash")

    await server.kill()
    await server.start()
    await until_accepted(command)
    engine.let_end("build")

    assert (await command.wait(timeout=PATIENCE)).state == CommandState.COMMAND_STATE_EFFECTIVE
    assert engine.started == ["build"]
    await until_state(client, PAUSED)


async def test_the_terminal_steers_too(
    server: Pilothouse, client: pilothouse.aio.Client, engine: StepEngine
) -> None:
    await until_state(client, RUNNING)

    done = await cli(server, "workflows", "pause", "wf-1", "--reason", "from a terminal")
    refused = await cli(server, "workflows", "retry", "wf-1")
    listed = await cli(server, "workflows", "list", "-o", "json")

    assert done[0] == 0, done
    assert refused[0] != 0
    assert "ILLEGAL_TRANSITION" in refused[2] or "cannot retry" in refused[2]
    assert '"wf-1"' in listed[1]
