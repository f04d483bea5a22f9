"""A small gRPC server whose data a test decides: streams that resume, break, reset or stall when told to.

It stands for a server, so that the bridge can be shown what a well-behaved one never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import httpx
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from websockets.asyncio.client import ClientConnection, connect

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    alerts_pb2,
    alerts_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse_server.bridge.serve import serve_bridge
from pilothouse_server.bridge.settings import BridgeSettings

Context = grpc.aio.ServicerContext[Any, Any]
PATIENCE = 10.0


class Feed:
    """What one watch tells: items with tokens from 1, to as many streams as there are."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.tokens_seen: list[str] = []
        self.history_is_gone = False
        self._changed = asyncio.Condition()

    async def add(self, *items: Any) -> None:
        """Tell something new."""
        async with self._changed:
            self.items.extend(items)
            self._changed.notify_all()

    async def stream(
        self, token: str, respond: Callable[..., Any], name: str, *, backlog: int | None = None
    ) -> AsyncIterator[Any]:
        """All responses, as the contract has them."""
        self.tokens_seen.append(token)
        at = int(token or 0)
        if token and self.history_is_gone:
            self.history_is_gone = False
            yield respond(resume_token="0", reset=events_pb2.Reset(reason="history is gone"))
            at, token = 0, ""
        elif not token and backlog is not None:
            at = max(0, len(self.items) - backlog)
        end = len(self.items)
        while True:
            while at < len(self.items):
                at += 1
                yield respond(resume_token=str(at), **{name: self.items[at - 1]})
                if at == end and not token:
                    yield respond(resume_token=str(at), caught_up=events_pb2.CaughtUp())
            if end == 0 and not token:
                end = -1
                yield respond(resume_token="0", caught_up=events_pb2.CaughtUp())
            async with self._changed:
                if at >= len(self.items):
                    await self._changed.wait()


