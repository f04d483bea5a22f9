"""Agents and queues over gRPC: from the button to the engine's own event, and what is refused on the way."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    commands_pb2,
    enums_pb2,
    queues_pb2,
    queues_pb2_grpc,
)
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.queue_views import SqlQueueViews
from pilothouse_server.domain.commands import Capability, Executor, Scope
from pilothouse_server.domain.events import AgentLoad, EventType
from pilothouse_server.domain.targets import AGENT_ACTIONS, QUEUE_ACTIONS
from pilothouse_server.services.views import PageRequest
from pilothouse_server.transport.agents import AgentServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.queues import QueueServicer
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from tests.control.build import event
from tests.control.conftest import Plant, plant
from tests.control.test_service import reason_of

__all__ = ["plant"]

Q = queues_pb2
REQUESTED = commands_pb2.COMMAND_STATE_REQUESTED


@pytest.fixture
async def channel(plant: Plant) -> AsyncIterator[grpc.aio.Channel]:
    able = [Capability(action, Scope.POOL) for action in AGENT_ACTIONS]
    able += [
        Capability(action, scope)
        for action in QUEUE_ACTIONS
        for scope in (Scope.QUEUE, Scope.FLEET)
    ]
    await plant.store.write(lambda t: t.put_executor(Executor("e", tuple(able))))
    now = {"workflow_id": "", "occur_us": plant.clock.us, "receive_us": plant.clock.us}
    await plant.report(
        event(EventType.AGENT_REGISTERED, agent_id="a", load=AgentLoad(0, 4), **now),
        event(EventType.QUEUE_ACTIVE, queue="mail", **now),
    )
    watching = Watching(plant.signals.workflows, plant.clock)
    agents = AgentServicer(SqlAgentViews(plant.database, plant.clock), watching, plant.control)
    queues = QueueServicer(SqlQueueViews(plant.database), plant.control)
    served = [
        Service(
            agents_pb2.DESCRIPTOR.services_by_name["AgentService"],
            lambda server: agents_pb2_grpc.add_AgentServiceServicer_to_server(agents, server),
        ),
        Service(
            queues_pb2.DESCRIPTOR.services_by_name["QueueService"],
            lambda server: queues_pb2_grpc.add_QueueServiceServicer_to_server(queues, server),
        ),
    ]
    server = RpcServer(served, CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain(0)


async def test_agents_and_queues_are_steered_over_the_wire(
    plant: Plant, channel: grpc.aio.Channel
) -> None:
    agents = agents_pb2_grpc.AgentServiceStub(channel)
    queues = queues_pb2_grpc.QueueServiceStub(channel)
    shown = (await agents.GetAgent(agents_pb2.GetAgentRequest(agent_id="a"))).agent
    offered = {each.action for each in shown.actions if each.available}
    assert offered == {
        enums_pb2.CONTROL_ACTION_DRAIN, enums_pb2.CONTROL_ACTION_RESTART, enums_pb2.CONTROL_ACTION_RESIZE,
    }  # fmt: skip
    request_id = str(uuid.uuid4())
    resize = agents_pb2.ResizeAgentRequest(
        agent_id="a", pool_size=8, etag=shown.etag, request_id=request_id.upper()
    )
    asked = (await agents.ResizeAgent(resize)).command
    assert (asked.state, asked.pool_size, asked.request_id) == (REQUESTED, 8, request_id)
    assert (await agents.ResizeAgent(resize)).command == asked
    paused = (await queues.PauseQueue(Q.PauseQueueRequest(source="e", queue="mail"))).command
    held = (await queues.PauseQueue(Q.PauseQueueRequest(source="e"))).command
    assert (paused.scope, held.scope) == (
        commands_pb2.COMMAND_SCOPE_QUEUE, commands_pb2.COMMAND_SCOPE_FLEET,
    )  # fmt: skip
    listed = (await queues.ListQueues(Q.ListQueuesRequest())).queues
    assert [(each.name, each.pending_command.id) for each in listed] == [
        ("", held.id), ("mail", paused.id),
    ]  # fmt: skip
    assert not listed[0].HasField("since_time"), "the engine never spoke of it"
    found = SqlControlQueries(plant.database, plant.clock)
    for query, expected in (
        ("agent_id = a", [asked.id]), ("queue = mail", [paused.id]), ("scope = FLEET", [held.id]),
        ("scope = POOL", [asked.id]),
    ):  # fmt: skip
        page = await found.commands(PageRequest(10, filter=query))
        assert [each.id for each in page.items] == expected, query


async def test_refusals_carry_their_reason(channel: grpc.aio.Channel) -> None:
    agents = agents_pb2_grpc.AgentServiceStub(channel)
    queues = queues_pb2_grpc.QueueServiceStub(channel)

    async def refused(call: Any) -> tuple[str, str, dict[str, str]]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        return error.value.code().name, *reason_of(error.value)

    activate = agents_pb2.ActivateAgentRequest(agent_id="a")
    code, reason, words = await refused(agents.ActivateAgent(activate))
    assert (code, reason, words["kind"]) == ("FAILED_PRECONDITION", "WRONG_STATE", "agent")
    gone = agents_pb2.DrainAgentRequest(agent_id="b")
    assert (await refused(agents.DrainAgent(gone)))[:2] == ("NOT_FOUND", "AGENT_NOT_FOUND")
    stale = agents_pb2.DrainAgentRequest(agent_id="a", etag="old")
    assert (await refused(agents.DrainAgent(stale)))[:2] == ("ABORTED", "ETAG_MISMATCH")
    post = Q.PauseQueueRequest(source="e", queue="post")
    assert await refused(queues.PauseQueue(post)) == (
        "NOT_FOUND", "QUEUE_NOT_FOUND", {"queue_id": "e/post"},
    )  # fmt: skip
    both = Q.PauseQueueRequest(source="e", queue="mail", workflow_type="nightly")
    assert (await refused(queues.PauseQueue(both)))[1] == "INVALID_ARGUMENT"
    one_type = Q.PauseQueueRequest(source="e", workflow_type="nightly")
    assert (await refused(queues.PauseQueue(one_type)))[1] == "UNSUPPORTED_BY_ENGINE"
