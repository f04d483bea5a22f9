"""A small gRPC server whose data a test decides: streams that resume, break, reset or stall when told to.

It stands for a server, so that the bridge can be shown what a well-behaved one never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import httpx
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from websockets.asyncio.client import ClientConnection, connect

from pilothouse.v1 import (
    agents_pb2,
    alerts_pb2,
    commands_pb2,
    events_pb2,
    metrics_pb2,
    platform_pb2,
    rules_pb2,
    workflows_pb2,
)
from pilothouse_server.bridge.serve import serve_bridge
from pilothouse_server.bridge.settings import BridgeSettings

Context = grpc.aio.ServicerContext[Any, Any]
PATIENCE = 30.0


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


WATCHES = {
    "WatchWorkflows": ("workflows", "workflow"),
    "WatchAgents": ("agents", "agent"),
    "WatchAlerts": ("alerts", "alert"),
    "WatchEvents": ("events", "batch"),
}
FILES = (
    *(agents_pb2, alerts_pb2, commands_pb2, events_pb2, metrics_pb2, platform_pb2),
    *(rules_pb2, workflows_pb2),
)
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class TestServer(grpc.GenericRpcHandler):
    """All methods of the contract. Stopped and started again it keeps its port and data."""

    __test__ = False

    def __init__(self) -> None:
        self.snapshots, self.workflows, self.agents = Feed(), Feed(), Feed()
        self.alerts, self.events = Feed(), Feed()
        self.requests: list[Any] = []
        self.status = platform_pb2.ServerStatus(ready=True)
        self.refusal: tuple[grpc.StatusCode, status_pb2.Status | None] | None = None
        self.backtest: Callable[[Any, Context], AsyncIterator[Any]] | None = None
        self.export: Callable[[Any, Context], AsyncIterator[Any]] | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Break every stream."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """What answers a method."""
        method = METHODS.get(handler_call_details.method)
        if method is None:
            return None
        request = GetMessageClass(method.input_type).FromString
        response = GetMessageClass(method.output_type)
        if method.server_streaming:
            watch = functools.partial(self._watch, method.name, response)
            return grpc.unary_stream_rpc_method_handler(watch, request, _bytes)
        answer = functools.partial(self._answer, method.name, response)
        return grpc.unary_unary_rpc_method_handler(answer, request, _bytes)

    async def _watch(
        self, name: str, respond: Any, request: Any, context: Context
    ) -> AsyncIterator[Any]:
        asked = self.backtest if name == "BacktestRule" else self.export
        if name in ("BacktestRule", "ExportEvents"):
            assert asked is not None
            async for response in asked(request, context):
                yield response
            return
        if name == "SubscribeMetrics":
            async for response in self.snapshots.stream("", dict, "snapshot", backlog=1):
                if "snapshot" in response:
                    yield respond(snapshot=response["snapshot"])
            return
        feed, field_name = WATCHES[name]
        backlog = request.backlog if feed == "events" else None
        responses = getattr(self, feed).stream(
            request.resume_token, respond, field_name, backlog=backlog
        )
        async for response in responses:
            yield response

    async def _answer(self, name: str, respond: Any, request: Any, context: Context) -> Any:
        self.requests.append(request)
        await self.may_answer.wait()
        if self.refusal is not None:
            code, status = self.refusal
            details = status.SerializeToString() if status else b""
            trailing = (("grpc-status-details-bin", details),) if details else ()
            await context.abort(
                code, status.message if status else "at /usr/lib/secret.py", trailing
            )
        response = respond()
        match name:
            case "ListWorkflows":
                known = {workflow.id: workflow for workflow in self.workflows.items}
                response.workflows.extend(known.values())
            case "GetWorkflow":
                response.workflow.id = request.workflow_id
            case "ControlWorkflow":
                response.command.workflow_id = request.workflow_id
                response.command.action = request.action
                response.command.reason = request.reason
            case "GetServerStatus":
                response.status.CopyFrom(self.status)
            case "PublishEvent":
                response.id = request.event.id
            case _:
                pass
        return response


async def replica_of(server: TestServer) -> TestServer:
    """A started server that knows and tells the same."""
    other = TestServer()
    other.snapshots, other.workflows, other.agents = (
        server.snapshots,
        server.workflows,
        server.agents,
    )
    other.alerts, other.events = server.alerts, server.events
    await other.start()
    return other


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString()
    return made


def seeded(**feeds: list[Any]) -> TestServer:
    """A server that knows something before the bridge asks."""
    server = TestServer()
    for name, items in feeds.items():
        feed: Feed = getattr(server, name)
        feed.items.extend(items)
    return server


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
        options.setdefault("timeout", PATIENCE)
        return httpx.AsyncClient(base_url=self.url, trust_env=False, **options)

    def live(self, **options: Any) -> connect:
        """A WebSocket."""
        options.setdefault("compression", None)
        return connect(f"ws://127.0.0.1:{self.port}/ws/monitoring", proxy=None, **options)


@contextlib.asynccontextmanager
async def staged(
    server: TestServer | None = None, *replicas: TestServer, listening: bool = True, **settings: Any
) -> AsyncGenerator[Stage]:
    """A started server and a started bridge; of the server and its replicas, when there are some."""
    server = server or TestServer()
    if listening:
        await server.start()
    addresses = [f"127.0.0.1:{each.port}" for each in (server, *replicas)]
    # Nothing goes by the clock but what a test says: a machine may stand still for seconds.
    options = BridgeSettings(
        server=",".join(addresses),
        port=0,
        drain=0.5,
        linger=0.5,
        pace=0.01,
        heartbeat=60,
        upstream_silence=60,
        stall_limit=60,
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


async def read_on(socket: ClientConnection) -> None:
    """Read until the end, whatever comes."""
    while True:
        await socket.recv()


async def ask(socket: ClientConnection, **request: Any) -> None:
    """Send a JSON frame."""
    await socket.send(json.dumps(request))


async def subscribe(socket: ClientConnection, *channels: str, **positions: Any) -> dict[str, Any]:
    """Subscribe and read the answer."""
    await ask(socket, type="subscribe", channels=list(channels), **positions)
    return await frame(socket, "subscribed", "error")
