"""Commands and the engines that take them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from pilothouse.v1 import commands_pb2 as pb
from pilothouse.v1 import commands_pb2_grpc
from pilothouse_server.ports import Clock
from pilothouse_server.services.control import Control
from pilothouse_server.services.control_views import CommandViews
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.views import PageRequest
from pilothouse_server.wire.commands import (
    capabilities_of,
    command_to_proto,
    executor_to_proto,
    item_to_proto,
)
from pilothouse_server.wire.events import error_of

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50


class CommandServicer(commands_pb2_grpc.CommandServiceServicer):
    """`pilothouse.v1.CommandService`."""

    def __init__(
        self, control: Control, executors: Executors, views: CommandViews, clock: Clock
    ) -> None:
        self._control = control
        self._executors = executors
        self._views = views
        self._clock = clock

    async def ListCommands(
        self, request: pb.ListCommandsRequest, context: Context
    ) -> pb.ListCommandsResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._views.commands(asked)
        commands = [command_to_proto(command) for command in page.items]
        return pb.ListCommandsResponse(commands=commands, next_page_token=page.next_token)

    async def GetCommand(
        self, request: pb.GetCommandRequest, context: Context
    ) -> pb.GetCommandResponse:
        command = await self._control.get(request.command_id)
        return pb.GetCommandResponse(command=command_to_proto(command))

    async def ListExecutors(
        self, request: pb.ListExecutorsRequest, context: Context
    ) -> pb.ListExecutorsResponse:
        executors = await self._executors.list()
        return pb.ListExecutorsResponse(executors=[executor_to_proto(each) for each in executors])

    async def WatchCommands(
        self, request: pb.WatchCommandsRequest, context: Context
    ) -> AsyncIterator[pb.WatchCommandsResponse]:
        able = capabilities_of(request.capabilities)
        watch = self._executors.watch(request.source, able, request.resume_token)
        # Closed with the call, whichever way that ends: the executor is not connected any more.
        async with aclosing(watch) as items:
            async for item in items:
                yield item_to_proto(item, self._clock.now_us())

    async def AcceptCommand(
        self, request: pb.AcceptCommandRequest, context: Context
    ) -> pb.AcceptCommandResponse:
        command = await self._control.accept(request.command_id, request.source)
        return pb.AcceptCommandResponse(command=command_to_proto(command))

    async def FailCommand(
        self, request: pb.FailCommandRequest, context: Context
    ) -> pb.FailCommandResponse:
        error = error_of(request.error)
        command = await self._control.fail(request.command_id, request.source, error)
        return pb.FailCommandResponse(command=command_to_proto(command))
