"""What every call has in common, on a real server with a small servicer of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from pilothouse.v1 import agents_pb2, agents_pb2_grpc
from pilothouse_server.domain import errors
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import PortTaken, RpcServer, Service, require_roles

Context = grpc.aio.ServicerContext[Any, Any]
LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


class Agents(agents_pb2_grpc.AgentServiceServicer):
    """Answers by the agent id that it is asked for."""

    async def GetAgent(
        self, request: agents_pb2.GetAgentRequest, context: Context
    ) -> agents_pb2.GetAgentResponse:
        match request.agent_id:
            case "gone":
                raise errors.NotFound("agent", request.agent_id)
            case "broken":
                raise RuntimeError("the password is hunter2")
            case agent_id:
                return agents_pb2.GetAgentResponse(agent=agents_pb2.Agent(id=agent_id))

    async def ListAgents(
        self, request: agents_pb2.ListAgentsRequest, context: Context
    ) -> agents_pb2.ListAgentsResponse:
        return agents_pb2.ListAgentsResponse()

    async def WatchAgents(
        self, request: agents_pb2.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[agents_pb2.WatchAgentsResponse]:
        yield agents_pb2.WatchAgentsResponse(resume_token="1")
        if request.resume_token == "for ever":
            await asyncio.Event().wait()
        raise errors.InvalidResumeToken


def make_server(registry: CollectorRegistry | None = None) -> RpcServer:
    service = Service(
        agents_pb2.DESCRIPTOR.services_by_name["AgentService"],
        lambda server: agents_pb2_grpc.add_AgentServiceServicer_to_server(
            Agents(),  # type: ignore[abstract] # pyright: ignore[reportAbstractUsage] # the base answers the rest
            server,
        ),
    )
    return RpcServer([service], CallMeters(registry or CollectorRegistry()))


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = make_server()
    port = await server.start("127.0.0.1", 0)
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as open_channel:
        yield open_channel
    await server.drain(0)


def as_bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def details_of(
    error: grpc.aio.AioRpcError,
) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo]:
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(as_bytes(trailing["grpc-status-details-bin"]))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return status, info


async def refused(channel: grpc.aio.Channel, agent_id: str) -> grpc.aio.AioRpcError:
    stub = agents_pb2_grpc.AgentServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetAgent(agents_pb2.GetAgentRequest(agent_id=agent_id))
    return caught.value


async def test_what_the_domain_refuses_is_named(channel: grpc.aio.Channel) -> None:
    error = await refused(channel, "gone")

    _, info = details_of(error)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert info.reason == "AGENT_NOT_FOUND"
    assert dict(info.metadata) == {"agent_id": "gone"}


async def test_a_fault_is_logged_and_not_told(channel: grpc.aio.Channel) -> None:
    error = await refused(channel, "broken")

    status, info = details_of(error)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert info.reason == "INTERNAL"
    assert "hunter2" not in str(status)


async def test_a_request_that_breaks_the_contract_never_reaches_the_servicer(
    channel: grpc.aio.Channel,
) -> None:
    error = await refused(channel, "x" * 300)

    status, info = details_of(error)
    details = error_details_pb2.BadRequest()
    assert any(detail.Unpack(details) for detail in status.details)
    assert details.field_violations[0].field == "agent_id"
    assert info.reason == "INVALID_ARGUMENT"


async def test_an_error_in_a_stream_is_named_after_what_was_sent(channel: grpc.aio.Channel) -> None:
    stub = agents_pb2_grpc.AgentServiceStub(channel)
    call = stub.WatchAgents(agents_pb2.WatchAgentsRequest())
    first = await anext(aiter(call))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(call))

    assert first.resume_token == "1"
    assert details_of(caught.value)[1].reason == "INVALID_RESUME_TOKEN"


async def test_a_drain_sends_watchers_away_at_once() -> None:
    server = make_server()
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as open_channel:
        stub = agents_pb2_grpc.AgentServiceStub(open_channel)
        call = stub.WatchAgents(agents_pb2.WatchAgentsRequest(resume_token="for ever"))
        await anext(aiter(call))

        async with asyncio.timeout(30):
            await server.drain(60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(call))

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details_of(caught.value)[1].reason == "DRAINING"


async def test_a_method_that_nobody_serves_is_named(channel: grpc.aio.Channel) -> None:
    raw: Any = channel
    call = raw.unary_unary("/pilothouse.v1.AgentService/Explode")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details_of(caught.value)[1].reason == "NO_SUCH_METHOD"


async def test_health_and_reflection_are_served(channel: grpc.aio.Channel) -> None:
    # The stubs of these two packages are typed for synchronous channels only.
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    reflect: Any = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )

    health = await check(health_pb2.HealthCheckRequest(service="pilothouse.v1.AgentService"))
    answers = [answer async for answer in reflect(iter([LIST_SERVICES]))]

    names = {
        service.name for answer in answers for service in answer.list_services_response.service
    }
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert "pilothouse.v1.AgentService" in names


async def test_a_taken_port_is_said_so() -> None:
    first, second = make_server(), make_server()
    port = await first.start("127.0.0.1", 0)

    try:
        with pytest.raises(PortTaken):
            await second.start("127.0.0.1", port)
    finally:
        await first.drain(0)
        await second.drain(0)


def test_a_method_without_a_role_cannot_be_served() -> None:
    with pytest.raises(ValueError, match="declares no role"):
        require_roles(descriptor_pool.Default().FindServiceByName("grpc.health.v1.Health"))
