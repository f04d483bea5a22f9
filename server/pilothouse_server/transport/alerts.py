"""Alerts: seen from the database, taken care of at the desk, which is there on every replica."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import alerts_pb2 as pb
from pilothouse.v1 import alerts_pb2_grpc
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.requests import AlertRequest, Verb
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.control_views import AlertViews
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.caller import actor
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.alerts import alert_to_proto, step_to_proto
from pilothouse_server.wire.times import duration_us

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50


class AlertServicer(alerts_pb2_grpc.AlertServiceServicer):
    """`pilothouse.v1.AlertService`."""

    def __init__(self, desk: AlertDesk, views: AlertViews, watching: Watching) -> None:
        self._desk = desk
        self._views = views
        self._watching = watching

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: Context
    ) -> pb.ListAlertsResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._views.alerts(asked)
        alerts = [alert_to_proto(alert) for alert in page.items]
        return pb.ListAlertsResponse(alerts=alerts, next_page_token=page.next_token)

    async def GetAlert(self, request: pb.GetAlertRequest, context: Context) -> pb.GetAlertResponse:
        alert, steps = await self._views.alert_with_steps(request.alert_id)
        return pb.GetAlertResponse(
            alert=alert_to_proto(alert), transitions=[step_to_proto(step) for step in steps]
        )

    async def WatchAlerts(
        self, request: pb.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAlertsResponse]:
        updates = watch(
            self._views.follow(), self._watching.changes, request.resume_token, backlog=0
        )
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response

    async def AcknowledgeAlert(
        self, request: pb.AcknowledgeAlertRequest, context: Context
    ) -> pb.AcknowledgeAlertResponse:
        asked = AlertRequest(
            Verb.ACKNOWLEDGE,
            request.alert_id,
            actor(context),
            request.comment,
            request.etag,
            request_id=request.request_id.lower(),
            expire_after_us=(
                duration_us(request.expire_after) if request.HasField("expire_after") else None
            ),
        )
        return pb.AcknowledgeAlertResponse(alert=await self._act(asked, context))

    async def UnacknowledgeAlert(
        self, request: pb.UnacknowledgeAlertRequest, context: Context
    ) -> pb.UnacknowledgeAlertResponse:
        asked = AlertRequest(
            Verb.UNACKNOWLEDGE,
            request.alert_id,
            actor(context),
            request.comment,
            request.etag,
            request_id=request.request_id.lower(),
        )
        return pb.UnacknowledgeAlertResponse(alert=await self._act(asked, context))

    async def AssignAlert(
        self, request: pb.AssignAlertRequest, context: Context
    ) -> pb.AssignAlertResponse:
        asked = AlertRequest(
            Verb.ASSIGN,
            request.alert_id,
            actor(context),
            request.comment,
            request.etag,
            request_id=request.request_id.lower(),
            assignee=request.assignee,
        )
        return pb.AssignAlertResponse(alert=await self._act(asked, context))

    async def CommentAlert(
        self, request: pb.CommentAlertRequest, context: Context
    ) -> pb.CommentAlertResponse:
        asked = AlertRequest(
            Verb.COMMENT,
            request.alert_id,
            actor(context),
            request.comment,
            request.etag,
            request_id=request.request_id.lower(),
        )
        return pb.CommentAlertResponse(alert=await self._act(asked, context))

    async def ResolveAlert(
        self, request: pb.ResolveAlertRequest, context: Context
    ) -> pb.ResolveAlertResponse:
        asked = AlertRequest(
            Verb.RESOLVE,
            request.alert_id,
            actor(context),
            request.reason,
            request.etag,
            request_id=request.request_id.lower(),
        )
        return pb.ResolveAlertResponse(alert=await self._act(asked, context))

    async def _act(self, asked: AlertRequest, context: Context) -> pb.Alert:
        alert = await self._desk.act(asked, within=context.time_remaining())
        return alert_to_proto(alert)


def _items(items: Items[Alert]) -> list[pb.WatchAlertsResponse]:
    return [
        pb.WatchAlertsResponse(resume_token=token, alert=alert_to_proto(alert))
        for token, alert in items.items
    ]


def _sign(token: str, signs: Signs) -> pb.WatchAlertsResponse:
    return pb.WatchAlertsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    )
