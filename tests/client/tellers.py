"""What the small server is told and what it tells: events, alerts and figures."""

# A server's methods have the names and the arguments of the contract.
# ruff: noqa: ARG002, N802

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from pilothouse.v1 import (
    alerts_pb2,
    alerts_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
)
from pilothouse.v1.commands_pb2 import CommandState
from tests.client.servicers import page

if TYPE_CHECKING:
    from tests.client.support import Server

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

ENDED = {
    CommandState.COMMAND_STATE_EFFECTIVE,
    CommandState.COMMAND_STATE_FAILED,
    CommandState.COMMAND_STATE_EXPIRED,
}


class EventServicer(events_pb2_grpc.EventServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def PublishEvent(
        self, request: events_pb2.PublishEventRequest, context: Context
    ) -> events_pb2.PublishEventResponse:
        def effect() -> events_pb2.PublishEventResponse:
            self.server.publish([request.event])
            return events_pb2.PublishEventResponse(id=request.event.id, cursor="1")

        return await self.server.answer("PublishEvent", request, context, effect)

    async def PublishEvents(
        self, request: events_pb2.PublishEventsRequest, context: Context
    ) -> events_pb2.PublishEventsResponse:
        def effect() -> events_pb2.PublishEventsResponse:
            count, rejected = self.server.publish(request.events)
            return events_pb2.PublishEventsResponse(accepted_count=count, rejected=rejected)

        return await self.server.answer("PublishEvents", request, context, effect)

    async def PublishEventStream(
        self,
        request_iterator: AsyncIterator[events_pb2.PublishEventStreamRequest],
        context: Context,
    ) -> AsyncIterator[events_pb2.PublishEventStreamResponse]:
        async for request in request_iterator:
            count, rejected = self.server.publish(request.events)
            yield events_pb2.PublishEventStreamResponse(
                batch_sequence=request.batch_sequence, accepted_count=count, rejected=rejected
            )

    async def ListEvents(
        self, request: events_pb2.ListEventsRequest, context: Context
    ) -> events_pb2.ListEventsResponse:
        def effect() -> events_pb2.ListEventsResponse:
            rows, token = page(self.server.log.items, request.page_size, request.page_token, 100)
            return events_pb2.ListEventsResponse(events=rows, next_page_token=token)

        return await self.server.answer("ListEvents", request, context, effect)

    async def GetEvent(
        self, request: events_pb2.GetEventRequest, context: Context
    ) -> events_pb2.GetEventResponse:
        def effect() -> events_pb2.GetEventResponse:
            return events_pb2.GetEventResponse(event=self.server.events[request.event_id])

        return await self.server.answer("GetEvent", request, context, effect)

    async def CountEvents(
        self, request: events_pb2.CountEventsRequest, context: Context
    ) -> events_pb2.CountEventsResponse:
        def effect() -> events_pb2.CountEventsResponse:
            return events_pb2.CountEventsResponse(total=len(self.server.events), exact=True)

        return await self.server.answer("CountEvents", request, context, effect)

    async def ExportEvents(
        self, request: events_pb2.ExportEventsRequest, context: Context
    ) -> AsyncIterator[events_pb2.ExportEventsResponse]:
        for number, event in enumerate(self.server.events.values(), 1):
            yield events_pb2.ExportEventsResponse(text=f"{event.id}\n", exported=number)
        yield events_pb2.ExportEventsResponse(complete=True)

    async def WatchEvents(
        self, request: events_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[events_pb2.WatchEventsResponse]:
        stream = self.server.follow(
            "WatchEvents",
            request,
            context,
            self.server.log,
            events_pb2.WatchEventsResponse,
            lambda event: {"batch": events_pb2.EventBatch(events=[event])},
        )
        async for message in stream:
            yield message


class AlertServicer(alerts_pb2_grpc.AlertServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    def _alert(self, alert_id: str) -> alerts_pb2.Alert:
        return next(each for each in self.server.alerts.items if each.id == alert_id)

    async def ListAlerts(
        self, request: alerts_pb2.ListAlertsRequest, context: Context
    ) -> alerts_pb2.ListAlertsResponse:
        def effect() -> alerts_pb2.ListAlertsResponse:
            rows, token = page(self.server.alerts.items, request.page_size, request.page_token, 50)
            return alerts_pb2.ListAlertsResponse(alerts=rows, next_page_token=token)

        return await self.server.answer("ListAlerts", request, context, effect)

    async def GetAlert(
        self, request: alerts_pb2.GetAlertRequest, context: Context
    ) -> alerts_pb2.GetAlertResponse:
        return alerts_pb2.GetAlertResponse(alert=self._alert(request.alert_id))

    async def WatchAlerts(
        self, request: alerts_pb2.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[alerts_pb2.WatchAlertsResponse]:
        stream = self.server.follow(
            "WatchAlerts",
            request,
            context,
            self.server.alerts,
            alerts_pb2.WatchAlertsResponse,
            lambda alert: {"alert": alert},
        )
        async for message in stream:
            yield message

    async def AcknowledgeAlert(
        self, request: alerts_pb2.AcknowledgeAlertRequest, context: Context
    ) -> alerts_pb2.AcknowledgeAlertResponse:
        def effect() -> alerts_pb2.AcknowledgeAlertResponse:
            alert = self._alert(request.alert_id)
            alert.acknowledge_comment = request.comment
            return alerts_pb2.AcknowledgeAlertResponse(alert=alert)

        return await self.server.answer("AcknowledgeAlert", request, context, effect)

    async def ResolveAlert(
        self, request: alerts_pb2.ResolveAlertRequest, context: Context
    ) -> alerts_pb2.ResolveAlertResponse:
        def effect() -> alerts_pb2.ResolveAlertResponse:
            alert = self._alert(request.alert_id)
            alert.state = alerts_pb2.ALERT_STATE_RESOLVED
            return alerts_pb2.ResolveAlertResponse(alert=alert)

        return await self.server.answer("ResolveAlert", request, context, effect)

    async def UnacknowledgeAlert(
        self, request: alerts_pb2.UnacknowledgeAlertRequest, context: Context
    ) -> alerts_pb2.UnacknowledgeAlertResponse:
        alert = self._alert(request.alert_id)
        alert.acknowledge_comment = ""
        return alerts_pb2.UnacknowledgeAlertResponse(alert=alert)

    async def AssignAlert(
        self, request: alerts_pb2.AssignAlertRequest, context: Context
    ) -> alerts_pb2.AssignAlertResponse:
        alert = self._alert(request.alert_id)
        alert.assignee = request.assignee
        return alerts_pb2.AssignAlertResponse(alert=alert)

    async def CommentAlert(
        self, request: alerts_pb2.CommentAlertRequest, context: Context
    ) -> alerts_pb2.CommentAlertResponse:
        return alerts_pb2.CommentAlertResponse(alert=self._alert(request.alert_id))


class MetricsServicer(metrics_pb2_grpc.MetricsServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def GetMetrics(
        self, request: metrics_pb2.GetMetricsRequest, context: Context
    ) -> metrics_pb2.GetMetricsResponse:
        from tests.client.support import Failure, refuse  # noqa: PLC0415 - they know each other

        if self.server.snapshot is None:
            none = Failure(grpc.StatusCode.UNAVAILABLE, "there is no snapshot yet", "NO_SNAPSHOT")
            self.server.seen.append(("GetMetrics", request))
            await refuse(context, none)
        return await self.server.answer(
            "GetMetrics",
            request,
            context,
            lambda: metrics_pb2.GetMetricsResponse(snapshot=self.server.snapshot),
        )

    async def SubscribeMetrics(
        self, request: metrics_pb2.SubscribeMetricsRequest, context: Context
    ) -> AsyncIterator[metrics_pb2.SubscribeMetricsResponse]:
        self.server.seen.append(("SubscribeMetrics", request))
        broken = self.server.faults.broken
        snapshot = metrics_pb2.MetricsSnapshot()
        snapshot.CopyFrom(self.server.snapshot or snapshot)
        while broken == self.server.faults.broken:
            snapshot.sequence += 1
            yield metrics_pb2.SubscribeMetricsResponse(snapshot=snapshot)
            await self.server.log.more(self.server.faults.heartbeat)

    async def QueryMetrics(
        self, request: metrics_pb2.QueryMetricsRequest, context: Context
    ) -> metrics_pb2.QueryMetricsResponse:
        points = [metrics_pb2.MetricPoint(completed=count) for count in range(3)]
        return await self.server.answer(
            "QueryMetrics",
            request,
            context,
            lambda: metrics_pb2.QueryMetricsResponse(points=points),
        )
