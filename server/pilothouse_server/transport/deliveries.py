"""Deliveries: what was sent to whom, and what people do with what was given up."""

from __future__ import annotations

from typing import Any

import grpc
import structlog

from pilothouse.v1 import deliveries_pb2 as pb
from pilothouse.v1 import deliveries_pb2_grpc
from pilothouse_server.services.notifications.log import DeliveryLog
from pilothouse_server.services.views import PageRequest
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.deliveries import delivery_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50

_log = structlog.get_logger(__name__)


class DeliveryServicer(deliveries_pb2_grpc.DeliveryServiceServicer):
    """`pilothouse.v1.DeliveryService`."""

    def __init__(self, log: DeliveryLog) -> None:
        self._deliveries = log

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._deliveries.page(asked)
        deliveries = [delivery_to_proto(each) for each in page.items]
        return pb.ListDeliveriesResponse(deliveries=deliveries, next_page_token=page.next_token)

    async def GetDelivery(
        self, request: pb.GetDeliveryRequest, context: Context
    ) -> pb.GetDeliveryResponse:
        delivery = await self._deliveries.find(request.delivery_id)
        return pb.GetDeliveryResponse(delivery=delivery_to_proto(delivery))

    async def RetryDelivery(
        self, request: pb.RetryDeliveryRequest, context: Context
    ) -> pb.RetryDeliveryResponse:
        delivery = await self._deliveries.retry(request.delivery_id)
        _log.info("a delivery was put back", delivery=delivery.id, actor=actor(context))
        return pb.RetryDeliveryResponse(delivery=delivery_to_proto(delivery))

    async def DropDelivery(
        self, request: pb.DropDeliveryRequest, context: Context
    ) -> pb.DropDeliveryResponse:
        delivery = await self._deliveries.drop(request.delivery_id)
        _log.info("a delivery was dropped", delivery=delivery.id, actor=actor(context))
        return pb.DropDeliveryResponse(delivery=delivery_to_proto(delivery))
