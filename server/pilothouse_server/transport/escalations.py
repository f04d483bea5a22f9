"""Escalations: whom to tell next."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import escalations_pb2 as pb
from pilothouse.v1 import escalations_pb2_grpc
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.notifications.channels import Escalation
from pilothouse_server.services.escalations import Escalations
from pilothouse_server.transport import masks
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.escalations import (
    CHANGEABLE,
    escalation_from_proto,
    escalation_to_proto,
)

Context = grpc.aio.ServicerContext[Any, Any]


class EscalationServicer(escalations_pb2_grpc.EscalationServiceServicer):
    """`pilothouse.v1.EscalationService`."""

    def __init__(self, escalations: Escalations) -> None:
        self._escalations = escalations

    async def CreateEscalation(
        self, request: pb.CreateEscalationRequest, context: Context
    ) -> pb.CreateEscalationResponse:
        made = await self._escalations.create(
            escalation_from_proto(request.escalation),
            actor=actor(context),
            request_id=request.request_id.lower(),
        )
        return pb.CreateEscalationResponse(escalation=escalation_to_proto(made))

    async def ListEscalations(
        self, request: pb.ListEscalationsRequest, context: Context
    ) -> pb.ListEscalationsResponse:
        found = await self._escalations.every()
        return pb.ListEscalationsResponse(escalations=map(escalation_to_proto, found))

    async def GetEscalation(
        self, request: pb.GetEscalationRequest, context: Context
    ) -> pb.GetEscalationResponse:
        found = await self._escalations.get(request.escalation_id)
        return pb.GetEscalationResponse(escalation=escalation_to_proto(found))

    async def UpdateEscalation(
        self, request: pb.UpdateEscalationRequest, context: Context
    ) -> pb.UpdateEscalationResponse:
        wanted = request.escalation
        if not wanted.id:
            raise InvalidArgument("escalation.id", "names the escalation that is to be changed")
        mask = masks.checked(request.update_mask, pb.Escalation.DESCRIPTOR, CHANGEABLE)

        def change(stored: Escalation) -> Escalation:
            message = escalation_to_proto(stored)
            masks.merged(message, wanted, mask, "escalation")
            return escalation_from_proto(message)

        changed = await self._escalations.update(
            wanted.id, change, etag=request.etag, actor=actor(context)
        )
        return pb.UpdateEscalationResponse(escalation=escalation_to_proto(changed))

    async def DeleteEscalation(
        self, request: pb.DeleteEscalationRequest, context: Context
    ) -> pb.DeleteEscalationResponse:
        await self._escalations.delete(
            request.escalation_id, etag=request.etag, actor=actor(context)
        )
        return pb.DeleteEscalationResponse()
