"""What asks an engine to do something with a workflow, and what ends one whose engine is gone; the rest of
WorkflowService derives from it.

The former write a command and nothing else: the workflow's state is the engine's to report.
"""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import commands_pb2
from pilothouse.v1 import workflows_pb2 as pb
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.closing import Closer, Closing
from pilothouse_server.services.control import Control, ControlRequest
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.commands import command_to_proto
from pilothouse_server.wire.events import event_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

_Named = (
    pb.PauseWorkflowRequest
    | pb.ResumeWorkflowRequest
    | pb.CancelWorkflowRequest
    | pb.RetryWorkflowRequest
)


class WorkflowControl:
    """What WorkflowService can be asked to do to a workflow."""

    def __init__(self, control: Control, closer: Closer) -> None:
        self._control = control
        self._closer = closer

    async def CloseWorkflow(
        self, request: pb.CloseWorkflowRequest, context: Context
    ) -> pb.CloseWorkflowResponse:
        event = await self._closer.close(
            Closing(
                workflow_id=request.workflow_id,
                state=WorkflowState(request.state),
                reason=request.reason,
                actor=actor(context),
                request_id=request.request_id.lower(),
                etag=request.etag,
            )
        )
        return pb.CloseWorkflowResponse(event=event_to_proto(event))

    async def ControlWorkflow(
        self, request: pb.ControlWorkflowRequest, context: Context
    ) -> pb.ControlWorkflowResponse:
        command = await self._ask(Action(request.action), request, context)
        return pb.ControlWorkflowResponse(command=command)

    async def PauseWorkflow(
        self, request: pb.PauseWorkflowRequest, context: Context
    ) -> pb.PauseWorkflowResponse:
        return pb.PauseWorkflowResponse(command=await self._ask(Action.PAUSE, request, context))

    async def ResumeWorkflow(
        self, request: pb.ResumeWorkflowRequest, context: Context
    ) -> pb.ResumeWorkflowResponse:
        return pb.ResumeWorkflowResponse(command=await self._ask(Action.RESUME, request, context))

    async def CancelWorkflow(
        self, request: pb.CancelWorkflowRequest, context: Context
    ) -> pb.CancelWorkflowResponse:
        return pb.CancelWorkflowResponse(command=await self._ask(Action.CANCEL, request, context))

    async def RetryWorkflow(
        self, request: pb.RetryWorkflowRequest, context: Context
    ) -> pb.RetryWorkflowResponse:
        return pb.RetryWorkflowResponse(command=await self._ask(Action.RETRY, request, context))

    async def _ask(
        self, action: Action, request: pb.ControlWorkflowRequest | _Named, context: Context
    ) -> commands_pb2.Command:
        command = await self._control.request(
            ControlRequest(
                workflow_id=request.workflow_id,
                action=action,
                reason=request.reason,
                # A UUID is one value however it is written.
                request_id=request.request_id.lower(),
                etag=request.etag,
                actor=actor(context),
            )
        )
        return command_to_proto(command)