class TestServer(
    metrics_pb2_grpc.MetricsServiceServicer,
    workflows_pb2_grpc.WorkflowServiceServicer,
    agents_pb2_grpc.AgentServiceServicer,
    alerts_pb2_grpc.AlertServiceServicer,
    events_pb2_grpc.EventServiceServicer,
):
    """The servicers, and the server that has them. Stopped and started again it keeps its port and data."""

    __test__ = False

    def __init__(self) -> None:
        self.snapshots, self.workflows, self.agents = Feed(), Feed(), Feed()
        self.alerts, self.events = Feed(), Feed()
        self.requests: list[Any] = []
        self.refusal: tuple[grpc.StatusCode, status_pb2.Status | None] | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        server = grpc.aio.server()
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(self, server)
        workflows_pb2_grpc.add_WorkflowServiceServicer_to_server(self, server)
        agents_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
        alerts_pb2_grpc.add_AlertServiceServicer_to_server(self, server)
        events_pb2_grpc.add_EventServiceServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break every stream."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    # The watches.

    async def SubscribeMetrics(
        self, request: metrics_pb2.SubscribeMetricsRequest, context: Context
    ) -> AsyncIterator[metrics_pb2.SubscribeMetricsResponse]:
        async for response in self.snapshots.stream("", _snapshot_response, "snapshot", backlog=1):
            if response is not None:
                yield response

    async def WatchWorkflows(
        self, request: workflows_pb2.WatchWorkflowsRequest, context: Context
    ) -> AsyncIterator[workflows_pb2.WatchWorkflowsResponse]:
        async for response in self.workflows.stream(
            request.resume_token, workflows_pb2.WatchWorkflowsResponse, "workflow"
        ):
            yield response

    async def WatchAgents(
        self, request: agents_pb2.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[agents_pb2.WatchAgentsResponse]:
        async for response in self.agents.stream(
            request.resume_token, agents_pb2.WatchAgentsResponse, "agent"
        ):
            yield response

    async def WatchAlerts(
        self, request: alerts_pb2.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[alerts_pb2.WatchAlertsResponse]:
        async for response in self.alerts.stream(
            request.resume_token, alerts_pb2.WatchAlertsResponse, "alert"
        ):
            yield response

    async def WatchEvents(
        self, request: events_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[events_pb2.WatchEventsResponse]:
        async for response in self.events.stream(
            request.resume_token, events_pb2.WatchEventsResponse, "batch", backlog=request.backlog
        ):
            yield response

    # The calls.

    async def _answer(self, request: Any, context: Context, response: Any) -> Any:
        self.requests.append(request)
        await self.may_answer.wait()
        if self.refusal is not None:
            code, status = self.refusal
            details = status.SerializeToString() if status else None
            trailing = (("grpc-status-details-bin", details),) if details else ()
            await context.abort(
                code, status.message if status else "at /usr/lib/secret.py", trailing
            )
        return response

    async def ListWorkflows(
        self, request: workflows_pb2.ListWorkflowsRequest, context: Context
    ) -> workflows_pb2.ListWorkflowsResponse:
        known = list({workflow.id: workflow for workflow in self.workflows.items}.values())
        return await self._answer(
            request, context, workflows_pb2.ListWorkflowsResponse(workflows=known)
        )

    async def GetWorkflow(
        self, request: workflows_pb2.GetWorkflowRequest, context: Context
    ) -> workflows_pb2.GetWorkflowResponse:
        found = workflows_pb2.Workflow(id=request.workflow_id)
        return await self._answer(
            request, context, workflows_pb2.GetWorkflowResponse(workflow=found)
        )

    async def ControlWorkflow(
        self, request: workflows_pb2.ControlWorkflowRequest, context: Context
    ) -> workflows_pb2.ControlWorkflowResponse:
        response = workflows_pb2.ControlWorkflowResponse()
        response.command.workflow_id = request.workflow_id
        response.command.action = request.action
        response.command.reason = request.reason
        return await self._answer(request, context, response)

    async def PauseWorkflow(
        self, request: workflows_pb2.PauseWorkflowRequest, context: Context
    ) -> workflows_pb2.PauseWorkflowResponse:
        response = workflows_pb2.PauseWorkflowResponse()
        response.command.workflow_id = request.workflow_id
        return await self._answer(request, context, response)

    async def PublishEvent(
        self, request: events_pb2.PublishEventRequest, context: Context
    ) -> events_pb2.PublishEventResponse:
        return await self._answer(
            request, context, events_pb2.PublishEventResponse(id=request.event.id)
        )

    async def QueryMetrics(
        self, request: metrics_pb2.QueryMetricsRequest, context: Context
    ) -> metrics_pb2.QueryMetricsResponse:
        return await self._answer(request, context, metrics_pb2.QueryMetricsResponse())


def _snapshot_response(
    *, resume_token: str, snapshot: metrics_pb2.MetricsSnapshot | None = None, **_: Any
) -> metrics_pb2.SubscribeMetricsResponse | None:
    return metrics_pb2.SubscribeMetricsResponse(snapshot=snapshot) if snapshot is not None else None


def refusal(code: grpc.StatusCode, reason: str, message: str, **metadata: str) -> tuple[Any, Any]:
    """An error as the contract has it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="pilothouse.dev", metadata=metadata)
    packed = AnyMessage()
    packed.Pack(info)
    status.details.append(packed)
    return code, status


@dataclass
class Stage:
    """A server, a bridge before it, and ways to talk to the bridge."""

    server: TestServer
    settings: BridgeSettings
    port: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where the bridge is."""
        return f"http://127.0.0.1:{self.port}"

    def http(self, **options: Any) -> httpx.AsyncClient:
        """A client for REST."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, **options)

    def live(self, **options: Any) -> connect:
        """A WebSocket."""
        options.setdefault("compression", None)
        return connect(f"ws://127.0.0.1:{self.port}/ws/monitoring", proxy=None, **options)


@contextlib.asynccontextmanager
async def staged(server: TestServer | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A started server and a started bridge."""
    server = server or TestServer()
    await server.start()
    options = BridgeSettings(
        server=f"127.0.0.1:{server.port}", port=0, drain=0.5, linger=0.5, pace=0.01
    )
    stage = Stage(server, replace(options, **settings))
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve_bridge(stage.settings, started=started.set_result, stop=stage.stop)
            )
            stage.port = await asyncio.wait_for(started, PATIENCE)
            try:
                yield stage
            finally:
                stage.stop.set()
    finally:
        await server.stop()


async def frame(socket: ClientConnection, *types: str) -> dict[str, Any]:
    """The next JSON frame; of these types, when some are named: others are passed over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            got: dict[str, Any] = json.loads(await socket.recv())
            if not types or got["type"] in types:
                return got


async def ask(socket: ClientConnection, **request: Any) -> None:
    """Send a JSON frame."""
    await socket.send(json.dumps(request))


async def subscribe(socket: ClientConnection, *channels: str, **positions: Any) -> dict[str, Any]:
    """Subscribe and read the answer."""
    await ask(socket, type="subscribe", channels=list(channels), **positions)
    return await frame(socket, "subscribed", "error")
