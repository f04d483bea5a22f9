"""Agents: list, get, watch, and what can be asked of one. A control writes a command; the agent's state is the engine's
to report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import agents_pb2 as pb
from pilothouse.v1 import agents_pb2_grpc, commands_pb2
from pilothouse_server.domain.commands import Scope
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import Control, ControlRequest
from pilothouse_server.services.views import AgentView, AgentViews, PageRequest
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.caller import actor
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.agents import agent_to_proto, detail_to_proto
from pilothouse_server.wire.commands import command_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 100

_Named = (
    pb.DrainAgentRequest | pb.ActivateAgentRequest | pb.RestartAgentRequest | pb.ResizeAgentRequest
)


class AgentServicer(agents_pb2_grpc.AgentServiceServicer):
    """`pilothouse.v1.AgentService`."""

    def __init__(self, views: AgentViews, watching: Watching, control: Control) -> None:
        self._views = views
        self._watching = watching
        self._control = control

    async def ListAgents(
        self, request: pb.ListAgentsRequest, context: Context
    ) -> pb.ListAgentsResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._views.page(asked)
        agents = [agent_to_proto(view) for view in page.agents]
        return pb.ListAgentsResponse(agents=agents, next_page_token=page.next_token)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        return detail_to_proto(await self._views.get(request.agent_id))

    async def WatchAgents(
        self, request: pb.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAgentsResponse]:
        updates = watch(
            self._views.follow(), self._watching.changes, request.resume_token, backlog=0
        )
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response

    async def DrainAgent(
        self, request: pb.DrainAgentRequest, context: Context
    ) -> pb.DrainAgentResponse:
        return pb.DrainAgentResponse(command=await self._ask(Action.DRAIN, request, context))

    async def ActivateAgent(
        self, request: pb.ActivateAgentRequest, context: Context
    ) -> pb.ActivateAgentResponse:
        return pb.ActivateAgentResponse(command=await self._ask(Action.ACTIVATE, request, context))

    async def RestartAgent(
        self, request: pb.RestartAgentRequest, context: Context
    ) -> pb.RestartAgentResponse:
        return pb.RestartAgentResponse(command=await self._ask(Action.RESTART, request, context))

    async def ResizeAgent(
        self, request: pb.ResizeAgentRequest, context: Context
    ) -> pb.ResizeAgentResponse:
        size = request.pool_size
        command = await self._ask(Action.RESIZE, request, context, pool_size=size)
        return pb.ResizeAgentResponse(command=command)

    async def _ask(
        self, action: Action, request: _Named, context: Context, *, pool_size: int = 0
    ) -> commands_pb2.Command:
        command = await self._control.request(
            ControlRequest(
                workflow_id="",
                action=action,
                reason=request.reason,
                request_id=request.request_id.lower(),
                etag=request.etag,
                actor=actor(context),
                scope=Scope.POOL,
                agent_id=request.agent_id,
                pool_size=pool_size,
            )
        )
        return command_to_proto(command)


def _items(items: Items[AgentView]) -> list[pb.WatchAgentsResponse]:
    return [
        pb.WatchAgentsResponse(resume_token=token, agent=agent_to_proto(view))
        for token, view in items.items
    ]


def _sign(token: str, signs: Signs) -> pb.WatchAgentsResponse:
    return pb.WatchAgentsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    )
