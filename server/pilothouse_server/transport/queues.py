"""Queues: list, pause, resume; without a name, all that an engine starts, or all of one type."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import commands_pb2, queues_pb2_grpc
from pilothouse.v1 import queues_pb2 as pb
from pilothouse_server.domain.commands import Scope
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import Control, ControlRequest
from pilothouse_server.services.views import QueueViews
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.commands import command_to_proto
from pilothouse_server.wire.queues import queue_to_proto

Context = grpc.aio.ServicerContext[Any, Any]


class QueueServicer(queues_pb2_grpc.QueueServiceServicer):
    """`pilothouse.v1.QueueService`."""

    def __init__(self, views: QueueViews, control: Control) -> None:
        self._views = views
        self._control = control

    async def ListQueues(
        self, request: pb.ListQueuesRequest, context: Context
    ) -> pb.ListQueuesResponse:
        views = await self._views.of(request.source)
        return pb.ListQueuesResponse(queues=[queue_to_proto(view) for view in views])

    async def PauseQueue(
        self, request: pb.PauseQueueRequest, context: Context
    ) -> pb.PauseQueueResponse:
        return pb.PauseQueueResponse(command=await self._ask(Action.PAUSE, request, context))

    async def ResumeQueue(
        self, request: pb.ResumeQueueRequest, context: Context
    ) -> pb.ResumeQueueResponse:
        return pb.ResumeQueueResponse(command=await self._ask(Action.RESUME, request, context))

    async def _ask(
        self,
        action: Action,
        request: pb.PauseQueueRequest | pb.ResumeQueueRequest,
        context: Context,
    ) -> commands_pb2.Command:
        for field in ("workflow_type", "agent_type"):
            if request.queue and getattr(request, field):
                told = "narrows all that an engine starts, not a queue: leave one of the two empty"
                raise InvalidArgument(field, told)
        command = await self._control.request(
            ControlRequest(
                workflow_id="",
                action=action,
                reason=request.reason,
                request_id=request.request_id.lower(),
                actor=actor(context),
                scope=Scope.QUEUE if request.queue else Scope.FLEET,
                source=request.source,
                queue=request.queue,
                workflow_type=request.workflow_type,
                agent_type=request.agent_type,
            )
        )
        return command_to_proto(command)
