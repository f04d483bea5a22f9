"""Workflows: seen here, steered in `workflow_control`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import workflows_pb2 as pb
from pilothouse.v1 import workflows_pb2_grpc
from pilothouse_server.services.closing import Closer
from pilothouse_server.services.control import Control
from pilothouse_server.services.views import PageRequest, WorkflowView, WorkflowViews
from pilothouse_server.services.watch import ROW_PAUSE, Items, watch
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.transport.workflow_control import WorkflowControl
from pilothouse_server.wire.workflows import detail_to_proto, page_to_proto, workflow_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50
RESET_BACKLOG = 1000
"""Workflows that are sent anew when a token is of another history."""


class WorkflowServicer(WorkflowControl, workflows_pb2_grpc.WorkflowServiceServicer):
    """`pilothouse.v1.WorkflowService`."""

    def __init__(
        self, views: WorkflowViews, watching: Watching, control: Control, closer: Closer
    ) -> None:
        super().__init__(control, closer)
        self._views = views
        self._watching = watching

    async def ListWorkflows(
        self, request: pb.ListWorkflowsRequest, context: Context
    ) -> pb.ListWorkflowsResponse:
        size = request.page_size or PAGE_SIZE
        asked = PageRequest(size, request.page_token, request.filter, request.order_by)
        return page_to_proto(await self._views.page(asked))

    async def GetWorkflow(
        self, request: pb.GetWorkflowRequest, context: Context
    ) -> pb.GetWorkflowResponse:
        return detail_to_proto(await self._views.get(request.workflow_id))

    async def WatchWorkflows(
        self, request: pb.WatchWorkflowsRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowsResponse]:
        token = request.resume_token
        updates = watch(
            self._views.follow(request.filter),
            self._watching.changes,
            token,
            backlog=request.backlog or (RESET_BACKLOG if token else 0),
            reset_backlog=request.backlog or RESET_BACKLOG,
            row_pause=ROW_PAUSE,
        )
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response


def _items(items: Items[WorkflowView]) -> list[pb.WatchWorkflowsResponse]:
    return [
        pb.WatchWorkflowsResponse(resume_token=token, workflow=workflow_to_proto(view))
        for token, view in items.items
    ]


def _sign(token: str, signs: Signs) -> pb.WatchWorkflowsResponse:
    return pb.WatchWorkflowsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    )
