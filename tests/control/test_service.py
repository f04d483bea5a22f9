"""Control over gRPC: from the button to the engine's own event, and what is refused on the way."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry

from pilothouse.v1 import commands_pb2 as pb
from pilothouse.v1 import (
    commands_pb2_grpc,
    enums_pb2,
    events_pb2,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.events import EventType
from pilothouse_server.transport.commands import CommandServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from pilothouse_server.transport.workflows import WorkflowServicer
from tests.control.build import event
from tests.control.conftest import Plant
from tests.support import wait_until

PAUSE, RESUME = enums_pb2.CONTROL_ACTION_PAUSE, enums_pb2.CONTROL_ACTION_RESUME
ABLE = [
    pb.Capability(action=action, boundary=pb.COMMAND_BOUNDARY_STEP) for action in (PAUSE, RESUME)
]


def services(plant: Plant) -> list[Service]:
    queries = SqlControlQueries(plant.database, plant.clock)
    views = SqlWorkflowViews(plant.database, plant.clock)
    watching = Watching(plant.signals.workflows, plant.clock)
    commands = CommandServicer(plant.control, plant.executors, queries, plant.clock)
    workflows = WorkflowServicer(views, watching, plant.control, plant.closer)
    return [
        Service(
            pb.DESCRIPTOR.services_by_name["CommandService"],
            lambda server: commands_pb2_grpc.add_CommandServiceServicer_to_server(commands, server),
        ),
        Service(
            workflows_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
            lambda server: workflows_pb2_grpc.add_WorkflowServiceServicer_to_server(
                workflows, server
            ),
        ),
    ]


@pytest.fixture
async def channel(plant: Plant) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(services(plant), CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain(0)


@pytest.fixture
def commands(channel: grpc.aio.Channel) -> commands_pb2_grpc.CommandServiceAsyncStub:
    return commands_pb2_grpc.CommandServiceStub(channel)


@pytest.fixture
def workflows(channel: grpc.aio.Channel) -> workflows_pb2_grpc.WorkflowServiceAsyncStub:
    return workflows_pb2_grpc.WorkflowServiceStub(channel)


async def offered(
    call: grpc.aio.UnaryStreamCall[Any, pb.WatchCommandsResponse],
) -> AsyncGenerator[pb.WatchCommandsResponse, None]:
    """The messages of a stream, without its heartbeats."""
    async for message in call:
        if message.WhichOneof("update") != "heartbeat":
            yield message


def as_bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """The one ErrorInfo of a refusal."""
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(as_bytes(trailing["grpc-status-details-bin"]))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, dict(info.metadata)


async def test_a_pause_from_the_button_to_the_engines_event(
    plant: Plant,
    commands: commands_pb2_grpc.CommandServiceAsyncStub,
    workflows: workflows_pb2_grpc.WorkflowServiceAsyncStub,
) -> None:
    stream = commands.WatchCommands(pb.WatchCommandsRequest(source="e", capabilities=ABLE))
    messages = offered(stream)
    assert (await anext(messages)).HasField("caught_up")
    shown = (
        await workflows.GetWorkflow(workflows_pb2.GetWorkflowRequest(workflow_id="w"))
    ).workflow
    assert [each.action for each in shown.actions if each.available] == [PAUSE]
    asked = await workflows.PauseWorkflow(
        workflows_pb2.PauseWorkflowRequest(workflow_id="w", reason="so", etag=shown.etag)
    )
    assert asked.command.state == pb.COMMAND_STATE_REQUESTED
    assert asked.command.boundary == pb.COMMAND_BOUNDARY_STEP
    assert (await anext(messages)).command == asked.command
    taken = await commands.AcceptCommand(
        pb.AcceptCommandRequest(command_id=asked.command.id, source="e")
    )
    assert taken.command.state == pb.COMMAND_STATE_ACCEPTED
    await plant.report(
        event(EventType.WORKFLOW_PAUSED, command_id=asked.command.id, occur_us=plant.clock.us)
    )
    done = (await commands.GetCommand(pb.GetCommandRequest(command_id=asked.command.id))).command
    assert done.state == pb.COMMAND_STATE_EFFECTIVE
    assert done.effect_time.seconds == 1000
    after = (
        await workflows.GetWorkflow(workflows_pb2.GetWorkflowRequest(workflow_id="w"))
    ).workflow
    assert after.state == enums_pb2.WORKFLOW_STATE_PAUSED
    assert not after.HasField("pending_command")
    assert [each.action for each in after.actions if each.available] == [RESUME]
    listed = await commands.ListCommands(pb.ListCommandsRequest(filter="state = effective"))
    assert list(listed.commands) == [done]
    stream.cancel()


async def test_every_way_to_ask_reaches_the_same_control(
    workflows: workflows_pb2_grpc.WorkflowServiceAsyncStub,
) -> None:
    request_id = str(uuid.uuid4())
    first = await workflows.ControlWorkflow(
        workflows_pb2.ControlWorkflowRequest(workflow_id="w", action=PAUSE, request_id=request_id)
    )
    again = await workflows.PauseWorkflow(
        workflows_pb2.PauseWorkflowRequest(workflow_id="w", request_id=request_id.upper())
    )
    assert again.command == first.command
    cancelled = await workflows.CancelWorkflow(workflows_pb2.CancelWorkflowRequest(workflow_id="w"))
    assert cancelled.command.action == enums_pb2.CONTROL_ACTION_CANCEL


async def test_refusals_carry_their_reason(
    workflows: workflows_pb2_grpc.WorkflowServiceAsyncStub,
    commands: commands_pb2_grpc.CommandServiceAsyncStub,
) -> None:
    async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        return error.value.code(), *reason_of(error.value)

    w = workflows_pb2
    code, reason, words = await refused(
        workflows.ResumeWorkflow(w.ResumeWorkflowRequest(workflow_id="w"))
    )
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    assert words == {"action": "RESUME", "state": "RUNNING", "legal_actions": "CANCEL, PAUSE"}
    code, reason, _ = await refused(
        workflows.RetryWorkflow(w.RetryWorkflowRequest(workflow_id="no"))
    )
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "WORKFLOW_NOT_FOUND")
    code, reason, words = await refused(
        workflows.PauseWorkflow(w.PauseWorkflowRequest(workflow_id="w", etag="old"))
    )
    assert (code, reason, len(words["etag"])) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", 16)
    code, reason, _ = await refused(
        commands.AcceptCommand(pb.AcceptCommandRequest(command_id="no", source="e"))
    )
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "COMMAND_NOT_FOUND")
    stream = commands.WatchCommands(pb.WatchCommandsRequest(source="e", resume_token="made up"))
    code, reason, _ = await refused(anext(aiter(stream)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_RESUME_TOKEN")


async def test_a_second_executor_of_a_name_ends_the_first_with_a_reason(
    commands: commands_pb2_grpc.CommandServiceAsyncStub,
) -> None:
    first = commands.WatchCommands(pb.WatchCommandsRequest(source="e", capabilities=ABLE))
    messages = offered(first)
    assert (await anext(messages)).HasField("caught_up")
    second = commands.WatchCommands(pb.WatchCommandsRequest(source="e", capabilities=ABLE))
    assert (await anext(offered(second))).HasField("caught_up")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await anext(messages)
    assert error.value.code() == grpc.StatusCode.ABORTED
    assert reason_of(error.value) == ("EXECUTOR_REPLACED", {"source": "e"})
    second.cancel()


async def test_an_engine_that_hangs_up_is_shown_as_gone(
    plant: Plant, commands: commands_pb2_grpc.CommandServiceAsyncStub
) -> None:
    stream = commands.WatchCommands(pb.WatchCommandsRequest(source="new", capabilities=ABLE))
    await anext(offered(stream))

    async def connected(source: str) -> bool:
        answer = await commands.ListExecutors(pb.ListExecutorsRequest())
        return next(each.connected for each in answer.executors if each.source == source)

    async def gone() -> bool:
        return not await connected("new")

    assert not await gone()
    stream.cancel()
    await wait_until(gone, what="the engine to be gone")


async def test_an_engine_says_why_it_cannot(
    workflows: workflows_pb2_grpc.WorkflowServiceAsyncStub,
    commands: commands_pb2_grpc.CommandServiceAsyncStub,
) -> None:
    asked = await workflows.PauseWorkflow(workflows_pb2.PauseWorkflowRequest(workflow_id="w"))
    error = events_pb2.EventError(code="BUSY", message="in a transaction", retryable=True)
    failed = await commands.FailCommand(
        pb.FailCommandRequest(command_id=asked.command.id, source="e", error=error)
    )
    assert (failed.command.state, failed.command.error) == (pb.COMMAND_STATE_FAILED, error)
    assert failed.command.HasField("end_time")
