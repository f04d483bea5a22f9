"""Agents: list, get, watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import agents_pb2 as pb
from pilothouse.v1 import agents_pb2_grpc
from pilothouse_server.services.views import AgentView, AgentViews, PageRequest
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.agents import agent_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 100


class AgentServicer(agents_pb2_grpc.AgentServiceServicer):
    """`pilothouse.v1.AgentService`."""

    def __init__(self, views: AgentViews, watching: Watching) -> None:
        self._views = views
        self._watching = watching

    async def ListAgents(
        self, request: pb.ListAgentsRequest, context: Context
    ) -> pb.ListAgentsResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._views.page(asked)
        agents = [agent_to_proto(view) for view in page.agents]
        return pb.ListAgentsResponse(agents=agents, next_page_token=page.next_token)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        view = await self._views.get(request.agent_id)
        return pb.GetAgentResponse(agent=agent_to_proto(view))

    async def WatchAgents(
        self, request: pb.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAgentsResponse]:
        updates = watch(
            self._views.follow(), self._watching.changes, request.resume_token, backlog=0
        )
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response


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
